//! Decides what is done to a VF and what restores it: data to data, no I/O. A plan leaves no choice to whoever executes it.

mod attach;
mod named_changes;
pub(crate) mod restore;

pub(crate) use self::attach::{AttachPlan, HostStep, PodStep, plan_attach};
pub(crate) use self::named_changes::named_changes;
