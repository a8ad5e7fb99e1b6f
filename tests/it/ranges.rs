//! `pull-blob --range`: some bytes of a blob, or of several behind each other.

use crate::support::data::{blob, digest};
use crate::support::dxf::Dxf;
use crate::support::place::each_place;
use crate::support::rules::{GET, HEAD, Response, on};
use crate::support::server::Server;

const UNVERIFIED: &str = "dxf: pull-blob: range not verified: digests cover whole blobs\n";

each_place!(some_bytes_of_blobs, |at| {
    let (one, two) = (blob(1, 300_000), blob(2, 200_000));
    let (first, second) = (at.put("a", &one), at.put("a", &two));
    at.says(["set-alias", "a", "x", &first, &second]);
    let file = at.file(&one);
    at.says(["push-blob", "--split", "70kB", "a", &file, "@parts"]);
    let both = [one.clone(), two.clone()].concat();
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("5-9", 5, 10),
        ("0-299999", 0, 300_000),
        ("69999-140001", 69_999, 140_002),
        ("299990-300010", 299_990, 300_011),
        ("250000-", 250_000, 500_000),
        ("-7", 499_993, 500_000),
        ("-250000", 250_000, 500_000),
        ("-999999999", 0, 500_000),
        ("300000-400000000000", 300_000, 500_000),
    ] {
        let got = at.run(["pull-blob", "--range", range, "a", "@x"]).ok();
        assert!(got.stdout == both[from..to], "{range}");
        assert_eq!(got.stderr, UNVERIFIED);
        let named = ["pull-blob", "--range", range, "a", &first, &second];
        assert!(at.run(named).ok().stdout == both[from..to], "{range}");
    }
    for (range, from, to) in [("69999-140001", 69_999, 140_002), ("-9", 299_991, 300_000)] {
        for what in ["@parts", &first] {
            let out = ["pull-blob", "-o", "out", "--range", range, "a", what];
            let out = at.run(out).ok();
            assert_eq!((out.stdout.len(), out.stderr.as_str()), (0, UNVERIFIED));
            let got = std::fs::read(at.work().join("out")).expect("a file");
            assert!(got == one[from..to], "{range} of {what}");
        }
    }
});

each_place!(a_range_outside_is_refused_before_a_byte, |at| {
    let name = at.put("a", &blob(3, 1000));
    let empty = at.put("a", b"");
    for (range, what) in [
        ("1000-", &name),
        ("1000-1001", &name),
        ("-1", &empty),
        ("0-", &empty),
    ] {
        let failed = at.run(["pull-blob", "-o", "out", "--range", range, "a", what]);
        let failed = failed
            .fails(2)
            .says("invalid range")
            .says("bytes, numbered from 0");
        assert_eq!(failed.stderr.lines().count(), 1, "{failed}");
    }
    at.forget();
    for range in ["", "5", "9-5", "-", "-0", "a-b", "1-2,4-5"] {
        let failed = at.run(["pull-blob", "--range", range, "a", &name]).fails(2);
        assert!(
            failed.stdout.is_empty() && failed.stderr.contains("range"),
            "{failed}"
        );
    }
    at.asked(Vec::<String>::new());
    assert!(at.names().is_empty());
});

fn dxf(server: &Server) -> Dxf {
    Dxf::new().plain(&server.host())
}

#[test]
fn no_more_is_asked_for_than_is_wanted() {
    let bytes = blob(4, 3 << 20);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::script([
        on(HEAD, &path).times(1).serve(&bytes[..]),
        on(GET, &path)
            .times(1)
            .range("bytes=100-2097251")
            .serve(&bytes[..]),
    ]);
    let pull = ["pull-blob", "--range", "100-2097251", "a", &digest(&bytes)];
    assert!(dxf(&server).args(pull).ok().stdout == bytes[100..2_097_252]);
    assert_eq!(server.sent(), 2 << 20);
}

#[test]
fn a_server_that_ignores_ranges_is_skipped_through() {
    let bytes = blob(5, 1 << 20);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let whole = bytes.clone();
    let server = Server::script([
        on(HEAD, &path).serve(&bytes[..]),
        on(GET, &path).with(move |_| Response::new(200).body(&whole[..])),
    ]);
    let pull = [
        "pull-blob",
        "--range",
        "500000-500999",
        "a",
        &digest(&bytes),
    ];
    assert!(dxf(&server).args(pull).ok().stdout == bytes[500_000..501_000]);
}

#[test]
fn a_range_that_breaks_off_is_gone_on_with() {
    let bytes = blob(6, 1 << 20);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let server = Server::script([
        on(HEAD, &path).serve(&bytes[..]),
        on(GET, &path)
            .range("bytes=1000-900000")
            .times(1)
            .serve(&bytes[..])
            .cut_after(5000),
        on(GET, &path)
            .range("bytes=6000-900000")
            .times(1)
            .serve(&bytes[..]),
    ]);
    let pull = ["pull-blob", "--range", "1000-900000", "a", &digest(&bytes)];
    assert!(dxf(&server).args(pull).ok().stdout == bytes[1000..900_001]);
}

#[test]
fn a_range_that_ends_early_is_gone_on_with_though_no_size_is_told() {
    let bytes = blob(7, 1 << 20);
    let path = format!("/v2/a/blobs/{}", digest(&bytes));
    let whole = bytes.clone();
    let unsized_range = move |first: usize| {
        let range = format!("bytes {first}-900000/*");
        let answer = Response::new(206).header("Content-Range", &range);
        answer.body(&whole[first..900_001])
    };
    let rest = unsized_range.clone();
    let server = Server::script([
        on(HEAD, &path).serve(&bytes[..]),
        on(GET, &path)
            .range("bytes=1000-900000")
            .with(move |_| unsized_range(1000))
            .wrong_length(5000),
        on(GET, &path)
            .range("bytes=6000-900000")
            .with(move |_| rest(6000)),
    ]);
    let pull = ["pull-blob", "--range", "1000-900000", "a", &digest(&bytes)];
    assert!(dxf(&server).args(pull).ok().stdout == bytes[1000..900_001]);
}
