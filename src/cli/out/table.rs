//! Rows in columns.

use std::io::Write;

use dxf_registry::{Result, text};

use super::console::{Out, stdout};
use crate::cli::exit::Failure;

/// Writes rows in columns, fit for a terminal; those in `right` are aligned at
/// their ends.
pub fn table(out: &mut Out<'_>, rows: &[Vec<String>], right: &[usize]) -> Result<(), Failure> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
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
