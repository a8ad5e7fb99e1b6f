//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod archive;
mod engine;
mod images;
mod images_bad;
mod images_engines;
mod layers;
mod layout;
mod support;
mod support_works;
mod transfer;
