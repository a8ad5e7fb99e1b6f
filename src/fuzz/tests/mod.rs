//! A test each target. A run of the tests takes some hundred inputs a target,
//! always the same ones; `DXF_FUZZ_SECONDS=600 cargo test --release --lib fuzz --
//! --nocapture` takes new ones for ten minutes each, and prints how many, or the
//! one that failed. With `DXF_FUZZ_SEED` it takes those of an earlier run.

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Target;
use mutate::Mutator;

/// How many inputs a target gets without a time limit.
const INPUTS: u32 = 300;
/// No input of this size is worth more, even unoptimised on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);
/// What a run with a time limit may take at its peak, KiB.
const MAX_MEMORY: u64 = 1 << 20;
/// The largest input, bytes.
const MAX_INPUT: usize = 64 << 10;

/// Feeds a target with mutations of its examples, for as long as
/// `DXF_FUZZ_SECONDS` says.
fn fuzz(name: &str) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let target = Target::named(name).unwrap();
    let limit = number("DXF_FUZZ_SECONDS");
    let seed = number("DXF_FUZZ_SEED").unwrap_or(match limit {
        Some(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64,
        None => 1,
    });
    // At once, because a reader that hangs would not let it be printed later.
    if limit.is_some() {
        println!("{name}: seed {seed}");
    }
    let end = limit.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut mutator = Mutator::new(seed, target.words);
    for example in &target.examples {
        feed(name, &target, example);
    }
    let mut count = 0;
    while end.map_or(count < INPUTS, |end| Instant::now() < end) {
        feed(name, &target, &mutator.next(&target.examples));
        count += 1;
        if end.is_some() && count % 1024 == 0 {
            let peak = peak();
            assert!(peak < MAX_MEMORY, "{name}: {peak} KiB of memory");
        }
    }
    if let Some(seconds) = limit {
        println!("{name}: {count} inputs in {seconds} s");
    }
}

fn feed(name: &str, target: &Target, input: &[u8]) {
    let begun = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| target.read(input)));
    let took = begun.elapsed();
    let shown = || format!("{name}: b\"{}\"", input.escape_ascii());
    assert!(done.is_ok(), "{}", shown());
    assert!(took < LONGEST, "{took:?}: {}", shown());
}

/// The most memory that this process has had, KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[test]
fn reference() {
    fuzz("reference");
}

#[test]
fn challenge_header() {
    fuzz("challenge");
}

#[test]
fn link_header() {
    fuzz("link");
}

#[test]
fn manifest() {
    fuzz("manifest");
}

#[test]
fn tar_and_pax() {
    fuzz("tar");
}

#[test]
fn compressed() {
    fuzz("compressed");
}

#[test]
fn docker_archive() {
    fuzz("docker-archive");
}

#[test]
fn layout_index() {
    fuzz("index");
}

#[test]
fn credential_config() {
    fuzz("credentials");
}

#[test]
fn pem() {
    fuzz("pem");
}

#[test]
fn bundle_index() {
    fuzz("bundle");
}

#[test]
fn prune_plan() {
    fuzz("plan");
}

#[test]
fn artifact_tar() {
    fuzz("artifact");
}

#[test]
fn every_target_is_tested() {
    let source = include_str!("mod.rs");
    let missing: Vec<_> = super::names()
        .filter(|name| !source.contains(&format!("fuzz(\"{name}\")")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
