//! What `show-env` says of each variable: its value, and where it comes from.

use super::vars::{self, Env, Kind, Var};
use super::wire;
use dxf_registry::text::without_login;

/// What `show-env` says of a variable.
pub struct Line {
    /// Its name.
    pub name: &'static str,
    /// Its value, or what holds without it.
    pub value: String,
    /// Where the value comes from.
    pub source: String,
    /// What it means.
    pub meaning: &'static str,
}

/// What there is to say of `var`.
pub fn line(var: &'static Var, env: Env<'_>) -> Line {
    let (value, source) = match env.raw(var) {
        None => unset(var, env),
        Some((name, value)) => {
            let value = value.to_string_lossy().into_owned();
            let value = match var.kind {
                Kind::Secret => "***".to_string(),
                Kind::Proxy => without_login(&value),
                // Some write a login before a host.
                Kind::Plain if var.name.ends_with("_HOST") && !value.starts_with("oci:") => {
                    without_login(&value)
                }
                Kind::Plain | Kind::BothCases => value,
            };
            let source = match overruled(var, env) {
                Some(by) => format!("environment: {name}, overridden by {by}"),
                None => format!("environment: {name}"),
            };
            (value, source)
        }
    };
    Line {
        name: var.name,
        value,
        source,
        meaning: var.meaning,
    }
}

/// What holds where `var` is unset, and why: other variables may decide it.
fn unset(var: &Var, env: Env<'_>) -> (String, String) {
    let word = |var: &Var| {
        let (name, value) = env.raw(var)?;
        Some((
            value.to_string_lossy().into_owned(),
            format!("environment: {name}"),
        ))
    };
    let default = || (var.default.to_string(), "default".to_string());
    match var.name {
        name if name == vars::TLSVERIFY.name || name == vars::FROM_TLSVERIFY.name => {
            let bundle = word(&vars::REQUESTS_CA_BUNDLE).or_else(|| word(&vars::SSL_CERT_FILE));
            bundle.unwrap_or_else(default)
        }
        name if name == vars::CACHE.name => {
            let home = &vars::XDG_CACHE_HOME;
            let (folder, source) =
                word(home).unwrap_or_else(|| (home.default.to_string(), "default".to_string()));
            (format!("{folder}/dxf"), source)
        }
        _ => default(),
    }
}

/// The variable that keeps `var` from counting, if any does.
fn overruled(var: &Var, env: Env<'_>) -> Option<&'static str> {
    let is_set = |var: &Var| env.raw(var).is_some();
    let by = |other: &'static Var| is_set(other).then_some(other.name);
    let tls = [
        &vars::TLSVERIFY,
        &vars::REQUESTS_CA_BUNDLE,
        &vars::SSL_CERT_FILE,
    ];
    if tls.iter().any(|one| one.name == var.name) {
        let winner = wire::roots(env).0.map(|winner| winner.name);
        return winner.filter(|winner| *winner != var.name);
    }
    let logins = [&vars::USERNAME, &vars::PASSWORD, &vars::PASSWORD_FILE];
    let is_login = logins.iter().any(|one| one.name == var.name)
        || [vars::AUTHORIZATION.name, vars::TOKEN.name].contains(&var.name);
    if is_login && env.is_one(&vars::ANONYMOUS) {
        return Some(vars::ANONYMOUS.name);
    }
    match var.name {
        name if name == vars::PASSWORD_FILE.name => by(&vars::PASSWORD),
        name if name == vars::AUTHORIZATION.name => {
            by(&vars::USERNAME).filter(|_| is_set(&vars::PASSWORD) || is_set(&vars::PASSWORD_FILE))
        }
        name if var.kind == Kind::Proxy && name != vars::PROXY.name => by(&vars::PROXY),
        name if name == vars::TMPDIR.name => by(&vars::TMPDIR_DXF),
        _ => None,
    }
}
