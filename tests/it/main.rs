//! Integration tests: the built binary against real registries and against
//! servers that misbehave on purpose. One module a concept.

mod layers;
#[allow(dead_code, reason = "not every test module uses every helper")]
mod support;
mod support_works;
