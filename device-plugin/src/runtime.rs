//! The daemon: starts and ends the tasks, and owns what they share. Only here are tasks spawned, apart from the connections of a server.

pub(crate) mod error;
mod metrics;
mod readiness;
mod run;
mod servers;

pub(crate) use self::run::run;
