//! `list-repos`: the names of the registry's repositories.

use dxf_registry::layout::Layouts;
use dxf_registry::{Result, Root};

use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// `list-repos`
pub fn run(s: &mut Session<'_, '_>) -> Result<(), Failure> {
    match s.root()? {
        Root::Registry(host) => {
            let registry = s.registry(host)?;
            s.names(registry.repos())
        }
        Root::Folder(folder) => s.names(Layouts::new(folder).repos()),
    }
}
