//! What images are called where they are loaded.

use crate::error::{Error, Result};
use crate::hub;
use crate::reference::{Reference, RepoName};

/// From the names that images had to the repositories they go to.
///
/// An image goes to the repository it came from, without the host and below a
/// prefix, if there is one. A rule renames: the longest that fits a name wins.
///
/// ```
/// use dxf_registry::bundle::Names;
///
/// let names = Names::below(Some(&"mirror".parse()?)).map("quay.io/team=ours")?;
/// let repo = |name: &str| names.repo(&name.parse()?).map(|repo| repo.to_string());
/// assert_eq!(repo("docker.io/alpine:3.20")?, "mirror/library/alpine");
/// assert_eq!(repo("quay.io/team/app:1")?, "mirror/ours/app");
/// # Ok::<(), dxf_registry::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Names {
    prefix: Option<RepoName>,
    rules: Vec<(String, String)>,
}

impl Names {
    /// Repositories below `prefix`.
    pub fn below(prefix: Option<&RepoName>) -> Names {
        Names {
            prefix: prefix.cloned(),
            rules: Vec::new(),
        }
    }

    /// Adds the rule `FROM=TO`: what is called FROM, or `FROM/…`, is called TO,
    /// or `TO/…`. FROM may begin with a host; TO may be empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid rule.
    pub fn map(mut self, rule: &str) -> Result<Names> {
        let bad = |why| Error::invalid("--map", rule, why);
        let split = rule.split_once('=').filter(|(from, _)| !from.is_empty());
        let (from, to) = split.ok_or_else(|| bad("it is written FROM=TO"))?;
        let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'));
        if !to.is_empty() && to.parse::<RepoName>().is_err() {
            return Err(bad("TO is a repository's name, without a host or a tag"));
        }
        if self.rules.iter().any(|(known, _)| known == from) {
            return Err(bad("there are two rules for FROM"));
        }
        self.rules.push((from.to_string(), to.to_string()));
        Ok(self)
    }

    /// The rules, as they were written, that apply to none of these names.
    pub fn unused<'a>(&self, names: impl IntoIterator<Item = &'a Reference>) -> Vec<String> {
        let mut unused: Vec<&(String, String)> = self.rules.iter().collect();
        for name in names {
            let [whole, repo] = repositories(name);
            unused.retain(|(from, _)| rest(&[&whole, &repo], from).is_none());
        }
        let unused = unused.into_iter();
        unused.map(|(from, to)| format!("{from}={to}")).collect()
    }

    /// The repository that the image called `name` goes to.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the rules make no name of a repository.
    pub fn repo(&self, name: &Reference) -> Result<RepoName> {
        let [whole, repo] = repositories(name);
        let fits = self.rules.iter().filter_map(|(from, to)| {
            let rest = rest(&[&whole, &repo], from)?;
            Some((from.len(), join(to, rest)))
        });
        let longest = fits.max_by_key(|(len, _)| *len);
        let (_, renamed) = longest.unwrap_or_else(|| (0, repo.clone()));
        let prefix = self.prefix.as_ref().map_or("", RepoName::as_str);
        join(prefix, &renamed).parse()
    }
}

/// `host/repository` of a name, or the repository alone.
pub(super) fn repository(name: &Reference) -> String {
    let Some(host) = &name.host else {
        return name.repo.to_string();
    };
    let repo = hub::full_name(host.as_str(), name.repo.as_str());
    match hub::is_hub(host.as_str()) {
        true => format!("{}/{repo}", hub::NAME),
        false => format!("{host}/{repo}"),
    }
}

/// The same, and the repository without the host.
pub(super) fn repositories(name: &Reference) -> [String; 2] {
    let repo = match &name.host {
        Some(host) => hub::full_name(host.as_str(), name.repo.as_str()),
        None => name.repo.to_string(),
    };
    [repository(name), repo]
}

/// What follows `above` in the first of these names that are that or below it.
fn rest<'a>(names: &[&'a String], above: &str) -> Option<&'a str> {
    names.iter().find_map(|name| below(name, above))
}

/// What follows `above` in `name`, where `name` is that or below it.
fn below<'a>(name: &'a str, above: &str) -> Option<&'a str> {
    match name.strip_prefix(above)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

fn join(above: &str, below: &str) -> String {
    match (above, below) {
        ("", one) | (one, "") => one.to_string(),
        (above, below) => format!("{above}/{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(names: &Names, name: &str) -> Result<String> {
        Ok(names.repo(&name.parse()?)?.to_string())
    }

    #[test]
    fn the_longest_rule_wins() {
        let mut names = Names::default();
        assert_eq!(repo(&names, "r.example:5000/a/b:1").unwrap(), "a/b");
        assert_eq!(repo(&names, "app:1").unwrap(), "app");
        for rule in [
            "docker.io=hub",
            "docker.io/library/alpine=base/alpine",
            "r.example=",
            "team=us",
        ] {
            names = names.map(rule).unwrap();
        }
        for (name, expected) in [
            ("docker.io/alpine:3", "base/alpine"),
            ("docker.io/library/alpinex:3", "hub/library/alpinex"),
            ("index.docker.io/a/b:1", "hub/a/b"),
            ("r.example/team/app:1", "team/app"),
            ("quay.io/team/app:1", "us/app"),
            ("teams/app:1", "teams/app"),
        ] {
            assert_eq!(repo(&names, name).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn rules_that_fit_nothing_are_found() {
        let mut names = Names::default();
        for rule in ["quay.io/team=us", "team/app=x", "nothing=base", "te=y"] {
            names = names.map(rule).unwrap();
        }
        let all = ["quay.io/team/app:1", "tool:1"].map(|name| name.parse().unwrap());
        assert_eq!(names.unused(&all), ["nothing=base", "te=y"]);
    }

    #[test]
    fn rules_that_make_no_name_are_refused() {
        for rule in ["", "a", "=b", "a=B", "a=h:1/x:y", "a=b="] {
            assert!(Names::default().map(rule).is_err(), "{rule}");
        }
        let twice = Names::default().map("a=b").unwrap().map("a/=c");
        assert!(twice.is_err());
        let nothing = Names::default().map("a=").unwrap();
        assert!(repo(&nothing, "a:1").is_err());
    }
}
