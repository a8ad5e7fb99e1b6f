//! How registries are talked to: TLS, proxies, times and uploads.

use std::path::PathBuf;

use dxf_registry::http::{self, ClientCert, Limits, Proxies, Roots, Scheme, Tls};
use dxf_registry::registry::{InsecureAuth, Settings, UploadMode};
use dxf_registry::{Error, Result, Secret};

use crate::cli::env::vars::{self, Env};

pub fn settings(env: Env<'_>) -> Result<Settings> {
    let mut settings = Settings::default();
    if env.is_one(&vars::INSECURE) {
        settings.scheme = Scheme::Http;
    }
    settings.auth_host = env.word(&vars::AUTH_HOST)?;
    if env.switch(&vars::ALLOW_INSECURE_AUTH)? {
        settings.insecure_auth = InsecureAuth::Allow;
    }
    if let Some(upload) = env.with(&vars::UPLOAD, upload)? {
        settings.upload = upload;
    }
    settings.sessions = super::cache(env).map(|folder| folder.join("uploads"));
    settings.http = wire(env)?;
    Ok(settings)
}

fn upload(text: &str) -> Result<UploadMode, String> {
    match text {
        "auto" => Ok(UploadMode::Auto),
        "monolithic" => Ok(UploadMode::Monolithic),
        size => match crate::cli::out::size::parse(size) {
            Ok(0) | Err(_) => Err("it takes auto, monolithic, or a size such as 32MiB".to_string()),
            Ok(size) => Ok(UploadMode::Chunked(size)),
        },
    }
}

fn wire(env: Env<'_>) -> Result<http::Settings> {
    let mut wire = http::Settings::default();
    let retries = env.number(&vars::RETRIES, 0, 1000)?;
    let jobs = env.number(&vars::JOBS, 1, 256)?;
    if let Some(time) = env.seconds(&vars::CONNECT_TIMEOUT)? {
        wire.connect_timeout = time;
    }
    if let Some(time) = env.seconds(&vars::TIMEOUT)? {
        wire.idle_timeout = time;
    }
    wire.retries = retries.map_or(wire.retries, |n| n as u32);
    wire.retry_max_wait = match env.text(&vars::RETRY_MAX_WAIT)?.as_deref() {
        Some("0") => std::time::Duration::ZERO,
        _ => env
            .seconds(&vars::RETRY_MAX_WAIT)?
            .unwrap_or(wire.retry_max_wait),
    };
    wire.read_size = env
        .size(&vars::CHUNK_SIZE)?
        .map(read_size)
        .transpose()?
        .unwrap_or(wire.read_size);
    wire.limits = limits(env)?;
    wire.jobs = jobs.map_or(wire.jobs, |n| n as usize);
    wire.jobs = wire.jobs.min(wire.limits.connections());
    wire.tls = tls(env)?;
    wire.proxies = proxies(env)?;
    Ok(wire)
}

fn limits(env: Env<'_>) -> Result<Limits> {
    let rate = env.with(&vars::LIMIT_RATE, |text| {
        let rate = crate::cli::out::size::parse(text).ok();
        rate.filter(|rate| *rate > 0)
            .ok_or_else(|| "it takes bytes a second, such as 500K or 2M".to_string())
    })?;
    let requests = env.with(&vars::REQUESTS_PER_SECOND, |text| {
        let number = text.parse::<f64>().ok();
        number
            .filter(|n| (0.001..=1_000_000.0).contains(n))
            .ok_or_else(|| "it takes a number larger than 0, such as 10 or 0.5".to_string())
    })?;
    let limits = rate.map_or(Limits::none(), |rate| Limits::none().bytes_per_second(rate));
    Ok(requests.map_or(limits.clone(), |n| limits.requests_per_second(n)))
}

/// The variable that decides which certificates are trusted, and what it says.
pub fn roots(env: Env<'_>) -> (Option<&'static vars::Var>, Roots) {
    if env.is_one(&vars::SKIPTLSVERIFY) {
        return (Some(&vars::SKIPTLSVERIFY), Roots::Unverified);
    }
    for var in [
        &vars::TLSVERIFY,
        &vars::REQUESTS_CA_BUNDLE,
        &vars::SSL_CERT_FILE,
    ] {
        if let Some(file) = env.path(var) {
            return (Some(var), Roots::File(file));
        }
    }
    (None, Roots::System)
}

fn tls(env: Env<'_>) -> Result<Tls> {
    let (cert, key) = (env.path(&vars::CLIENT_CERT), env.path(&vars::CLIENT_KEY));
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some(ClientCert { cert, key }),
        // One file often holds both.
        (Some(cert), None) => Some(ClientCert {
            key: cert.clone(),
            cert,
        }),
        (None, Some(key)) => {
            let key = key.display().to_string();
            let why = format!("it needs {}", env.on_this_side(&vars::CLIENT_CERT).name);
            let name = env.on_this_side(&vars::CLIENT_KEY).name;
            return Err(Error::invalid(name, key, why));
        }
        (None, None) => None,
    };
    // A user's own folders come before the machine's, as in containers/image.
    let home = env.path(&vars::HOME);
    let own = home.iter().flat_map(|home| {
        [".config/containers/certs.d", ".docker/certs.d"].map(|folder| home.join(folder))
    });
    let everybodys = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    Ok(Tls {
        roots: roots(env).1,
        client,
        certs_d: own.chain(everybodys).collect(),
    })
}

fn proxies(env: Env<'_>) -> Result<Proxies> {
    type Named = Option<(Secret, &'static str)>;
    let first = |vars: [&vars::Var; 3]| -> Result<Named> {
        for var in vars {
            if let Some(url) = env.secret(var)? {
                return Ok(Some((url, env.on_this_side(var).name)));
            }
        }
        Ok(None)
    };
    let http = first([&vars::PROXY, &vars::HTTP_PROXY, &vars::ALL_PROXY])?;
    let https = first([&vars::PROXY, &vars::HTTPS_PROXY, &vars::ALL_PROXY])?;
    let ((http, http_name), (https, https_name)) = (http.unzip(), https.unzip());
    Ok(Proxies {
        http,
        https,
        names: [http_name, https_name],
        no_proxy: env.text(&vars::NO_PROXY)?.unwrap_or_default(),
    })
}

fn read_size(size: u64) -> Result<usize> {
    const MOST: u64 = 1 << 30;
    if (1..=MOST).contains(&size) {
        return Ok(size as usize);
    }
    let why = "it takes a size from 1 to 1GiB";
    Err(Error::invalid(vars::CHUNK_SIZE.name, size.to_string(), why))
}
