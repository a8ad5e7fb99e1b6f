//! The repositories of the store that `DXF_HOST` names.

use dxf_registry::layout::Layouts;
use dxf_registry::registry::Registry;
use dxf_registry::store::Names;
use dxf_registry::{RepoName, Store};

/// A registry, or a folder of layouts.
pub enum Repos {
    /// A registry; its repositories share connections and tokens.
    Registry(Registry),
    /// A folder.
    Folder(Layouts),
}

impl Repos {
    /// Their names, page by page.
    pub fn names(&self) -> Names<'_> {
        match self {
            Repos::Registry(registry) => registry.repos(),
            Repos::Folder(folders) => folders.repos(),
        }
    }

    /// One of them.
    pub fn open(&self, repo: &RepoName) -> Box<dyn Store> {
        match self {
            Repos::Registry(registry) => Box::new(registry.repository(repo.clone())),
            Repos::Folder(folders) => Box::new(folders.repository(repo)),
        }
    }
}
