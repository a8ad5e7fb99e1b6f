//! Keeps a folder's files in a registry, an alias a run, and sends only what is
//! new: `backup HOST REPO FOLDER`; brings them back: `backup HOST REPO FOLDER ALIAS`.

use std::{error::Error, fmt::Write, fs, path::Component, path::Path, time::SystemTime};

use dxf_registry::fetch::{BlobRef, into_file};
use dxf_registry::stream::{Run, Watch, read_bounded};
use dxf_registry::{Blob, Registry, Store, alias, credentials::Credentials, registry::Settings};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&words, Settings::default()) {
        eprintln!("backup: {error}");
        std::process::exit(1);
    }
}

pub(crate) fn run(words: &[String], with: Settings) -> Result<(), Box<dyn Error>> {
    let [host, repo, folder, alias @ ..] = words else {
        return Err("backup HOST REPO FOLDER [ALIAS]".into());
    };
    // Over https; over http only to a registry of this machine without TLS.
    let registry = Registry::detect(host.parse()?, with, Credentials::anonymous())?;
    let store = registry.repository(repo.parse()?);
    match alias.first() {
        Some(alias) => restore(&store, alias, folder.as_ref()),
        None => keep(&store, folder.as_ref()).map(|alias| println!("{alias}")),
    }
}

pub(crate) fn keep(store: &dyn Store, folder: &Path) -> Result<String, Box<dyn Error>> {
    let (mut list, mut blobs, mut open) = (String::new(), vec![], vec![folder.to_path_buf()]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries: Result<Vec<_>, _> = fs::read_dir(path)?.collect();
            open.extend(entries?.iter().map(fs::DirEntry::path));
            continue;
        }
        let blob = Blob::file(&path, Watch::default())?;
        let name = path.strip_prefix(folder)?.display();
        writeln!(list, "{} {name}", blob.digest())?;
        blobs.push(blob);
    }
    blobs.insert(0, Blob::bytes("text/plain", list.into_bytes()));
    let name = format!("run-{}", SystemTime::UNIX_EPOCH.elapsed()?.as_millis());
    let tag = name.parse()?;
    alias::push(store, &tag, &blobs, alias::Format::Oci, Run::default())?;
    Ok(name)
}

pub(crate) fn restore(store: &dyn Store, alias: &str, to: &Path) -> Result<(), Box<dyn Error>> {
    let blobs = alias::blobs(&store.manifest(&alias.parse()?)?)?;
    let list = blobs.first().ok_or("an alias of nothing")?.digest;
    let list = read_bounded(alias, store.pull_blob(&list, None)?.reader, 64 << 20)?;
    for line in String::from_utf8(list)?.lines() {
        let (digest, name) = line.split_once(' ').ok_or("this is no backup")?;
        let mut parts = Path::new(name).components();
        if !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("{name} points outside the folder").into());
        }
        let (digest, size, path) = (digest.parse()?, None, to.join(name));
        fs::create_dir_all(path.parent().unwrap_or(to))?;
        let row = [BlobRef { digest, size }.into()];
        into_file(store, &row, &path, Run::default())?;
    }
    Ok(())
}
