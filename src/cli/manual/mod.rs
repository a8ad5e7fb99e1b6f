//! The pages of the manual: `src/manual/*.md`, compiled into the program. They
//! are shown by `dxf help TOPIC` and written as man pages by `dxf man`.

mod markdown;
pub mod roff;
pub mod text;

use crate::cli::near::is_near;

/// A page of the manual.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// What it is called on the command line, such as `large-files`.
    pub topic: &'static str,
    /// Its text, in Markdown.
    pub markdown: &'static str,
}

macro_rules! pages {
    ($($topic:literal)*) => {
        /// The topics of all pages, in the order of [`PAGES`].
        pub const TOPICS: &[&str] = &[$($topic),*];

        /// Every page, in the order in which a newcomer reads them.
        pub const PAGES: &[Page] = &[$(Page {
            topic: $topic,
            markdown: include_str!(concat!("../../manual/", $topic, ".md")),
        }),*];
    };
}

pages! {
    "getting-started"
    "blobs-and-aliases"
    "large-files"
    "artifacts"
    "bundles"
    "images"
    "editing-images"
    "housekeeping"
    "logins"
    "configuration"
    "registries"
    "ci"
    "exit-codes"
    "limits"
    "coming-from-python-dxf"
    "coming-from-crpy"
    "coming-from-docker-charon"
    "coming-from-docker-drag"
    "coming-from-docker-ls"
    "coming-from-registry-cli"
    "coming-from-moby-distribution"
    "coming-from-crane-skopeo-oras"
}

impl Page {
    /// The page of this topic.
    pub fn find(topic: &str) -> Option<Page> {
        PAGES.iter().find(|page| page.topic == topic).copied()
    }

    /// The topic that the user probably meant.
    pub fn near(topic: &str) -> Option<&'static str> {
        TOPICS.iter().find(|known| is_near(known, topic)).copied()
    }

    /// Its title: the first heading.
    pub fn title(&self) -> &'static str {
        let first = self.markdown.lines().next().unwrap_or_default();
        first.trim_start_matches("# ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_is_a_page() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let pages: BTreeSet<String> = PAGES
            .iter()
            .map(|page| format!("{}.md", page.topic))
            .collect();
        assert_eq!(
            files, pages,
            "list the page in PAGES of src/cli/manual/mod.rs"
        );
        assert_eq!(PAGES.len(), pages.len(), "a topic is listed twice");
    }

    #[test]
    fn every_page_starts_with_its_title_and_links_to_pages() {
        for page in PAGES {
            assert!(page.markdown.starts_with("# "), "{}", page.topic);
            for link in page.markdown.split("](").skip(1) {
                let target = link.split(')').next().unwrap_or_default();
                let Some((topic, _)) = target.split_once(".md") else {
                    continue;
                };
                assert!(Page::find(topic).is_some(), "{}: {target}", page.topic);
            }
        }
    }
}
