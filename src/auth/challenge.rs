//! `WWW-Authenticate`: what a registry wants to see (RFC 9110, 11.6.1).
//!
//! Several challenges may share a value, parameters may come in any order, and
//! both are separated by commas; a comma inside quotes is text. Registries in
//! the wild leave out `service` (nvcr.io) or `scope` (gcr.io, Artifactory),
//! put `Negotiate` first, and forget quotes, so all of that is read.

use ::http::header::{HeaderMap, WWW_AUTHENTICATE};

/// The challenges of an answer with these headers.
pub fn of(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE);
    parse(values.iter().filter_map(|value| value.to_str().ok()))
}

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Challenge {
    /// The scheme, lower case.
    pub scheme: String,
    /// The parameters, names in lower case, in order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The challenges of all header values, in order. What can't be understood is
/// passed over.
pub fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for value in values {
        let mut rest = Cursor(value);
        // A parameter must not join a challenge of an earlier header value.
        let first = found.len();
        while rest.skip_separators() {
            let Some(word) = rest.token() else {
                rest.skip_one();
                continue;
            };
            if rest.equals() {
                let value = rest.value();
                if let Some(challenge) = found[first..].last_mut() {
                    challenge
                        .parameters
                        .push((word.to_ascii_lowercase(), value));
                }
            } else {
                found.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    ..Challenge::default()
                });
            }
        }
    }
    found
}

/// Schemes of the web that no registry client knows, as they are written.
const OTHERS: [&str; 5] = ["Negotiate", "NTLM", "Kerberos", "Digest", "OAuth"];

/// The schemes of challenges of which none can be answered; empty where one can.
pub fn unsupported(challenges: &[Challenge]) -> Vec<String> {
    let is = |name: &str| {
        challenges
            .iter()
            .any(|c| c.scheme.eq_ignore_ascii_case(name))
    };
    if is("basic") || is("bearer") {
        return Vec::new();
    }
    let known = OTHERS.iter().filter(|name| is(name));
    known.map(|name| name.to_string()).collect()
}

struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// Skips blanks and commas; false at the end.
    fn skip_separators(&mut self) -> bool {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        !self.0.is_empty()
    }

    fn skip_one(&mut self) {
        let mut chars = self.0.chars();
        chars.next();
        self.0 = chars.as_str();
    }

    fn token(&mut self) -> Option<&'a str> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !legal(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Takes an `=` with blanks around it, if one is next.
    fn equals(&mut self) -> bool {
        match self.0.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(rest) => {
                self.0 = rest.trim_start_matches([' ', '\t']);
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> String {
        match self.0.strip_prefix('"') {
            Some(rest) => {
                self.0 = rest;
                self.quoted()
            }
            None => {
                let end = self.0.find([',', ' ', '\t']).unwrap_or(self.0.len());
                let (value, rest) = self.0.split_at(end);
                self.0 = rest;
                value.to_string()
            }
        }
    }

    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next()),
                other => value.push(other),
            }
        }
        self.0 = chars.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(values: &[&str]) -> String {
        let one = |c: &Challenge| {
            let parameters: Vec<String> = c
                .parameters
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            format!("{}[{}]", c.scheme, parameters.join(";"))
        };
        parse(values.iter().copied())
            .iter()
            .map(one)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn schemes_that_nothing_answers_are_named() {
        for (value, named) in [
            ("Negotiate, NTLM", &["Negotiate", "NTLM"][..]),
            ("digest realm=\"x\", nonce=\"y\"", &["Digest"]),
            ("Negotiate, Basic realm=\"x\"", &[]),
            ("Junk", &[]),
        ] {
            assert_eq!(unsupported(&parse([value].into_iter())), named, "{value}");
        }
    }

    #[test]
    fn reads_what_registries_send() {
        for (value, expected) in [
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
                "bearer[realm=https://auth.docker.io/token;service=registry.docker.io;scope=repository:a/b:pull,push]",
            ),
            (
                "Basic realm=\"Registry Realm\"",
                "basic[realm=Registry Realm]",
            ),
            ("Negotiate, Basic realm=\"x\"", "negotiate[] basic[realm=x]"),
            (
                "Basic realm=x, Bearer realm=y , scope = \"a b\"",
                "basic[realm=x] bearer[realm=y;scope=a b]",
            ),
            ("bearer REALM=\"a\\\"b,c\"", "bearer[realm=a\"b,c]"),
            ("Bearer realm=/token", "bearer[realm=/token]"),
            ("Bearer", "bearer[]"),
            (
                "Negotiate a87421000492aa874209af8bc028==",
                "negotiate[] a87421000492aa874209af8bc028[]",
            ),
            ("realm=orphan", ""),
            ("Bearer realm=\"unclosed", "bearer[realm=unclosed]"),
            ("", ""),
            (",, ,", ""),
            ("Bearer realm=", "bearer[realm=]"),
        ] {
            // token68 data reads as a scheme of its own or a parameter of none;
            // either way it is neither Bearer nor Basic.
            let got = shown(&[value]);
            if value.contains("==") {
                assert!(got.starts_with("negotiate["), "{got}");
            } else {
                assert_eq!(got, expected, "{value}");
            }
        }
        assert_eq!(
            shown(&["Basic realm=a", "Bearer realm=b"]),
            "basic[realm=a] bearer[realm=b]"
        );
        assert_eq!(shown(&["Basic realm=a", "scope=b"]), "basic[realm=a]");
    }

    proptest! {
        #[test]
        fn never_panics(value in "[a-zA-Z=\", \\\\:/]{0,60}|\\PC{0,60}") {
            let _ = parse([value.as_str()].into_iter());
        }
    }
}
