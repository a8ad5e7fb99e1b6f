//! The `<repo>` argument: the name of a repository, and what to write instead
//! of a name that holds more than that.
//!
//! python-dxf takes a host before the name for part of the name, and makes a
//! repository of that long name at `DXF_HOST`. A user who writes one means the
//! host, so it is refused here unless it is the one of `DXF_HOST`.

use dxf_registry::{Digest, Error, Host, RepoName, Result, Root, Tag};

/// The repository that `word` names in `root`.
///
/// The host of `DXF_HOST` may be written before the name. That is also how to
/// reach a repository whose own name begins with a host, such as a mirror's
/// `docker.io/library/alpine`.
///
/// # Errors
/// [`Error::Invalid`] saying what to write instead.
pub fn repo(word: &str, root: Option<&Root>) -> Result<RepoName> {
    let here = match root {
        Some(Root::Registry(host)) => Some(host),
        Some(Root::Folder(_)) | None => None,
    };
    let Some((first, name)) = host_and_name(word) else {
        return named(word, word);
    };
    match (first.parse::<Host>(), here) {
        (Ok(host), Some(here)) if host == *here => named(name, word),
        // A folder has no host, and a mirror in one may
        // name its repositories after hosts.
        (_, None) if root.is_some() && word.parse::<RepoName>().is_ok() => word.parse(),
        _ => Err(foreign(word, first, name, here)),
    }
}

/// A first part that looks like a host, and what follows it.
fn host_and_name(word: &str) -> Option<(&str, &str)> {
    let (first, name) = word.split_once('/')?;
    let is_host = first == "localhost" || first.contains(['.', ':']);
    (is_host && first.parse::<Host>().is_ok()).then_some((first, name))
}

/// A name after another host than that of `DXF_HOST`.
fn foreign(word: &str, first: &str, name: &str, here: Option<&Host>) -> Error {
    let mut why = format!("the host belongs in DXF_HOST: DXF_HOST={first} dxf … {name}");
    if let Some(here) = here.filter(|_| word.parse::<RepoName>().is_ok()) {
        why += &format!(" (a repository of this long name at {here} is {here}/{word})");
    }
    Error::invalid("repository", word, why)
}

/// The repository `name`; `word` is what was written.
fn named(name: &str, word: &str) -> Result<RepoName> {
    name.parse::<RepoName>().map_err(|error| {
        let (rest, why) = if let Some((scheme, _)) = word.split_once("://") {
            let why = format!("leave out {scheme}://, and name the host in DXF_HOST");
            return Error::invalid("repository", word, why);
        } else if let Some((rest, digest)) = name.split_once('@') {
            match (digest.parse::<Digest>(), digest.parse::<Tag>()) {
                (Ok(_), _) => (
                    rest,
                    format!("the digest is an argument of its own: {rest} {digest}"),
                ),
                (_, Ok(tag)) => (rest, alias(rest, &tag)),
                _ => return error,
            }
        } else if let Some((rest, Ok(tag))) = name.rsplit_once(':').map(|(r, t)| (r, t.parse())) {
            (rest, alias(rest, &tag))
        } else {
            let lower = name.to_lowercase();
            let why = format!("names are lower-case: {lower}");
            return match lower != name && lower.parse::<RepoName>().is_ok() {
                true => Error::invalid("repository", word, why),
                false => error,
            };
        };
        match rest.parse::<RepoName>() {
            Ok(_) => Error::invalid("repository", word, why),
            Err(_) => error,
        }
    })
}

fn alias(repo: &str, tag: &Tag) -> String {
    format!(
        "the alias is an argument of its own: {repo} {tag}, or {repo} @{tag} in commands \
         about blobs"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, word: &str) -> Result<RepoName> {
        repo(word, Some(&host.parse().unwrap()))
    }

    #[test]
    fn the_host_of_the_store_may_be_written() {
        for (host, word, name) in [
            ("r.example", "team/app", "team/app"),
            ("r.example", "r.example/team/app", "team/app"),
            ("r.example", "R.example/team/app", "team/app"),
            ("127.0.0.1:5000", "127.0.0.1:5000/app", "app"),
            ("r.example", "r.example/docker.io/app", "docker.io/app"),
            ("r.example", "a.b", "a.b"),
            ("r.example", "team/a.b", "team/a.b"),
            ("r.example", "team/localhost", "team/localhost"),
            ("oci:store", "docker.io/app", "docker.io/app"),
        ] {
            assert_eq!(at(host, word).unwrap().as_str(), name, "{word}");
        }
    }

    #[test]
    fn what_is_wrong_says_what_to_write() {
        for (host, word, said) in [
            (
                "r.example",
                "q.example/team/app",
                "DXF_HOST=q.example dxf … team/app",
            ),
            (
                "r.example",
                "q.example/team/app",
                "is r.example/q.example/team/app)",
            ),
            ("r.example", "localhost/app", "DXF_HOST=localhost dxf … app"),
            ("r.example", "h:5000/app", "DXF_HOST=h:5000 dxf … app"),
            ("r.example", "r.example:443/app", "DXF_HOST=r.example:443"),
            ("oci:store", "h:5000/app", "DXF_HOST=h:5000 dxf … app"),
            ("r.example", "team/app:v1", "own: team/app v1, or"),
            ("r.example", "r.example/team/app:v1", "own: team/app v1, or"),
            ("r.example", "team/app@v1", "own: team/app v1, or"),
            ("r.example", "Team/App", "names are lower-case: team/app"),
            ("r.example", "https://q.example/team", "leave out https://"),
            ("r.example", "team//app", "separated by /"),
            ("r.example", "team//app:v1", "separated by /"),
            ("r.example", "../app", "separated by /"),
            ("r.example", "r.example/", "separated by /"),
        ] {
            let error = at(host, word).unwrap_err().to_string();
            assert!(error.contains("invalid repository "), "{error}");
            assert!(error.contains(said), "{word}: {error}");
        }
        let digest = Digest::of(b"abc");
        let error = at("r.example", &format!("team/app@{digest}")).unwrap_err();
        let said = format!("own: team/app {digest}");
        assert!(error.to_string().contains(&said), "{error}");
    }
}
