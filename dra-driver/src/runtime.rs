//! The daemon: starts and ends the tasks, and owns what they share. Only here are tasks spawned, apart from the connections of a server.

mod backoff;
mod claim_source;
mod claim_status;
mod clock;
mod endpoints;
pub(crate) mod error;
mod events;
mod front_end;
mod mirror;
mod publisher;
mod report;
mod run;

pub(crate) use self::run::run;
