//! Queries to the kernel for what sysfs does not show, or shows with a file for each value: alternative names, default routes and parents of macvlan devices (`links`), addresses (`addresses`),
//! counters of the VFs of a PF (`counters`) and of links (`link_counters`), the DDP profile that a device runs (`devlink`).
//!
//! Each query is one request on a socket of its own and changes nothing; changes are made by `netlink`.

mod addresses;
mod counters;
mod devlink;
mod link_counters;
mod links;
mod request;

pub use self::addresses::global_address_links;
pub use self::counters::{VfCounters, vf_counters};
pub use self::devlink::ddp_profile;
pub use self::link_counters::{LinkCounters, link_counters};
pub use self::links::{altnames, default_route_links, link_named, shared_parents};
