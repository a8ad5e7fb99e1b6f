//! Text that came from somewhere else, made fit for a terminal.
//!
//! A registry's message, a tag or a file name may hold escape sequences that
//! move the cursor, colour the screen or turn the reading direction. All of
//! that becomes `?`, line breaks become blanks, and length is bounded, so that
//! one message stays one line.

use crate::bounds;

/// The longest piece of foreign text that is shown, characters.
pub const MAX_SHOWN: usize = bounds::SHOWN;

/// `text` without anything a terminal would obey, all of it: for lines that
/// are this program's own but for some words.
pub fn one_line(text: &str) -> String {
    text.chars().map(harmless).collect()
}

/// A document of several lines with JSON's escapes for what a terminal would obey.
pub fn escaped(text: &str) -> String {
    let one = |c| match harmless(c) {
        '?' if c != '?' => format!("\\u{:04x}", u32::from(c)),
        _ if matches!(c, '\n' | '\t') => c.into(),
        harmless => harmless.into(),
    };
    text.chars().map(one).collect()
}

/// `text` without anything a terminal would obey, at most [`MAX_SHOWN`]
/// characters of it.
pub fn clean(text: &str) -> String {
    one_line(&head(text.trim(), MAX_SHOWN))
}

/// The first `most` characters of `text`, and a sign where there are more.
pub fn head(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// A URL with stars for the login in it, if there is one.
pub fn without_login(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    match rest.rsplit_once('@') {
        Some((login, host)) if !login.is_empty() => format!("{scheme}***@{host}"),
        _ => url.to_string(),
    }
}

fn harmless(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        // Controls, the marks that turn the reading direction, and the byte
        // order mark.
        c if c.is_control() => '?',
        '\u{061c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => '?',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(clean("\u{1b}[31mred\u{7}\nline\r\n"), "?[31mred? line");
        assert_eq!(clean("a\u{202e}b\u{9b}c\u{2028}d"), "a?b?c d");
        assert_eq!(clean("grüße 😀"), "grüße 😀");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), MAX_SHOWN + 1);
    }

    #[test]
    fn documents_keep_their_lines_and_show_what_they_hide() {
        assert_eq!(escaped("{\n\t\"a?\u{e9}\": 1}"), "{\n\t\"a?\u{e9}\": 1}");
        assert_eq!(
            escaped("\u{7f}\u{9b}2J\u{202e}\r"),
            r"\u007f\u009b2J\u202e "
        );
    }

    proptest! {
        #[test]
        fn one_bounded_line(text in any::<String>()) {
            let shown = clean(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(!one_line(&text).chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= MAX_SHOWN + 1);
        }
    }

    #[test]
    fn logins_in_urls_are_starred() {
        for (url, shown) in [
            ("http://p:3128", "http://p:3128"),
            ("http://u:p@w@p:3128", "http://***@p:3128"),
            ("u:pw@p", "***@p"),
            ("@v1", "@v1"),
        ] {
            assert_eq!(without_login(url), shown);
        }
    }
}
