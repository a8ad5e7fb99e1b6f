//! Copies every tag of a repository to another registry, or into a folder:
//! `mirror HOST/REPO HOST/REPO` or `mirror HOST/REPO oci:FOLDER`.

use std::{env, error::Error, sync::Arc};

use dxf_registry::graph::{Copier, CopyOptions, Referrers, Remote};
use dxf_registry::layout::Layout;
use dxf_registry::registry::{Scheme, Settings};
use dxf_registry::{Host, Registry, Store, Target, credentials::Credentials, stream::Run};

fn main() {
    if let Err(error) = run() {
        eprintln!("mirror: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [from, to] = words.as_slice() else {
        return Err("mirror FROM TO".into());
    };
    println!("{} blobs sent", mirror(from, to)?);
    Ok(())
}

pub(crate) fn mirror(from: &str, to: &str) -> Result<usize, Box<dyn Error>> {
    let (from, to) = (Remote::new(open(from)?), open(to)?);
    let options = CopyOptions::default().with_referrers(Referrers::Copy);
    let (copier, mut sent) = (Copier::new(&from, &*to, options), 0);
    for tag in from.store().tags() {
        let tag = Target::Tag(tag?);
        // Existing blobs are not sent again.
        sent += copier.copy(&tag, &tag, Run::default())?.summary.uploaded;
    }
    Ok(sent)
}

fn open(place: &str) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    if let Some(folder) = place.strip_prefix("oci:") {
        return Ok(Arc::new(Layout::at(folder)));
    }
    let (host, repo) = place.split_once('/').ok_or("HOST/REPO or oci:FOLDER")?;
    let host: Host = host.parse()?;
    let scheme = match host.is_loopback() {
        true => Scheme::Http,
        false => Scheme::Https,
    };
    let settings = Settings::default().with_scheme(scheme);
    let registry = Registry::connect(host, settings, Credentials::anonymous())?;
    Ok(Arc::new(registry.repository(repo.parse()?)))
}
