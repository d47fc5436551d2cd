//! From pools to slices: which devices this node publishes, in which slices, and which writes lead there. Pure: no request, no clock.
//!
//! Start at [`desired::Desired`], then [`plan::plan`].

pub(crate) mod attributes;
pub(crate) mod desired;
pub(crate) mod device;
mod layout;
pub(crate) mod plan;
