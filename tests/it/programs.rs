//! `push-blob <repo> @alias -- CMD`: the output of a program, which is named
//! only where the program succeeds.

use std::time::Duration;

use crate::support::bench::Mode;
use crate::support::data::{blob, digest};
use crate::support::place::{Place, each_place};
use crate::support::until;

const MIB: usize = 1 << 20;

each_place!(what_a_program_prints_is_stored, |at| {
    let bytes = blob(1, MIB + 5);
    let name = at.file(&bytes);
    let push = ["push-blob", "a", "@x", "--", "cat", &name];
    assert_eq!(at.says(push), digest(&bytes) + "\n");
    assert!(at.run(["pull-blob", "a", "@x"]).ok().stdout == bytes);
    let split = ["push-blob", "--split", "512KiB", "a", "@y", "--"];
    let parts: String = bytes.chunks(MIB / 2).map(|p| digest(p) + "\n").collect();
    assert_eq!(at.run(split).args(["cat", &name]).ok().text(), parts);
    assert!(at.run(["pull-blob", "a", "@y"]).ok().stdout == bytes);
    // Its input is ours, and its complaints are seen.
    let filter = "tr a b; echo careful >&2";
    let out = at.run(["push-blob", "a", "@z", "--", "sh", "-c", filter]);
    let out = out.stdin("aaa").ok();
    assert_eq!(out.text(), digest(b"bbb") + "\n");
    assert!(out.stderr.contains("careful\n"), "{out}");
});

each_place!(a_program_that_fails_names_nothing, |at| {
    at.says(["push-blob", "a", "@x", "--", "echo", "whole"]);
    let named = || at.says(["get-alias", "a", "x"]);
    let before = named();
    for options in [&[][..], &["--split", "64KiB"]] {
        for (end, said) in [
            ("exit 3", "sh exited with status 3, so no alias was set"),
            ("kill -9 $$", "sh was ended by signal 9, so no alias"),
        ] {
            let script = format!("head -c 200000 /dev/zero; {end}");
            let push = at.run(["push-blob"]).args(options);
            let push = push.args(["a", "@x", "--", "sh", "-c", &script]);
            let out = push.fails(1);
            assert!(out.stderr.contains(said), "{out}");
            assert_eq!(out.text(), "");
            assert_eq!(named(), before);
        }
        let none = at.run(["push-blob"]).args(options);
        let none = none.args(["a", "@x", "--", "./no-such-program"]).fails(1);
        assert!(none.stderr.contains("./no-such-program: "), "{none}");
        let short = at.run(["push-blob", "--min-size", "1KiB"]).args(options);
        let short = short.args(["a", "@x", "--", "echo", "hello"]).fails(1);
        assert!(short.stderr.contains("6 bytes are fewer"), "{short}");
        assert_eq!(named(), before);
    }
});

#[test]
fn a_program_inherits_no_secrets() {
    let at = Place::registry(Mode::Http);
    let dxf = at.run(["push-blob", "a", "@x", "--", "env"]);
    let dxf = dxf.env("DXF_PASSWORD", "hidden").env("SHOWN", "seen");
    dxf.env("DXF_FROM_TOKEN", "hidden").ok();
    let said = at.run(["pull-blob", "a", "@x"]).ok().text().to_string();
    assert!(said.contains("SHOWN=seen"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
}

#[test]
fn a_program_ends_with_the_command() {
    let at = Place::folder();
    for options in [&[][..], &["--split", "64KiB"]] {
        let work = at.work().join("running");
        let script = "trap 'rm running; exit 0' TERM; : > running; while :; do sleep 0.05; done";
        let push = at.run(["push-blob"]).args(options);
        let push = push.args(["a", "@x", "--", "sh", "-c", script]);
        let running = push.limit(Duration::from_secs(20)).spawn();
        until("the program to run", || work.exists());
        running.signal("TERM");
        assert_eq!(running.finish().code, Some(143));
        until("the program to end", || !work.exists());
        at.run(["get-alias", "a", "x"]).fails(2);
    }
}

#[test]
fn other_words_after_two_dashes_are_arguments() {
    let at = Place::folder();
    std::fs::write(at.work().join("-odd"), "odd").expect("a file");
    let line = digest(b"odd") + "\n";
    assert_eq!(at.says(["push-blob", "a", "--", "-odd"]), line);
    assert_eq!(at.says(["push-blob", "--", "a", "-odd", "@x"]), line);
    at.run(["push-blob", "a", "./-odd", "@x", "--", "cat"])
        .misused("too many arguments");
    let none = at.run(["push-blob", "a", "--", "cat", "-odd"]);
    none.fails(1).says("write dxf push-blob a @ALIAS -- cat");
    at.run(["push-blob", "a", "@x", "--"]).fails(1);
    at.run(["push-blob", "a"]).misused("too few arguments");
}
