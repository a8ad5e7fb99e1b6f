//! The commands about the tool itself.

use std::io::Write;
use std::path::Path;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use dxf_registry::file::{self, Aside};
use dxf_registry::text::one_line;
use dxf_registry::{Error, json};
use serde_json::{Value, json};

use super::args::{self, Cli, Words};
use super::console::Out;
use super::context::{self, Context, Shape};
use super::env::{self, Env, Kind, Var};
use super::exit::Failure;
use super::stdout;

/// `show-env`
pub fn show_env(
    out: &mut Out<'_>,
    env: Env<'_>,
    context: &Context,
    words: &Words,
) -> Result<(), Failure> {
    words.none()?;
    let lines: Vec<Line> = env::ALL.iter().map(|var| line(var, env)).collect();
    match context.shape {
        Shape::Text => lines.iter().try_for_each(|line| {
            let value = one_line(&line.value);
            writeln!(out, "{} = {value}  ({})", line.name, line.source).map_err(stdout)
        }),
        Shape::Json => {
            let all: Value = lines
                .iter()
                .map(|l| json!({"name": l.name, "value": l.value, "source": l.source, "meaning": l.meaning}))
                .collect();
            writeln!(out, "{}", json::python(&all)).map_err(stdout)
        }
    }
}

/// What `show-env` says of a variable.
struct Line {
    name: &'static str,
    value: String,
    source: String,
    meaning: &'static str,
}

fn line(var: &'static Var, env: Env<'_>) -> Line {
    let (value, source) = match env.raw(var) {
        None => (var.default.to_string(), "default".to_string()),
        Some((name, value)) => {
            let value = value.to_string_lossy().into_owned();
            let value = match var.kind {
                Kind::Secret => "***".to_string(),
                Kind::Proxy => env::without_login(&value),
                Kind::Plain | Kind::BothCases => value,
            };
            let source = match overruled(var, env) {
                Some(by) => format!("environment: {name}, overruled by {by}"),
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

/// The variable that keeps `var` from counting, if any does.
fn overruled(var: &Var, env: Env<'_>) -> Option<&'static str> {
    let is_set = |var: &Var| env.raw(var).is_some();
    let by = |other: &'static Var| is_set(other).then_some(other.name);
    let tls = [
        &env::TLSVERIFY,
        &env::REQUESTS_CA_BUNDLE,
        &env::SSL_CERT_FILE,
    ];
    if tls.iter().any(|one| one.name == var.name) {
        let winner = context::roots(env).0.map(|winner| winner.name);
        return winner.filter(|winner| *winner != var.name);
    }
    let logins = [&env::USERNAME, &env::PASSWORD, &env::PASSWORD_FILE];
    let is_login = logins.iter().any(|one| one.name == var.name)
        || [env::AUTHORIZATION.name, env::TOKEN.name].contains(&var.name);
    if is_login && env.is_one(&env::ANONYMOUS) {
        return Some(env::ANONYMOUS.name);
    }
    match var.name {
        name if name == env::PASSWORD_FILE.name => by(&env::PASSWORD),
        name if name == env::AUTHORIZATION.name => {
            by(&env::USERNAME).filter(|_| is_set(&env::PASSWORD) || is_set(&env::PASSWORD_FILE))
        }
        name if var.kind == Kind::Proxy && name != env::PROXY.name => by(&env::PROXY),
        name if name == env::TMPDIR.name => by(&env::TMPDIR_DXF),
        _ => None,
    }
}

/// `completions <shell>`
pub fn completions(out: &mut Out<'_>, words: &Words) -> Result<(), Failure> {
    let name = args::text(&words.take(1, 1)?[0])?;
    let shell = Shell::from_str(name, true).map_err(|_| {
        let shells: Vec<String> = Shell::value_variants()
            .iter()
            .map(Shell::to_string)
            .collect();
        Error::invalid("shell", name, format!("it takes {}", shells.join(", ")))
    })?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dxf", &mut script);
    out.write_all(&script).map_err(stdout)
}

/// `man <folder>`
pub fn man(words: &Words) -> Result<(), Failure> {
    let folder = Path::new(&words.take(1, 1)?[0]);
    let failed = |what: &Path, e| Error::io(what.display().to_string(), e);
    file::make_folder(folder, file::SHARED).map_err(|e| failed(folder, e))?;
    let mut all = Cli::command();
    all.build();
    let pages = std::iter::once(all.clone()).chain(all.get_subcommands().cloned());
    for page in pages {
        let page = clap_mangen::Man::new(page);
        let path = folder.join(page.get_filename());
        let mut bytes = Vec::new();
        let rendered = page.render(&mut bytes);
        rendered
            .and_then(|()| {
                let mut aside = Aside::beside(&path)?;
                aside.file_mut().write_all(&bytes)?;
                aside.commit_unsynced()
            })
            .map_err(|e| failed(&path, e))?;
    }
    Ok(())
}
