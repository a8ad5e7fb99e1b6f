//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod aliases;
mod archive;
mod auth;
mod bad_input;
mod blobs;
mod compat;
mod degrading;
mod downloads;
mod engine;
mod layers;
mod layout;
mod listing;
mod lost_answers;
mod manners;
mod partials;
mod platforms;
mod progress;
mod retries;
mod soak;
mod support;
mod support_works;
mod transfer;
mod upload_chunks;
mod upload_sessions;
mod uploads;
