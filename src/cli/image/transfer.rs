//! What a command would send, as its `--dry-run` prints it.

use std::collections::HashSet;

use dxf_registry::graph::{Action, Nondistributable, Plan};
use dxf_registry::image::Node;
use dxf_registry::{Digest, Result, Target};
use serde_json::{Map, Value};

use crate::cli::image::destination::{Destination, left_out};
use crate::cli::out::size;
use crate::cli::session::Session;

/// Blobs and manifests by what would be done with them, over all images of a
/// command. A blob counts once, however many images have it.
pub struct Transfer<'a> {
    to: &'a Destination,
    counts: Vec<Count>,
    seen: HashSet<Digest>,
}

struct Count {
    verb: &'static str,
    what: &'static str,
    number: usize,
    bytes: u64,
}

const UPLOAD: usize = 0;
const MOUNT: usize = 1;
const THERE: usize = 2;
const PUT: usize = 3;

impl<'a> Transfer<'a> {
    /// Nothing yet, in the words for where it would go.
    pub fn new(to: &'a Destination) -> Transfer<'a> {
        let verbs: &[(&str, &str)] = match to.is_archive() {
            true => &[("write", "blob")],
            false => &[
                ("upload", "blob"),
                ("mount", "blob"),
                ("there", "blob"),
                ("put", "manifest"),
            ],
        };
        let none = |&(verb, what)| Count {
            verb,
            what,
            number: 0,
            bytes: 0,
        };
        Transfer {
            to,
            counts: verbs.iter().map(none).collect(),
            seen: HashSet::new(),
        }
    }

    /// Adds what putting `node` would take, under `target` or the destination's
    /// own name; warns of layers that would be left out.
    ///
    /// # Errors
    /// Those of the destination.
    pub fn add(
        &mut self,
        s: &Session<'_, '_>,
        node: &Node,
        target: Option<&Target>,
        foreign: Nondistributable,
    ) -> Result<()> {
        let Some(plan) = self.to.plan(s, node, target, foreign)? else {
            for blob in node.blobs() {
                self.blob(0, blob.digest(), blob.size());
            }
            return Ok(());
        };
        for layer in &plan.left_out {
            s.console.warn(&left_out(&layer.digest));
        }
        self.plan(&plan);
        Ok(())
    }

    fn plan(&mut self, plan: &Plan) {
        for (blob, action) in &plan.blobs {
            let at = match action {
                Action::Upload => UPLOAD,
                Action::Mount => MOUNT,
                _ => THERE,
            };
            self.blob(at, blob.digest(), blob.size());
        }
        let (manifests, bytes) = plan.manifests;
        self.count(PUT, manifests, bytes);
    }

    fn blob(&mut self, at: usize, digest: &Digest, size: u64) {
        if self.seen.insert(*digest) {
            self.count(at, 1, size);
        }
    }

    fn count(&mut self, at: usize, number: usize, bytes: u64) {
        if let Some(count) = self.counts.get_mut(at) {
            count.number += number;
            count.bytes += bytes;
        }
    }

    /// The same as JSON.
    pub fn value(&self) -> Value {
        let one = |count: &Count| {
            let number = (format!("{}s", count.what), count.number.into());
            let members = Map::from_iter([number, ("bytes".to_string(), count.bytes.into())]);
            (count.verb.to_string(), Value::Object(members))
        };
        Value::Object(self.counts.iter().map(one).collect())
    }

    /// The same as rows of a table: verb, number, bytes.
    pub fn rows(&self) -> impl Iterator<Item = Vec<String>> + '_ {
        self.counts.iter().map(|count| {
            let what = size::count(count.number, count.what);
            vec![count.verb.to_string(), what, size::show(count.bytes)]
        })
    }
}
