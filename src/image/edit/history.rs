//! The steps of a config's `history`, kept in line with the layers.
//!
//! The i-th step that made a layer belongs to the i-th layer (image-spec,
//! config.md); nothing else ties them together. Histories that tell of fewer
//! layers than there are, or of none, are legal.

use serde_json::{Map, Value, json};

/// Everything `history` holds, objects or not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History(Vec<Value>);

/// The history of a base, and how many layers that has.
pub(super) struct Base<'a> {
    pub history: &'a History,
    pub layers: usize,
}

impl History {
    pub(super) fn of(config: &Map<String, Value>) -> History {
        let steps = config.get("history").and_then(Value::as_array);
        History(steps.cloned().unwrap_or_default())
    }

    /// Writes the steps back, unless they are unchanged.
    pub(super) fn write(&self, config: &mut Map<String, Value>) {
        if *self != History::of(config) {
            config.insert("history".to_string(), Value::Array(self.0.clone()));
        }
    }

    /// Adds a step that made the layer above `layers` others. Where the
    /// history tells of fewer, steps that say nothing come before it, or the
    /// new one would be taken for that of an older layer.
    pub(super) fn push_layer(&mut self, step: Value, layers: usize) {
        self.pad(layers);
        self.0.push(step);
    }

    /// Adds a step that made no layer.
    pub(super) fn push_empty(&mut self, step: Value) {
        self.0.push(step);
    }

    /// The step of layer `index`, where there is one.
    pub(super) fn layer(&self, index: usize) -> Option<&Value> {
        self.at(index).map(|at| &self.0[at])
    }

    /// Renames the last step.
    pub(super) fn rename_last(&mut self, created_by: &str) {
        if let Some(step) = self.0.last_mut().and_then(Value::as_object_mut) {
            step.insert("created_by".to_string(), created_by.into());
        }
    }

    /// Takes out the step of layer `index`; whether it was the last of all.
    pub(super) fn remove_layer(&mut self, index: usize) -> bool {
        let Some(at) = self.at(index) else {
            return false;
        };
        self.0.remove(at);
        at == self.0.len()
    }

    /// Keeps the steps as words: none of them made a layer any more.
    pub(super) fn empty_all(&mut self) {
        for step in self.0.iter_mut().filter_map(Value::as_object_mut) {
            step.insert("empty_layer".to_string(), Value::Bool(true));
        }
    }

    /// Puts the steps of `new` in the place of those of `old`, which made the
    /// lowest layers.
    pub(super) fn replace_base(&mut self, old: Base<'_>, new: Base<'_>) {
        // A base may keep quiet about its layers, or end with steps that made none.
        let told = if self.0.starts_with(&old.history.0) {
            old.history.0.len()
        } else {
            0
        };
        let made = old.layers.checked_sub(1);
        let made = made.map_or(0, |last| self.at(last).map_or(self.0.len(), |at| at + 1));
        let end = told.max(made);
        let rest = self.0.split_off(end);
        self.0.clone_from(&new.history.0);
        if rest.iter().any(is_layer) {
            self.pad(new.layers);
        }
        self.0.extend(rest);
    }

    /// Adds steps that say nothing until there is one for each layer.
    fn pad(&mut self, layers: usize) {
        let lacking = layers.saturating_sub(self.layers());
        self.0.extend(std::iter::repeat_n(json!({}), lacking));
    }

    /// How many layers the steps tell of.
    fn layers(&self) -> usize {
        self.0.iter().filter(|step| is_layer(step)).count()
    }

    fn at(&self, index: usize) -> Option<usize> {
        let made = self.0.iter().enumerate().filter(|(_, step)| is_layer(step));
        made.map(|(at, _)| at).nth(index)
    }
}

fn is_layer(step: &Value) -> bool {
    step.is_object() && step.get("empty_layer") != Some(&Value::Bool(true))
}
