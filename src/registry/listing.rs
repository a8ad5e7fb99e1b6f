//! Lists that come in pages: tags and repositories (distribution-spec,
//! "Listing Tags"). The `Link` header says where the next page is, and nothing
//! else does.

use std::collections::{HashSet, VecDeque};

use ::http::header::LINK;
use serde::Deserialize;

use crate::auth::Scope;
use crate::error::{Error, Result};
use crate::http::{Request, Url, link};
use crate::reference::{RepoName, Tag};
use crate::registry::Registry;

/// The largest page that is read, bytes.
const MAX_PAGE: u64 = 16 << 20;
/// More pages than any registry has; a loop ends here at the latest.
const MAX_PAGES: usize = 10_000;

/// What is listed.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A repository's tags.
    Tags,
    /// A registry's repositories.
    Repositories,
}

/// An iterator over the names, which fetches a page when it needs one. After
/// an error it ends.
pub struct Listing<'a> {
    registry: &'a Registry,
    scope: Scope,
    kind: Kind,
    /// Where the next page is, or why it is not fetched: what this one holds
    /// comes first.
    next: Option<Result<Url>>,
    seen: HashSet<String>,
    names: VecDeque<String>,
}

#[derive(Deserialize)]
struct Page {
    // Both `null` and nothing at all mean none.
    tags: Option<Vec<String>>,
    repositories: Option<Vec<String>>,
}

impl<'a> Listing<'a> {
    /// The list that begins at `first`.
    pub fn new(registry: &'a Registry, scope: Scope, first: Url, kind: Kind) -> Listing<'a> {
        Listing {
            registry,
            scope,
            kind,
            next: Some(Ok(first)),
            seen: HashSet::new(),
            names: VecDeque::new(),
        }
    }

    fn fetch(&mut self, url: Url) -> Result<()> {
        let request = Request::new("GET", url.clone());
        let wrong = |why: &str| Error::malformed(format!("list at {url}"), why);
        if !self.seen.insert(url.as_str()) || self.seen.len() > MAX_PAGES {
            return Err(wrong("its pages go round in a circle"));
        }
        let (next, bytes) = self.registry.again(|| {
            let response = self.registry.attempt(&self.scope, &request, &[200])?;
            let links = response.headers.get_all(LINK);
            let next = link::next(links.iter().filter_map(|value| value.to_str().ok()));
            Ok((next, response.bytes(MAX_PAGE)?))
        })?;
        // Relative to what was asked, not to where a redirect led: the next
        // page is the registry's business.
        self.next = next.map(|reference| match url.join(&reference)? {
            next if next.origin() == url.origin() => Ok(next),
            _ => Err(wrong("its next page is on another server")),
        });
        let page: Page = serde_json::from_slice(&bytes).map_err(|e| wrong(&e.to_string()))?;
        let names = match self.kind {
            Kind::Tags => page.tags,
            Kind::Repositories => page.repositories,
        };
        self.names = names.unwrap_or_default().into();
        Ok(())
    }

    /// Names become paths and are printed; whatever breaks the grammar is an
    /// error.
    fn checked(&self, name: String) -> Result<String> {
        match self.kind {
            Kind::Tags => name.parse::<Tag>().map(drop),
            Kind::Repositories => name.parse::<RepoName>().map(drop),
        }
        .map_err(|e| Error::malformed("list", e))?;
        Ok(name)
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        loop {
            if let Some(name) = self.names.pop_front() {
                return Some(self.checked(name));
            }
            let fetched = self.next.take()?.and_then(|url| self.fetch(url));
            if let Err(error) = fetched {
                self.next = None;
                return Some(Err(error));
            }
        }
    }
}
