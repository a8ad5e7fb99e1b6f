//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod concurrency;
mod interrupts;
mod kills;
mod layers;
mod layout;
mod lost_answers;
mod soak;
mod support;
mod support_works;
