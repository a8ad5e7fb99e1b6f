//! Which of an image's platforms to use: the one of `--platform`, otherwise
//! `DXF_PLATFORM`, else this machine's.

use dxf_registry::image::{Image, Node};
use dxf_registry::manifest::Select;
use dxf_registry::{Error, Platform, Result};

use crate::cli::args;
use crate::cli::exit::Failure;
use crate::cli::session::Session;

/// Which part of an index to select, from `--platform`, `DXF_PLATFORM` or the machine.
pub struct Choice {
    /// The whole index.
    pub all: bool,
    /// The platform asked for, or the machine's.
    pub platform: Platform,
    /// Who asked for it.
    by: By,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Flag,
    Variable,
    Machine,
}

impl Choice {
    /// What `flag` says, if it is given.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is neither `all` nor a platform.
    pub fn new(s: &Session<'_, '_>, flag: Option<&str>) -> Result<Choice> {
        let all = flag == Some("all");
        let (platform, by) = match (flag, &s.context.platform) {
            (Some(flag), _) if !all => (flag.parse()?, By::Flag),
            (_, Some(platform)) => (platform.clone(), By::Variable),
            _ => (Platform::host(), By::Machine),
        };
        Ok(Choice { all, platform, by })
    }

    /// The same for a pull.
    pub fn wanted(&self) -> Select<'_> {
        match self.by {
            _ if self.all => Select::All,
            By::Machine => Select::Host(&self.platform),
            By::Flag | By::Variable => Select::Platform(&self.platform),
        }
    }

    /// An image that stands alone is taken whatever `DXF_PLATFORM` says, as the
    /// commands about aliases do, but not against what the command line says.
    ///
    /// # Errors
    /// [`Error::NoPlatform`] as a thing that is not found.
    pub fn check(&self, node: &Node) -> Result<(), Failure> {
        let Node::Image(image) = node else {
            return Ok(());
        };
        match self.by {
            By::Flag => must_fit(image, &self.platform),
            _ => Ok(()),
        }
    }
}

/// The platform that `--platform` asks for, which can't be all of them.
pub fn one_platform(s: &Session<'_, '_>, flag: Option<&str>) -> Result<Choice, Failure> {
    if flag == Some("all") {
        return Err(args::usage("an engine takes the image of one platform"));
    }
    Ok(Choice::new(s, flag)?)
}

/// Which part of an index that was fetched already to select.
///
/// # Errors
/// [`Error::NoPlatform`] as a thing that is not found.
pub fn choose(node: Node, wanted: Select<'_>) -> Result<Node, Failure> {
    node.select(wanted).map_err(platform_missing)
}

/// Refuses an image that does not run on a platform named on the command line.
///
/// # Errors
/// [`Error::NoPlatform`] as a thing that is not found; those of the config.
pub fn must_fit(image: &Image, platform: &Platform) -> Result<(), Failure> {
    image.must_run_on(platform).map_err(platform_missing)
}

/// In these commands a missing platform counts as not found.
pub fn platform_missing(error: Error) -> Failure {
    match error.what() {
        Error::NoPlatform { .. } => Failure::Missing(error),
        _ => error.into(),
    }
}
