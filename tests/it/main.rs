//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod aliases;
mod auth;
mod bad_input;
mod blobs;
mod compat;
mod layers;
mod layout;
mod listing;
mod manners;
mod platforms;
mod progress;
mod support;
mod support_works;
