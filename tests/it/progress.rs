//! Progress: shown where it is asked for or standard error is a terminal, and
//! nothing at all on standard error otherwise.

use std::path::Path;

use crate::support::bench::Mode;
use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::place::{Place, each_place};

/// The lines about a blob: they begin with the first eight digits of its
/// digest, then the percentage, then bytes done of bytes in all.
fn lines_about(stderr: &str, digest: &str) -> Vec<(u64, u64, u64)> {
    let lead = format!("{}: ", &digest[.."sha256:".len() + 8]);
    let about = stderr.lines().filter_map(|line| line.strip_prefix(&lead));
    about
        .map(|line| {
            let mut words = line.split_whitespace();
            let percent = words
                .next()
                .and_then(|word| word.strip_suffix('%'))
                .expect(line);
            let (done, all) = words
                .next()
                .and_then(|word| word.split_once('/'))
                .expect(line);
            let number = |text: &str| text.parse().expect(line);
            (number(percent), number(done), number(all))
        })
        .collect()
}

/// They go from nothing to all of it, and never back.
fn complete(stderr: &str, digest: &str, size: u64) {
    let lines = lines_about(stderr, digest);
    assert_eq!(lines.first(), Some(&(0, 0, size)), "{stderr}");
    assert_eq!(lines.last(), Some(&(100, size, size)), "{stderr}");
    assert!(lines.is_sorted(), "{stderr}");
    assert!(lines.len() < 50, "{stderr}");
    let (_, before) = lines.split_last().expect("a line");
    for (percent, done, all) in before {
        // Only what was checked as well is done to a hundred.
        let so_far = (done * 100 / size).min(99);
        assert!((*percent, *all) == (so_far, size), "{stderr}");
    }
}

each_place!(progress_without_a_terminal_is_lines, |at| {
    let bytes = blob(1, 3_000_000);
    let (file, name) = (at.file(&bytes), digest(&bytes));
    let small = at.put("a", b"abc");
    let shown = |words: &[&str]| at.dxf().env("DXF_PROGRESS", "1").args(words).ok();
    let pushed = shown(&["push-blob", "a", &file, "@v"]);
    assert_eq!(pushed.text(), format!("{name}\n"));
    complete(&pushed.stderr, &name, 3_000_000);
    at.says(["set-alias", "a", "both", &name, &small]);
    for words in [
        &["pull-blob", "a", "@both"][..],
        &["pull-blob", "a", "@both", "-o", "out"],
    ] {
        let pulled = shown(words);
        complete(&pulled.stderr, &name, 3_000_000);
        complete(&pulled.stderr, &small, 3);
        let about = [&name, &small].map(|name| lines_about(&pulled.stderr, name).len());
        let last = pulled.stderr.lines().last().expect("a sum");
        assert!(
            last.starts_with("2 blobs: 2 downloaded, 2.8 MiB in "),
            "{last}"
        );
        assert_eq!(
            pulled.stderr.lines().count(),
            about.iter().sum::<usize>() + 1,
            "{pulled}"
        );
    }
    let all = [&bytes[..], b"abc"].concat();
    assert!(std::fs::read(at.work().join("out")).unwrap() == all);
    // Colours are no matter where there are none.
    for color in ["", "1"] {
        let plain = at.dxf().env("DXF_PROGRESS", "1").env("NO_COLOR", color);
        let pulled = plain.args(["pull-blob", "a", &name]).ok();
        complete(&pulled.stderr, &name, 3_000_000);
        assert!(pulled.stdout == bytes && !pulled.stderr.contains('\u{1b}'));
    }
    // What moves no blob has no progress to show.
    for words in [
        &["push-blob", "a", &file][..],
        &["get-alias", "a", "v"],
        &["blob-size", "a", &name],
        &["list-aliases", "a"],
    ] {
        let output = shown(words);
        assert!(lines_about(&output.stderr, &small).is_empty(), "{output}");
        let told = lines_about(&output.stderr, &name);
        assert!(told.is_empty(), "{output}");
    }
});

each_place!(nothing_is_said_unless_it_is_asked_for, |at| {
    let bytes = blob(2, 1_500_000);
    let (file, name) = (at.file(&bytes), digest(&bytes));
    let path = format!("./{file}");
    for value in [None, Some("0"), Some("yes"), Some("")] {
        let dxf = || match value {
            Some(value) => at.dxf().env("DXF_PROGRESS", value),
            None => at.dxf(),
        };
        for words in [
            &["push-blob", "a", &file, "@v"][..],
            // Not the manifest of v, which would go with it.
            &["set-alias", "a", "w", &path, &path],
            &["mount-blob", "b", "a", &name],
            &["pull-blob", "a", "@v"],
            &["pull-blob", "a", &name, "-o", "out"],
            &["blob-size", "a", "@v"],
            &["get-alias", "a", "v"],
            &["get-digest", "a", "v"],
            &["get-manifest", "a", "v"],
            &["list-aliases", "a"],
            &["list-repos"],
            &["auth", "a", "pull"],
            &["show-env"],
            &["del-alias", "a", "v"],
            &["del-blob", "a", &name],
            &["del-blob", "b", &name],
        ] {
            assert_eq!(dxf().args(words).ok().stderr, "", "{words:?} {value:?}");
        }
    }
});

/// Runs a command on a terminal that `script` makes; all that was shown there.
/// Standard output goes elsewhere.
fn on_a_terminal(at: &Place, words: &str, env: &[(&str, &str)]) -> String {
    on_a_terminal_after(at, "", words, env)
}

/// The same after another command, which may set the terminal up.
fn on_a_terminal_after(at: &Place, first: &str, words: &str, env: &[(&str, &str)]) -> String {
    let folder = at
        .blob_file("a", "x:y")
        .ancestors()
        .nth(4)
        .expect("a store")
        .to_path_buf();
    let line = format!("{first}{} {words} >out", env!("CARGO_BIN_EXE_dxf"));
    let script = Dxf::foreign(Path::new("/usr/bin/script")).current_dir(at.work());
    let script = script.env("DXF_HOST", format!("oci:{}", folder.display()));
    let script = script
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("PATH", "/usr/bin:/bin");
    let script = env
        .iter()
        .fold(script, |script, (name, value)| script.env(name, value));
    let output = script.args(["-q", "-e", "-c", &line, "/dev/null"]).ok();
    output.text().to_string()
}

#[test]
fn on_a_terminal_there_is_a_bar_unless_it_is_turned_off() {
    let at = Place::folder();
    let bytes = blob(3, 2_000_000);
    let name = at.put("a", &bytes);
    let pull = format!("pull-blob a {name}");
    let short = &name["sha256:".len()..][..8];
    for env in [&[][..], &[("DXF_PROGRESS", "1")], &[("NO_COLOR", "1")]] {
        let shown = on_a_terminal(&at, &pull, env);
        assert!(shown.contains(short), "{env:?} {shown:?}");
        assert!(std::fs::read(at.work().join("out")).unwrap() == bytes);
        // A colour is an escape that ends in m.
        let coloured = shown.split('\u{1b}').skip(1).any(|part| {
            let end = part.find(|c: char| c.is_ascii_alphabetic());
            end.is_some_and(|end| part.as_bytes()[end] == b'm')
        });
        assert!(!coloured || env != [("NO_COLOR", "1")], "{shown:?}");
    }
    assert_eq!(on_a_terminal(&at, &pull, &[("DXF_PROGRESS", "0")]), "");
    // No bar among the bytes, where both go to the terminal.
    let text = at.put("a", b"text");
    assert_eq!(
        on_a_terminal(&at, &format!("pull-blob a {text}; true"), &[]),
        "text"
    );
}

/// What a terminal of `columns` shows in the end: its rows, concatenated.
fn rendered(shown: &str, columns: usize) -> String {
    let (mut screen, mut row, mut column) = (vec![Vec::new()], 0_usize, 0);
    let mut rest = shown.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                let mut number = String::new();
                let letters = rest.by_ref().skip(1);
                let kind = letters
                    .inspect(|c| number.push(*c))
                    .find(char::is_ascii_alphabetic);
                number.pop();
                match kind {
                    Some('A') => row = row.saturating_sub(number.parse().unwrap_or(1)),
                    Some('B') => row += number.parse().unwrap_or(1),
                    Some('K') if number == "2" => screen[row].clear(),
                    // Colours, and the cursor shown and hidden.
                    Some('m' | 'l' | 'h') => {}
                    other => panic!("{other:?} in {shown:?}"),
                }
            }
            c => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                let length = screen.get(row).map_or(0, Vec::len).max(column + 1);
                screen.resize_with(screen.len().max(row + 1), Vec::new);
                screen[row].resize(length, ' ');
                screen[row][column] = c;
                column += 1;
            }
        }
        screen.resize_with(screen.len().max(row + 1), Vec::new);
    }
    screen.iter().flatten().collect()
}

/// What is on a terminal of `columns` after a command.
fn screen_after(at: &Place, columns: usize, words: &str) -> String {
    let first = format!("stty rows 24 cols {columns}; ");
    rendered(&on_a_terminal_after(at, &first, words, &[]), columns)
}

#[test]
fn bars_fit_the_terminal_and_end_with_the_sum() {
    let at = Place::folder();
    at.put("a", b"abc");
    for n in 0..11 {
        let name = format!("a-file-with-a-rather-long-name-{n}");
        std::fs::write(at.work().join(name), blob(n, 1_000_000)).unwrap();
    }
    for columns in [40, 80, 120, 200] {
        let screen = screen_after(&at, columns, &format!("push-files r{columns} v a-file-*"));
        let sum = "12 blobs: 12 uploaded, 10.4 MiB in ";
        assert!(screen.starts_with(sum), "{columns}: {screen}");
        assert!(screen.len() < 60, "{columns}: {screen}");
    }
    // A manifest that exists answers for the blobs that it lists.
    let again = "3 blobs: 3 already there, 0 B in ";
    for _ in 0..2 {
        let screen = screen_after(&at, 80, "push-files r40 w a-file-*-0 a-file-*-1");
        assert!(screen.starts_with(again), "{screen}");
    }
}

#[test]
fn no_bar_stays_above_a_table() {
    let at = Place::folder();
    for n in 0..6 {
        std::fs::write(at.work().join(format!("f{n}")), blob(n, 1_000_000)).unwrap();
    }
    let names = (0..6).map(|n| format!("f{n}"));
    let push = ["push-files", "r", "v"].map(str::to_string);
    at.run(push.into_iter().chain(names)).ok();
    // Standard output on the terminal, too.
    for words in ["verify-image r:v", "verify-alias r v"] {
        let screen = screen_after(&at, 200, &format!("{words}; true"));
        assert!(screen.starts_with("ok "), "{words}: {screen}");
        assert!(screen.contains(" read, 5.7 MiB in "), "{words}: {screen}");
        assert!(!screen.contains('%'), "{words}: {screen}");
    }
}

#[test]
fn every_copy_ends_with_a_sum() {
    let at = Place::registry(Mode::Http);
    at.put("from", b"abc");
    at.run(["edit-image", "--add-file", "/x=1", "scratch", "from:v1"])
        .ok();
    let sums = |words: &str| {
        let dxf = at.run(words.split(' ')).env("DXF_PROGRESS", "1");
        dxf.ok().stderr
    };
    let blob = digest(b"abc");
    let mounted = sums(&format!("mount-blob to from {blob} @v"));
    assert!(mounted.contains("1 blob: 1 mounted, 0 B in "), "{mounted}");
    let all = sums("copy-image from:v1 to:v1");
    assert!(all.contains("2 blobs: 2 mounted, 0 B in "), "{all}");
    let again = sums("copy-image from:v1 to:v1");
    assert!(
        again.contains("2 blobs: 2 already there, 0 B in "),
        "{again}"
    );
}

#[test]
fn parts_that_exist_are_counted() {
    let at = Place::folder();
    let mut bytes = blob(8, 6 << 20);
    std::fs::write(at.work().join("dump.sql"), &bytes).unwrap();
    let push = "push-blob --split 1MiB a dump.sql @v";
    let screen = screen_after(&at, 80, push);
    let all = "dump.sql: 6 parts: 6 uploaded, 6.0 MiB in ";
    assert!(screen.starts_with(all), "{screen}");
    bytes[0] ^= 1;
    std::fs::write(at.work().join("dump.sql"), &bytes).unwrap();
    let screen = screen_after(&at, 80, push);
    let some = "dump.sql: 6 parts: 1 uploaded, 5 already there, 1.0 MiB in ";
    assert!(screen.starts_with(some), "{screen}");
}

#[test]
fn files_are_called_by_their_names() {
    let at = Place::folder();
    let names = ["summary.json", "charts/one.svg"];
    std::fs::create_dir(at.work().join("charts")).unwrap();
    for (seed, name) in (0..).zip(names) {
        std::fs::write(at.work().join(name), blob(seed, 1_000_000)).unwrap();
    }
    let shown = |words: &[&str]| {
        let dxf = at.dxf().env("DXF_PROGRESS", "1");
        dxf.args(words).ok().stderr
    };
    let pushed = shown(&[&["push-files", "r", "v"][..], &names].concat());
    let pulled = shown(&["pull-files", "r", "v", "-o", "all"]);
    let single = shown(&["pull-files", "r", "v", "--file", names[0], "-o", "one"]);
    for (shown, names) in [
        (&pushed, &names[..]),
        (&pulled, &names),
        (&single, &names[..1]),
    ] {
        for name in names {
            let done = format!("{name}: 100% 1000000/1000000 bytes");
            assert!(shown.contains(&done), "{shown}");
        }
    }
    assert!(!pulled.contains("sha256:"), "{pulled}");
    shown(&["push-files", "r", "p", "--split", "512KiB", names[0]]);
    let parts = shown(&["pull-files", "r", "p", "-o", "parts"]);
    for part in ["1/2", "2/2"] {
        let done = format!("{} {part}: 100% ", names[0]);
        assert!(parts.contains(&done), "{parts}");
    }
    // On a terminal the last line of a single file has its name, too.
    let screen = screen_after(&at, 80, "pull-files r v --file summary.json -o two");
    assert!(
        screen.starts_with("summary.json 100% 976.5 KiB"),
        "{screen}"
    );
}
