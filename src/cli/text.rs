//! Text from elsewhere, made fit for a terminal: a registry must not be able to
//! move the cursor, colour the screen, fake a second line or turn the writing
//! direction round (CVE-2021-42574 shows what the last one is good for).

use std::borrow::Cow;

/// The most of a server's words that one line shows.
const CAP: usize = 600;

/// `text` without anything a terminal obeys. Line breaks and tabs become one
/// blank, everything else its escape.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c if is_unfit(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// [`sanitize`], cut where a hostile server would flood the screen.
pub fn line(text: &str) -> String {
    let clean = sanitize(text);
    match clean.char_indices().nth(CAP) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean.into_owned(),
    }
}

/// C0, DEL, C1, the bidirectional controls, and what breaks a line.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}' | '\u{2029}'
        )
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_a_terminal_obeys_passes() {
        assert_eq!(sanitize("plain é"), "plain é");
        assert_eq!(sanitize("a\r\n\tb"), "a b");
        assert_eq!(sanitize("\x1b[31m"), "\\u{1b}[31m");
        assert_eq!(sanitize("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
        assert_eq!(sanitize("x\u{202e}y\u{2028}z"), "x\\u{202e}y z");
    }

    #[test]
    fn a_flood_is_cut() {
        let cut = line(&"é".repeat(10_000));
        assert_eq!(cut.chars().count(), CAP + 1);
        assert_eq!(line("short"), "short");
    }

    proptest! {
        #[test]
        fn one_line_comes_out(text in any::<String>()) {
            prop_assert!(!line(&text).chars().any(is_unfit));
        }
    }
}
