//! Does nothing: what a static program costs before its first line.

fn main() {}
