//! The `dxf` command.

fn main() {}
