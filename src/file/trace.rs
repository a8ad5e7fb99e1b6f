//! What this thread did to the disk, in order, for tests of durability.

use std::cell::RefCell;
use std::path::Path;

thread_local! {
    static DONE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes a step; of the path its last name is enough, of a temporary one that
/// of its target.
pub fn note(what: &str, path: &Path) {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy();
    let name = match name.strip_suffix(".partial") {
        Some(temporary) if temporary.starts_with('.') => &temporary[1..temporary.len() - 7],
        _ => &name,
    };
    DONE.with_borrow_mut(|done| done.push(format!("{what} {name}")));
}

/// What was done since this was called last.
pub fn take() -> Vec<String> {
    DONE.take()
}
