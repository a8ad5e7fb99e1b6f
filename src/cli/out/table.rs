//! Rows in columns.

use std::io::Write;

use dxf_registry::{Result, text};

use super::console::{Out, stdout};
use crate::cli::exit::Failure;

/// Writes rows in columns, fit for a terminal; those in `right` are aligned at
/// their ends. Rows may be made as they are needed, twice, because all at once can
/// take much memory.
pub fn table<R: AsRef<[String]>>(
    out: &mut Out<'_>,
    rows: impl IntoIterator<Item = R, IntoIter: Clone>,
    right: &[usize],
) -> Result<(), Failure> {
    let rows = rows.into_iter();
    let mut widths = Vec::<usize>::new();
    for row in rows.clone() {
        let row = row.as_ref();
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let row = row.as_ref();
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = widths[column].saturating_sub(cell.chars().count());
            let gap = " ".repeat(gap);
            match right.contains(&column) {
                true => line += &format!("{gap}{cell}  "),
                false => line += &format!("{cell}{gap}  "),
            }
        }
        writeln!(out, "{}", text::one_line(line.trim_end())).map_err(stdout)?;
    }
    Ok(())
}
