//! Platforms: where an image runs, and which images run where (image-spec,
//! image-index.md; containerd's platform rules). Knows nothing of indexes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::json::{self, Members};

/// The member with the version of the operating system; Windows images differ
/// by it alone.
const OS_VERSION: &str = "os.version";

/// Where an image runs: `os/architecture[/variant][:os.version]`.
///
/// Other names of processors are understood (`x86_64`, `aarch64`, `armhf`).
///
/// ```
/// use dxf_registry::Platform;
/// let wanted: Platform = "linux/aarch64".parse().unwrap();
/// let offered: Platform = "linux/arm64/v8".parse().unwrap();
/// assert!(wanted.fit(&offered).is_some());
/// let windows: Platform = "windows/amd64:10.0.17763.1".parse().unwrap();
/// assert_eq!(windows.os_version(), Some("10.0.17763.1"));
/// assert!("linux".parse::<Platform>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Platform {
    /// Operating system, as Go calls it: `linux`, `windows`.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub os: String,
    /// Processor, as Go calls it: `amd64`, `arm64`.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub architecture: String,
    /// Version of the processor: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `os.version`, `os.features` and members of later specifications.
    #[serde(flatten)]
    pub rest: Members,
}

impl Platform {
    /// The platform `os/architecture`, in Go's names.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Platform {
        Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
            rest: Members::default(),
        }
    }

    /// The same platform with a version of the processor.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Platform {
        self.variant = Some(variant.into());
        self
    }

    /// The same platform with a version of the operating system.
    #[must_use]
    pub fn with_os_version(mut self, version: impl Into<String>) -> Platform {
        self.rest.insert(OS_VERSION.into(), version.into().into());
        self
    }

    /// The platform of this machine. It is Linux on macOS, where containers run
    /// in a virtual machine.
    pub fn host() -> Platform {
        let os = match std::env::consts::OS {
            "macos" => "linux",
            other => other,
        };
        let is_little = cfg!(target_endian = "little");
        Platform::new(os, go_architecture(std::env::consts::ARCH, is_little))
    }

    /// The version of the operating system; Windows images have one.
    pub fn os_version(&self) -> Option<&str> {
        let version = self.rest.get(OS_VERSION).and_then(Value::as_str);
        version.filter(|version| !version.is_empty())
    }

    /// How well an image for `offered` runs where `self` is requested: 0 is the
    /// same platform, larger is an older variant of the same processor, `None`
    /// does not run. Lower variants run on higher ones (arm v5 to v7, amd64 v1
    /// to v4), never the other way, and no other processor ever fits. A version
    /// of the operating system matters only if `self` has one; `10.0.17763`
    /// fits `10.0.17763.1`.
    pub fn fit(&self, offered: &Platform) -> Option<u32> {
        let (processor, wanted) = self.processor();
        let (other, found) = offered.processor();
        if self.os != offered.os || processor != other || !self.fits_version(offered) {
            return None;
        }
        if wanted == found {
            return Some(0);
        }
        if !matches!(processor, "arm" | "amd64") {
            return None;
        }
        let level = |v: Option<&str>| v?.trim_start_matches('v').parse::<u32>().ok();
        level(wanted)?.checked_sub(level(found)?)
    }

    fn fits_version(&self, offered: &Platform) -> bool {
        let Some(wanted) = self.os_version() else {
            return true;
        };
        let rest = offered.os_version().and_then(|v| v.strip_prefix(wanted));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Whether this is not a platform at all: the entries BuildKit adds for its
    /// attestations say `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        let blank = |word: &str| word.is_empty() || word == "unknown";
        blank(&self.os) && blank(&self.architecture)
    }

    /// Processor and variant, in Go's names, the variant filled in where none
    /// is written (containerd's rules).
    fn processor(&self) -> (&str, Option<&str>) {
        let (processor, implied) = canonical(&self.architecture);
        let written = self
            .variant
            .as_deref()
            .filter(|variant| !variant.is_empty());
        let variant = match (processor, written.or(implied)) {
            ("arm64", None | Some("8")) => Some("v8"),
            ("arm", None | Some("7")) => Some("v7"),
            ("arm", Some("6")) => Some("v6"),
            ("arm", Some("5")) => Some("v5"),
            ("amd64", None) => Some("v1"),
            (_, variant) => variant,
        };
        (processor, variant)
    }
}

/// A processor in Go's names, and the variant that another name implies
/// (containerd, platforms/database.go).
fn canonical(name: &str) -> (&str, Option<&'static str>) {
    match name {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "i386" | "i686" | "x86" => ("386", None),
        "armhf" | "armv7l" => ("arm", Some("v7")),
        "armel" | "armv6l" => ("arm", Some("v6")),
        other => (other, None),
    }
}

/// What Go calls a processor that Rust calls `name`. Rust has one name for both
/// byte orders.
fn go_architecture(name: &str, is_little_endian: bool) -> &str {
    match (name, is_little_endian) {
        ("powerpc64", true) => "ppc64le",
        ("powerpc64", false) => "ppc64",
        ("powerpc", _) => "ppc",
        ("mips", true) => "mipsle",
        ("mips64", true) => "mips64le",
        ("loongarch64", _) => "loong64",
        (other, _) => canonical(other).0,
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Platform> {
        let bad = |why| Error::invalid("platform", text, why);
        let (words, version) = match text.split_once(':') {
            Some((words, version)) => (words, Some(version)),
            None => (text, None),
        };
        let parts: Vec<&str> = words.split('/').collect();
        if !(2..=3).contains(&parts.len()) {
            return Err(bad("it must look like linux/amd64 or linux/arm/v7"));
        }
        let legal = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().chain(&version).all(legal) {
            return Err(bad(
                "only letters, digits and . _ - are allowed between the slashes",
            ));
        }
        let (processor, implied) = canonical(parts[1]);
        let mut platform = Platform::new(parts[0], processor);
        platform.variant = parts.get(2).copied().or(implied).map(str::to_string);
        Ok(match version {
            Some(version) => platform.with_os_version(version),
            None => platform,
        })
    }
}

/// `os/architecture[/variant]`, a key of JSON that scripts read; `{:#}` adds the
/// version of the operating system where there is one.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |word: &str| -> String {
            if word.is_empty() {
                "unknown".into()
            } else {
                word.into()
            }
        };
        write!(
            f,
            "{}/{}",
            or_unknown(&self.os),
            or_unknown(&self.architecture)
        )?;
        if let Some(variant) = self.variant.as_deref().filter(|v| !v.is_empty()) {
            write!(f, "/{variant}")?;
        }
        match self.os_version().filter(|_| f.alternate()) {
            Some(version) => write!(f, ":{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn parses_and_prints() {
        for good in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(p(good).to_string(), good);
        }
        let windows = p("windows/amd64:10.0.1");
        assert_eq!(windows.to_string(), "windows/amd64");
        assert_eq!(format!("{windows:#}"), "windows/amd64:10.0.1");
        for bad in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/a b",
            "linux//v7",
            "windows/amd64:",
            "windows/amd64:1/2",
            "windows:1/amd64",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fits_as_processors_do() {
        let table = [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v7", "linux/arm/v5", Some(2)),
            ("linux/arm/7", "linux/arm/v7", Some(0)),
            ("linux/arm/v5", "linux/arm/v6", None),
            ("linux/amd64/v4", "linux/amd64/v3", Some(1)),
            ("linux/amd64/v4", "linux/amd64", Some(3)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64", "linux/386", None),
            ("linux/arm64", "linux/arm/v7", None),
            ("linux/s390x", "linux/s390x", Some(0)),
            ("linux/ppc64le", "linux/ppc64le/power9", None),
            ("windows/amd64", "linux/amd64", None),
            ("windows/amd64", "windows/amd64:10.0.17763.1", Some(0)),
            (
                "windows/amd64:10.0.17763",
                "windows/amd64:10.0.17763.1",
                Some(0),
            ),
            ("windows/amd64:10.0.177", "windows/amd64:10.0.17763.1", None),
            ("windows/amd64:10.0.17763.1", "windows/amd64", None),
        ];
        for (wanted, offered, fit) in table {
            assert_eq!(p(wanted).fit(&p(offered)), fit, "{wanted} on {offered}");
        }
    }

    #[test]
    fn processors_have_other_names() {
        let written = |name: &str| Platform::new("linux", name);
        for (wanted, offered) in [
            ("linux/x86_64", "amd64"),
            ("linux/x86-64", "x86_64"),
            ("linux/amd64", "x86-64"),
            ("linux/aarch64", "arm64"),
            ("linux/arm64/v8", "aarch64"),
            ("linux/i386", "386"),
            ("linux/armhf", "arm"),
            ("linux/arm/v6", "armel"),
        ] {
            assert_eq!(p(wanted).fit(&written(offered)), Some(0), "{wanted}");
        }
        assert_eq!(p("linux/x86_64"), p("linux/amd64"));
        assert_eq!(p("linux/armel"), p("linux/arm/v6"));
    }

    #[test]
    fn byte_orders_are_different_processors() {
        assert_eq!(go_architecture("powerpc64", true), "ppc64le");
        assert_eq!(go_architecture("powerpc64", false), "ppc64");
        assert_eq!(go_architecture("mips64", false), "mips64");
        assert_eq!(go_architecture("x86_64", true), "amd64");
        assert!(!Platform::host().is_unknown());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            if let Ok(platform) = text.parse::<Platform>() {
                prop_assert_eq!(&p(&platform.to_string()).architecture, &platform.architecture);
            }
        }
    }
}
