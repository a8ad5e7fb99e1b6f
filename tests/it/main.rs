//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod degrading;
mod downloads;
mod layers;
mod layout;
mod partials;
mod retries;
mod support;
mod support_works;
mod upload_chunks;
mod upload_sessions;
mod uploads;
