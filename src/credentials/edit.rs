//! Changes one entry of a credentials file and leaves every other byte as it
//! is: other tools keep their settings in the same file, in an order and a
//! form that is theirs. What a text means is known only as far as `auths`.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::Value;

/// Where the entries are.
const AUTHS: &str = "auths";

/// One change: these bytes become that text.
#[derive(Debug)]
struct Splice {
    range: Range<usize>,
    with: String,
}

impl Splice {
    fn apply(&self, text: &str) -> String {
        let Range { start, end } = self.range;
        [&text[..start], &self.with, &text[end..]].concat()
    }
}

/// An object in a text, by position.
struct Object {
    open: usize,
    close: usize,
    members: Vec<Member>,
}

#[derive(Clone)]
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// `text` whose entry `key` holds `fields` and nothing else; `None` when
/// `text` is not a JSON object. An empty text becomes a file as Docker writes it.
pub(super) fn set(text: &str, key: &str, fields: &[(&str, &str)]) -> Option<String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    setting(text, key, fields).map(|splice| splice.apply(text))
}

/// `text` without the entries whose keys are `doomed`; `None` when there are
/// none.
pub(super) fn remove(text: &str, doomed: impl Fn(&str) -> bool) -> Option<String> {
    let mut text = removing(text, &doomed)?.apply(text);
    while let Some(splice) = removing(&text, &doomed) {
        text = splice.apply(&text);
    }
    Some(text)
}

fn setting(text: &str, key: &str, fields: &[(&str, &str)]) -> Option<Splice> {
    let root = root(text)?;
    let style = Style::of(text, &root);
    let fields: Vec<_> = fields.iter().map(|(k, v)| (*k, quoted(v))).collect();
    let entry = |style: &Style, indent: &str| style.object(indent, &fields);
    let auths_in = |style: &Style, indent: &str| {
        let inner = entry(style, &style.deeper(indent));
        style.object(indent, &[(key, inner)])
    };
    let Some(auths) = root.last(text, AUTHS) else {
        return Some(root.prepend(text, &style, auths_in));
    };
    let (style, indent) = style.at(text, &auths);
    if text.as_bytes().get(auths.value.start) != Some(&b'{') {
        // `null`, which is as good as nothing.
        return Some(auths.replace(auths_in(&style, indent)));
    }
    let entries = object(text, auths.value.start)?;
    match (entries.last(text, key), entries.members.last()) {
        (Some(old), _) => {
            let (style, indent) = style.at(text, &old);
            Some(old.replace(entry(&style, indent)))
        }
        (None, Some(last)) => {
            let (style, indent) = style.at(text, last);
            let member = style.member(key, &entry(&style, indent));
            Some(Splice {
                range: last.value.end..last.value.end,
                with: format!("{}{member}", style.between(indent)),
            })
        }
        (None, None) => Some(auths.replace(auths_in(&style, indent))),
    }
}

fn removing(text: &str, doomed: &impl Fn(&str) -> bool) -> Option<Splice> {
    let root = root(text)?;
    for auths in root.members.iter().filter(|m| m.name(text) == AUTHS) {
        let Some(entries) = object(text, auths.value.start) else {
            continue;
        };
        let members = &entries.members;
        if let Some(i) = members.iter().position(|m| doomed(&m.name(text))) {
            let range = match (i.checked_sub(1), members.get(i + 1)) {
                (_, Some(next)) => members[i].key.start..next.key.start,
                (Some(before), None) => members[before].value.end..members[i].value.end,
                (None, None) => entries.open + 1..entries.close,
            };
            let with = String::new();
            return Some(Splice { range, with });
        }
    }
    None
}

impl Object {
    /// The member called `name`; of several the last, which is the one that
    /// parsers keep.
    fn last(&self, text: &str, name: &str) -> Option<Member> {
        let named = |m: &&Member| m.name(text) == name;
        self.members.iter().rev().find(named).cloned()
    }

    /// Adds `auths` where Docker has it: in front.
    fn prepend(&self, text: &str, style: &Style, value: impl Fn(&Style, &str) -> String) -> Splice {
        let Some(first) = self.members.first() else {
            let member = value(style, &style.deeper(""));
            return Splice {
                range: self.open..self.close + 1,
                with: style.object("", &[(AUTHS, member)]),
            };
        };
        let (style, indent) = style.at(text, first);
        let member = style.member(AUTHS, &value(&style, indent));
        Splice {
            range: first.key.start..first.key.start,
            with: format!("{member}{}", style.between(indent)),
        }
    }
}

impl Member {
    fn name(&self, text: &str) -> String {
        serde_json::from_str(&text[self.key.clone()]).unwrap_or_default()
    }

    fn replace(&self, with: String) -> Splice {
        Splice {
            range: self.value.clone(),
            with,
        }
    }
}

/// How a file is laid out, as its first member shows.
#[derive(Clone)]
struct Style {
    /// Empty: all on one line.
    newline: &'static str,
    unit: String,
    colon: String,
    comma: &'static str,
}

impl Style {
    fn of(text: &str, root: &Object) -> Style {
        let Some(first) = root.members.first() else {
            return Style {
                newline: "\n",
                unit: "\t".to_string(),
                colon: ": ".to_string(),
                comma: ",",
            };
        };
        let gap = gap_before(text, first.key.start);
        let colon = &text[first.key.end..first.value.start];
        let spaced = colon.ends_with(' ');
        let mut style = Style {
            newline: "",
            unit: String::new(),
            colon: if spaced { ": " } else { ":" }.to_string(),
            comma: if spaced { ", " } else { "," },
        };
        if let Some((_, indent)) = gap.rsplit_once('\n') {
            style.newline = if gap.contains("\r\n") { "\r\n" } else { "\n" };
            style.unit = indent.to_string();
        }
        style
    }

    /// The style beside `member` and its indentation: what stands among others
    /// on one line stays there.
    fn at<'a>(&self, text: &'a str, member: &Member) -> (Style, &'a str) {
        let mut style = self.clone();
        match gap_before(text, member.key.start).rsplit_once('\n') {
            Some((_, indent)) => (style, indent),
            None => {
                style.newline = "";
                (style, "")
            }
        }
    }

    fn deeper(&self, indent: &str) -> String {
        format!("{indent}{}", self.unit)
    }

    fn between(&self, indent: &str) -> String {
        if self.newline.is_empty() {
            self.comma.to_string()
        } else {
            format!(",{}{indent}", self.newline)
        }
    }

    fn member(&self, key: &str, value: &str) -> String {
        format!("{}{}{value}", quoted(key), self.colon)
    }

    /// An object that follows `indent`, of values already in JSON.
    fn object(&self, indent: &str, members: &[(&str, String)]) -> String {
        if members.is_empty() {
            return "{}".to_string();
        }
        let inner = self.deeper(indent);
        let members: Vec<_> = members.iter().map(|(k, v)| self.member(k, v)).collect();
        let members = members.join(&self.between(&inner));
        match self.newline {
            "" => format!("{{{members}}}"),
            newline => format!("{{{newline}{inner}{members}{newline}{indent}}}"),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn gap_before(text: &str, at: usize) -> &str {
    let head = &text[..at];
    &head[head.trim_end_matches(is_space).len()..]
}

/// JSON's blanks (RFC 8259), which are fewer than Unicode's.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// The outermost object. What follows counts on valid JSON, so here it is
/// made sure of.
fn root(text: &str) -> Option<Object> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The blanks that reading passes over are more than JSON's own.
    serde_json::from_str::<IgnoredAny>(bare.trim()).ok()?;
    let blanks = bare.len() - bare.trim_start().len();
    object(text, text.len() - bare.len() + blanks)
}

/// The object that opens at `at`.
fn object(text: &str, at: usize) -> Option<Object> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut members = Vec::new();
    let mut next = skip_space(bytes, at + 1);
    while *bytes.get(next)? != b'}' {
        let key = next..string_end(bytes, next)?;
        let colon = skip_space(bytes, key.end);
        let start = skip_space(bytes, colon + 1);
        let value = start..value_end(bytes, start)?;
        next = skip_space(bytes, value.end);
        members.push(Member { key, value });
        if *bytes.get(next)? == b',' {
            next = skip_space(bytes, next + 1);
        }
    }
    Some(Object {
        open: at,
        close: next,
        members,
    })
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let blanks = rest.iter().take_while(|b| is_space(**b as char));
    from + blanks.count()
}

/// Behind the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    loop {
        match bytes.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// Behind the value that begins at `at`.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut i, mut depth) = (at, 0_usize);
    loop {
        match *bytes.get(i)? {
            b'"' => i = string_end(bytes, i)?,
            b'{' | b'[' => {
                depth += 1;
                i += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                i += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => i += 1,
            _ => {
                let word =
                    |b: &&u8| !matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                i += bytes[i..].iter().take_while(word).count();
            }
        }
        if depth == 0 {
            return Some(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn put(text: &str) -> String {
        set(text, "r.io", &[("auth", "dTpw")]).unwrap()
    }

    #[test]
    fn a_new_file_is_docker_s() {
        let docker = "{\n\t\"auths\": {\n\t\t\"r.io\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}";
        for empty in ["", " \n", "{}", "{ \n }"] {
            assert_eq!(put(empty), docker);
        }
        assert_eq!(put("{}\n"), format!("{docker}\n"));
        assert_eq!(put("\u{feff}{}"), format!("\u{feff}{docker}"));
    }

    #[test]
    fn blanks_that_json_does_not_know_are_kept() {
        for blank in ["\u{b}", "\u{c}", "\u{a0}"] {
            let text = format!("{blank}{{\"auths\":{{\"r\":{{}}}}}}\n{blank}");
            let gone = remove(&text, |key| key == "r").expect("an entry to remove");
            assert!(!gone.contains("\"r\""), "{gone:?}");
            assert!(gone.starts_with(blank) && gone.ends_with(blank), "{gone:?}");
            assert!(put(&text).contains("auth"), "{blank:?}");
        }
    }

    #[test]
    fn the_style_found_is_followed() {
        let table = [
            (r#"{"a":1}"#, r#"{"auths":{"r.io":{"auth":"dTpw"}},"a":1}"#),
            (
                r#"{ "a": 1, "b": 2 }"#,
                r#"{ "auths": {"r.io": {"auth": "dTpw"}}, "a": 1, "b": 2 }"#,
            ),
            (
                "{\n  \"credsStore\": \"x\"\n}\n",
                "{\n  \"auths\": {\n    \"r.io\": {\n      \"auth\": \"dTpw\"\n    }\n  },\n  \"credsStore\": \"x\"\n}\n",
            ),
            (
                "{\r\n  \"auths\": {}\r\n}",
                "{\r\n  \"auths\": {\r\n    \"r.io\": {\r\n      \"auth\": \"dTpw\"\r\n    }\r\n  }\r\n}",
            ),
            (
                "{\n\t\"auths\": {\n\t\t\"q.io\": {}\n\t},\n\t\"x\": [1 , 2]\n}",
                "{\n\t\"auths\": {\n\t\t\"q.io\": {},\n\t\t\"r.io\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t},\n\t\"x\": [1 , 2]\n}",
            ),
            (
                "{\n \"auths\": null, \"x\": 1}",
                "{\n \"auths\": {\n  \"r.io\": {\n   \"auth\": \"dTpw\"\n  }\n }, \"x\": 1}",
            ),
            (
                r#"{"auths": {"\u0072.io" : {"auth": "old", "email": "}\"]"} , "z": {}}}"#,
                r#"{"auths": {"\u0072.io" : {"auth": "dTpw"} , "z": {}}}"#,
            ),
        ];
        for (before, after) in table {
            assert_eq!(put(before), after);
        }
        assert_eq!(
            set(r#"{"auths":{}}"#, "r.io", &[]).unwrap(),
            r#"{"auths":{"r.io":{}}}"#
        );
    }

    #[test]
    fn commas_go_with_their_entries() {
        let table = [
            (
                r#"{"auths": { "a": {} , "b": {} , "c": {} }}"#,
                "a",
                r#"{"auths": { "b": {} , "c": {} }}"#,
            ),
            (
                r#"{"auths": { "a": {} , "b": {} , "c": {} }}"#,
                "b",
                r#"{"auths": { "a": {} , "c": {} }}"#,
            ),
            (
                r#"{"auths": { "a": {} , "b": {} , "c": {} }}"#,
                "c",
                r#"{"auths": { "a": {} , "b": {} }}"#,
            ),
            (
                "{\"auths\": {\n\t\"a\": {}\n}, \"a\": 1}",
                "a",
                "{\"auths\": {}, \"a\": 1}",
            ),
            (
                r#"{"auths": {"a": 1, "b": 2, "a": 3}, "auths": {"a": 4}}"#,
                "a",
                r#"{"auths": {"b": 2}, "auths": {}}"#,
            ),
        ];
        for (before, key, after) in table {
            assert_eq!(remove(before, |k| k == key).as_deref(), Some(after));
        }
        for without in ["", "{}", r#"{"auths": null, "a": {"a": 1}}"#, "[]"] {
            assert_eq!(remove(without, |k| k == "a"), None);
        }
    }

    /// `value` with blanks wherever JSON allows them.
    fn noisy(value: &Value, blanks: &mut impl Iterator<Item = &'static str>, out: &mut String) {
        let mut blank = |out: &mut String| out.push_str(blanks.next().unwrap_or(""));
        blank(out);
        match value {
            Value::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    out.push_str(blanks.next().unwrap_or(""));
                    out.push_str(&quoted(key));
                    out.push_str(blanks.next().unwrap_or(""));
                    out.push(':');
                    noisy(value, blanks, out);
                }
                out.push_str(blanks.next().unwrap_or(""));
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    noisy(item, blanks, out);
                }
                out.push(']');
            }
            other => out.push_str(&other.to_string()),
        }
        out.push_str(blanks.next().unwrap_or(""));
    }

    fn members(depth: u32) -> impl Strategy<Value = Map<String, Value>> {
        let key = "[abk]|auths|\\PC{0,4}|[{}\\[\\]\",:\\\\]{0,4}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            key.prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(depth, 30, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key, inner, 0..4).prop_map(|m| json!(m)),
            ]
        });
        prop::collection::hash_map(key, value, 0..5).prop_map(|m| m.into_iter().collect())
    }

    fn parsed(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    proptest! {
        #[test]
        fn other_bytes_never_change(
            mut root in members(3),
            auths in prop::option::of(members(2)),
            blanks in prop::collection::vec(prop::sample::select(vec!["", " ", "\n", "\n\t", "\r\n  "]), 1..40),
        ) {
            root.shift_remove("auths");
            if let Some(auths) = auths {
                root.insert("auths".into(), auths.into());
            }
            let mut text = String::new();
            noisy(&root.clone().into(), &mut blanks.iter().copied().cycle(), &mut text);
            prop_assert_eq!(&parsed(&text), &root);

            let splice = setting(&text, "k", &[("auth", "x")]).unwrap();
            let old = text[splice.range.clone()].trim().to_string();
            let before = root.get("auths").and_then(|a| a.get("k"));
            let empty = ["", "null", "{}"].contains(&old.as_str()) || old.trim_matches(['{', '}']).trim().is_empty();
            prop_assert!(empty || Some(&serde_json::from_str(&old).unwrap()) == before, "replaced {}", old);

            let after = splice.apply(&text);
            let mut expected = root.clone();
            let entries = expected.entry("auths").or_insert(json!({})).as_object_mut().unwrap();
            entries.insert("k".into(), json!({"auth": "x"}));
            prop_assert_eq!(&parsed(&after), &expected);

            let gone = remove(&after, |key| key == "k").unwrap();
            let had_others = root.get("auths").is_some_and(|a| !a.as_object().unwrap().is_empty());
            if before.is_none() && had_others {
                prop_assert_eq!(&gone, &text);
            }
            expected["auths"].as_object_mut().unwrap().shift_remove("k");
            prop_assert_eq!(parsed(&gone), expected);
        }

        #[test]
        fn nonsense_never_panics(text in "[{}\\[\\]\",:\\\\ auths1é]{0,30}|\\PC{0,20}") {
            let _ = set(&text, "k", &[("auth", "x")]);
            let _ = remove(&text, |_| true);
        }
    }
}
