//! Docker Hub's peculiarities, all in one place: it is one registry with many
//! names, whose one-part repositories live under `library/`.

/// The name people write.
pub const NAME: &str = "docker.io";
/// The host that answers the registry API.
pub const API_HOST: &str = "registry-1.docker.io";
/// The key under which Docker's `config.json` keeps its credentials.
pub const CREDENTIAL_KEY: &str = "https://index.docker.io/v1/";

const NAMES: [&str; 4] = [NAME, "index.docker.io", API_HOST, "registry.hub.docker.com"];

/// Whether `host` is one of Docker Hub's names.
pub fn is_hub(host: &str) -> bool {
    let bare = host.strip_suffix(":443").unwrap_or(host);
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(bare))
}

/// The host that serves the registry API of `host`.
pub fn api_host(host: &str) -> &str {
    if is_hub(host) { API_HOST } else { host }
}

/// `repo` as `host` knows it: python-dxf and Docker put `library/` before
/// one-part names wherever the host ends in `docker.io`, and nowhere else.
pub fn full_name(host: &str, repo: &str) -> String {
    let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !repo.contains('/') && (bare.ends_with("docker.io") || is_hub(host)) {
        format!("library/{repo}")
    } else {
        repo.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_one_registry() {
        for name in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "Docker.IO",
            "docker.io:443",
        ] {
            assert!(is_hub(name), "{name}");
            assert_eq!(api_host(name), API_HOST);
        }
        for other in [
            "quay.io",
            "notdocker.io",
            "docker.io.evil.example",
            "docker.io:5000",
        ] {
            assert!(!is_hub(other), "{other}");
        }
    }

    #[test]
    fn one_part_names_get_library() {
        assert_eq!(
            full_name("registry-1.docker.io", "busybox"),
            "library/busybox"
        );
        assert_eq!(
            full_name("mirror.docker.io:443", "busybox"),
            "library/busybox"
        );
        assert_eq!(full_name("docker.io", "me/x"), "me/x");
        assert_eq!(full_name("localhost:5000", "busybox"), "busybox");
    }
}
