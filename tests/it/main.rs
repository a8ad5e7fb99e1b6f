//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod aliases;
mod archive;
mod auth;
mod bad_input;
mod blobs;
mod bounds;
mod compat;
mod concurrency;
mod credentials;
mod degrading;
mod doors;
mod downloads;
mod engine;
mod interrupts;
mod layers;
mod layout;
mod listing;
mod log;
mod logins;
mod lost_answers;
mod manners;
mod partials;
mod platforms;
mod progress;
mod retries;
mod secrecy;
mod soak;
mod support;
mod support_works;
mod tokens;
mod transfer;
mod upload_chunks;
mod upload_sessions;
mod uploads;
mod wires;
