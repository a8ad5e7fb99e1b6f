//! Where an upload session is and how far it came, in the words of registries:
//! the `Location` and `Range` of their answers (distribution-spec, "Pushing
//! blobs"). Sends nothing.

use crate::http::{Scheme, Url};
use crate::registry::Repository;

/// Elsewhere is allowed over https and without credentials (distribution-spec,
/// "Pushing blobs"); whether its address may be connected to is decided there.
pub fn checked_location(repository: &Repository, url: Url) -> Result<Url, String> {
    let home = repository.url("");
    let url = url.as_meant_at(&home);
    if url.origin() == home.origin() {
        return Ok(url);
    }
    if home.scheme() == Scheme::Https && url.scheme() == Scheme::Http {
        return Err(format!("its upload location {url} is not https"));
    }
    Ok(url)
}

/// `0-99`, or `bytes=0-99` as old ones write it: 100 bytes arrived.
pub fn end_of_range(value: &str) -> Option<u64> {
    let value = value.trim();
    let range = value
        .strip_prefix("bytes")
        .map_or(value, |rest| rest.trim_start_matches(['=', ' ']));
    let (start, end) = range.split_once('-')?;
    (start.trim() == "0").then_some(())?;
    match end.trim().parse::<u64>().ok()? {
        // Either nothing or one byte; nothing is what registries mean.
        0 => Some(0),
        end => end.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_sessions() {
        for (value, expected) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("bytes 0-99", Some(100)),
            ("0-0", Some(0)),
            ("5-99", None),
            ("0-18446744073709551615", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(end_of_range(value), expected, "{value}");
        }
    }

    #[test]
    fn locations_stay_where_credentials_may_go_or_go_without() {
        let connect = |host: &str, scheme| {
            let settings = crate::registry::Settings {
                scheme,
                ..Default::default()
            };
            let registry = crate::registry::Registry::connect(
                host.parse().unwrap(),
                settings,
                crate::credentials::Credentials::anonymous(),
            );
            registry.unwrap().repository("a".parse().unwrap())
        };
        let https = connect("r.example:5000", Scheme::Https);
        let at =
            |url: &str| checked_location(&https, Url::parse(url).unwrap()).map(|url| url.as_str());
        assert_eq!(
            at("https://r.example:5000/u?_state=%3D").unwrap(),
            "https://r.example:5000/u?_state=%3D"
        );
        assert_eq!(
            at("http://r.example:5000/u").unwrap(),
            "https://r.example:5000/u"
        );
        assert_eq!(
            at("http://r.example/u").unwrap(),
            "https://r.example:5000/u"
        );
        assert_eq!(
            at("https://store.example/u").unwrap(),
            "https://store.example/u"
        );
        assert!(at("http://store.example/u").is_err());
        let http = connect("127.0.0.1:5000", Scheme::Http);
        let local = Url::parse("http://127.0.0.1:5001/u").unwrap();
        assert!(checked_location(&http, local).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_range_is_survived(value in "(bytes[= ]?)?[0-9]{0,25}-[0-9]{0,25}|\\PC{0,40}") {
            let _ = end_of_range(&value);
        }
    }
}
