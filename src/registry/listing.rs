//! Lists that come in pages: tags and repositories (distribution-spec,
//! "Listing Tags"). The `Link` header says where the next page is, and nothing
//! else does.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

use ::http::header::{HeaderMap, LINK};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::auth::Scope;
use crate::bounds;
use crate::error::{Error, Result};
use crate::http::{Request, Url, link};
use crate::reference::{RepoName, Tag};
use crate::registry::Registry;
use crate::store::odd_name;

/// The largest page that is read, bytes.
const MAX_PAGE: u64 = bounds::PAGE;
/// More pages than any registry has; a loop ends here at the latest.
const MAX_PAGES: usize = bounds::PAGES;
/// The bytes and entries of all pages of a list: commands have them all in memory.
const MAX_LIST: u64 = bounds::LIST;
const MAX_ENTRIES: usize = bounds::LIST_ENTRIES;

/// What is listed.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Kind {
    /// A repository's tags.
    Tags,
    /// A registry's repositories.
    Repositories,
}

/// An iterator over the names, which fetches a page when it needs one. A name
/// that breaks the grammar is an error in its place; any other error ends it.
pub struct Listing<'a> {
    registry: &'a Registry,
    scope: Scope,
    kind: Kind,
    pages: Pages,
    names: Names,
    /// How many of them were given.
    given: usize,
}

/// The first page of the list at `url`, of `size` names.
pub(super) fn paged(url: &Url, size: NonZeroU32) -> Url {
    url.with_query("n", &size.to_string())
}

/// Where the pages of a list are. Ends at the last one, and after an error.
pub(super) struct Pages {
    /// An error is reported when the page is read, not before: the names of this
    /// one are good.
    next: Option<Result<Url>>,
    /// Hashes of the addresses, which may be 64 KiB each.
    seen: HashSet<u64>,
    hashes: RandomState,
    /// Bytes and entries of the pages so far.
    bytes: u64,
    entries: usize,
}

#[derive(Deserialize)]
struct Page {
    // Both `null` and nothing at all mean none.
    tags: Option<Names>,
    repositories: Option<Names>,
}

/// Which members a page has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    name: Present,
    tags: Present,
    repositories: Present,
}

/// Whether there is a member, `null` included.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Present, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Present(true))
    }
}

/// The names of a page, one after the other: as strings of their own, names of
/// one letter would take fourteen times the size of the page.
#[derive(Default)]
struct Names {
    text: String,
    /// Where each ends. [`MAX_PAGE`] is far below 4 GiB.
    ends: Vec<u32>,
}

/// Replaces an entry that is not a string. It breaks the grammar of names,
/// so it is an error in its place, and hides no other.
const NO_STRING: &str = "(not a string)";

impl Names {
    fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len() as u32);
    }

    fn get(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start as usize..end as usize)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Names, D::Error> {
        from.deserialize_seq(List)
    }
}

/// Reads [`Names`].
struct List;

impl<'de> Visitor<'de> for List {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Names, A::Error> {
        let mut names = Names::default();
        while let Some(entry) = list.next_element::<&RawValue>()? {
            match serde_json::from_str::<String>(entry.get()) {
                Ok(name) => names.push(&name),
                Err(_) => names.push(NO_STRING),
            }
        }
        Ok(names)
    }
}

impl Pages {
    /// A list whose first page is at `first`.
    pub fn new(first: Url) -> Pages {
        Pages {
            next: Some(Ok(first)),
            seen: HashSet::new(),
            hashes: RandomState::new(),
            bytes: 0,
            entries: 0,
        }
    }

    /// Counts a page of the list, of so many bytes and entries.
    ///
    /// # Errors
    /// For more than a list may have, all pages together.
    pub fn count(&mut self, url: &Url, bytes: usize, entries: usize) -> Result<()> {
        self.bytes += bytes as u64;
        self.entries += entries;
        if self.bytes <= MAX_LIST && self.entries <= MAX_ENTRIES {
            return Ok(());
        }
        let mib = MAX_LIST >> 20;
        let why = format!("it has more than {MAX_ENTRIES} entries, or {mib} MiB");
        Err(wrong(url, &why))
    }

    /// The page to ask for now.
    pub fn take(&mut self) -> Result<Option<Url>> {
        let Some(url) = self.next.take().transpose()? else {
            return Ok(None);
        };
        if !self.seen.insert(self.hashes.hash_one(url.as_str())) || self.seen.len() > MAX_PAGES {
            return Err(wrong(&url, "its pages repeat"));
        }
        Ok(Some(url))
    }

    /// Learns from the answer to `url` where the next page is.
    pub fn follow(&mut self, url: &Url, headers: &HeaderMap) {
        let links = headers.get_all(LINK);
        let next = link::next(links.iter().filter_map(|value| value.to_str().ok()));
        // Relative to what was asked, not to where a redirect led: the next
        // page is the registry's business.
        self.next = next.map(|reference| {
            let joined = url.join(&reference);
            let next = joined.map_err(|e| wrong(url, &e.to_string()))?;
            match next.as_meant_at(url) {
                next if next.origin() == url.origin() => Ok(next),
                _ => Err(wrong(url, "its next page is on another server")),
            }
        });
    }
}

fn wrong(url: &Url, why: &str) -> Error {
    Error::malformed(format!("list at {url}"), why)
}

/// Whether a document without names is a list of none, and not what another server
/// than a registry says: a mirror that takes that for a list would delete all.
fn is_list(bytes: &[u8]) -> bool {
    let found = serde_json::from_slice(bytes).unwrap_or_default();
    let Members {
        name,
        tags,
        repositories,
    } = found;
    let empty = !bytes.contains(&b':');
    empty || [name, tags, repositories].iter().any(|member| member.0)
}

impl<'a> Listing<'a> {
    /// The list that begins at `first`.
    pub fn new(registry: &'a Registry, scope: Scope, first: Url, kind: Kind) -> Listing<'a> {
        Listing {
            registry,
            scope,
            kind,
            pages: Pages::new(first),
            names: Names::default(),
            given: 0,
        }
    }

    /// Reads a page more; false when there is none.
    fn fetch(&mut self) -> Result<bool> {
        let Some(url) = self.pages.take()? else {
            return Ok(false);
        };
        let request = Request::new("GET", url.clone());
        let answer = self
            .registry
            .read(&self.scope, &request, &[200], MAX_PAGE)?;
        self.pages.follow(&url, &answer.headers);
        let page: Page =
            serde_json::from_slice(&answer.bytes).map_err(|e| wrong(&url, &e.to_string()))?;
        let (names, member) = match self.kind {
            Kind::Tags => (page.tags, "tags"),
            Kind::Repositories => (page.repositories, "repositories"),
        };
        let names = match names {
            Some(names) => names,
            None if is_list(&answer.bytes) => Names::default(),
            None => return Err(wrong(&url, &format!("it has no member {member}"))),
        };
        let count = names.ends.len();
        self.pages.count(&url, answer.bytes.len(), count)?;
        (self.names, self.given) = (names, 0);
        Ok(true)
    }

    /// Names become paths and are printed; one that breaks the grammar is an
    /// error, and hides no other.
    fn checked(&self, name: &str) -> Result<String> {
        match self.kind {
            Kind::Tags => name.parse::<Tag>().map(drop),
            Kind::Repositories => name.parse::<RepoName>().map(drop),
        }
        .map_err(odd_name)?;
        Ok(name.to_string())
    }
}

impl Iterator for Listing<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        loop {
            if let Some(name) = self.names.get(self.given) {
                self.given += 1;
                return Some(self.checked(name));
            }
            match self.fetch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    // Nothing follows what can't be trusted.
                    self.pages.next = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
