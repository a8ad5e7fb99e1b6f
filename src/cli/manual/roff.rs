//! A page as a man page of section 7.

use super::Page;
use super::markdown::{Block, OFF, ON, blocks};

/// The page's file name, such as `dxf-large-files.7`.
pub fn file_name(page: &Page) -> String {
    format!("dxf-{}.7", page.topic)
}

/// The page in roff, with man's macros.
pub fn render(page: &Page) -> String {
    let name = format!("dxf-{}", page.topic);
    let mut out = format!(
        ".TH {} 7 \"\" \"dxf {}\" \"dxf manual\"\n.SH NAME\n{} \\- {}\n.SH DESCRIPTION\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        escaped(&name),
        escaped(page.title()),
    );
    let mut in_code = false;
    for block in blocks(page).into_iter().skip(1) {
        let is_code = matches!(block, Block::Code(_));
        if is_code != in_code {
            out += if is_code {
                ".PP\n.RS 4\n.nf\n"
            } else {
                ".fi\n.RE\n"
            };
            in_code = is_code;
        }
        out += &match &block {
            Block::Heading(2, text) => format!(".SH {}\n", escaped(&text.to_uppercase())),
            Block::Heading(_, text) => format!(".SS {}\n", escaped(text)),
            Block::Paragraph(text) => format!(".PP\n{}\n", line(text)),
            Block::Item("-", text) => format!(".IP \\(bu 2\n{}\n", line(text)),
            Block::Item(number, text) => format!(".IP {number} 4\n{}\n", line(text)),
            Block::Code(code) => format!("{}\n", line(code)),
            Block::Row(cells) => row(cells),
        };
    }
    if in_code {
        out += ".fi\n.RE\n";
    }
    out
}

/// A row of a table: the first cell as a tag, the others below it.
fn row(cells: &[String]) -> String {
    let (first, rest) = match cells.split_first() {
        Some((first, rest)) => (line(first), rest.join("  ")),
        None => return String::new(),
    };
    format!(".TP\n{first}\n{}\n", line(&rest))
}

/// A line of text in roff, which no macro begins.
pub fn line(text: &str) -> String {
    let text = escaped(text);
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// Text with roff's own characters escaped, and commands and options in bold.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out += "\\e",
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '`' => out += "\\(ga",
            '^' => out += "\\(ha",
            '~' => out += "\\(ti",
            ON => out += "\\fB",
            OFF => out += "\\fR",
            c if c.is_ascii() => out.push(c),
            c => out += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_roff() {
        let page = Page {
            topic: "x-y",
            markdown: "# Title\n\n.dot `-o` …\n\n## Next\n\n```sh\ndxf \\\n```\n\n| `a` | b |\n|---|---|\n\n- one\n",
        };
        let text = render(&page);
        let (head, body) = text.split_once(".SH DESCRIPTION\n").unwrap();
        assert!(head.starts_with(".TH DXF-X-Y 7 "), "{head}");
        assert!(
            head.ends_with(".SH NAME\ndxf\\-x\\-y \\- Title\n"),
            "{head}"
        );
        assert_eq!(
            body,
            ".PP\n\\&.dot \\fB\\-o\\fR \\[u2026]\n.SH NEXT\n.PP\n.RS 4\n.nf\ndxf \\e\n.fi\n.RE\n.TP\n\\fBa\\fR\nb\n.IP \\(bu 2\none\n"
        );
    }
}
