//! Does nothing: its cost is that of any static program before its first line.

fn main() {}
