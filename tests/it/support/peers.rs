//! Other programs that speak to registries, and other registries, as
//! `scripts/setup` builds them into `target/tools` (`tests/peers/versions`).
//! A test whose program is missing prints `SKIPPED`, as with engines.

use std::path::{Path, PathBuf};

use super::dxf::Dxf;
use super::registry::{Program, Registry};
use crate::engine::{missing, skipped};

/// Where `scripts/setup` puts a program, unless a test run names another folder.
pub fn path(name: &str) -> PathBuf {
    match std::env::var_os("DXF_TEST_TOOLS") {
        Some(folder) => Path::new(&folder).join(name),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/tools")
            .join(name),
    }
}

/// A program that is required wherever everything could be installed.
fn tool(name: &str) -> Option<Dxf> {
    let program = path(name);
    if program.exists() {
        return Some(Dxf::foreign(&program));
    }
    missing(name);
    None
}

/// `oras`; give it `--plain-http` where a command speaks to a registry.
pub fn oras() -> Option<Dxf> {
    tool("oras")
}

/// `regctl`, told that a registry at these addresses speaks plain http.
pub fn regctl(hosts: &[&str]) -> Option<Dxf> {
    let mut regctl = tool("regctl")?;
    for host in hosts {
        regctl = regctl.args(["--host", &format!("reg={host},tls=disabled")]);
    }
    Some(regctl)
}

/// `docker-charon`, for registries that speak plain http: its `--insecure` has no
/// effect with the click of today, so its two commands are called from Python.
pub fn docker_charon() -> Option<Dxf> {
    const SCRIPT: &str = "
import sys
from docker_charon.__main__ import make_payload, push_payload
command, *words = sys.argv[1:]
options = {}
while words and words[0].startswith('--'):
    options[words[0]], words = words[1], words[2:]
where = (options['--file'],)
who = (options['--registry'], False, None, None)
if command == 'make-payload':
    make_payload(words[0], options.get('--already-transferred'), *where, *who)
else:
    push_payload(*where, True, *who)
";
    Some(tool("docker-charon/bin/python")?.args(["-c", SCRIPT]))
}

/// `crane`; it speaks plain http to addresses of this machine by itself.
pub fn crane() -> Option<Dxf> {
    tool("crane")
}

/// `cosign`, which `scripts/setup` builds only with `DXF_SETUP_COSIGN=1`. Keys
/// have an empty password.
pub fn cosign() -> Option<Dxf> {
    let program = path("cosign");
    if program.exists() {
        return Some(Dxf::foreign(&program).env("COSIGN_PASSWORD", ""));
    }
    let why = "it is not installed (DXF_SETUP_COSIGN=1 scripts/setup installs it)";
    skipped("cosign", why);
    None
}

/// distribution 3, the successor of `docker-registry`: no referrers API.
pub struct Distribution3;

impl Distribution3 {
    /// Plain http, no authentication.
    pub fn start() -> Option<Registry> {
        start("distribution", Program::Distribution3)
    }
}

/// A registry that has the referrers API.
pub struct ReferrersRegistry;

impl ReferrersRegistry {
    /// Plain http, no authentication.
    pub fn start() -> Option<Registry> {
        start("referrers", Program::Referrers)
    }
}

fn start(name: &str, program: Program) -> Option<Registry> {
    if !path(name).exists() {
        missing(name);
        return None;
    }
    Some(Registry::builder().program(program).start())
}

/// Makes three tests of one body: on docker-registry, on distribution 3, and on
/// a registry that has the referrers API; each over plain http.
///
/// ```ignore
/// each_server!(an_image_is_listed, |registry| {
///     let dxf = Dxf::new().plain(registry.host());
///     let Some(oras) = oras() else { return };
///     …
/// });
/// ```
macro_rules! each_server {
    ($(#[$attribute:meta])* $name:ident, |$registry:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($registry: &$crate::support::registry::Registry) $body

            $(#[$attribute])*
            #[test]
            fn docker_registry() {
                body(&$crate::support::registry::Registry::http());
            }

            $(#[$attribute])*
            #[test]
            fn distribution_3() {
                if let Some(registry) = $crate::support::peers::Distribution3::start() {
                    body(&registry);
                }
            }

            $(#[$attribute])*
            #[test]
            fn referrers_api() {
                if let Some(registry) = $crate::support::peers::ReferrersRegistry::start() {
                    body(&registry);
                }
            }
        }
    };
}

pub(crate) use each_server;
