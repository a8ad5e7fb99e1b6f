//! A command on a full disk: a small file system in a mount namespace of its own.

use std::path::Path;

use super::dxf::{Dxf, Output};
use super::scratch;

/// Runs a shell script that fails because `$2`, a file system of `size`, is full. `$1`
/// is the built binary, `host` the registry; `with` adds words, from `$3` on, and
/// variables. `None` where the machine allows no mount, which is said.
pub fn full_disk(
    size: &str,
    host: &str,
    script: &str,
    with: impl FnOnce(Dxf) -> Dxf,
) -> Option<Output> {
    let at = scratch();
    let script = format!("mount -t tmpfs -o size={size} none \"$2\" || exit 99\n{script}");
    let words = ["-rm", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_dxf")];
    let unshare = Dxf::foreign(Path::new("/usr/bin/unshare")).plain(host);
    let unshare = unshare.env("PATH", "/usr/bin:/bin").args(words);
    let done = with(unshare.arg(at.path())).run();
    if done.code == Some(99) || done.stderr.contains("unshare") {
        eprintln!("SKIPPED: a full disk: no mount namespace here: {done}");
        return None;
    }
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stderr.starts_with("dxf: "), "{done}");
    assert_eq!(done.stderr.lines().count(), 1, "{done}");
    assert!(done.stderr.contains("free space"), "{done}");
    Some(done)
}
