//! README's table for those who come from moby-distribution.

use dxf_registry::Registry;
use dxf_registry::credentials::Credentials;
use dxf_registry::registry::{Scheme, Settings};

/// The registry at `host` as a program sees it: plain http, nobody in
/// particular.
pub fn library(host: &str) -> Registry {
    let settings = Settings {
        scheme: Scheme::Http,
        ..Settings::default()
    };
    Registry::connect(host.parse().unwrap(), settings, Credentials::anonymous()).unwrap()
}
