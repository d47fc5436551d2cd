//! Speaks rtnetlink in one namespace: reads links and VF settings, and executes single, named changes.
//!
//! This module and those below it are the only ones that name types of `netlink-proto` and `netlink-packet-route`.
//! Requests come from the typed encoder; replies stay bytes and are read one attribute at a time (`message`),
//! so that no odd attribute hides a link.
//! Only [`Netlink::vf_settings`] and [`Netlink::vf_of_pf`] request the VF list of a PF, which is long, and refused by some kernels.

mod addresses;
mod announce;
mod changes;
mod codec;
mod connection;
mod devices;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod ifinfo;
mod links;
mod message;
mod neighbours;
mod overlong;
mod qdiscs;
mod routes;
mod socket;
mod vf_list;
mod vfs;
mod xdp;

pub use self::announce::Announcer;
pub use self::connection::{Netlink, OpenError};
pub use self::error::{NetlinkError, NetlinkErrorKind};
pub use self::routes::Route;
pub use self::vfs::VfReport;
pub use crate::link::{Link, LinkChange};

#[cfg(test)]
mod tests;
