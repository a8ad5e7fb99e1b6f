//! The names of files in an artifact: relative paths with `/` between their
//! parts. What comes from a registry may be anything and is checked again.

use std::path::{Component, Path};

use crate::bounds;
use crate::error::{Error, Result};
use crate::text::one_line;

/// The longest name that is taken, bytes: that of a path on Linux.
const MAX_LEN: usize = bounds::MEMBER_NAME;
/// The longest part of a name between two `/`, bytes.
pub(super) const MAX_PART: usize = 255;

/// The name that a path has in an artifact: without `.`, and without the parts
/// that `..` takes back.
///
/// # Errors
/// [`Error::Invalid`] for an absolute path, one that points outside the folder, `.` itself,
/// and for a name that is not UTF-8.
pub fn title(path: &Path) -> Result<String> {
    let shown = path.display().to_string();
    let bad = |why: &str| Error::invalid("file name", shown.clone(), why);
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if parts.pop().is_some() => {}
            Component::ParentDir => {
                return Err(bad(
                    "it points outside this folder; change to its folder first",
                ));
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(bad(
                    "it is absolute; change to its folder and give a relative path",
                ));
            }
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| bad("it is not UTF-8"))?);
            }
        }
    }
    if parts.is_empty() {
        return Err(bad(
            "it is this folder itself; write the names of its files instead",
        ));
    }
    let title = parts.join("/");
    checked(&title)?;
    Ok(title)
}

/// The parts of a name that an artifact gives, fit to be written below a folder.
///
/// # Errors
/// [`Error::Malformed`] for a name that is absolute, leads upwards, is empty or
/// too long, or that no file can have.
pub(super) fn checked(name: &str) -> Result<String> {
    let bad = |why: &str| {
        let cut: String = name.chars().take(200).collect();
        Err(Error::malformed(
            format!("file name {:?}", one_line(&cut)),
            why,
        ))
    };
    if name.len() > MAX_LEN {
        return bad("it is too long");
    }
    if name.starts_with('/') {
        return bad("it is absolute");
    }
    if name.contains('\0') {
        return bad("no file can have this name");
    }
    let parts: Vec<&str> = name
        .split('/')
        .filter(|p| !matches!(*p, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return bad("it points outside the folder");
    }
    if parts.iter().any(|part| part.len() > MAX_PART) {
        return bad("it is too long");
    }
    if parts.is_empty() {
        return bad("it names nothing");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names() {
        for (path, name) in [
            ("a", "a"),
            ("./a/../b//c/", "b/c"),
            ("a b/ü", "a b/ü"),
            ("a/./b", "a/b"),
        ] {
            assert_eq!(title(Path::new(path)).unwrap(), name);
        }
        for path in ["/a", "..", "a/../..", ".", "", "a/.."] {
            assert!(
                matches!(title(Path::new(path)), Err(Error::Invalid { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        assert_eq!(checked("a//./b/").unwrap(), "a/b");
        let long = "a/".repeat(3000);
        for name in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "",
            "/",
            ".",
            "a\0b",
            &long,
            &format!("a/{}", "b".repeat(256)),
        ] {
            let error = checked(name).unwrap_err();
            assert!(error.is_corrupt(), "{name}");
            assert!(error.to_string().len() < 400);
        }
    }
}
