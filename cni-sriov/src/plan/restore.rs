//! Compares a VF with its baseline and plans what restores it: the settings at the PF, and the network device.

mod link;
mod pf_settings;

pub(crate) use self::link::{LinkRestore, ReturnedLink, link_changes, link_difference};
pub(crate) use self::pf_settings::{SettingsPlan, plan_settings, settings_to_verify};
