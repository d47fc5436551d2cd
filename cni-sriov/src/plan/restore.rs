//! Compares a VF with its baseline and plans what restores it: the settings at the PF, and the network device.

mod link;
mod settings;

pub(crate) use self::link::{LinkRestore, ReturnedLink, link_changes, link_difference};
pub(crate) use self::settings::{SettingsPlan, plan_settings, settings_to_verify};
