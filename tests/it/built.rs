//! Layers of the library's making, as engines and umoci unpack them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use dxf_registry::Manifest;
use dxf_registry::archive::{Form, Item};
use dxf_registry::blob::Blob;
use dxf_registry::descriptor::media_type;
use dxf_registry::image::layer::Family;
use dxf_registry::image::make::{Contents, Layer, LayerOptions};
use dxf_registry::image::{Image, Node};
use serde_json::json;

use crate::archive::{with_run, write};
use crate::engine::{Tool, arg, file};
use crate::support::scratch;

/// Calls `make` with settings; the layer outlives the folder it was made in.
fn layer(make: impl FnOnce(LayerOptions<'_>) -> dxf_registry::Result<Layer>) -> Layer {
    let dir = scratch();
    with_run(|run| {
        make(LayerOptions {
            family: Family::Oci,
            folder: dir.path(),
            run,
        })
        .expect("a layer")
    })
}

/// This machine's shell and what it is linked to, under the names they have.
pub fn shell() -> Layer {
    let linked = Command::new("ldd").arg("/bin/sh").output().expect("ldd");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let libraries = linked.split_whitespace().filter(|w| w.starts_with('/'));
    let mut parts = Contents::default();
    for name in libraries.chain(["/bin/sh"]) {
        let real = fs::canonicalize(name).expect("a file");
        parts.add_path(&real, name, &[]).expect("a file");
    }
    layer(|settings| Layer::from_contents(&parts, settings))
}

/// An image of these layers, which says hello where it has a shell.
pub fn image_of(layers: Vec<Layer>) -> Image {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
    let history: Vec<_> = layers
        .iter()
        .map(|layer| json!({"created_by": layer.created_by}))
        .collect();
    let config = json!({"architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/bin/sh", "-c", "echo hello"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history});
    let config = Blob::bytes(media_type::OCI_CONFIG, config.to_string().into_bytes());
    let listed: Vec<_> = layers.iter().map(|l| l.blob.descriptor()).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": config.descriptor(), "layers": listed});
    let manifest = Manifest::new(None, manifest.to_string().into_bytes()).unwrap();
    let blobs = layers.into_iter().map(|layer| layer.blob).collect();
    Image::new(manifest, config, blobs).unwrap()
}

/// A layer of some files, and one that takes away, hides and puts in place.
fn stack() -> [Layer; 2] {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    for folder in ["d/sub", "e"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for name in ["d/gone", "d/kept", "d/sub/x", "d/turned", "e/below"] {
        fs::write(at(name), name).unwrap();
    }
    fs::hard_link(at("d/kept"), at("d/hard")).unwrap();
    symlink("kept", at("d/link")).unwrap();
    fs::write(at(&format!("d/{}", "long".repeat(60))), "long").unwrap();
    let mut lower = Contents::default();
    lower.add_path(dir.path(), "/.", &[]).unwrap();
    let mut upper = Contents::default();
    upper.remove("/d/gone").unwrap();
    upper.remove("/d/sub").unwrap();
    upper.remove("/e").unwrap();
    upper.add_file("/e/new", b"e/new".to_vec(), 0o600).unwrap();
    upper
        .add_file("/d/turned/in", b"x".to_vec(), 0o644)
        .unwrap();
    upper.remove("/d/turned").unwrap();
    upper
        .add_file("/d/turned/in", b"in".to_vec(), 0o640)
        .unwrap();
    [lower, upper].map(|parts| layer(|settings| Layer::from_contents(&parts, settings)))
}

fn squashed(image: &Image) -> Layer {
    layer(|settings| Layer::squashed(image.layers(), settings))
}

/// An archive of the image under a name.
fn archive(image: &Image, name: &str, path: &Path) {
    let node = Node::Image(image.clone());
    let item = Item::new(vec![name.parse().unwrap()], node);
    write(&[item], Form::Hybrid, path);
}

#[test]
fn podman_sees_what_was_put_together() {
    let Some(podman) = Tool::find("podman") else {
        return;
    };
    let dir = scratch();
    let [lower, upper] = stack();
    let whole = image_of(vec![shell(), lower, upper]);
    let one = image_of(vec![squashed(&whole)]);
    let look = "cd /d; echo */* h* k* li* t*; cd /e; echo *; [ /d/hard -ef /d/kept ] && echo same; \
                read x < /d/link; echo $x; read x < /e/new; echo $x";
    for (name, image) in [("localhost/whole:1", &whole), ("localhost/one:1", &one)] {
        let tar = file(&dir, "image.tar");
        archive(image, name, &tar);
        podman.run(["load", "-i", &arg(&tar)]);
        let said = podman.container(name, &["/bin/sh", "-c", look]);
        let wanted = "turned/in hard kept link turned\nnew\nsame\nd/kept\ne/new\n";
        assert_eq!(said, wanted, "{name}");
    }
}

#[test]
fn umoci_unpacks_a_squashed_stack_as_the_stack() {
    let Some(umoci) = Tool::find("umoci") else {
        return;
    };
    let dir = scratch();
    let whole = image_of(stack().to_vec());
    let one = image_of(vec![squashed(&whole)]);
    let trees = [("whole", &whole), ("one", &one)].map(|(name, image)| {
        let (tar, layout) = (file(&dir, "image.tar"), file(&dir, name));
        archive(image, "r.example/app:1", &tar);
        let from = fs::File::open(&tar).unwrap();
        tar::Archive::new(from).unpack(&layout).unwrap();
        let bundle = file(&dir, &format!("{name}.bundle"));
        let image = format!("{}:1", layout.display());
        umoci.run(["unpack", "--rootless", "--image", &image, &arg(&bundle)]);
        let listed = Command::new("find")
            .args([".", "-printf", "%P %y %m %n %l %T@ %s\\n"])
            .current_dir(bundle.join("rootfs"))
            .output()
            .expect("find");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut lines: Vec<String> = listed.lines().map(str::to_string).collect();
        // A folder's time and size are those of this machine's disk.
        let own = |line: &str| line.contains(" d ") || line.starts_with(' ');
        lines.retain(|line| !own(line));
        lines.sort();
        lines
    });
    assert_eq!(trees[0], trees[1]);
    let names = trees[0].iter().map(|line| line.split(' ').next().unwrap());
    let names: Vec<&str> = names.filter(|name| !name.contains("long")).collect();
    assert_eq!(
        names,
        ["d/hard", "d/kept", "d/link", "d/turned/in", "e/new"]
    );
}
