//! One reader of `dxf`, fed by libFuzzer: the one that `DXF_FUZZ_TARGET` names. Into
//! the folder `DXF_FUZZ_BEGIN` go its examples and a dictionary. Without a target,
//! the names of all are printed.
#![no_main]

use std::path::Path;
use std::{env, fs, process};

use dxf_registry::fuzz::{Target, names};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static TARGET: Target = chosen();
}

fn chosen() -> Target {
    let name = env::var("DXF_FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| {
        names().for_each(|name| println!("{name}"));
        process::exit(if name.is_empty() { 0 } else { 2 })
    })
}

/// Writes what the search begins with.
fn begin(target: &Target) {
    let Some(folder) = env::var_os("DXF_FUZZ_BEGIN") else {
        return;
    };
    let folder = Path::new(&folder);
    let examples = folder.join("examples");
    fs::create_dir_all(&examples).expect("a folder for the examples");
    for (i, example) in target.examples().iter().enumerate() {
        fs::write(examples.join(i.to_string()), example).expect("an example");
    }
    let quoted = |word: &&str| {
        let bytes: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{bytes}\"\n")
    };
    let words: String = target.words().iter().map(quoted).collect();
    fs::write(folder.join("words"), words).expect("a dictionary");
}

fuzz_target!(
    init: TARGET.with(begin),
    |input: &[u8]| TARGET.with(|target| target.read(input))
);
