//! python-dxf, whose command line is the measure of ours, and oras-py.

use std::path::{Path, PathBuf};

use super::dxf::Dxf;
use crate::engine::missing;

/// python-dxf's `dxf`, run like our own. It takes its CA file from
/// `REQUESTS_CA_BUNDLE` or `DXF_TLSVERIFY`.
pub fn dxf() -> Dxf {
    let program = folder().join("bin/dxf");
    assert!(
        program.exists(),
        "python-dxf is not in {}: run scripts/setup, or name its virtual environment in \
         DXF_TEST_PYTHON",
        folder().display()
    );
    Dxf::foreign(&program)
}

/// The interpreter beside it, for scripts that use python-dxf as a library.
pub fn interpreter() -> Dxf {
    Dxf::foreign(&folder().join("bin/python"))
}

/// A script that uses oras-py (`import oras.client`); `sys.argv[1:]` are the
/// arguments that follow. Without oras-py the test is skipped.
pub fn oras_py(script: &str) -> Option<Dxf> {
    let versions = std::fs::read_dir(folder().join("lib")).ok();
    let mut packages = versions.into_iter().flatten().flatten();
    if packages.any(|at| at.path().join("site-packages/oras").exists()) {
        return Some(interpreter().args(["-c", script]));
    }
    missing("oras-py");
    None
}

/// The virtual environment that `scripts/setup` makes, unless a test run names
/// another.
fn folder() -> PathBuf {
    match std::env::var_os("DXF_TEST_PYTHON") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python-dxf"),
    }
}
