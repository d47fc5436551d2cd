//! This machine: PCI and SR-IOV topology, links, namespaces, drivers.
//!
//! Without features this crate is vocabulary only: newtypes of the field's terms and the plain [`snapshot::HostSnapshot`].
//! Feature `sysfs` adds the scan that fills a snapshot and the restart of drivers, feature `netlink` single, named changes of links and VFs.
//! Feature `notice` receives the kernel's notifications, and queries what sysfs does not show.
//! Start at [`snapshot`] for the facts, at `netlink` for the changes.
//! This crate is independent of JSON documents, CNI, the kubelet, pools, selectors and policy.

#![deny(unsafe_code)]

pub mod chain;
pub mod guid;
pub mod ifname;
pub mod link;
pub mod mac;
pub mod pci;
pub mod raw_name;
pub mod root;
pub mod snapshot;
pub mod stable_hash;
pub mod vf;
pub mod vlan;

#[cfg(feature = "netlink")]
mod bpf;
#[cfg(feature = "sysfs")]
pub mod driver;
#[cfg(feature = "netlink")]
pub mod ethtool;
#[cfg(any(feature = "notice", feature = "netlink"))]
pub mod heap;
#[cfg(feature = "netlink")]
pub mod modules;
#[cfg(feature = "netlink")]
pub mod netlink;
#[cfg(feature = "netlink")]
pub mod netns;
#[cfg(any(feature = "notice", feature = "netlink"))]
mod nla;
#[cfg(feature = "notice")]
pub mod notice;
#[cfg(feature = "notice")]
pub mod query;
#[cfg(feature = "sysfs")]
pub mod sysfs;
#[cfg(feature = "netlink")]
pub mod tcx;
#[cfg(feature = "netlink")]
pub mod uppers;

pub use chain::chain;
pub use guid::Guid;
pub use ifname::IfName;
pub use mac::MacAddr;
pub use pci::{PciAddress, PcieRoot};
pub use raw_name::RawName;
pub use root::HostRoot;
pub use snapshot::HostSnapshot;
pub use vf::VfIndex;
