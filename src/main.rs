//! The `eir` command.

fn main() {}
