//! The CNI plugin `sriov`: attaches one VF to one pod as a transaction, and undoes it.
//!
//! Start at `dispatch`, which calls the `verbs`. Below the verbs each folder is one stage, and an import runs from a later stage to an earlier one:
//! `request` decodes without touching the host; `device` finds the VF and reads it; `plan` decides without I/O;
//! `journal` records the VF's state before anything changes; `ipam` delegates; `result` reads and writes CNI results; `drift` compares for CHECK;
//! `kernel` executes and restores. Each stage has its own error type, and `failure` unites them for the verbs.

#![forbid(unsafe_code)]

mod device;
mod dispatch;
mod drift;
mod failure;
mod install;
mod ipam;
mod journal;
mod kernel;
mod log;
mod model;
mod plan;
mod process;
mod request;
mod result;
mod setup;
mod streams;
mod verbs;

pub use self::dispatch::run;
pub use self::failure::Failure;
pub use self::install::install;
pub use self::process::call;
pub use self::request::{Environment, Verb};
pub use self::setup::{OpenHost, Setup};
