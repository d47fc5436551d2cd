//! Traffic counters of the VFs of a PF, from the PF's driver: also for a VF in a pod or with a userspace driver.

use std::collections::BTreeMap;
use std::io;

use super::request::rtnetlink;
use crate::nla::{attribute, attributes, number32, number64, push};
use crate::vf::VfIndex;

// include/uapi/linux/if_link.h, rtnetlink.h
const GET_LINK: u16 = 18;
const EXT_MASK: u16 = 29;
const VF_LIST: u16 = 22;
const VF: u16 = 1;
const VF_MAC: u16 = 1;
const VF_STATS: u16 = 8;
const WITH_VFS: u32 = 1;
/// `IFLA_VF_STATS_*`, by the names that the kernel's other counters have.
const COUNTERS: [(u16, &str); 8] = [
    (0, "rx_packets"),
    (1, "tx_packets"),
    (2, "rx_bytes"),
    (3, "tx_bytes"),
    (4, "rx_broadcast"),
    (5, "rx_multicast"),
    (7, "rx_dropped"),
    (8, "tx_dropped"),
];

/// Counters of each VF by their names.
pub type VfCounters = BTreeMap<VfIndex, BTreeMap<&'static str, u64>>;

/// The counters of the VFs of the PF with this link.
///
/// Empty if all counters are zero: the kernel reports the same for a driver that does not count (`rtnl_fill_vfinfo`, net/core/rtnetlink.c).
///
/// # Errors
/// When the kernel refuses to answer; not available for a PF with more than about 221 VFs.
pub fn vf_counters(link: u32) -> io::Result<VfCounters> {
    let mut body = [0; 16].to_vec();
    if let Some(index) = body.get_mut(4..8) {
        index.copy_from_slice(&link.to_ne_bytes());
    }
    push(&mut body, EXT_MASK, &WITH_VFS.to_ne_bytes());
    let answers = rtnetlink(GET_LINK, &body)?;
    let counters = answers.first().map(|link| of_link(link));
    let counts = |counters: &VfCounters| {
        counters
            .values()
            .flat_map(BTreeMap::values)
            .any(|value| *value > 0)
    };
    Ok(counters.filter(counts).unwrap_or_default())
}

/// `ifinfomsg` and its attributes.
fn of_link(link: &[u8]) -> VfCounters {
    let parts = link.get(16..).unwrap_or_default();
    let vfs = attribute(parts, VF_LIST).unwrap_or_default();
    let vfs = attributes(vfs).filter(|(kind, _)| *kind == VF);
    vfs.filter_map(|(_, vf)| {
        // `ifla_vf_mac` begins with the index, as all attributes of a VF.
        let index = u16::try_from(number32(attribute(vf, VF_MAC)?, 0)?).ok()?;
        let stats = attribute(vf, VF_STATS)?;
        let counter = |(kind, name)| Some((name, number64(attribute(stats, kind)?, 0)?));
        let counters = COUNTERS.into_iter().filter_map(counter).collect();
        Some((VfIndex::new(index), counters))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, &parts.concat());
        bytes
    }

    fn vf(index: u32, counters: &[(u16, u64)]) -> Vec<u8> {
        let mac = [index.to_ne_bytes().as_slice(), &[0; 32]].concat();
        let counters = counters
            .iter()
            .map(|(kind, value)| nested(*kind, &[value.to_ne_bytes().to_vec()]));
        let stats = nested(0x8000 | VF_STATS, &counters.collect::<Vec<_>>());
        nested(0x8000 | VF, &[nested(VF_MAC, &[mac]), stats])
    }

    #[test]
    fn each_vf_has_its_counters_by_the_kernels_names() {
        let vfs = [vf(0, &[(2, 7), (6, 1), (8, 9)]), vf(300, &[(0, u64::MAX)])];
        let link = [
            vec![0; 16],
            nested(3, &[b"pf0\0".to_vec()]),
            nested(VF_LIST, &vfs),
        ]
        .concat();
        let counters = of_link(&link);
        let of = |index| {
            counters[&VfIndex::new(index)]
                .clone()
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), [("rx_bytes", 7), ("tx_dropped", 9)]);
        assert_eq!(of(300), [("rx_packets", u64::MAX)]);
        assert_eq!(of_link(&[0; 16]), VfCounters::new());
    }

    #[test]
    fn link_without_vfs_has_no_counters() {
        assert_eq!(vf_counters(1).unwrap(), VfCounters::new());
        assert!(vf_counters(u32::MAX).is_err());
    }

    proptest! {
        #[test]
        fn any_link_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = of_link(&bytes);
        }
    }
}
