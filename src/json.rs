//! JSON in the exact bytes that Python's `json.dumps(value, sort_keys=True)`
//! writes: `", "` and `": "` between members, keys sorted, everything outside
//! ASCII escaped. The digest of an alias and the output that scripts parse
//! depend on it. Also how `null` is read.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{CharEscape, Formatter, Serializer};
use serde_json::{Map, Value};

/// `value` as Python writes it with `sort_keys=True`.
pub fn python(value: &Value) -> String {
    let mut out = Vec::new();
    let mut to = Serializer::with_formatter(&mut out, Python);
    // A Value has string keys only and a Vec takes every byte, so neither the
    // serializer nor the writer can fail; every byte written is ASCII.
    let _ = sorted(value).serialize(&mut to);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads `null` as an empty value: Go and Python write empty lists and maps so.
/// For `#[serde(default, deserialize_with = "json::null_as_default")]`.
///
/// # Errors
/// Those of reading a `T`.
pub fn null_as_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A map from names to words, in which `null` means a member that is absent, for
/// the map itself and for each member.
///
/// For `#[serde(default, deserialize_with = "json::words_without_nulls")]`.
///
/// # Errors
/// Those of the words.
pub fn words_without_nulls<'de, D>(from: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    let words: Option<BTreeMap<String, Option<String>>> = Option::deserialize(from)?;
    let words = words.unwrap_or_default().into_iter();
    Ok(words
        .filter_map(|(name, word)| Some((name, word?)))
        .collect())
}

/// Members of a JSON object that are rare: none take no more memory than a pointer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Members(Option<Box<Map<String, Value>>>);

static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

impl Deref for Members {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Members {
    fn deref_mut(&mut self) -> &mut Map<String, Value> {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Members) -> bool {
        **self == **other
    }
}

impl Eq for Members {}

impl From<Map<String, Value>> for Members {
    fn from(members: Map<String, Value>) -> Members {
        Members((!members.is_empty()).then(|| Box::new(members)))
    }
}

impl From<Members> for Map<String, Value> {
    fn from(members: Members) -> Map<String, Value> {
        members.0.map(|members| *members).unwrap_or_default()
    }
}

/// Members in the order of their names, all the way down.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(
                members
                    .into_iter()
                    .map(|(k, v)| (k.clone(), sorted(v)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        text: &str,
    ) -> io::Result<()> {
        for c in text.chars() {
            match c {
                // serde_json passes DEL through, and Python does not.
                '\0'..='\x7e' => w.write_all(&[c as u8])?,
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(w, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => w.write_all(b"\\\""),
            CharEscape::ReverseSolidus => w.write_all(b"\\\\"),
            CharEscape::Solidus => w.write_all(b"/"),
            CharEscape::Backspace => w.write_all(b"\\b"),
            CharEscape::FormFeed => w.write_all(b"\\f"),
            CharEscape::LineFeed => w.write_all(b"\\n"),
            CharEscape::CarriageReturn => w.write_all(b"\\r"),
            CharEscape::Tab => w.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(w, "\\u{byte:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn writes_what_python_writes() {
        let value = json!({"b": [1, 2, {}], "a": {"z": null, "y": "é\u{1F600}\n\u{7f}\u{1}\"\\/"}});
        assert_eq!(
            python(&value),
            "{\"a\": {\"y\": \"\\u00e9\\ud83d\\ude00\\n\\u007f\\u0001\\\"\\\\/\", \"z\": null}, \"b\": [1, 2, {}]}"
        );
        assert_eq!(python(&json!([])), "[]");
    }
}
