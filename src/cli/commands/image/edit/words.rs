//! The values of the options of `edit-image`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dxf_registry::image::make::{FileOptions, Modified, Owner};
use dxf_registry::{Error, Result};

use crate::cli::args;
use crate::cli::exit::Failure;

/// `NAME=VALUE`, or `NAME-` for a removal.
pub fn pair(option: &str, word: &str) -> Result<(String, Option<String>), Failure> {
    if let Some((name, value)) = word.split_once('=') {
        return Ok((name.to_string(), Some(value.to_string())));
    }
    match word.strip_suffix('-') {
        Some(name) => Ok((name.to_string(), None)),
        None => Err(args::usage(format!(
            "{option} takes NAME=VALUE, or NAME- to remove it, not {word:?}"
        ))),
    }
}

/// `WORD`, or `WORD-` for a removal.
pub fn switch(word: &str) -> (String, bool) {
    match word.strip_suffix('-') {
        Some(word) => (word.to_string(), false),
        None => (word.to_string(), true),
    }
}

/// `SRC[:DEST]`, split at the last colon. Without DEST it is the root.
pub fn path(word: &OsStr) -> Result<(PathBuf, String)> {
    let bytes = word.as_bytes();
    let Some(colon) = bytes.iter().rposition(|byte| *byte == b':') else {
        return Ok((word.into(), "/".to_string()));
    };
    let (src, dest) = (&bytes[..colon], &bytes[colon + 1..]);
    let src = Path::new(OsStr::from_bytes(src));
    Ok((src.into(), args::text(OsStr::from_bytes(dest))?.to_string()))
}

/// What is to be in a file.
pub enum Content {
    /// These bytes.
    Text(Vec<u8>),
    /// What is in a file here.
    File(PathBuf),
}

/// `DEST=TEXT` or `DEST=@FILE`.
pub fn file(word: &OsStr) -> Result<(String, Content), Failure> {
    let bytes = word.as_bytes();
    let Some(equals) = bytes.iter().position(|byte| *byte == b'=') else {
        return Err(args::usage("--add-file takes DEST=TEXT or DEST=@FILE"));
    };
    let dest = args::text(OsStr::from_bytes(&bytes[..equals]))?.to_string();
    let content = match &bytes[equals + 1..] {
        [b'@', file @ ..] => Content::File(OsStr::from_bytes(file).into()),
        text => Content::Text(text.to_vec()),
    };
    Ok((dest, content))
}

/// A command: a JSON list of words, or words as a shell splits them: quotes,
/// backslashes and comments, but no expansion.
pub fn command(word: &str) -> Result<Vec<String>> {
    if word.trim_start().starts_with('[') {
        let list = serde_json::from_str(word);
        return list.map_err(|_| Error::invalid("command", word, "it is not a JSON list of words"));
    }
    shlex::split(word).ok_or_else(|| {
        let why = "a quote is not closed, or nothing follows the last backslash";
        Error::invalid("command", word, why)
    })
}

/// What `--owner`, `--mode` and `--mtime` say of added files.
pub fn options(
    owner: Option<&str>,
    mode: Option<&str>,
    mtime: Option<&str>,
) -> Result<FileOptions, Failure> {
    let mut options = FileOptions::default();
    match owner {
        None => {}
        Some("source") => options.owner = Owner::Source,
        Some(word) => {
            let (user, group) = word.split_once(':').unwrap_or((word, word));
            let ids = user.parse::<u32>().ok().zip(group.parse::<u32>().ok());
            let Some((user, group)) = ids else {
                let what = format!("--owner takes UID, UID:GID or source, not {word:?}");
                return Err(args::usage(what));
            };
            options.owner = Owner::Fixed(user.into(), group.into());
        }
    }
    if let Some(word) = mode {
        let bits = u32::from_str_radix(word, 8).ok();
        let Some(bits) = bits.filter(|bits| *bits <= 0o7777) else {
            let what = format!("--mode takes permissions such as 644, not {word:?}");
            return Err(args::usage(what));
        };
        options.mode = Some(bits);
    }
    match mtime {
        None => {}
        Some("source") => options.modified = Modified::Source,
        Some(word) => {
            let Ok(seconds) = word.parse::<u32>() else {
                let what = format!("--mtime takes seconds since 1970 or source, not {word:?}");
                return Err(args::usage(what));
            };
            options.modified = Modified::Fixed(seconds.into());
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(word: &str) -> &OsStr {
        OsStr::new(word)
    }

    #[test]
    fn pairs_set_and_remove() {
        let of = |word| pair("--env", word).unwrap();
        assert_eq!(of("A=b=c"), ("A".into(), Some("b=c".into())));
        assert_eq!(of("A=-"), ("A".into(), Some("-".into())));
        assert_eq!(of("A="), ("A".into(), Some(String::new())));
        assert_eq!(of("A-"), ("A".into(), None));
        assert!(matches!(pair("--env", "A"), Err(Failure::Usage(_))));
        assert_eq!(switch("80-"), ("80".into(), false));
    }

    #[test]
    fn owners_modes_and_times_of_added_files() {
        let made = options(Some("7:8"), Some("640"), Some("9")).unwrap();
        assert_eq!(made.owner, Owner::Fixed(7, 8));
        assert_eq!(
            (made.mode, made.modified),
            (Some(0o640), Modified::Fixed(9))
        );
        let made = options(Some("7"), None, Some("source")).unwrap();
        assert_eq!(made.owner, Owner::Fixed(7, 7));
        assert_eq!((made.mode, made.modified), (None, Modified::Source));
        assert_eq!(options(None, None, None).unwrap(), FileOptions::default());
        for (owner, mode, mtime) in [
            (Some("me"), None, None),
            (Some("1:"), None, None),
            (None, Some("0o644"), None),
            (None, Some("10000"), None),
            (None, None, Some("-1")),
        ] {
            let failed = options(owner, mode, mtime);
            assert!(matches!(failed, Err(Failure::Usage(_))));
        }
    }

    #[test]
    fn paths_end_at_the_last_colon() {
        let of = |word| path(os(word)).unwrap();
        assert_eq!(of("a/b"), ("a/b".into(), "/".into()));
        assert_eq!(of("a:/b"), ("a".into(), "/b".into()));
        assert_eq!(of("a:b:/c"), ("a:b".into(), "/c".into()));
        assert!(matches!(file(os("/a=@b")), Ok((dest, Content::File(_))) if dest == "/a"));
        assert!(matches!(file(os("/a=b=@")), Ok((_, Content::Text(text))) if text == b"b=@"));
        assert!(matches!(file(os("/a")), Err(Failure::Usage(_))));
    }

    #[test]
    fn commands_are_taken_apart_as_by_a_shell() {
        for (text, words) in [
            ("", vec![]),
            ("  a  b ", vec!["a", "b"]),
            ("nginx -g 'daemon off;'", vec!["nginx", "-g", "daemon off;"]),
            (r#"a "b \" '$x" c\ d ''"#, vec!["a", "b \" '$x", "c d", ""]),
            (r"'\'", vec![r"\"]),
            // Inside double quotes a backslash escapes only $ ` " \ and a newline.
            (r#""C:\dir" "\$x \` \\""#, vec![r"C:\dir", r"$x ` \"]),
            ("a 'b\nc' d#e", vec!["a", "b\nc", "d#e"]),
            (r#" ["a b", "[c"]"#, vec!["a b", "[c"]),
            ("[]", vec![]),
        ] {
            assert_eq!(command(text).unwrap(), words, "{text}");
        }
        for bad in ["'a", "\"", "a\\", "[a]", "[1]", "[\"a\""] {
            assert!(command(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_have_names() {
        assert_eq!(
            args::time("epoch").unwrap().to_string(),
            "1970-01-01T00:00:00Z"
        );
        assert!(args::time("now").unwrap().to_string().starts_with("20"));
        assert!(args::time("later").is_err());
    }
}
