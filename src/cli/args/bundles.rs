//! What the commands about bundles take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::images::Nondistributable;
use super::words::{self, Named};

/// What `save-bundle` takes.
#[derive(Args)]
pub struct SaveBundle {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::BundleImages>,
    /// Leave out what WHAT contains: a bundle, its index (show-bundle --index), a
    /// folder (oci:FOLDER), an image, a repository, or all repositories below
    /// HOST/PREFIX/; may be repeated
    #[arg(long, value_name = "WHAT")]
    pub since: Vec<OsString>,
    /// Write files smaller than SIZE, such as 4GiB, 700MB or 64M, named FILE.001,
    /// FILE.002 and so on
    #[arg(long, value_name = "SIZE")]
    pub part_size: Option<String>,
    /// os/architecture[/variant] to save of an index (default: all)
    #[arg(long, value_name = "P")]
    pub platform: Option<String>,
    /// Leave out signatures, SBOMs and whatever else refers to the images
    #[arg(long)]
    pub no_referrers: bool,
    /// Also save the images that FILE lists, one per line, with comments after #
    /// (- is standard input)
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// What is done with non-distributable layers.
    #[command(flatten)]
    pub nondistributable: Nondistributable,
}

/// What `load-bundle` takes.
#[derive(Args)]
pub struct LoadBundle {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::BundleTarget>,
    /// Rename repository FROM to TO, and those below FROM/ to TO/…; may be repeated
    #[arg(long, value_name = "FROM=TO")]
    pub map: Vec<String>,
    /// Exit with 0 if other parts of the bundle have to be loaded after these
    #[arg(long)]
    pub allow_missing_parts: bool,
    /// Print what would be loaded, and load nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What `show-bundle` takes.
#[derive(Args)]
pub struct ShowBundle {
    /// The arguments.
    #[command(flatten)]
    pub words: Named<words::Bundle>,
    /// Also read and check every byte; needs all parts
    #[arg(long, conflicts_with = "index")]
    pub verify: bool,
    /// Print the bundle's index, for save-bundle --since
    #[arg(long)]
    pub index: bool,
}
