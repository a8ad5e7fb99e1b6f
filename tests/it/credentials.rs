//! Where a login comes from: the environment, the files of Docker and podman
//! in their order, keys for single paths, and credential helpers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use std::time::Duration;

use crate::support::bench::{Bench, Mode};
use crate::support::dxf::Dxf;
use crate::support::helper::Helpers;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, on};
use crate::support::server::Server;

const WRONG: &str = "not-the-right-one";

fn auth(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

/// A credentials file with one entry.
fn entry(key: &str, value: &str) -> String {
    format!(r#"{{"auths":{{"{key}":{value}}}}}"#)
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a credentials file");
}

/// Docker's own file in the command's home.
fn docker(dxf: &Dxf, text: &str) {
    write(&dxf.home().join(".docker/config.json"), text);
}

/// A registry with one user, and a command that does not know him yet.
fn bench() -> (Bench, String) {
    let reg = Bench::new(Mode::Basic);
    let name = reg.raw().push_blob("team/app", b"abc");
    (reg, name)
}

/// What must not show wherever it came from.
fn unknown(reg: &Bench) -> Dxf {
    let dxf = reg.anonymous().secret(PASSWORD).secret(WRONG);
    dxf.secret(&auth(USER, PASSWORD)).secret(&auth(USER, WRONG))
}

#[test]
fn files_are_asked_in_their_order() {
    let (reg, name) = bench();
    let right = entry(
        &reg.host(),
        &format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD)),
    );
    let wrong = entry(
        &reg.host(),
        &format!(r#"{{"auth":"{}"}}"#, auth(USER, WRONG)),
    );
    let dxf = unknown(&reg);
    let folder = dxf.home().to_path_buf();
    let dxf = dxf
        .env("REGISTRY_AUTH_FILE", folder.join("3/file"))
        .env("XDG_RUNTIME_DIR", folder.join("4"));
    let files = [
        "1/config.json",
        ".docker/config.json",
        "3/file",
        "4/containers/auth.json",
        ".config/containers/auth.json",
    ];
    let with = |file: &str| match file {
        // Who names a folder does not mean the one in the home, as in Docker.
        "1/config.json" => dxf.clone().env("DOCKER_CONFIG", folder.join("1")),
        _ => dxf.clone(),
    };
    // From the last to the first: each new file has the word.
    for file in files.iter().rev() {
        write(&folder.join(file), &right);
        let size = with(file).args(["blob-size", "team/app", &name]);
        assert_eq!(size.ok().text(), "3\n", "{file}");
        let explained = with(file).args(["auth", "--explain", "team/app", "pull"]);
        let told = explained.ok();
        assert!(told.text().contains(file), "{told}");
        assert!(told.text().contains("scheme: Basic"), "{told}");
        write(&folder.join(file), &wrong);
        let size = with(file).args(["blob-size", "team/app", &name]);
        size.fails(13).says(file);
    }
    let dxf = with("1/config.json");
    // The environment comes before them all, and anonymous before that.
    let size = |dxf: Dxf| dxf.args(["blob-size", "team/app", &name]);
    let named = dxf.clone().env("DXF_USERNAME", USER);
    size(named.clone().env("DXF_PASSWORD", PASSWORD)).ok();
    std::fs::write(folder.join("password"), format!("{PASSWORD}\nmore\n")).expect("a file");
    size(
        named
            .clone()
            .env("DXF_PASSWORD_FILE", folder.join("password")),
    )
    .ok();
    // A name alone is no login, as a warning says.
    let alone = size(named.clone()).run();
    assert_eq!(alone.code, Some(13), "{alone}");
    alone.says("DXF_PASSWORD is not").says("config.json");
    let basic = format!("Basic {}", auth(USER, PASSWORD));
    size(dxf.clone().env("DXF_AUTHORIZATION", &basic)).ok();
    let both = named.env("DXF_PASSWORD", WRONG);
    size(both.env("DXF_AUTHORIZATION", &basic)).fails(13);
    let nobody = dxf.env("DXF_ANONYMOUS", "1").login(USER, PASSWORD);
    let seen = reg.front.seen().len();
    size(nobody).fails(13);
    assert_eq!(reg.front.seen()[seen..].len(), 1);
    assert_eq!(reg.front.seen()[seen].headers.get("authorization"), None);
}

#[test]
fn every_form_of_key_and_value_is_understood() {
    let (reg, name) = bench();
    let pair = format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD));
    let bare = pair.replace('=', "");
    let split = format!(r#"{{"username":"{USER}","password":"{PASSWORD}"}}"#);
    let host = reg.host();
    for (key, value) in [
        (host.clone(), &pair),
        (host.clone(), &bare),
        (host.clone(), &split),
        (format!("https://{host}"), &pair),
        (format!("http://{host}/"), &pair),
        (format!("https://{host}/v1/"), &pair),
        (format!("{host}/v2"), &pair),
        (format!("{host}/team"), &pair),
        (format!("{host}/team/app"), &pair),
    ] {
        let dxf = unknown(&reg);
        docker(&dxf, &entry(&key, value));
        let size = dxf.args(["blob-size", "team/app", &name]);
        assert_eq!(size.ok().text(), "3\n", "{key} {value}");
    }
    // What is for somewhere else is not for here.
    let (_, port) = host.split_once(':').expect("a port");
    for key in [
        "127.0.0.1".to_string(),
        "127.0.0.1:1".to_string(),
        format!("localhost:{port}"),
        format!("{host}0"),
        format!("{host}/tea"),
        format!("{host}/team/app/x"),
    ] {
        let dxf = unknown(&reg);
        docker(&dxf, &entry(&key, &pair));
        let size = dxf.args(["blob-size", "team/app", &name]);
        size.fails(13).says("DXF_USERNAME");
    }
}

#[test]
fn the_longest_path_wins() {
    let (reg, name) = bench();
    let right = format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD));
    let wrong = format!(r#"{{"auth":"{}"}}"#, auth(USER, WRONG));
    let host = reg.host();
    for (whole, team, app, works) in [
        (&wrong, &wrong, &right, true),
        (&right, &right, &wrong, false),
    ] {
        let dxf = unknown(&reg);
        docker(
            &dxf,
            &format!(
                r#"{{"auths":{{"{host}/team/app":{app},"{host}":{whole},"{host}/team":{team}}}}}"#
            ),
        );
        let size = dxf.args(["blob-size", "team/app", &name]).run();
        assert_eq!(size.code, Some(if works { 0 } else { 13 }), "{size}");
        if !works {
            size.says(&format!("{host}/team/app"));
        }
    }
}

#[test]
fn two_accounts_of_one_registry_serve_one_mount() {
    let reg = Bench::new(Mode::Token);
    let name = reg.raw().push_blob("from/x", b"abc");
    let right = format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD));
    let host = reg.host();
    let dxf = reg.anonymous();
    docker(
        &dxf,
        &format!(r#"{{"auths":{{"{host}/to":{right},"{host}/from":{right}}}}}"#),
    );
    dxf.args(["mount-blob", "to/y", "from/x", &name]).ok();
    assert!(reg.raw().has_blob("to/y", &name));
}

#[test]
fn variables_are_for_their_host_and_files_for_theirs() {
    // `docker login` to another host does not make the one in DXF_HOST known.
    let (reg, name) = bench();
    let other = Server::stranger([on(ANY, "/v2/*").reply(401)]);
    let dxf = unknown(&reg).plain(&other.host());
    let dxf = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
    docker(
        &dxf,
        &entry(
            &reg.host(),
            &format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD)),
        ),
    );
    dxf.args(["blob-size", "team/app", &name]).fails(13);
}

#[test]
fn helpers_are_asked_before_entries() {
    let (reg, name) = bench();
    let host = reg.host();
    let stored = |server: &str, password: &str| {
        format!(r#"{{"ServerURL":"{server}","Username":"{USER}","Secret":"{password}"}}"#)
    };
    let helpers = Helpers::new().keeper("own").keeper("store");
    let keep = |program: &str, server: &str, password: &str| {
        let program = helpers.file(&format!("docker-credential-{program}"));
        let stdin = stored(server, password);
        let store = Dxf::foreign(&program).arg("store").stdin(stdin);
        store.env("PATH", "/usr/bin:/bin").ok();
    };
    keep("own", &host, PASSWORD);
    let wrong = format!(r#"{{"auth":"{}"}}"#, auth(USER, WRONG));
    let right = format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD));
    let try_with = |text: &str| {
        let dxf = unknown(&reg).env("PATH", helpers.path());
        docker(&dxf, text);
        dxf.args(["blob-size", "team/app", &name]).run()
    };
    let own = format!(r#""credHelpers":{{"{host}":"own"}}"#);
    for text in [
        format!(r#"{{"auths":{{"{host}":{wrong}}},{own}}}"#),
        format!(r#"{{{own},"credsStore":"missing"}}"#),
        format!(r#"{{"auths":{{"{host}":{wrong}}},"credsStore":"own"}}"#),
        // One that does not know the host leaves it to the entry.
        format!(r#"{{"auths":{{"{host}":{right}}},"credsStore":"store"}}"#),
        // An empty name exempts a host from the store.
        format!(
            r#"{{"auths":{{"{host}":{right}}},"credHelpers":{{"{host}":""}},"credsStore":"missing"}}"#
        ),
        // For a single path only an entry can speak.
        format!(r#"{{"auths":{{"{host}/team":{right}}},"credsStore":"missing"}}"#),
    ] {
        let size = try_with(&text);
        assert_eq!(
            (size.code, size.stderr.as_str()),
            (Some(0), ""),
            "{text} {size}"
        );
    }
    let explained = unknown(&reg).env("PATH", helpers.path());
    docker(&explained, &format!("{{{own}}}"));
    let told = explained
        .args(["auth", "--explain", "team/app", "pull"])
        .ok();
    assert!(
        told.text().contains("helper docker-credential-own"),
        "{told}"
    );
    assert!(helpers.calls().iter().all(|call| !call.contains("list")));
}

#[test]
fn helpers_that_know_nothing_mean_nobody() {
    let open = Bench::new(Mode::Http);
    let name = open.raw().push_blob("a", b"abc");
    let (closed, _) = bench();
    let helpers = Helpers::new()
        .keeper("empty")
        .script(
            "stderr",
            "echo 'credentials not found in native keychain' >&2; exit 1",
        )
        .script(
            "desktop",
            r#"printf '{"ServerURL":"","Username":"","Secret":""}'"#,
        );
    for program in ["empty", "stderr", "desktop"] {
        let config = format!(r#"{{"credsStore":"{program}"}}"#);
        let dxf = open.anonymous().env("PATH", helpers.path());
        docker(&dxf, &config);
        let pull = dxf.args(["pull-blob", "a", &name]).ok();
        assert_eq!((&pull.stdout[..], pull.stderr.as_str()), (&b"abc"[..], ""));
        let dxf = unknown(&closed).env("PATH", helpers.path());
        docker(&dxf, &config);
        let push = dxf.stdin("x").args(["push-blob", "a", "-"]);
        push.fails(13).says("dxf login");
    }
}

#[test]
fn a_broken_helper_warns_readers_and_stops_writers() {
    let reg = Bench::public();
    let name = reg.raw().push_blob("a", b"abc");
    let helpers = Helpers::new()
        .script("crash", "echo 'the keychain is locked' >&2; exit 3")
        .script("nonsense", "echo '{\"Username\": 7'")
        .script("loud", "head -c 100000 /dev/zero | tr '\\0' x")
        .script("escape", "printf '\\033[2Jcleared\\n'; exit 1");
    for (program, words) in [
        ("missing", "not installed"),
        ("crash", "the keychain is locked"),
        ("nonsense", ""),
        ("loud", "longer than"),
        ("escape", "cleared"),
        ("../evil", "its name may contain only"),
    ] {
        let dxf = reg.anonymous().env("PATH", helpers.path());
        docker(&dxf, &format!(r#"{{"credsStore":"{program}"}}"#));
        let pull = dxf.clone().args(["pull-blob", "a", &name]).ok();
        assert_eq!(pull.stdout, b"abc");
        assert_eq!(pull.stderr.lines().count(), 1, "{pull}");
        assert!(pull.stderr.starts_with("dxf: warning: credential helper"));
        assert!(!pull.stderr.contains('\x1b'));
        pull.says(words)
            .says(&format!("docker-credential-{program}"));
        let before = reg.token_requests();
        let push = dxf.stdin("new").args(["push-blob", "a", "-"]).fails(1);
        let push = push
            .says(words)
            .says(&format!("docker-credential-{program}"));
        assert!(!push.stderr.contains('\x1b'));
        assert_eq!(reg.token_requests(), before, "nobody was asked in vain");
    }
}

/// A container engine makes a folder of a bind mount that is missing.
#[test]
fn an_unreadable_file_warns_readers_and_is_the_next_one_s_turn() {
    let reg = Bench::public();
    let name = reg.raw().push_blob("a", b"abc");
    let dxf = reg.anonymous();
    std::fs::create_dir_all(dxf.home().join(".docker/config.json")).expect("a folder");
    let pull = dxf.clone().args(["pull-blob", "a", &name]).ok();
    assert_eq!(pull.stdout, b"abc");
    assert_eq!(pull.stderr.lines().count(), 1, "{pull}");
    assert!(
        pull.stderr.starts_with("dxf: warning: credentials file"),
        "{pull}"
    );
    pull.says(".docker/config.json");
    let push = dxf
        .clone()
        .stdin("new")
        .args(["push-blob", "a", "-"])
        .fails(1);
    push.says(".docker/config.json");
    let text = format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD));
    write(
        &dxf.home().join(".config/containers/auth.json"),
        &entry(&reg.host(), &text),
    );
    let push = dxf.stdin("new").args(["push-blob", "a", "-"]).ok();
    assert!(push.stderr.contains("warning"), "{push}");
}

/// `DOCKER_AUTH_CONFIG` is what CI systems have (docker/cli#6008).
#[test]
fn a_variable_holds_docker_s_configuration() {
    let (reg, name) = bench();
    let text = entry(
        &reg.host(),
        &format!(r#"{{"auth":"{}"}}"#, auth(USER, PASSWORD)),
    );
    let dxf = unknown(&reg).env("DOCKER_AUTH_CONFIG", &text);
    docker(
        &dxf,
        &entry(
            &reg.host(),
            &format!(r#"{{"auth":"{}"}}"#, auth(USER, WRONG)),
        ),
    );
    dxf.clone().args(["blob-size", "team/app", &name]).ok();
    let listed = dxf.clone().args(["list-logins"]).ok();
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("DOCKER_AUTH_CONFIG"),
        "{listed}"
    );
    let bad = dxf.env("DOCKER_AUTH_CONFIG", format!("{{{PASSWORD}"));
    bad.args(["blob-size", "team/app", &name])
        .fails(2)
        .says("DOCKER_AUTH_CONFIG");
}

#[test]
fn a_slow_helper_is_waited_for_and_a_stop_is_not() {
    let reg = Bench::public();
    let name = reg.raw().push_blob("a", b"abc");
    let keeper = format!(
        r#"cat >/dev/null; sleep 0.5; printf '{{"Username":"{USER}","Secret":"{PASSWORD}"}}'"#
    );
    // The child sleeps, so that it outlives its parent when that is killed.
    let helpers = Helpers::new().script("slow", &keeper).script(
        "stuck",
        "cat >/dev/null; echo $$ >\"$here/pid\"; exec sleep 100",
    );
    let dxf = reg.anonymous().env("PATH", helpers.path()).secret(PASSWORD);
    docker(&dxf, r#"{"credsStore":"slow"}"#);
    let push = dxf.stdin("new").args(["push-blob", "a", "-"]).ok();
    assert!(push.took >= Duration::from_millis(500) && push.stderr.is_empty());

    let dxf = reg.anonymous().env("PATH", helpers.path());
    docker(&dxf, r#"{"credsStore":"stuck"}"#);
    let pull = dxf.args(["pull-blob", "a", &name]).spawn();
    while !helpers.file("pid").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    pull.interrupt_twice();
    let ended = pull.finish();
    assert_eq!(ended.code, Some(130), "{ended}");
    assert!(ended.took < Duration::from_secs(5), "{ended}");
    let pid = std::fs::read_to_string(helpers.file("pid")).expect("a process");
    let kill = format!("kill {} 2>/dev/null; true", pid.trim());
    let shell = Dxf::foreign(Path::new("/bin/sh")).args(["-c", &kill]);
    shell.ok();
}

#[test]
fn helpers_see_no_secret_of_ours() {
    let (reg, name) = bench();
    let helpers = Helpers::new().keeper("keeper");
    let dxf = unknown(&reg).env("PATH", helpers.path());
    docker(&dxf, r#"{"credsStore":"keeper"}"#);
    // None of these gets in the way of the helper: there is no user's name.
    let dxf = dxf
        .env("DXF_PASSWORD", PASSWORD)
        .env("DXF_PROXY", "http://u:proxy-word@127.0.0.1:1")
        .env("HTTPS_PROXY", "http://u:proxy-word@127.0.0.1:1")
        .env("DXF_TOKEN", "token-word");
    let dxf = dxf.secret("proxy-word").secret("token-word");
    dxf.args(["blob-size", "team/app", &name]).fails(13);
    assert_eq!(helpers.calls(), ["keeper get"]);
    let environment = helpers.environment();
    assert!(environment.contains("HOME=") && environment.contains("PATH="));
    for word in [
        PASSWORD,
        "token-word",
        "DXF_PASSWORD",
        "DXF_TOKEN",
        "DXF_PROXY",
    ] {
        assert!(!environment.contains(word), "{word} in {environment}");
    }
}

#[test]
fn a_file_that_makes_no_sense_is_named() {
    let (reg, name) = bench();
    let host = reg.host();
    for (text, words) in [
        ("{".to_string(), "line 1"),
        (
            format!(r#"{{"auths":{{"{host}":{{"auth":"{PASSWORD}"}}}}}}"#),
            "base64",
        ),
        (format!(r#"{{"auths":"{PASSWORD}"}}"#), "auths"),
        (format!(r#"["{PASSWORD}"]"#), "object"),
        (format!(r#"{{"a":"{PASSWORD}"#), "line 1"),
        (" ".repeat(2 << 20), ""),
    ] {
        let dxf = unknown(&reg);
        docker(&dxf, &text);
        let size = dxf.args(["blob-size", "team/app", &name]).run();
        assert!(matches!(size.code, Some(65 | 1)), "{size}");
        assert_eq!(size.stderr.lines().count(), 1, "{size}");
        size.says(words).says(".docker/config.json");
    }
}
