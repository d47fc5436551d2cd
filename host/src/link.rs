//! Links: what the kernel reports of one, single changes, and what a link must be like before it is given to another user.
//!
//! Plain data, no I/O. `netlink` reads and changes links.

mod change;
mod clean;
mod properties;
mod qdisc;
mod report;

pub use self::change::LinkChange;
pub use self::clean::{CleanLink, Difference};
pub use self::properties::{LinkFlags, LinkLimit, LinkProperties, XdpMode};
pub use self::qdisc::{Qdisc, QdiscPlace};
pub use self::report::Link;
