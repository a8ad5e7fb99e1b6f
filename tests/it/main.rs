//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod archive;
mod coming_from;
mod engine;
mod images_foreign;
mod images_hostile;
mod images_look;
mod layers;
mod layout;
mod support;
mod support_works;
mod transfer;
