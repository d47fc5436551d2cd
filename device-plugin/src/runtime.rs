//! The daemon: starts and ends the tasks, and owns what they share. Only here are tasks spawned, apart from the connections of a server.

mod config_file;
pub(crate) mod error;
mod holders;
mod last_good;
mod log;
mod metrics;
mod pools;
mod preflight;
mod readiness;
mod run;
mod servers;
mod signals;

pub(crate) use self::run::run;
