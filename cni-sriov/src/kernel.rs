//! Changes the kernel's state: executes plans, restores VFs, configures the interface in the pod. Nothing is decided here.

mod addresses;
mod attach;
mod error;
mod pod;
mod privileges;
mod rebind;
mod restore;
mod take_back;
mod target;

pub(crate) use self::addresses::configure;
pub(crate) use self::attach::{Attachment, attach, set_up};
pub(crate) use self::error::KernelError;
pub(crate) use self::pod::{open_netns, open_pod_netns};
pub(crate) use self::privileges::ensure_privileges;
pub(crate) use self::restore::restore;
pub(crate) use self::take_back::take_back;
pub(crate) use self::target::Target;
