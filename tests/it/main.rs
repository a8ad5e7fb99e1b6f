//! Integration tests: the built binary against real registries.

mod archive;
mod engine;
