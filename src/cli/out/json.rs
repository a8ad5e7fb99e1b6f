//! JSON documents on standard output.

use std::io::Write;

use dxf_registry::{Descriptor, Result, json};
use serde_json::Value;

use super::console::{Out, stdout};
use crate::cli::exit::Failure;

/// The digests of `blobs` as a JSON list.
pub fn digests(blobs: &[Descriptor]) -> Value {
    blobs.iter().map(|blob| blob.digest.to_string()).collect()
}

/// A JSON document, written member by member.
pub struct List(&'static str);

impl List {
    /// Nothing written yet.
    pub fn new() -> List {
        List("[")
    }

    /// Writes one item.
    pub fn item(&mut self, out: &mut Out<'_>, item: &Value) -> Result<(), Failure> {
        let lead = std::mem::replace(&mut self.0, ", ");
        write!(out, "{lead}{}", json::python(item)).map_err(stdout)
    }

    /// Ends the document.
    pub fn end(self, out: &mut Out<'_>) -> Result<(), Failure> {
        match self.0 {
            "[" => writeln!(out, "[]").map_err(stdout),
            _ => writeln!(out, "]").map_err(stdout),
        }
    }
}
