//! Integration tests: the built binary against real registries.

mod layout;
