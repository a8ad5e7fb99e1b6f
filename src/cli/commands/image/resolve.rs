//! `resolve-image`: whom a pull would talk to, for those who have to let it
//! through a firewall. Manifest and config are fetched, of each layer one byte.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use dxf_registry::graph::{Remote, Select};
use dxf_registry::http::{Exchange, Observer, Url};
use dxf_registry::image::layer::urls;
use dxf_registry::registry::Repository;
use dxf_registry::{Descriptor, Error, Place, Platform, Result, Root, json};
use serde_json::{Value, json};

use crate::cli::args::ResolveImage;
use crate::cli::env::Shape;
use crate::cli::exit::Failure;
use crate::cli::image::open;
use crate::cli::image::platform::platform_missing;
use crate::cli::session::Session;

/// `resolve-image [-4|-6] <image>`
pub fn run(s: &mut Session<'_, '_>, args: &ResolveImage) -> Result<(), Failure> {
    let words = args.look.words.take(1, 1)?;
    let place = open::to_read(s, &words[0])?;
    let Place::Repository {
        root: Root::Registry(host),
        reference,
    } = &place
    else {
        return Err(Error::Unsupported {
            what: format!(
                "{}: it is on this machine, not in a registry",
                words[0].display()
            ),
        }
        .into());
    };
    let mut settings = s.settings();
    let heard = Arc::new(Recorder::new(settings.http.observer.clone()));
    settings.http.observer = heard.clone();
    let registry = s
        .context
        .connect(host, settings, s.credentials(s.context, host))?;
    let repository = registry.repository(reference.repo.clone());
    let done = walk(s, args, &repository, &place, &heard);
    // Whatever broke, what was reached until then is worth knowing.
    report(s, args, &heard.take())?;
    done
}

/// Goes the way of a pull.
fn walk(
    s: &Session<'_, '_>,
    args: &ResolveImage,
    repository: &Repository,
    place: &Place,
    heard: &Recorder,
) -> Result<(), Failure> {
    let platform = match &args.look.platform {
        Some(platform) => Some(platform.parse()?),
        None => s.context.platform.clone(),
    };
    let host = Platform::host();
    let wanted = match &platform {
        Some(platform) => Select::Platform(platform),
        None => Select::Host(&host),
    };
    heard.begin("manifest");
    let remote = Remote::new(Arc::new(repository.clone()));
    let target = place.target()?;
    let node = remote.pull(&target, wanted, s.run());
    let node = node.map_err(platform_missing)?;
    for (_, image) in node.images() {
        for (n, layer) in image.layers().iter().enumerate() {
            s.interrupt.stop().check()?;
            heard.begin(&format!("layer {n}"));
            touch(repository, layer.descriptor(), heard)?;
        }
    }
    Ok(())
}

/// Asks for a layer; one that is kept elsewhere is not asked for there.
fn touch(repository: &Repository, layer: &Descriptor, heard: &Recorder) -> Result<()> {
    if repository.touch(&layer.digest)?.is_none() {
        let elsewhere = urls(layer);
        if elsewhere.is_empty() {
            return Err(Error::NotFound {
                what: format!("layer {}", layer.digest),
            });
        }
        for url in elsewhere.iter().filter_map(|url| Url::parse(url).ok()) {
            heard.add("elsewhere", &url.to_string(), None);
        }
    }
    Ok(())
}

/// One request that a pull makes.
#[derive(Clone)]
struct Hop {
    /// What of the image it is for.
    step: String,
    /// `registry`, `token`, `redirect` or `elsewhere`.
    role: &'static str,
    url: String,
    /// What was answered; nothing where no server was asked.
    status: Option<Result<u16, String>>,
}

/// Writes down every exchange, and passes it on.
struct Recorder {
    next: Arc<dyn Observer>,
    state: Mutex<(String, Vec<Hop>)>,
}

impl Recorder {
    fn new(next: Arc<dyn Observer>) -> Recorder {
        Recorder {
            next,
            state: Mutex::new((String::new(), Vec::new())),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut (String, Vec<Hop>)) -> T) -> T {
        // A list is consistent even after a panic elsewhere.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, step: &str) {
        self.with(|state| state.0 = step.to_string());
    }

    fn take(&self) -> Vec<Hop> {
        self.with(|state| std::mem::take(&mut state.1))
    }

    fn add(&self, role: &'static str, url: &str, status: Option<Result<u16, String>>) {
        self.with(|(step, hops)| {
            hops.push(Hop {
                step: step.clone(),
                role,
                url: url.to_string(),
                status,
            });
        });
    }
}

impl Observer for Recorder {
    fn exchange(&self, e: &Exchange<'_>) {
        self.next.exchange(e);
        let redirected = self.with(|(step, hops)| {
            let last = hops.last().filter(|hop| hop.step == *step);
            last.is_some_and(|hop| matches!(hop.status, Some(Ok(300..400))))
        });
        let path = Url::parse(e.url).map(|url| url.path().to_string());
        let path = path.unwrap_or_default();
        let is_api = path.starts_with("/v2/");
        // The config comes with the manifest of the image.
        if is_api && path.contains("/blobs/") {
            self.with(|(step, _)| {
                if step == "manifest" {
                    *step = "config".to_string();
                }
            });
        }
        let role = match (redirected, is_api) {
            (true, _) => "redirect",
            (false, true) => "registry",
            (false, false) => "token",
        };
        let status = e.status.map_err(str::to_string);
        self.add(role, e.url, Some(status));
    }

    fn warning(&self, text: &str) {
        self.next.warning(text);
    }

    fn resumable(&self) {
        self.next.resumable();
    }
}

/// What the name of a hop's host resolves to here.
fn addresses(s: &Session<'_, '_>, args: &ResolveImage, url: &Url) -> Vec<String> {
    let proxies = &s.context.settings.http.proxies;
    if proxies.apply_to(url) {
        return vec!["by proxy".to_string()];
    }
    let Ok(found) = (url.host().as_str(), url.origin().port()).to_socket_addrs() else {
        return vec!["unknown".to_string()];
    };
    let fits = |address: &IpAddr| match address {
        IpAddr::V4(_) => !args.ipv6,
        IpAddr::V6(_) => !args.ipv4,
    };
    let mut all: Vec<IpAddr> = found.map(|a| a.ip()).filter(fits).collect();
    all.sort();
    all.dedup();
    all.iter().map(ToString::to_string).collect()
}

fn report(s: &mut Session<'_, '_>, args: &ResolveImage, hops: &[Hop]) -> Result<(), Failure> {
    let (mut rows, mut values): (Vec<Vec<String>>, Vec<Value>) = Default::default();
    let mut known = std::collections::HashMap::new();
    for hop in hops {
        let Ok(url) = Url::parse(&hop.url) else {
            continue;
        };
        let key = (url.host(), url.origin().port());
        let found = known.entry(key).or_insert_with(|| addresses(s, args, &url));
        let status = match &hop.status {
            Some(Ok(status)) => status.to_string(),
            Some(Err(why)) => format!("failed: {why}"),
            None => "not asked".to_string(),
        };
        values.push(
            json!({"step": hop.step, "role": hop.role, "url": hop.url, "host": url.host(), "port": url.origin().port(),
            "status": hop.status.as_ref().and_then(|s| s.as_ref().ok()), "addresses": found}),
        );
        let place = format!("{}://{}", url.scheme().as_str(), url.authority());
        rows.push(vec![
            hop.step.clone(),
            hop.role.to_string(),
            place,
            found.join(" "),
            dxf_registry::text::clean(&status),
        ]);
    }
    match s.context.shape {
        Shape::Json => s.line(json::python(&Value::Array(values))),
        Shape::Text => s.table(&rows, &[]),
    }
}
