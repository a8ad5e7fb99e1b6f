//! What a key of a credentials file means. Several generations of tools
//! wrote `host`, `https://host`, `https://host/v1/` and `host/team/app` for
//! what is one registry, or a part of one; Docker Hub adds its many names.
//! Knows nothing of values.

use crate::hub;
use crate::reference::Host;

/// A registry, or the repositories below one path of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Lower case, without the default port; [`hub::NAME`] for all of Hub's names.
    host: String,
    /// Without slashes at its ends; empty for the whole registry.
    path: String,
}

impl Place {
    /// What `key` means.
    pub fn of_key(key: &str) -> Place {
        let bare = strip_scheme(key);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let path = match path.trim_matches('/') {
            // The API's own root, as Docker writes it; not a repository.
            "v1" | "v2" => "",
            path => path,
        };
        Place {
            host: normal(host),
            path: path.to_string(),
        }
    }

    /// Whether the key means the whole registry `host`, and nothing else. A port
    /// is part of a registry's name: what is for `host` is not for `host:5000`.
    pub fn is(&self, host: &Host) -> bool {
        self.path.is_empty() && self.host == normal(host.as_str())
    }

    /// Whether this is what Docker's browser login keeps beside the login: its
    /// own tokens, under `https://index.docker.io/v1/access-token` and
    /// `…/refresh-token`. No registry takes them.
    pub fn is_aside(&self) -> bool {
        self.host == hub::NAME && self.path.starts_with("v1/")
    }

    /// Whether logging out of `host` ends this, too.
    pub fn ends_with(&self, host: &Host) -> bool {
        self.is(host) || self.is_aside() && hub::is_hub(host.as_str())
    }

    /// How closely this place fits `repo` at `host`: the length of its path,
    /// or `None` when `repo` lies elsewhere. Without a repository only the
    /// whole registry fits.
    pub fn fit(&self, host: &Host, repo: Option<&str>) -> Option<usize> {
        if self.host != normal(host.as_str()) || self.is_aside() {
            return None;
        }
        let below = |repo: &str| {
            repo.strip_prefix(self.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let fits = self.path.is_empty() || repo.is_some_and(below);
        fits.then_some(self.path.len())
    }
}

/// The key under which Docker keeps the login for the whole of `host`.
pub(super) fn of_host(host: &Host) -> &str {
    if hub::is_hub(host.as_str()) {
        hub::CREDENTIAL_KEY
    } else {
        host.as_str()
    }
}

fn strip_scheme(key: &str) -> &str {
    for scheme in ["https://", "http://"] {
        if let Some(start) = key.get(..scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            return &key[scheme.len()..];
        }
    }
    key
}

fn normal(host: &str) -> String {
    if hub::is_hub(host) {
        return hub::NAME.to_string();
    }
    host.strip_suffix(":443")
        .unwrap_or(host)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn hub_has_many_names() {
        for name in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "registry.hub.docker.com",
        ] {
            for key in [
                "N",
                "https://N",
                "http://N/",
                "https://N/v1/",
                "N/v2",
                "HTTPS://N/v1",
            ] {
                let key = key.replace('N', name);
                for asked in ["docker.io", "registry-1.docker.io", "index.docker.io:443"] {
                    assert!(Place::of_key(&key).is(&host(asked)), "{key} for {asked}");
                }
                assert!(!Place::of_key(&key).is(&host("docker.io.evil.example")));
            }
            assert_eq!(of_host(&host(name)), "https://index.docker.io/v1/");
        }
        assert_eq!(of_host(&host("Quay.io:5000")), "Quay.io:5000");
    }

    #[test]
    fn ports_and_names_are_exact() {
        let table = [
            ("r.example", "r.example", true),
            ("https://R.example/v2/", "r.Example", true),
            ("r.example:443", "r.example", true),
            ("r.example", "r.example:443", true),
            ("r.example", "r.example:5000", false),
            ("r.example:5000", "r.example", false),
            ("http://r.example:5000/", "r.example:5000", true),
            ("r.example", "x.r.example", false),
            ("example", "r.example", false),
            ("[::1]:443", "[::1]", true),
            ("docker.io", "docker.io:5000", false),
            // What Docker's browser login keeps beside the login itself.
            (
                "https://index.docker.io/v1/access-token",
                "docker.io",
                false,
            ),
            ("", "r.example", false),
            ("https://", "r.example", false),
        ];
        for (key, asked, fits) in table {
            assert_eq!(
                Place::of_key(key).is(&host(asked)),
                fits,
                "{key} for {asked}"
            );
        }
    }

    #[test]
    fn paths_fit_whole_components() {
        let table = [
            ("r.example/team/app", "team/app", Some(8)),
            ("https://r.example/team/", "team/app", Some(4)),
            ("r.example", "team/app", Some(0)),
            ("r.example/tea", "team/app", None),
            ("r.example/team/app/x", "team/app", None),
            ("r.example/app", "team/app", None),
            ("other.example/team", "team/app", None),
        ];
        for (key, repo, fit) in table {
            let found = Place::of_key(key).fit(&host("r.example"), Some(repo));
            assert_eq!(found, fit, "{key}");
        }
        assert_eq!(
            Place::of_key("r.example/team").fit(&host("r.example"), None),
            None
        );
        assert!(!Place::of_key("r.example/team").is(&host("r.example")));
    }

    #[test]
    fn docker_s_own_tokens_are_no_login_and_end_with_it() {
        let token = Place::of_key("https://index.docker.io/v1/access-token");
        assert!(token.is_aside() && token.ends_with(&host("docker.io")));
        assert_eq!(token.fit(&host("docker.io"), Some("v1/access-token")), None);
        assert!(!token.ends_with(&host("r.example")));
        let other = Place::of_key("https://r.example/v1/x");
        assert!(!other.is_aside() && !other.ends_with(&host("r.example")));
    }

    proptest! {
        #[test]
        fn never_panics(key in "\\PC{0,30}|[htps:/v12.a-]{0,20}") {
            let place = Place::of_key(&key);
            let _ = place.fit(&host("a.v"), Some("a/b"));
        }
    }
}
