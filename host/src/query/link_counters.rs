//! Traffic counters of links, by one request for all links.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::request::rtnetlink_parts;
use crate::nla::{attribute, number32, number64};

// include/uapi/linux/rtnetlink.h, if_link.h
const GET_STATS: u16 = 94;
const LINK_64: u16 = 1;
/// `if_stats_msg`: family and padding, index of the link, filter.
const HEADER: usize = 12;
/// Numbers of `struct rtnl_link_stats64` by the names that the kernel's other counters have.
const COUNTERS: [(usize, &str); 8] = [
    (0, "rx_packets"),
    (1, "tx_packets"),
    (2, "rx_bytes"),
    (3, "tx_bytes"),
    (5, "tx_errors"),
    (6, "rx_dropped"),
    (7, "tx_dropped"),
    (8, "rx_multicast"),
];

/// Counters of each link by their names; the key is the link's index.
pub type LinkCounters = BTreeMap<u32, BTreeMap<&'static str, u64>>;

/// Reads the counters of the wanted links. A link that is not in this network namespace is missing from the result.
///
/// # Errors
/// When the kernel refuses to answer. It has had the request since Linux 4.7.
pub fn link_counters(wanted: &BTreeSet<u32>) -> io::Result<LinkCounters> {
    let mut body = [0; HEADER];
    if let Some(filter) = body.last_chunk_mut() {
        *filter = (1_u32 << (LINK_64 - 1)).to_ne_bytes();
    }
    let links = rtnetlink_parts(GET_STATS, &body)?;
    let links = links.iter().filter_map(|link| of_link(link, wanted));
    Ok(links.collect())
}

/// The index and the counters of a link, if it is wanted.
fn of_link(link: &[u8], wanted: &BTreeSet<u32>) -> Option<(u32, BTreeMap<&'static str, u64>)> {
    let index = number32(link, 4).filter(|index| wanted.contains(index))?;
    let numbers = attribute(link.get(HEADER..)?, LINK_64)?;
    let counter = |(position, name)| Some((name, number64(numbers, 8 * position)?));
    Some((index, COUNTERS.into_iter().filter_map(counter).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nla::push;

    fn link(index: u32, numbers: &[u64]) -> Vec<u8> {
        let mut link = [[0; 4], index.to_ne_bytes(), 1_u32.to_ne_bytes()].concat();
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        push(&mut link, LINK_64, &numbers);
        link
    }

    #[test]
    fn each_counter_has_its_place() {
        let wanted = BTreeSet::from([0, 9]);
        let of_link = |link: &[u8]| of_link(link, &wanted);
        let (index, counters) = of_link(&link(9, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).unwrap();
        let expected = [
            ("rx_bytes", 2),
            ("rx_dropped", 6),
            ("rx_multicast", 8),
            ("rx_packets", 0),
            ("tx_bytes", 3),
            ("tx_dropped", 7),
            ("tx_errors", 5),
            ("tx_packets", 1),
        ];
        assert_eq!(index, 9);
        assert_eq!(counters, BTreeMap::from(expected));
        // Cut short.
        let (_, counters) = of_link(&link(9, &[7])).unwrap();
        assert_eq!(counters, BTreeMap::from([("rx_packets", 7)]));
        assert_eq!(of_link(&[0; 12]), None);
        assert_eq!(of_link(&link(8, &[7])), None, "it is not wanted");
    }

    #[test]
    fn kernel_counts_the_loopback() {
        const LOOPBACK: u32 = 1;
        let counters = link_counters(&[LOOPBACK, u32::MAX].into()).unwrap();
        let links: Vec<u32> = counters.keys().copied().collect();
        assert_eq!(links, [LOOPBACK]);
        assert_eq!(counters[&LOOPBACK].len(), COUNTERS.len());
    }

    proptest! {
        #[test]
        fn any_link_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let index = number32(&bytes, 4).unwrap_or_default();
            let _ = of_link(&bytes, &[index].into());
        }
    }
}
