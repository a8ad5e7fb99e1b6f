//! Several commands at the same thing at the same time: each succeeds or says
//! why not, and nothing is lost or mixed.

use super::support::data::blob;
use super::support::dxf::{Dxf, Output, Running};
use super::support::registry::{PASSWORD, Registry, USER};
use super::support::scratch;

fn all(running: impl IntoIterator<Item = Running>) -> Vec<Output> {
    let running: Vec<Running> = running.into_iter().collect();
    running.into_iter().map(Running::finish).collect()
}

#[test]
fn pulls_to_one_file_leave_one_of_them_whole() {
    let registry = Registry::http();
    let blobs = [blob(1, 300_000), blob(2, 700_000)];
    let names: Vec<_> = blobs
        .iter()
        .map(|bytes| registry.raw().push_blob("a", bytes))
        .collect();
    let folder = scratch();
    let file = folder.path().join("file");
    let path = file.display().to_string();
    for round in 0..15 {
        let pull = |n: usize| {
            let args = ["pull-blob", "-o", &path, "a", &names[n % 2]];
            Dxf::new().plain(registry.host()).args(args).spawn()
        };
        let outputs = all((round..round + 4).map(pull));
        for output in &outputs {
            let busy = output.stderr.contains("another process is writing it");
            assert!(
                output.code == Some(0) || (output.code == Some(1) && busy),
                "{output}"
            );
        }
        assert!(outputs.iter().any(|output| output.code == Some(0)));
        let got = std::fs::read(&file).expect("a file");
        assert!(blobs.contains(&got), "neither of the two, round {round}");
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "something lies beside the file");
    }
}

#[test]
fn pushes_of_one_blob_all_succeed() {
    let registry = Registry::http();
    let folder = scratch();
    let file = folder.path().join("file");
    let store = format!("oci:{}", folder.path().join("store").display());
    for round in 0..6 {
        let bytes = blob(round, 400_000);
        std::fs::write(&file, &bytes).expect("a file");
        for dxf in [
            Dxf::new().plain(registry.host()),
            Dxf::new().env("DXF_HOST", &store),
        ] {
            let push = |_| dxf.clone().args(["push-blob", "a"]).arg(&file).spawn();
            let outputs = all((0..3).map(push));
            let name = outputs[0].text().trim().to_string();
            for output in &outputs {
                assert!(
                    output.code == Some(0) && output.text().trim() == name,
                    "{output}"
                );
            }
            assert!(dxf.args(["pull-blob", "a", &name]).ok().stdout == bytes);
        }
        assert_eq!(registry.open_uploads("a"), 0);
    }
}

#[test]
fn eight_writers_of_one_folder_lose_no_alias() {
    let folder = scratch();
    let store = format!("oci:{}", folder.path().display());
    let dxf = Dxf::new().env("DXF_HOST", &store);
    let name = |n: usize| {
        dxf.clone()
            .args(["push-blob", "a", "-"])
            .stdin(blob(n as u64, 50))
    };
    let names: Vec<_> = (0..8)
        .map(|n| name(n).ok().text().trim().to_string())
        .collect();
    let mut expected = Vec::new();
    for round in 0..4 {
        let set = |n: usize| {
            let alias = format!("alias-{n}-{round}");
            dxf.clone()
                .args(["set-alias", "a", &alias, &names[n]])
                .spawn()
        };
        for output in all((0..8).map(set)) {
            assert_eq!(output.code, Some(0), "{output}");
        }
        expected.extend((0..8).map(|n| format!("alias-{n}-{round}")));
        // Half of them go again, at once as well.
        let delete = |n: usize| {
            let alias = format!("alias-{n}-{round}");
            dxf.clone()
                .args(["del-alias", "--only", "a", &alias])
                .spawn()
        };
        for output in all((0..4).map(delete)) {
            assert_eq!(output.code, Some(0), "{output}");
        }
        expected.retain(|alias| !(0..4).any(|n| *alias == format!("alias-{n}-{round}")));
    }
    expected.sort();
    let listed = dxf.clone().args(["list-aliases", "a"]).ok();
    let mut listed: Vec<_> = listed.lines().iter().map(|line| line.to_string()).collect();
    listed.sort();
    assert_eq!(listed, expected);
    for (n, name) in names.iter().enumerate().take(8).skip(4) {
        let alias = format!("alias-{n}-3");
        let got = dxf.clone().args(["get-alias", "a", &alias]).ok();
        assert_eq!(got.text().trim(), *name);
    }
}

#[test]
fn logins_at_once_are_all_kept() {
    let registry = Registry::builder().htpasswd().start();
    let folder = scratch();
    let file = folder.path().join("config.json");
    let hosts = [registry.host().to_string(), registry.localhost()];
    for _ in 0..8 {
        std::fs::write(
            &file,
            r#"{"auths": {"other.example": {"auth": "eDp5"}}, "x": 1}"#,
        )
        .expect("a file");
        let login = |host: &String| {
            let dxf = Dxf::new().plain(host).login(USER, PASSWORD);
            let dxf = dxf.env("DXF_ALLOW_INSECURE_AUTH", "1");
            dxf.env("DOCKER_CONFIG", folder.path())
                .args(["login", host])
                .spawn()
        };
        for output in all(hosts.iter().map(login)) {
            assert_eq!(output.code, Some(0), "{output}");
        }
        let text = std::fs::read(&file).expect("the file");
        let config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let auths = config["auths"].as_object().expect("logins");
        assert_eq!((auths.len(), &config["x"]), (3, &1.into()), "{auths:?}");
        assert!(hosts.iter().all(|host| auths.contains_key(host)));
    }
}
