//! What to do about a failure: hints, keyed on the kind of the error, never on
//! its words.

use std::io::ErrorKind;
use std::path::Path;

use dxf_registry::error::{CertificateFault, NetworkKind};
use dxf_registry::text::one_line;
use dxf_registry::{Error, Tag};

/// What could be done about `error`, on the side where it happened.
pub fn of(error: &Error) -> Option<String> {
    let hint = hint(error.what())?;
    // What was refused is called by its own name already; so is what is to be
    // unset, which may be either side's. Commands that list have one side.
    let named = hint.starts_with("the credentials ")
        || hint.contains("unset ")
        || hint.contains("DXF_HOST=");
    Some(match error {
        Error::At { place, .. } if place.starts_with("source ") && !named => {
            SIDED.iter().fold(hint, |hint, name| {
                hint.replace(&format!("DXF_{name}"), &format!("DXF_FROM_{name}"))
            })
        }
        _ => hint,
    })
}

/// The variables in hints that the source of a copy has of its own.
const SIDED: [&str; 8] = [
    "HOST",
    "USERNAME",
    "PASSWORD",
    "INSECURE",
    "ALLOW_INSECURE_AUTH",
    "TLSVERIFY",
    "SKIPTLSVERIFY",
    "PROXY",
];

/// What could be done about `error`.
fn hint(error: &Error) -> Option<String> {
    let fixed = match error {
        Error::Unauthorized { accepts, .. } if !accepts.is_empty() => {
            return Some(format!(
                "the server accepts {} logins only, and dxf sends passwords and tokens (Basic, \
                 Bearer); ask its administrator for one of these, and for its address",
                accepts.join(" or ")
            ));
        }
        Error::Unauthorized {
            status: 400 | 401 | 403,
            request,
            source,
            ..
        } => return Some(login_hint(&request.url, source.as_deref())),
        Error::Unauthorized { .. } => {
            "the registry named this token server; DXF_AUTH_HOST replaces its host"
        }
        Error::InsecureAuth { .. } => "try https, or DXF_ALLOW_INSECURE_AUTH=1",
        Error::Invalid {
            what: "digest",
            value,
            ..
        } => return digest_hint(value),
        Error::Invalid {
            what: "alias",
            value,
            ..
        } if value.starts_with('@') => "write the alias without @ here",
        Error::Invalid {
            what: "tag", value, ..
        } if value.contains(['/', ':']) => "write the tag alone, without its repository",
        Error::Invalid {
            what: "repository",
            value,
            ..
        } if value.starts_with("./") || value.starts_with("../") || value.starts_with('/') => {
            "a folder of repositories is DXF_HOST=oci:FOLDER"
        }
        Error::Invalid { what: "proxy", .. } => PROXIES,
        Error::Status { .. } => return status_hint(error),
        Error::Network { kind, request, .. } => network_hint(*kind, &request.url)?,
        Error::Conflict { .. } => {
            "another process may have moved it; check it with get-digest --manifest before trying again"
        }
        error if lists_nothing(error) => return None,
        Error::NoPlatform { .. } => "set DXF_PLATFORM to one of these",
        // An archive has a name too, but none that list-aliases takes.
        Error::NoAlias { store, .. } if store.starts_with("oci:") => {
            "dxf list-aliases prints the existing aliases of a repository"
        }
        Error::Io { what, source } => return file_hint(what, source.kind()),
        _ => return None,
    };
    Some(fixed.to_string())
}

/// What was meant by a digest that is none.
fn digest_hint(value: &str) -> Option<String> {
    let is_hex = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hex {
        true => Some(format!("did you mean sha256:{}?", value.to_lowercase())),
        false => {
            let alias: Tag = value.parse().ok()?;
            Some(format!("an alias is written @{alias}"))
        }
    }
}

/// What keeps the file `what` from being read or written: no folder, or no room.
fn file_hint(what: &str, kind: ErrorKind) -> Option<String> {
    let fixed = match (kind, what.strip_suffix(".partial")) {
        (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => return missing_folder(what),
        (ErrorKind::FileTooLarge, _) => "raise the limit on the size of files (ulimit -f)",
        // Temporary files of a folder store are removed.
        (ErrorKind::StorageFull, Some(_)) if what.contains("/.dxf/") => {
            "free space there and run the same command again"
        }
        (ErrorKind::StorageFull, Some(file)) => {
            return Some(format!(
                "free space where {file} goes and run the same command again; \
                 {what} is kept, and the download resumes from it"
            ));
        }
        (ErrorKind::StorageFull, None) => {
            "free space where the file goes, or set DXF_TMPDIR for temporary files"
        }
        _ => return None,
    };
    Some(fixed.to_string())
}

/// The folder that a file would have to be in, where there is none.
fn missing_folder(file: &str) -> Option<String> {
    let path = Path::new(file);
    let folder = match file.ends_with('/') {
        true => path,
        false => path.parent()?,
    };
    let is_missing = !folder.as_os_str().is_empty() && !folder.is_dir();
    is_missing.then(|| format!("there is no folder {}", folder.display()))
}

/// Whether no image of an index says what it runs on.
pub fn lists_nothing(error: &Error) -> bool {
    matches!(error.what(), Error::NoPlatform { available, .. } if available.is_empty())
}

fn login_hint(url: &str, source: Option<&str>) -> String {
    let host = authority(url);
    let source = source.map(|source| match one_line(source).as_str() {
        "username and password" => "the user name or the password is wrong".to_string(),
        source => format!("the credentials from {source} were refused"),
    });
    match source {
        // Its passwords last twelve hours (amazon-ecr-credential-helper#124).
        source if is_ecr(host) => {
            let region = host.split('.').nth(3).unwrap_or("REGION");
            let fresh = format!(
                "try aws ecr get-login-password --region {region} | dxf login -u AWS {host}, \
                 or docker-credential-ecr-login"
            );
            source.map_or(fresh.clone(), |source| format!("{source}; {fresh}"))
        }
        Some(source) => source,
        None => format!(
            "run dxf login {host}, or, if it is DXF_HOST, set DXF_USERNAME and DXF_PASSWORD"
        ),
    }
}

fn status_hint(error: &Error) -> Option<String> {
    let Error::Status {
        request,
        status,
        retry_after,
        errors,
    } = error
    else {
        return None;
    };
    let host = authority(&request.url);
    let catalog = request.url.ends_with("/_catalog");
    let hint = match status {
        429 => match retry_after {
            Some(seconds @ 1..) => {
                return Some(format!(
                    "the registry asks to wait {seconds} s; raise DXF_RETRY_MAX_WAIT to wait longer"
                ));
            }
            _ => "wait, or log in: authenticated users have a higher limit",
        },
        405 if request.method == "DELETE" => DELETES,
        _ if request.method == "DELETE" && error.has_code("UNSUPPORTED") => DELETES,
        404 if error.has_code("NAME_UNKNOWN") && is_ecr(host) => {
            "create it first: aws ecr create-repository --repository-name NAME"
        }
        404 if missing_name(&request.method, &request.url).is_some() => {
            return missing_name(&request.method, &request.url);
        }
        401 | 403 | 404 | 405 | 501 if catalog => {
            "many registries list repositories only for administrators, or not at all"
        }
        // A password of yesterday has the code of a permission that is missing.
        403 if is_ecr(host) => {
            let fresh = login_hint(&request.url, None);
            return Some(format!(
                "{FORBIDDEN}, or the login is older than 12 hours; {fresh}"
            ));
        }
        403 => FORBIDDEN,
        // A registry that names what is wrong has understood http.
        400 if request.url.starts_with("http:") && errors.iter().all(|e| e.code.is_empty()) => {
            "if it speaks https, unset DXF_INSECURE"
        }
        400 | 415 | 422 if refuses_manifest(&request.method, error) => {
            "if the registry does not accept this format: push-blob stores files in any \
             registry, --convert docker converts images"
        }
        413 => {
            "the registry, or a proxy in front of it, limits bodies (nginx: client_max_body_size); \
             DXF_UPLOAD=auto tries smaller chunks"
        }
        507 => "the registry's disk is full",
        _ => return None,
    };
    Some(hint.to_string())
}

/// Whether a registry calls a manifest invalid that was put there.
fn refuses_manifest(method: &str, error: &Error) -> bool {
    let codes = ["MANIFEST_INVALID", "UNSUPPORTED"];
    method == "PUT" && codes.iter().any(|code| error.has_code(code))
}

/// Which alias, image or repository a request did not find, and how to list the
/// existing ones. An image's host need not be `DXF_HOST`, so it is named.
fn missing_name(method: &str, url: &str) -> Option<String> {
    let (_, path) = url.split_once("/v2/")?;
    if let Some((repo, _)) = path.split_once("/tags/list") {
        return Some(format!(
            "there is no repository {repo}; dxf list-repos prints the existing ones, with DXF_HOST={}",
            authority(url)
        ));
    }
    let (repo, name) = path.split_once("/manifests/")?;
    if !matches!(method, "GET" | "HEAD") {
        return None;
    }
    // What is written to an image without a tag, too.
    let assumed = match name {
        "latest" => " (latest is assumed where no tag is written)",
        _ => "",
    };
    Some(match name.contains(':') {
        true => format!("there is no manifest {name} in {repo}"),
        false => format!(
            "there is no alias or image {name} in {repo}{assumed}; dxf list-aliases {repo} prints the \
             existing ones, with DXF_HOST={}",
            authority(url)
        ),
    })
}

const FORBIDDEN: &str = "the login lacks the permission, or the repository does not exist";
const PROXIES: &str = "check DXF_PROXY, HTTPS_PROXY and NO_PROXY";
const DELETES: &str = "deletes are disabled (distribution: storage.delete.enabled)";

fn network_hint(kind: NetworkKind, url: &str) -> Option<&'static str> {
    Some(match kind {
        NetworkKind::Proxy => PROXIES,
        NetworkKind::Name => "check the spelling of the host name",
        NetworkKind::Connect => "check that the registry is running, and the port",
        NetworkKind::NoTls => {
            "if it speaks http, set DXF_INSECURE=1 (for DXF_HOST and this machine only)"
        }
        NetworkKind::Certificate(fault) => certificate_hint(fault),
        NetworkKind::ClientCertificate => {
            "name one in DXF_CLIENT_CERT, and its key in DXF_CLIENT_KEY"
        }
        NetworkKind::Protocol if url.starts_with("http:") => {
            "if it speaks https, unset DXF_INSECURE"
        }
        NetworkKind::Timeout => "raise DXF_TIMEOUT if the server is slow",
        _ => return None,
    })
}

fn certificate_hint(fault: CertificateFault) -> &'static str {
    match fault {
        // An authority that was created again keeps its name, but not its key.
        CertificateFault::Untrusted => {
            "name its authority's PEM file in DXF_TLSVERIFY, or set DXF_SKIPTLSVERIFY=1"
        }
        // openssl's `req -x509` makes one like that unless it is told not to.
        CertificateFault::SelfSigned => {
            "name this certificate in DXF_TLSVERIFY, or set DXF_SKIPTLSVERIFY=1"
        }
        _ => "DXF_SKIPTLSVERIFY=1 accepts it anyway",
    }
}

fn is_ecr(host: &str) -> bool {
    host.contains(".dkr.ecr.")
}

/// The host and port of a URL without user information.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
