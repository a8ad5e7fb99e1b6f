//! `auth`: a token for another process, or nothing where there are no tokens.

use crate::support::bench::{Mode, each_registry};
use crate::support::data::digest;

each_registry!(auth_prints_the_token_if_there_is_one, |reg| {
    let printed = reg.dxf().args(["auth", "a/b", "pull", "push"]).ok();
    assert_eq!(printed.stderr, "");
    assert_eq!(printed.lines().len(), usize::from(reg.mode == Mode::Token));
    if let Some(tokens) = &reg.tokens {
        assert!(
            tokens
                .secrets()
                .list()
                .contains(&printed.lines()[0].to_string())
        );
        let asked = tokens.requests();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].scopes, ["repository:a/b:pull,push"]);
    }
    let expected = match reg.mode {
        Mode::Http => vec!["GET /v2/"],
        // Whether the password is right only the registry knows.
        Mode::Basic => vec!["GET /v2/"],
        Mode::Token => vec![],
    };
    assert_eq!(reg.request_lines(), expected);
});

each_registry!(a_token_is_enough_for_a_second_process, |reg| {
    let printed = reg.dxf().args(["auth", "a/b", "pull", "push"]).ok();
    let Mode::Token = reg.mode else { return };
    let token = printed.text().trim().to_string();
    reg.requests();
    let asked = reg.token_requests();
    let alone = || reg.anonymous().env("DXF_TOKEN", &token);
    let pushed = alone()
        .args(["push-blob", "a/b", "-", "@v"])
        .stdin("abc")
        .ok();
    assert_eq!(pushed.text(), digest(b"abc") + "\n");
    assert_eq!(alone().args(["pull-blob", "a/b", "@v"]).ok().text(), "abc");
    // It was sent at once, and no other was requested.
    assert_eq!(
        reg.front
            .seen()
            .iter()
            .filter(|one| one.status == 401)
            .count(),
        1
    );
    assert_eq!(reg.token_requests(), asked);
    // For what it does not allow it is refused, and without it so is all.
    let refused = alone().args(["pull-blob", "c", &digest(b"abc")]).fails(13);
    assert_eq!(refused.text(), "");
    let refused = reg.anonymous().args(["pull-blob", "a/b", "@v"]).fails(13);
    assert_eq!(refused.says("DXF_USERNAME").text(), "");
});

each_registry!(a_token_gives_way_to_the_login_once_refused, |reg| {
    let Mode::Token = reg.mode else { return };
    let stale = || reg.dxf().env("DXF_TOKEN", "not-a-token");
    stale().args(["push-blob", "a/b", "-"]).stdin("abc").ok();
    // `auth` has no use for a token.
    let printed = stale().args(["auth", "a/b", "pull"]).ok();
    assert_ne!(printed.text().trim(), "not-a-token");
    // Empty means unset.
    let empty = reg.dxf().env("DXF_TOKEN", "");
    empty.args(["blob-size", "a/b", &digest(b"abc")]).ok();
});

each_registry!(auth_explains_itself_without_the_secret, |reg| {
    let told = reg.dxf().args(["auth", "--explain", "a/b", "pull"]).ok();
    let (text, scheme) = (
        told.text(),
        match reg.mode {
            Mode::Http => "scheme: none\n",
            Mode::Basic => "scheme: Basic\n",
            Mode::Token => "scheme: Bearer\n",
        },
    );
    assert!(text.contains(scheme), "{told}");
    assert!(text.contains("credentials: "), "{told}");
    if let Some(tokens) = &reg.tokens {
        assert!(
            text.contains(&format!("realm: {}\n", tokens.realm())),
            "{told}"
        );
        assert!(text.contains("asked: repository:a/b:pull\n"), "{told}");
        let secrets = tokens.secrets().list();
        assert!(
            secrets.iter().all(|word| !text.contains(word.as_str())),
            "{told}"
        );
    }
});

each_registry!(a_token_is_asked_for_once_a_scope, |reg| {
    let Mode::Token = reg.mode else { return };
    let push = reg.dxf().args(["push-blob", "a", "-", "@v"]);
    push.stdin("abc").ok();
    assert_eq!(reg.token_requests(), 1);
    reg.dxf().args(["pull-blob", "a", "@v", "@v", "@v"]).ok();
    assert_eq!(reg.token_requests(), 2);
});
