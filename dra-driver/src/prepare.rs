//! Prepares and unprepares claims: checks first, then steps that can be repeated, each recorded on disk before it is done.
//!
//! [`plan`] decides about a new claim, without I/O. [`steps`] executes a recorded claim from the begin to the end, however often and wherever it was interrupted.
//! [`release`] undoes it, and succeeds only when the CNI plugin's journal proves that each VF is clean. Start at [`Preparer`].

mod cdi;
mod cni;
mod error;
mod leftovers;
mod metadata;
mod paths;
mod plan;
mod preparer;
mod release;
mod steps;
mod variables;

pub(crate) use self::paths::Paths;
pub(crate) use self::preparer::{ClaimSource, PreparedDevice, Preparer};
