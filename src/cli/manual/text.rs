//! A page as text for a terminal, in lines of a given width.

use super::Page;
use super::markdown::{Block, OFF, ON, blocks};

/// How a page is shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The longest line, in characters. Code may be longer.
    pub width: usize,
    /// Whether headings and code are in bold, with a terminal's escapes.
    pub bold: Bold,
}

/// Whether words may stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bold {
    /// By a terminal's escapes.
    Yes,
    /// Not at all.
    No,
}

/// The longest first cell that has its second cell beside it.
const BESIDE: usize = 24;

/// The page as text.
pub fn render(page: &Page, style: Style) -> String {
    let mut out = String::new();
    let mut last = None;
    for block in blocks(page) {
        let kind = std::mem::discriminant(&block);
        // Parts of one kind belong together, but for paragraphs and long rows.
        let is_apart = match &block {
            Block::Paragraph(_) | Block::Heading(..) => last.is_some(),
            _ => last.is_some_and(|last| last != kind),
        };
        if is_apart {
            out.push('\n');
        }
        last = Some(kind);
        match &block {
            Block::Heading(_, text) => wrap(&mut out, &format!("{ON}{text}{OFF}"), 0, style.width),
            Block::Paragraph(text) => wrap(&mut out, text, 0, style.width),
            Block::Code(line) => out += &format!("    {line}").trim_end().replace(ON, ""),
            Block::Item(bullet, text) => item(&mut out, bullet, text, style.width),
            Block::Row(cells) => row(&mut out, cells, style.width),
        }
        out.push('\n');
    }
    finish(&out, style.bold)
}

/// An entry of a list.
fn item(out: &mut String, bullet: &str, text: &str, width: usize) {
    let indent = bullet.chars().count() + 1;
    *out += &format!("{bullet} ");
    hang(out, text, indent, width);
}

/// A row of a table: the first cell, and beside or below it the others.
fn row(out: &mut String, cells: &[String], width: usize) {
    let Some((first, rest)) = cells.split_first() else {
        return;
    };
    let rest = rest.join("  ");
    let beside = BESIDE.min(width / 3);
    let used = shown(first);
    if used <= beside {
        *out += &format!("{first}{}", " ".repeat(beside + 2 - used));
        hang(out, &rest, beside + 2, width);
    } else {
        wrap(out, first, 0, width);
        *out += "\n        ";
        hang(out, &rest, 8, width);
    }
}

/// Writes `text` from the beginning of a line.
fn wrap(out: &mut String, text: &str, indent: usize, width: usize) {
    *out += &" ".repeat(indent);
    hang(out, text, indent, width);
}

/// Writes `text` from column `indent` on, and indents the lines that follow.
fn hang(out: &mut String, text: &str, indent: usize, width: usize) {
    let mut column = indent;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = shown(word);
        if column > indent && column + 1 + length > width {
            *out += &format!("\n{}", " ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        *out += word;
        column += length;
    }
}

/// How many columns marked text takes.
fn shown(text: &str) -> usize {
    text.chars().filter(|c| *c != ON && *c != OFF).count()
}

/// Marks as a terminal's escapes, or without them.
fn finish(text: &str, bold: Bold) -> String {
    match bold {
        Bold::Yes => text.replace(ON, "\x1b[1m").replace(OFF, "\x1b[0m"),
        Bold::No => text.replace([ON, OFF], ""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::PAGES;
    use super::*;

    #[test]
    fn a_page_is_wrapped() {
        let page = Page {
            topic: "x",
            markdown: "# Title\n\nSome words that are wrapped at `forty` columns.\n\n| a | b |\n|---|---|\n| `short` | a cell that is too long for its line |\n| `one that is much too long to be beside` | below |\n\n```sh\ndxf\n```\n",
        };
        let style = Style {
            width: 40,
            bold: Bold::No,
        };
        assert_eq!(
            render(&page, style),
            "Title\n\nSome words that are wrapped at forty\ncolumns.\n\na              b\nshort          a cell that is too long\n               for its line\none that is much too long to be beside\n        below\n\n    dxf\n"
        );
        let bold = Style {
            bold: Bold::Yes,
            ..style
        };
        assert!(render(&page, bold).starts_with("\x1b[1mTitle\x1b[0m\n"));
    }

    #[test]
    fn pages_fit_any_width() {
        for page in PAGES {
            for width in [0, 20, 80, 200] {
                let style = Style {
                    width,
                    bold: Bold::No,
                };
                let text = render(page, style);
                assert!(!text.contains([ON, OFF, '`']), "{}: {text}", page.topic);
                assert!(text.ends_with('\n') && !text.contains("\n\n\n"));
            }
        }
    }
}
