//! Queue disciplines at the two places of a link to which filters can be attached.

use std::fmt;

use crate::raw_name::RawName;

/// A queue discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// Its kind, for instance `fq_codel` or `clsact`.
    pub kind: RawName,
    /// Where it is.
    pub place: QdiscPlace,
    /// Whether somebody made it: those that the kernel makes have no handle.
    pub is_explicit: bool,
}

/// Where a queue discipline is; its filters are removed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QdiscPlace {
    /// In the path of frames to send.
    Root,
    /// In front of the network stack: `ingress` or `clsact`.
    Ingress,
}

impl QdiscPlace {
    /// As a parent (`TC_H_ROOT`, `TC_H_INGRESS`, `include/uapi/linux/pkt_sched.h`).
    pub fn parent(self) -> u32 {
        match self {
            Self::Root => 0xffff_ffff,
            Self::Ingress => 0xffff_fff1,
        }
    }
}

impl fmt::Display for QdiscPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Ingress => "ingress",
        })
    }
}
