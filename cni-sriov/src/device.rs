//! Which VF a request is about, and what sysfs and the PF report of it. Nothing is changed here but a device-info file and a metadata file of a claim.

mod boot;
mod claims;
mod error;
mod find_vf;
mod info_file;
mod metadata;
mod observe;
mod ports;
mod select;
mod uplink;

pub(crate) use self::boot::{
    boot_id, ensure_sysfs, is_before_boot, is_unchanged_device, unchanged_netns,
};
pub(crate) use self::error::DeviceError;
pub(crate) use self::find_vf::{
    Candidate, driver_of, ensure_present, ensure_same, find_vf, pf_and_index, pf_view,
};
pub(crate) use self::info_file::{address, complete_info_file};
pub(crate) use self::metadata::write_network_data;
pub(crate) use self::observe::{observe, read_vf};
pub(crate) use self::select::{Selected, claimed, select};
