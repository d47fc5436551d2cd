//! Decides what is done to a VF and what restores it: data to data, no I/O. A plan leaves no choice to whoever executes it.

mod attach;
pub(crate) mod restore;
mod wanted;

pub(crate) use self::attach::{AttachPlan, HostStep, PodStep, plan_attach};
pub(crate) use self::wanted::named_changes;
