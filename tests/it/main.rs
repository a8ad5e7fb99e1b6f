//! Integration tests: the built binary against real registries. One binary, one
//! module a concept; everything shared is in `support`.

mod bounds;
mod credentials;
mod doors;
mod layers;
mod layout;
mod log;
mod logins;
mod secrecy;
mod support;
mod support_works;
mod tokens;
mod wires;
