//! What lines about progress begin with, and what is summed up at the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dxf_registry::Digest;
use dxf_registry::cache::Hits;
use dxf_registry::files::Entry;
use dxf_registry::text::one_line;

use crate::cli::out::tally::{Tally, Verb};

/// The most characters of a name: with a percentage and a rate they fit into 40
/// columns.
const MAX_NAME: usize = 20;

/// The names of blobs that are files; shared by those who know them and those who
/// show them.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<HashMap<Digest, String>>>);

impl Names {
    /// Notes the names of `files`. Of a file in parts, each part has a number.
    pub fn add(&self, files: &[Entry]) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            let blobs = &file.sequence().blobs;
            for (at, blob) in blobs.iter().enumerate() {
                let name = match blobs.len() {
                    1 => file.name.clone(),
                    all => format!("{} {}/{all}", file.name, at + 1),
                };
                names.entry(blob.digest).or_insert(name);
            }
        }
    }

    fn get(&self, blob: &Digest) -> Option<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(blob).cloned()
    }
}

/// What a line begins with, and what is said at the end.
pub enum Label {
    /// The name of a file, or enough of a digest to tell it from its neighbours:
    /// `sha256:ba7816bf`. At the end a sum.
    Blob {
        /// What the command does with them.
        verb: Verb,
        /// Those from the cache.
        hits: Hits,
        /// Those that are files.
        names: Names,
    },
    /// A name. At the end nothing: its owner knows what it consists of.
    Name(String),
}

impl Label {
    /// What a line about `blob` begins with.
    pub fn of(&self, blob: &Digest) -> String {
        match self {
            Label::Blob { names, .. } => match names.get(blob) {
                Some(name) => one_line(&name),
                None => format!("{}:{}", blob.algorithm(), &blob.hex()[..8]),
            },
            Label::Name(name) => name.clone(),
        }
    }

    /// Counts a blob of which `bytes` moved.
    pub fn count(&self, tally: &mut Tally, blob: &Digest, bytes: u64) {
        match self {
            Label::Blob { verb, hits, .. } if *verb != Verb::Uploaded && hits.contains(blob) => {
                tally.cached();
            }
            _ => tally.moved(bytes),
        }
    }

    /// The sum, where there is one.
    pub fn sum(&self, tally: &Tally, took: Duration) -> Option<String> {
        match self {
            Label::Blob { verb, .. } => Some(tally.line("blob", *verb, took)),
            Label::Name(_) => None,
        }
    }
}

/// The end of a name, on one line, as long as a narrow terminal allows: paths
/// differ there.
pub fn short(name: &str) -> String {
    let name = one_line(name);
    let count = name.chars().count();
    match count > MAX_NAME {
        true => format!(
            "…{}",
            name.chars().skip(count + 1 - MAX_NAME).collect::<String>()
        ),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(short("dump.sql"), "dump.sql");
        assert_eq!(short("/var/backups/2026/dump.sql"), "…ckups/2026/dump.sql");
    }
}
