//! A device as a slice has it, and the key of a slice.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sriov_inventory::id::DeviceId;

/// Devices of a slice when one of them may have a taint (`ResourceSliceMaxDevicesWithTaintsOrConsumesCounters`).
pub(crate) const MOST_DEVICES: usize = 64;
/// Bytes of a string attribute (`DeviceAttributeMaxValueLength`).
pub(crate) const LONGEST_TEXT: usize = 64;

/// The devices of a slice, in the order of preference; shared by what is desired and what was written.
pub(crate) type Content = Arc<Vec<Arc<Device>>>;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// A DNS label, unique in the pool.
    pub(crate) name: String,
    /// By name, with a domain unless it is the driver's.
    pub(crate) attributes: BTreeMap<String, Value>,
    /// All have the effect `NoSchedule`.
    pub(crate) taints: Vec<Taint>,
}

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
}

/// A taint that keeps new pods away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The name of a device in a slice: the id with `-` for all that a DNS label cannot have, `0000-01-10-0`.
pub(crate) fn name_of(id: &DeviceId) -> String {
    let letters = id.to_string();
    let letter = |one: char| {
        if one.is_ascii_alphanumeric() {
            one
        } else {
            '-'
        }
    };
    letters.to_ascii_lowercase().chars().map(letter).collect()
}

/// The beginning of a slice's name: schedulers since Kubernetes 1.36 use the slices of a pool in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SliceKey(String);

/// Length of a key.
const KEY: usize = 18;

impl SliceKey {
    /// The key of a part of a group.
    pub(super) fn new(group: &Group, part: usize) -> Self {
        Self(format!("{}{part:03x}", group.0))
    }

    /// The key in the name of a slice; absent when the name is not one that this driver gives.
    pub(crate) fn in_name(name: &str) -> Option<Self> {
        let (key, _) = name.split_once('-')?;
        let is_hex = key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (key.len() == KEY && is_hex).then(|| Self(key.to_owned()))
    }

    /// The key of the slice of a node without devices; the last one in the order.
    pub(crate) fn empty() -> Self {
        Self("f".repeat(KEY))
    }

    /// The group that the slice is a part of.
    pub(super) fn group(&self) -> Group {
        Group(self.0.chars().take(KEY - 3).collect())
    }
}

impl fmt::Display for SliceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Devices that are published together: those of a PF, or those of a resource that spreads over PFs. Fifteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(pub(super) String);
