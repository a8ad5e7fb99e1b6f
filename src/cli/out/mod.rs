//! What a command writes, and where: lines, tables, JSON, files, progress.

pub mod bars;
pub mod console;
pub mod file;
pub mod json;
pub mod label;
pub mod log;
pub mod size;
pub mod sum;
pub mod table;
pub mod tally;
