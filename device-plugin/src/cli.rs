//! The command line: flags, and the subcommands for people.

pub(crate) mod args;
mod command;
pub(crate) mod subcommands;
