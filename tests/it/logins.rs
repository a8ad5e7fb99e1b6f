//! `login`, `logout` and `list-logins`, and that docker, podman and skopeo read
//! what we write, and we what they write.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::bench::{Bench, Mode, each_registry};
use crate::support::dxf::Dxf;
use crate::support::helper::Helpers;
use crate::support::python;
use crate::support::registry::{PASSWORD, USER};
use crate::support::rules::{ANY, POST, on};
use crate::support::server::Server;

/// A file with everything that other tools keep there, in a form no tool of
/// ours would choose.
const ODD: &str = "{\n\t\"HttpHeaders\" : {\"X\":\"\\u0041\"},\n\t\"auths\":{ \"other.io\":{\"auth\":\"bWU6c2VjcmV0\",\"email\":null } },\n\"psFormat\":\"x\",   \"n\": 1e3 }\n\n";

fn pair() -> String {
    STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

/// The command without a login, and what it must not show.
fn stranger(reg: &Bench) -> Dxf {
    reg.anonymous().secret(PASSWORD).secret(&pair())
}

fn login(reg: &Bench) -> Dxf {
    let dxf = stranger(reg).stdin(format!("{PASSWORD}\n"));
    dxf.args(["login", "-u", USER, "--password-stdin"])
}

fn config(dxf: &Dxf) -> PathBuf {
    dxf.home().join(".docker/config.json")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

fn mode(path: &Path) -> u32 {
    let file = std::fs::metadata(path).expect("a file");
    file.permissions().mode() & 0o777
}

each_registry!(a_login_is_checked_kept_and_used, |reg| {
    if reg.mode == Mode::Http {
        return;
    }
    let name = reg.raw().push_blob("a", b"abc");
    let dxf = login(reg);
    let file = config(&dxf);
    let said = dxf.clone().ok();
    assert_eq!(
        said.text(),
        format!(
            "login for {host} stored in {}, key \"{host}\"\n",
            file.display(),
            host = reg.host()
        )
    );
    assert_eq!(said.stderr.lines().count(), 1);
    said.says("unencrypted");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a folder")), 0o700);
    let kept: serde_json::Value = serde_json::from_str(&read(&file)).expect("JSON");
    assert_eq!(kept["auths"][reg.host()]["auth"], pair());
    let again = |words: &[&str]| {
        let fresh = stranger(reg).env("DOCKER_CONFIG", file.parent().expect("a folder"));
        fresh.args(words)
    };
    assert_eq!(again(&["blob-size", "a", &name]).ok().text(), "3\n");
    // Half of another login is worth a warning, unless it counts for nothing.
    let half = |variable: &str, value: &str| {
        let fresh = again(&["blob-size", "a", &name]).env("DXF_PASSWORD", "half-of-it");
        fresh.env(variable, value)
    };
    let warned = half("DXF_PROGRESS", "0").ok().stderr;
    let said = "DXF_PASSWORD is set, but DXF_USERNAME is not: dxf uses the login in ";
    assert!(warned.contains(said), "{warned}");
    assert_eq!(warned.lines().count(), 1, "{warned}");
    let header = format!("Basic {}", pair());
    assert_eq!(half("DXF_AUTHORIZATION", &header).ok().stderr, "");
    // Known by its name alone, whatever DXF_HOST is.
    let host = reg.host();
    again(&["logout", &host])
        .env("DXF_HOST", "elsewhere.test")
        .ok();
    again(&["blob-size", "a", &name]).fails(13);
    again(&["logout"]).fails(2).says("Not Found");
});

each_registry!(a_wrong_password_is_refused_and_nothing_is_saved, |reg| {
    if reg.mode == Mode::Http {
        return;
    }
    for before in ["", ODD] {
        let dxf = stranger(reg).secret("wrong-word").stdin("wrong-word\n");
        let file = config(&dxf);
        if !before.is_empty() {
            write(&file, before);
        }
        let login = dxf.clone().args(["login", "-u", USER, "--password-stdin"]);
        login.fails(13);
        assert_eq!(read(&file), before);
        let left = file.parent().and_then(|folder| folder.read_dir().ok());
        assert!(
            left.into_iter().flatten().count() <= 1,
            "a temporary file is left"
        );
    }
});

#[test]
fn other_entries_stay_byte_for_byte() {
    let reg = Bench::new(Mode::Basic);
    let dxf = login(&reg);
    let file = config(&dxf);
    write(&file, ODD);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("chmod");
    dxf.clone().ok();
    let text = read(&file);
    let (host, pair) = (reg.host(), pair());
    let entry = text.find(&host).expect("the new entry");
    assert!(entry > ODD.find("other.io").expect("the old one"));
    for part in [
        "{\n\t\"HttpHeaders\" : {\"X\":\"\\u0041\"},\n\t\"auths\":{ \"other.io\":{\"auth\":\"bWU6c2VjcmV0\",\"email\":null }",
        "},\n\"psFormat\":\"x\",   \"n\": 1e3 }\n\n",
        &pair,
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(mode(&file), 0o600, "no wider than a login may be");
    // Once more changes nothing, and going away leaves what there was.
    dxf.clone().ok();
    assert_eq!(read(&file), text);
    let docker = file.parent().expect("a folder");
    let logout = stranger(&reg).env("DOCKER_CONFIG", docker).arg("logout");
    assert_eq!(logout.ok().text(), format!("login for {host} removed\n"));
    assert_eq!(read(&file), ODD);
}

#[test]
fn a_linked_file_stays_a_link() {
    let reg = Bench::new(Mode::Basic);
    let dxf = login(&reg);
    let (file, target) = (config(&dxf), dxf.home().join("dotfiles/docker.json"));
    write(&target, ODD);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    symlink("../dotfiles/docker.json", &file).expect("a link");
    dxf.clone().ok();
    let link = std::fs::symlink_metadata(&file).expect("a link");
    assert!(link.is_symlink() && read(&target).contains(&pair()));
}

#[test]
fn logins_at_once_all_count_and_no_reader_sees_half() {
    let reg = Bench::new(Mode::Basic);
    let folder = tempfile::tempdir().expect("a folder");
    let (_, port) = reg
        .host()
        .split_once(':')
        .map(|(_, p)| ((), p.to_string()))
        .expect("a port");
    // Names that differ and lead to the same place.
    let hosts: Vec<String> = ["127.0.0.1", "localhost", "LOCALHOST", "Localhost"]
        .iter()
        .map(|name| format!("{name}:{port}"))
        .collect();
    let running: Vec<_> = hosts
        .iter()
        .map(|host| {
            login(&reg)
                .env("DOCKER_CONFIG", folder.path())
                .arg(host)
                .spawn()
        })
        .collect();
    let list = || {
        let dxf = stranger(&reg).env("DOCKER_CONFIG", folder.path());
        dxf.arg("list-logins").ok()
    };
    for _ in 0..5 {
        list();
    }
    for one in running {
        let ended = one.finish();
        assert_eq!(ended.code, Some(0), "{ended}");
    }
    let listed = list();
    for host in &hosts {
        assert!(listed.text().contains(host.as_str()), "{host}: {listed}");
    }
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 1);
}

#[test]
fn words_that_are_no_login_are_refused_before_anything_is_sent() {
    let reg = Bench::new(Mode::Basic);
    let dxf = stranger(&reg);
    let login = dxf.clone().args(["login", "--password-stdin"]);
    login.clone().stdin("x").fails(2).says("-u NAME");
    let file = config(&dxf);
    for (user, password, words) in [("a:b", "x", "username"), ("a", "", "password")] {
        let wrong = login.clone().args(["-u", user]).stdin(password);
        wrong.fails(2).says(words);
    }
    assert!(reg.front.seen().is_empty());
    login
        .args(["-u", "a", "b", "c"])
        .misused("too many arguments");
    assert!(!file.exists());
    let nowhere = stranger(&reg).env_remove("DXF_HOST").stdin("x");
    nowhere.args(["login", "-u", "a"]).fails(2).says("DXF_HOST");
}

#[test]
fn a_password_does_not_go_over_http_to_be_checked() {
    let open = Server::stranger([on(ANY, "/v2/")
        .reply(401)
        .header("WWW-Authenticate", "Basic realm=\"x\"")]);
    let dxf = Dxf::new().plain(&open.host()).secret("over-the-wire");
    let dxf = dxf.stdin("over-the-wire");
    let file = config(&dxf);
    let login = dxf.args(["login", "-u", "me", "--password-stdin"]);
    login.fails(1).says("DXF_ALLOW_INSECURE_AUTH=1");
    assert!(!file.exists());
}

#[test]
fn helpers_keep_logins_where_docker_would() {
    let reg = Bench::new(Mode::Token);
    let name = reg.raw().push_blob("a", b"abc");
    let helpers = Helpers::new()
        .keeper("keeper")
        .script(
            "full",
            "cat >/dev/null; echo 'the keychain is full'; exit 1",
        )
        .script("parrot", "cat; exit 1");
    let dxf = login(&reg).env("PATH", helpers.path());
    let file = config(&dxf);
    write(&file, r#"{"credsStore":"keeper"}"#);
    let said = dxf.clone().ok();
    assert!(said.text().contains("docker-credential-keeper"), "{said}");
    assert_eq!(said.stderr, "");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&read(&file)).expect("JSON"),
        serde_json::json!({"credsStore": "keeper", "auths": {reg.host(): {}}})
    );
    let then = |word: &str| {
        let fresh = stranger(&reg).env("PATH", helpers.path());
        fresh
            .env("DOCKER_CONFIG", file.parent().expect("a folder"))
            .arg(word)
    };
    let size = then("blob-size").args(["a", &name]);
    assert_eq!(size.ok().text(), "3\n");
    let listed = then("list-logins").ok();
    let line = format!(
        "{} {USER} (docker-credential-keeper, {})\n",
        reg.host(),
        file.display()
    );
    assert_eq!(listed.text(), line);
    then("logout").ok();
    assert_eq!(then("list-logins").ok().text(), "");
    // The password is never an argument.
    for call in helpers.calls() {
        assert!(
            ["get", "store", "erase", "list"]
                .iter()
                .any(|verb| call == format!("keeper {verb}")),
            "{call}"
        );
    }
    // A helper that does not keep it: nothing is written in the clear instead.
    for (helper, words) in [
        ("full", "the keychain is full"),
        ("parrot", "it failed"),
        ("gone", "not installed"),
    ] {
        let text = format!(r#"{{"credsStore":"{helper}"}}"#);
        write(&file, &text);
        dxf.clone()
            .fails(1)
            .says(words)
            .says(&format!("docker-credential-{helper}"));
        assert_eq!(read(&file), text);
    }
}

#[test]
fn a_list_of_logins_shows_no_secret() {
    let helpers = Helpers::new().keeper("keeper");
    let dxf = Dxf::new().env("PATH", helpers.path());
    let dxf = dxf.secret("hush").secret(&STANDARD.encode("me:hush"));
    let auth = STANDARD.encode("me:hush");
    write(
        &config(&dxf),
        &format!(
            r#"{{"auths":{{"a.io":{{"auth":"{auth}"}},"b.io/team":{{"username":"you","password":"hush"}},
            "c.io":{{"identitytoken":"hush"}},"e\u001b[2J.io":{{"auth":"{auth}"}}}},
            "credsStore":"keeper","credHelpers":{{"d.io":"ecr-login"}}}}"#
        ),
    );
    write(
        &dxf.home().join(".config/containers/auth.json"),
        r#"{"auths":{"p.io/x":{"auth":"cDpodXNo"}},"credsStore":"nobody"}"#,
    );
    let listed = dxf.clone().arg("list-logins").ok();
    let home = dxf.home().display().to_string();
    let text = listed.text().replace(&home, "~");
    assert_eq!(
        text,
        "a.io me (auth, ~/.docker/config.json)\n\
         b.io/team you (auth, ~/.docker/config.json)\n\
         c.io - (identity token, ~/.docker/config.json)\n\
         e?[2J.io me (auth, ~/.docker/config.json)\n\
         d.io - (docker-credential-ecr-login, ~/.docker/config.json)\n\
         p.io/x p (auth, ~/.config/containers/auth.json)\n"
    );
    let listed = listed.says("docker-credential-nobody");
    assert_eq!(listed.stderr.lines().count(), 1);
    let json = dxf.env("DXF_OUTPUT", "json").arg("list-logins").ok();
    assert_eq!(json.json().as_array().map(Vec::len), Some(6));
    assert_eq!(json.json()[1]["username"], "you");
}

/// Something that answers `docker login` as a daemon does.
fn daemon(token: &str) -> Server {
    let body = format!(r#"{{"Status":"Login Succeeded","IdentityToken":"{token}"}}"#);
    Server::script([
        on(ANY, "/_ping").reply(200).header("API-Version", "1.41"),
        on(POST, "*/auth")
            .reply(200)
            .header("Content-Type", "application/json")
            .body(body),
        on(POST, "*/images/create").reply(200).body("{}"),
        on(ANY, "*/info").reply(200).body("{}"),
    ])
}

fn tool(name: &str) -> Dxf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Dxf::foreign(Path::new(name)).env("PATH", path)
}

fn docker(daemon: &Server, folder: &Path) -> Dxf {
    let docker = tool("docker").env("DOCKER_HOST", format!("tcp://{}", daemon.host()));
    docker.arg("--config").arg(folder)
}

#[test]
fn docker_s_own_file_is_read() {
    for token in [false, true] {
        let reg = Bench::new(Mode::Token);
        let name = reg.raw().push_blob("a", b"abc");
        let tokens = reg.tokens.as_ref().expect("tokens");
        let identity = if token {
            tokens.refresh_token()
        } else {
            String::new()
        };
        let daemon = daemon(&identity);
        let folder = tempfile::tempdir().expect("a folder");
        let login = docker(&daemon, folder.path()).stdin(PASSWORD);
        let host = reg.host();
        login
            .args(["login", "-u", USER, "--password-stdin", &host])
            .ok();
        assert!(read(&folder.path().join("config.json")).contains(&host));
        let dxf = stranger(&reg).env("DOCKER_CONFIG", folder.path());
        let size = dxf.clone().args(["blob-size", "a", &name]);
        assert_eq!(size.ok().text(), "3\n");
        let kind = tokens.requests()[0].grant_type.clone();
        assert_eq!(kind.is_some(), token);
        // We end what docker began.
        dxf.clone().arg("logout").ok();
        dxf.args(["blob-size", "a", &name]).fails(13);
    }
}

#[test]
fn docker_reads_what_we_write() {
    let reg = Bench::new(Mode::Basic);
    let daemon = daemon("");
    let folder = tempfile::tempdir().expect("a folder");
    login(&reg).env("DOCKER_CONFIG", folder.path()).ok();
    let image = format!("{}/a:v1", reg.host());
    docker(&daemon, folder.path()).args(["pull", &image]).run();
    let pulled = daemon.seen_at(POST, "*/images/create");
    let shown = pulled[0].headers.get("x-registry-auth").expect("a login");
    let shown = URL_SAFE.decode(shown).expect("base64");
    let shown: serde_json::Value = serde_json::from_slice(&shown).expect("JSON");
    assert_eq!(
        (&shown["username"], &shown["password"]),
        (&USER.into(), &PASSWORD.into())
    );
    docker(&daemon, folder.path())
        .args(["logout", &reg.host()])
        .ok();
    let dxf = stranger(&reg).env("DOCKER_CONFIG", folder.path());
    assert_eq!(dxf.arg("list-logins").ok().text(), "");
}

#[test]
fn podman_and_skopeo_share_logins_with_us() {
    let reg = Bench::new(Mode::Basic);
    let name = reg.raw().push_blob("team/a", b"abc");
    reg.dxf().args(["set-alias", "team/a", "v1", &name]).ok();
    let host = reg.host();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("auth.json");
    for program in ["podman", "skopeo"] {
        let login = tool(program).args(["login", "--tls-verify=false", "--authfile"]);
        let login = login.arg(&file).args(["-u", USER, "--password-stdin"]);
        login.arg(&host).stdin(PASSWORD).ok();
        let dxf = stranger(&reg).env("REGISTRY_AUTH_FILE", &file);
        let list = dxf.clone().args(["list-aliases", "team/a"]);
        assert_eq!(list.ok().text(), "v1\n", "{program}");
        let listed = dxf.arg("list-logins").ok();
        assert!(
            listed.text().starts_with(&format!("{host} {USER} (auth")),
            "{listed}"
        );
        std::fs::remove_file(&file).expect("a login");
    }
    let ours = folder.path().join("config.json");
    login(&reg).env("DOCKER_CONFIG", folder.path()).ok();
    let who = tool("podman").args(["login", "--get-login", "--authfile"]);
    assert_eq!(who.arg(&ours).arg(&host).ok().text().trim(), USER);
    let tags = tool("skopeo").args(["list-tags", "--tls-verify=false", "--authfile"]);
    let tags = tags.arg(&ours).arg(format!("docker://{host}/team/a"));
    assert_eq!(tags.ok().json()["Tags"][0], "v1");
    // A path of its own, as podman keeps them.
    let login = tool("podman").args(["login", "--tls-verify=false", "--authfile"]);
    let login = login.arg(&file).args(["-u", USER, "--password-stdin"]);
    login.arg(format!("{host}/team")).stdin(PASSWORD).ok();
    let dxf = stranger(&reg).env("REGISTRY_AUTH_FILE", &file);
    dxf.clone().args(["list-aliases", "team/a"]).ok();
    dxf.args(["list-aliases", "other"]).fails(13);
}

/// Types into a terminal of its own, once nothing typed is shown any more.
const TYPIST: &str = r#"
import os, pty, sys, termios, time
words, program = sys.argv[1].encode(), sys.argv[2:]
child, tty = pty.fork()
if child == 0:
    name = [] if 'ASK_NAME' in os.environ else ['-u', os.environ['NAME']]
    os.execv(program[0], program + name)
def echo():
    return bool(termios.tcgetattr(tty)[3] & termios.ECHO)
seen = b''
if 'ASK_NAME' in os.environ:
    while b'Username: ' not in seen:
        seen += os.read(tty, 1000)
    os.write(tty, os.environ['ASK_NAME'].encode() + b'\n')
while b'Password: ' not in seen:
    seen += os.read(tty, 1000)
while echo():
    time.sleep(0.001)
os.write(tty, words)
try:
    while True:
        got = os.read(tty, 1000)
        if not got: break
        seen += got
except OSError:
    pass
_, status = os.waitpid(child, 0)
print(seen.decode(errors='replace'))
print('code', os.waitstatus_to_exitcode(status))
print('echo', echo())
"#;

#[test]
fn a_typed_password_is_not_shown() {
    let reg = Bench::new(Mode::Basic);
    let typed = |words: &str| {
        let dxf = python::interpreter().args(["-c", TYPIST, words]);
        let dxf = dxf.arg(env!("CARGO_BIN_EXE_dxf"));
        let dxf = dxf.limit(Duration::from_secs(30));
        dxf.arg("login")
            .env("DXF_HOST", reg.host())
            .env("DXF_TLSVERIFY", reg.ca_file())
            .env("NAME", USER)
    };
    let login = typed(&format!("{PASSWORD}\n"));
    let file = config(&login);
    let told = login.clone().ok();
    assert!(told.text().contains("\ncode 0"), "{told}");
    assert!(!told.text().contains(PASSWORD), "{told}");
    assert!(read(&file).contains(&pair()));
    // The name is asked for, too.
    let login = typed(&format!("{PASSWORD}\n")).env("ASK_NAME", USER);
    let file = config(&login);
    let told = login.clone().ok();
    assert!(told.text().contains("\ncode 0"), "{told}");
    assert!(read(&file).contains(&pair()));
    // Ctrl-C in the middle.
    let login = typed("half\u{3}");
    let file = config(&login);
    let told = login.clone().ok();
    assert!(told.text().contains("\ncode 130"), "{told}");
    assert!(!told.text().contains("half") && !file.exists());
    // A shell that shows nothing of what is typed looks broken.
    assert!(told.text().contains("\necho True"), "{told}");
}
