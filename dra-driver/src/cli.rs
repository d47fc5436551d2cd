//! The command line: flags, and the subcommands for people.

pub(crate) mod args;
pub(crate) mod claim;
