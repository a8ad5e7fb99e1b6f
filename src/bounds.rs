//! The bounds on what is read from servers and files, so that a few bytes cannot
//! cost hours or gigabytes: all of them, and their only place. The manual's page
//! on limits (`dxf help limits`) is compared with them by a test.

// Images and artifacts

/// A manifest, bytes (distribution-spec asks registries for this much).
pub const MANIFEST: u64 = 4 << 20;
/// The config of an image, bytes (as containers/image).
pub const CONFIG: u64 = 4 << 20;
/// Layers or entries of one manifest: far beyond any real one, yet small enough
/// that a hostile one can't exhaust anything.
pub const MANIFEST_ENTRIES: usize = 100_000;
/// Layers of an image.
pub const LAYERS: usize = 4096;
/// Indexes in indexes, levels.
pub const INDEX_LEVELS: usize = 2;
/// The entries of all indexes below one name, repeated ones included. The
/// largest official image has some forty.
pub const INDEX_ENTRIES: u64 = 4096;
/// The bytes of manifests and configs that are in memory for one name, or
/// for one archive.
pub const HELD: u64 = 32 << 20;
/// Referrers of one image, directly and of each other.
pub const REFERRERS: usize = 10_000;
/// Referrers of referrers, levels.
pub const REFERRER_LEVELS: u32 = 64;
/// Entries of a list of referrers.
pub const REFERRERS_LISTED: usize = REFERRERS;
/// Manifests that the tags of a repository lead to, when what nothing leads to is
/// looked for.
pub const REACHED: usize = 1 << 20;
/// Signatures of a schema 1 manifest: checking one takes time.
pub const SIGNATURES: usize = 64;
/// Parts of one file: their manifest is within [`MANIFEST`].
pub const PARTS: u64 = 26_000;
/// Folders in folders of a model.
pub const MODEL_LEVELS: usize = 32;

// Layers

/// Files of an image that are in memory: the largest images have half a million.
pub const FILES: usize = 1_000_000;
/// Memory for them together, bytes.
pub const FILES_MEMORY: usize = 256 << 20;
/// How large anything may become when it is decompressed, bytes.
pub const GROWTH_FREE: u64 = 1 << 30;
/// How many times its size it may become beyond that.
pub const GROWTH: u64 = 1000;
/// The window of zstd, as a power of two.
pub const ZSTD_WINDOW: u32 = 27;
/// A text in the headers of a tar, bytes: Go's archive/tar reads no more.
pub const TAR_TEXT: u64 = 1 << 20;
/// All texts in front of one member of a tar, bytes.
pub const TAR_TEXTS: u64 = 3 * TAR_TEXT;
/// Pieces of a sparse file; 16 MiB of memory.
pub const SPARSE_PIECES: usize = 1 << 20;
/// All sparse files of an image that is squashed or exported, bytes: a few bytes
/// can say that a file has many TiB of zeros, which others would have to contain.
pub const SPARSE: u64 = 1 << 30;
/// Symbolic links that one name leads through (as Linux).
pub const LINKS: usize = 40;

// Folders, archives and bundles

/// The largest `index.json` of a folder, bytes: some fifty thousand tags.
pub const INDEX_JSON: u64 = 16 << 20;
/// Its entries: more than its largest size has room for when each names a digest
/// and a tag.
pub const INDEX_JSON_ENTRIES: usize = 1 << 17;
/// Its other members; the specification knows six.
pub const INDEX_JSON_MEMBERS: usize = 1024;
/// The file `oci-layout`, bytes: it is thirty, and this leaves room for members to come.
pub const LAYOUT_MARKER: u64 = 64 << 10;
/// `manifest.json` of a docker-archive, bytes.
pub const DOCKER_LIST: u64 = 1 << 20;
/// Members of an archive or bundle: more than the largest has.
pub const MEMBERS: usize = 100_000;
/// The name of one, bytes: what file systems take.
pub const MEMBER_NAME: usize = 4096;
/// The manifests that the index of a bundle leads to, bytes, counted again for each
/// name: a name is a hundred bytes, and leads to 4 MiB.
pub const BUNDLE_MANIFESTS: u64 = 256 << 20;
/// What a list in a bundle says of its items: where each of them is, and what it
/// needs. A number of two bytes stands for a digest.
pub const BUNDLE_LINKS: usize = 1_000_000;
/// Parts of a bundle.
pub const BUNDLE_PARTS: usize = 999;
/// A list in a bundle, or its index, bytes.
pub const BUNDLE_LIST: u64 = 32 << 20;
/// The file with a bundle's version, bytes.
pub const BUNDLE_MARKER: u64 = 4096;

// Servers

/// The head of an answer, bytes.
pub const HEAD: usize = 64 << 10;
/// The body of an error, bytes; the rest of it is not read.
pub const ERROR_BODY: u64 = 64 << 10;
/// An answer with a token, bytes.
pub const TOKEN_ANSWER: u64 = 128 << 10;
/// A page of a list, bytes.
pub const PAGE: u64 = 16 << 20;
/// Pages of a list.
pub const PAGES: usize = 10_000;
/// All pages of a list, bytes.
pub const LIST: u64 = 32 << 20;
/// Entries of a list, on all its pages: the largest registries have a third of that.
pub const LIST_ENTRIES: usize = 1_000_000;
/// Redirects of one request.
pub const REDIRECTS: usize = 10;
/// Different warnings of servers that are shown.
pub const WARNINGS: usize = 16;
/// Characters of one text of a server that are shown.
pub const SHOWN: usize = 400;

// Files on this machine

/// A file with logins, bytes.
pub const LOGINS: u64 = 1 << 20;
/// What a credential helper answers, bytes.
pub const HELPER_ANSWER: u64 = 64 << 10;
/// A file of certificates, bytes; a device or a mistake ends here.
pub const CERTIFICATES: u64 = 16 << 20;
/// A plan of what is deleted, bytes: some hundred thousand tags.
pub const PLAN: u64 = 64 << 20;
/// A list of repositories to copy, bytes.
pub const REPOSITORY_LIST: u64 = 16 << 20;
/// A list of images to save, bytes.
pub const IMAGE_LIST: u64 = 1 << 20;
/// A password on standard input, bytes.
pub const PASSWORD: u64 = 64 << 10;
/// A note of an unfinished upload, bytes; anything longer was not written here.
pub const UPLOAD_NOTE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// `12,345`, and `4096`.
    fn count(n: u64) -> String {
        if n < 10_000 {
            n.to_string()
        } else {
            grouped(n)
        }
    }

    fn grouped(n: u64) -> String {
        match n {
            0..1000 => n.to_string(),
            _ => format!("{},{:03}", grouped(n / 1000), n % 1000),
        }
    }

    fn size(bytes: u64) -> String {
        match (bytes >> 10, bytes % (1 << 10)) {
            (0, _) | (_, 1..) => format!("{bytes} bytes"),
            (kib @ 1..1024, 0) => format!("{kib} KiB"),
            (kib @ 1024..0x10_0000, 0) => format!("{} MiB", kib >> 10),
            (kib, 0) => format!("{} GiB", kib >> 20),
        }
    }

    /// The rows of the manual's page, in order.
    fn rows() -> Vec<(&'static str, String)> {
        let (n, s) = (|n: usize| count(n as u64), size);
        let both = |one: String, two: String| format!("{one}; {two}");
        vec![
            ("a manifest; a config", both(s(MANIFEST), s(CONFIG))),
            ("layers or entries in one manifest", n(MANIFEST_ENTRIES)),
            ("layers of an image", n(LAYERS)),
            ("nested indexes", format!("{INDEX_LEVELS} levels")),
            (
                "entries of all indexes below one name, including repeated ones",
                count(INDEX_ENTRIES),
            ),
            (
                "manifests and configs in memory for one name or archive",
                s(HELD),
            ),
            (
                "referrers of one image; referrers of referrers",
                format!("{}; {REFERRER_LEVELS} levels", n(REFERRERS)),
            ),
            ("manifests that `gc` reads", n(REACHED)),
            ("signatures of a schema 1 manifest", n(SIGNATURES)),
            ("parts of one file (`--split`)", count(PARTS)),
            (
                "nested folders of a model",
                format!("{MODEL_LEVELS} levels"),
            ),
            (
                "files of an image that are listed, searched, exported, compared or squashed",
                n(FILES),
            ),
            ("memory for those, for each image", s(FILES_MEMORY as u64)),
            (
                "size of a layer after decompression",
                format!("{}, or {} times its size", s(GROWTH_FREE), count(GROWTH)),
            ),
            ("window of zstd", s(1 << ZSTD_WINDOW)),
            (
                "a name, link or attribute in a tar; all of one file",
                both(s(TAR_TEXT), s(TAR_TEXTS)),
            ),
            ("pieces of a sparse file", n(SPARSE_PIECES)),
            (
                "sparse files of an image that is exported or squashed",
                s(SPARSE),
            ),
            ("symbolic links in one path", n(LINKS)),
            (
                "`index.json` of a folder",
                format!("{}, {} entries", s(INDEX_JSON), n(INDEX_JSON_ENTRIES)),
            ),
            ("`manifest.json` of a docker-archive", s(DOCKER_LIST)),
            (
                "files in an archive or bundle; the name of one",
                both(n(MEMBERS), s(MEMBER_NAME as u64)),
            ),
            (
                "manifests of a bundle, counted again for each name",
                s(BUNDLE_MANIFESTS),
            ),
            ("parts of a bundle", n(BUNDLE_PARTS)),
            (
                "the index of a bundle (`--since`), and each of its lists",
                format!(
                    "{}, {} repositories and dependencies",
                    s(BUNDLE_LIST),
                    n(BUNDLE_LINKS)
                ),
            ),
            ("the head of an answer", s(HEAD as u64)),
            ("the body of an error (the rest is not read)", s(ERROR_BODY)),
            ("an answer with a token", s(TOKEN_ANSWER)),
            ("a page of a list; pages", both(s(PAGE), n(PAGES))),
            (
                "all pages of a list",
                format!("{}, {} entries", s(LIST), n(LIST_ENTRIES)),
            ),
            (
                "a page of referrers; entries of all",
                both(s(MANIFEST), n(REFERRERS_LISTED)),
            ),
            ("redirects of one request", n(REDIRECTS)),
            ("warnings of registries that are shown", n(WARNINGS)),
            (
                "characters of a text from a server that are shown",
                n(SHOWN),
            ),
            ("a file with logins", s(LOGINS)),
            ("an answer of a credential helper", s(HELPER_ANSWER)),
            ("a password on standard input", s(PASSWORD)),
            ("a file of certificates", s(CERTIFICATES)),
            ("a plan (`prune-aliases --plan`)", s(PLAN)),
            (
                "a list of repositories (`sync`); of images (`save-bundle`)",
                both(s(REPOSITORY_LIST), s(IMAGE_LIST)),
            ),
        ]
    }

    #[test]
    fn the_manual_has_them_all() {
        let page = include_str!("manual/limits.md");
        let row = |line: &str| {
            let (what, most) = line.trim_matches('|').split_once(" | ")?;
            let is_head = what.trim() == "what" || what.starts_with("--");
            (!is_head).then(|| (what.trim().to_string(), most.trim().to_string()))
        };
        let lines = page.lines().filter(|line| line.starts_with('|'));
        let told: Vec<_> = lines.filter_map(row).collect();
        let known = rows()
            .into_iter()
            .map(|(what, most)| (what.to_string(), most));
        assert_eq!(told, known.collect::<Vec<_>>());
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for (n, text) in [
            (40, "40"),
            (4096, "4096"),
            (10_000, "10,000"),
            (1_048_576, "1,048,576"),
        ] {
            assert_eq!(count(n), text);
        }
        for (n, text) in [
            (999, "999 bytes"),
            (4096, "4 KiB"),
            (1 << 20, "1 MiB"),
            (1 << 30, "1 GiB"),
        ] {
            assert_eq!(size(n), text);
        }
    }
}
