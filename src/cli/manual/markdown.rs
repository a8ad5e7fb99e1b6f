//! The Markdown that the manual's pages use, taken apart: headings, paragraphs,
//! lists, code and tables. Nothing else appears in them.

use super::Page;

/// Starts words that stand out in marked text: code, and what is in bold.
pub const ON: char = '\u{1}';
/// Ends them.
pub const OFF: char = '\u{2}';

/// A part of a page. Text is marked with [`ON`] and [`OFF`].
#[derive(Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// A heading, and how deep it is.
    Heading(usize, String),
    /// Running text.
    Paragraph(String),
    /// An entry of a list, and its bullet or number.
    Item(&'a str, String),
    /// A line of code, as it is.
    Code(&'a str),
    /// A row of a table.
    Row(Vec<String>),
}

/// The parts of a page, in order.
pub fn blocks(page: &Page) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            blocks.extend(code.map(Block::Code));
        } else if line.starts_with('|') {
            let is_rule = line.starts_with("|-");
            blocks.extend((!is_rule).then(|| Block::Row(cells(line))));
        } else if line.starts_with('#') {
            let text = line.trim_start_matches('#');
            let depth = line.len() - text.len();
            blocks.push(Block::Heading(depth, marked(text.trim())));
        } else if !line.trim().is_empty() {
            let (bullet, first) = bullet(line);
            let mut text = first.to_string();
            while let Some(next) = lines.next_if(|next| continues(next)) {
                text = text + " " + next.trim();
            }
            blocks.push(match bullet {
                Some(bullet) => Block::Item(bullet, marked(&text)),
                None => Block::Paragraph(marked(&text)),
            });
        }
    }
    blocks
}

/// Whether a line belongs to the paragraph or entry before it.
fn continues(line: &str) -> bool {
    let ends = ["```", "|", "#"];
    !line.trim().is_empty()
        && !ends.iter().any(|end| line.starts_with(end))
        && bullet(line).0.is_none()
}

/// The bullet or number of a list's entry, and the rest of the line.
fn bullet(line: &str) -> (Option<&str>, &str) {
    let Some((first, rest)) = line.split_once(' ') else {
        return (None, line);
    };
    let number = first.strip_suffix('.');
    let is_number = number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    match first == "-" || is_number {
        true => (Some(first), rest),
        false => (None, line),
    }
}

/// The cells of a table's row; `\|` is not a border.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    let line = line.replace("\\|", "\u{3}");
    let cell = |cell: &str| marked(&cell.trim().replace('\u{3}', "|"));
    line.split('|').map(cell).collect()
}

/// Text with [`ON`] and [`OFF`] around what Markdown has in backticks or in
/// bold, and with links as words.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        match at % 2 {
            0 => out += &plain(part),
            _ => out += &format!("{ON}{part}{OFF}"),
        }
    }
    out
}

/// Text without backticks: bold, links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, name, target, after)) = link(rest) {
        out += before;
        out += &words(name, target);
        rest = after;
    }
    out += rest;
    let mut bold = String::new();
    for (at, part) in out.split("**").enumerate() {
        match at % 2 {
            0 => bold += part,
            _ => bold += &format!("{ON}{part}{OFF}"),
        }
    }
    bold
}

/// The first link: what is before it, its name, its target, what is after it.
fn link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, tail) = text.split_once("](")?;
    let (before, name) = head.rsplit_once('[')?;
    let (target, after) = tail.split_once(')')?;
    Some((before, name, target, after))
}

/// A link as words: the command that shows the page.
fn words(name: &str, target: &str) -> String {
    match target.split_once(".md") {
        Some((topic, _)) if topic == name => format!("{ON}dxf help {topic}{OFF}"),
        Some((topic, _)) => format!("{name} ({ON}dxf help {topic}{OFF})"),
        None => format!("{name} ({target})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(markdown: &'static str) -> Vec<Block<'static>> {
        blocks(Box::leak(Box::new(Page {
            topic: "x",
            markdown,
        })))
    }

    #[test]
    fn pages_fall_into_blocks() {
        let found = parsed(
            "# A `b`\n\none\ntwo **three**\n\n```console\n$ dxf\n\n```\n1. first\n   more\n2. next\n- dot\n\n| a \\| b | c |\n|---|---|\n| `x\\|y` | see [logins](logins.md) |\n",
        );
        let text = |text: &str| text.to_string();
        assert_eq!(
            found,
            [
                Block::Heading(1, text("A \u{1}b\u{2}")),
                Block::Paragraph(text("one two \u{1}three\u{2}")),
                Block::Code("$ dxf"),
                Block::Code(""),
                Block::Item("1.", text("first more")),
                Block::Item("2.", text("next")),
                Block::Item("-", text("dot")),
                Block::Row(vec![text("a | b"), text("c")]),
                Block::Row(vec![
                    text("\u{1}x|y\u{2}"),
                    text("see \u{1}dxf help logins\u{2}")
                ]),
            ]
        );
    }

    #[test]
    fn links_are_words() {
        assert_eq!(
            marked("[variables](images.md#copying-images), [semver](https://semver.org)."),
            "variables (\u{1}dxf help images\u{2}), semver (https://semver.org)."
        );
    }
}
