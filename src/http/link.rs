//! The `Link` header (RFC 8288), as far as lists of names need it.

/// The reference of the first link whose relation is `next`.
///
/// Lenient where registries are known to stray: Quay has sent targets without
/// angle brackets, others leave the relation unquoted.
pub fn next<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    values
        .flat_map(links)
        .find(|(_, next)| *next)
        .map(|(target, _)| target)
}

/// The links of one header value, and whether each is a `next`.
fn links(value: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let (target, after) = match rest.strip_prefix('<') {
            Some(inner) => match inner.split_once('>') {
                Some((target, after)) => (target, after),
                None => break,
            },
            None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        let (parameters, after) = after.split_at(end_of_link(after));
        found.push((target.trim().to_string(), is_next(parameters)));
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    found
}

/// Where the parameters of one link end: at a comma outside quotes.
fn end_of_link(text: &str) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return i,
            _ => {}
        }
    }
    text.len()
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        name.trim().eq_ignore_ascii_case("rel")
            && value
                .trim()
                .trim_matches('"')
                .split_ascii_whitespace()
                .any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_next_in_every_known_form() {
        for (value, expected) in [
            (
                "</v2/_catalog?last=b&n=2>; rel=\"next\"",
                Some("/v2/_catalog?last=b&n=2"),
            ),
            ("<https://h/x>; rel=next", Some("https://h/x")),
            (
                "/v2/a/tags/list?next_page=x; rel=\"next\"",
                Some("/v2/a/tags/list?next_page=x"),
            ),
            (
                "<a>; rel=prev, <b,c>; title=\"x, y; rel=next\"; REL=\"last next\"",
                Some("b,c"),
            ),
            ("<?last=1>;rel=\"next\";type=\"x\"", Some("?last=1")),
            ("<a>; rel=\"prev\"", None),
            ("<a>", None),
            ("<a", None),
            ("", None),
            (",,,", None),
        ] {
            assert_eq!(next([value].into_iter()).as_deref(), expected, "{value}");
        }
        assert_eq!(
            next(["<a>; rel=prev", "<b>; rel=next"].into_iter()).as_deref(),
            Some("b")
        );
    }

    proptest! {
        #[test]
        fn never_panics(value in "[<>;,=\"\\\\ a-z/?]{0,40}|\\PC{0,40}") {
            let _ = next([value.as_str()].into_iter());
        }
    }
}
