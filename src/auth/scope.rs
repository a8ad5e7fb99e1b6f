//! What a token is asked to allow (distribution's token specification):
//! `repository:<name>:<actions>`, several at once, merged per resource. GitLab
//! lets a second entry for a repository override the first, so there is never
//! more than one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::reference::RepoName;

/// Whether the same request was refused before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// This is its first refusal.
    No,
    /// A token did not help.
    Yes,
}

/// Resources, and what may be done to each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(BTreeMap<String, BTreeSet<String>>);

impl Scope {
    /// Nothing in particular.
    pub fn none() -> Scope {
        Scope::default()
    }

    /// Listing the registry's repositories.
    pub fn catalog() -> Scope {
        Scope::none().with("registry:catalog", &["*"])
    }

    /// `actions` on a repository.
    pub fn repository(repo: &RepoName, actions: &[&str]) -> Scope {
        Scope::none().with(&format!("repository:{repo}"), actions)
    }

    /// The same scope and `actions` on one resource more.
    pub fn with(mut self, resource: &str, actions: &[&str]) -> Scope {
        let held = self.0.entry(resource.to_string()).or_default();
        held.extend(
            actions
                .iter()
                .filter(|a| !a.is_empty())
                .map(|a| a.to_string()),
        );
        self
    }

    /// Reads the `scope` of a challenge: entries separated by blanks, the
    /// actions of each after its last colon (ports and paths have their own).
    pub fn parse(text: &str) -> Scope {
        text.split_ascii_whitespace()
            .fold(Scope::none(), |scope, entry| match entry.rsplit_once(':') {
                Some((resource, actions)) => {
                    scope.with(resource, &actions.split(',').collect::<Vec<_>>())
                }
                // AWS's public registry asks for plain `aws`.
                None => scope.with(entry, &[]),
            })
    }

    /// Everything both allow.
    pub fn union(mut self, other: &Scope) -> Scope {
        for (resource, actions) in &other.0 {
            self.0
                .entry(resource.clone())
                .or_default()
                .extend(actions.iter().cloned());
        }
        self
    }

    /// What to ask a token server for when a request needs this and the
    /// registry's challenge names `asked`: what the request needs, and words
    /// that only the registry knows. A second refusal (`again`) shows that this
    /// is too little, but what only reads never asks for more than reading.
    pub fn asking(&self, asked: &Scope, again: Again) -> Scope {
        if self.is_empty() && asked.is_empty() {
            return Scope::catalog();
        }
        if self.is_empty() || again == Again::Yes && !self.only_pulls() {
            return self.clone().union(asked);
        }
        let fits = |resource: &str, actions: &BTreeSet<String>| {
            actions.is_empty() || again == Again::Yes && resource.starts_with("repository:")
        };
        let more = asked.0.iter().filter(|(name, actions)| fits(name, actions));
        more.fold(self.clone(), |scope, (name, actions)| {
            let pulls: Vec<&str> = actions
                .iter()
                .map(String::as_str)
                .filter(|a| *a == "pull")
                .collect();
            scope.with(name, &pulls)
        })
    }

    /// The same for no more than what names no action: a repository alone.
    pub fn asks_nothing(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// Whether this scope includes `other`.
    pub fn covers(&self, other: &Scope) -> bool {
        other.0.iter().all(|(resource, actions)| {
            self.0
                .get(resource)
                .is_some_and(|held| held.contains("*") || actions.is_subset(held))
        })
    }

    /// The repository it is about: the one that is written to, if any is (a
    /// mount also reads another), else the first.
    pub fn repository_name(&self) -> Option<RepoName> {
        let written = |actions: &BTreeSet<String>| actions.iter().any(|a| a != "pull");
        let mut names: Vec<_> = self
            .0
            .iter()
            .filter_map(|(resource, actions)| {
                let name = resource.strip_prefix("repository:")?.parse().ok()?;
                Some((!written(actions), name))
            })
            .collect();
        names.sort_by_key(|(reads, _)| *reads);
        names.into_iter().next().map(|(_, name)| name)
    }

    /// Whether it asks for no more than reading.
    pub fn only_pulls(&self) -> bool {
        self.0.values().flatten().all(|action| action == "pull")
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries, one a resource, as the token server reads them.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            if actions.is_empty() {
                return resource.clone();
            }
            // In the usual order: some servers compare text.
            let mut actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            actions.sort_by_key(|a| {
                (
                    ["pull", "push", "delete"]
                        .iter()
                        .position(|k| k == a)
                        .unwrap_or(9),
                    *a,
                )
            });
            format!("{resource}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entries().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_per_resource_and_prints_in_order() {
        let scope =
            Scope::parse("repository:a/b:push,pull repository:c:pull repository:a/b:delete aws");
        assert_eq!(
            scope.to_string(),
            "aws repository:a/b:pull,push,delete repository:c:pull"
        );
        assert_eq!(Scope::parse("  ").to_string(), "");
        assert_eq!(
            Scope::parse("repository:h:5000/a:pull").to_string(),
            "repository:h:5000/a:pull"
        );
        let other = Scope::catalog().union(&Scope::parse("repository:a/b:pull"));
        assert_eq!(other.to_string(), "registry:catalog:* repository:a/b:pull");
    }

    #[test]
    fn a_mount_is_done_by_whoever_may_push() {
        let mount = Scope::parse("repository:a/source:pull repository:z/target:pull,push");
        assert_eq!(mount.repository_name().unwrap().as_str(), "z/target");
        let pull = Scope::parse("registry:catalog:* repository:a/source:pull");
        assert_eq!(pull.repository_name().unwrap().as_str(), "a/source");
        assert_eq!(Scope::catalog().repository_name(), None);
    }

    #[test]
    fn a_challenge_does_not_widen_what_is_asked() {
        let asked = |needed: &str, challenge: &str, again| {
            Scope::parse(needed)
                .asking(&Scope::parse(challenge), again)
                .to_string()
        };
        let (pull, wide) = ("repository:a:pull", "repository:a:pull,push,delete aws");
        assert_eq!(asked(pull, wide, Again::No), "aws repository:a:pull");
        assert_eq!(asked(pull, wide, Again::Yes), "aws repository:a:pull");
        let other = "registry:catalog:* repository:x/a:pull,push";
        assert_eq!(asked(pull, other, Again::No), pull);
        assert_eq!(
            asked(pull, other, Again::Yes),
            "repository:a:pull repository:x/a:pull"
        );
        let push = "repository:a:pull,push";
        assert_eq!(asked(push, wide, Again::No), "aws repository:a:pull,push");
        assert_eq!(
            asked(push, wide, Again::Yes),
            "aws repository:a:pull,push,delete"
        );
        assert_eq!(
            asked("", wide, Again::No),
            "aws repository:a:pull,push,delete"
        );
        assert_eq!(asked("", "", Again::No), "registry:catalog:*");
    }

    #[test]
    fn covers_what_is_within() {
        let wide = Scope::parse("repository:a:pull,push");
        assert!(wide.covers(&Scope::parse("repository:a:pull")) && wide.covers(&Scope::none()));
        assert!(!wide.covers(&Scope::parse("repository:b:pull")));
        assert!(!wide.covers(&Scope::parse("repository:a:delete")));
        assert!(Scope::parse("repository:a:*").covers(&wide));
    }
}
