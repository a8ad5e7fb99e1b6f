//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod archive;
mod degrading;
mod downloads;
mod engine;
mod layers;
mod layout;
mod lost_answers;
mod partials;
mod retries;
mod soak;
mod support;
mod support_works;
mod transfer;
mod upload_chunks;
mod upload_sessions;
mod uploads;
