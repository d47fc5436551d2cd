//! The attributes of a link, also if its VF list is longer than the length of an attribute can express.
//!
//! The kernel closes the list with its length modulo 65,536 (`nla_nest_end`, `include/net/netlink.h`): from 335 VFs on, without statistics.
//! The entries are whole, so their own lengths show where the list ends.

use crate::nla::{attributes, number16};

// IFLA_*, include/uapi/linux/if_link.h
pub(super) const VFINFO_LIST: u16 = 22;
pub(super) const VF_INFO: u16 = 1;

/// Length and type of an attribute.
const HEADER: usize = 4;
/// Lengths that an attribute can express.
const LENGTHS: usize = 1 << 16;

/// Walks over the attributes of a link, each with its type.
pub(super) fn attributes_of_link(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, mut value) = attributes(bytes).next()?;
        if kind == VFINFO_LIST {
            value = whole_list(bytes).unwrap_or(value);
        }
        let length = (HEADER + value.len()).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The VF list at the start of `bytes`, if its length overflowed and its entries show the whole length.
fn whole_list(bytes: &[u8]) -> Option<&[u8]> {
    let entries = bytes.get(HEADER..)?;
    let length: usize = attributes(entries)
        .take_while(|(kind, _)| *kind == VF_INFO)
        .map(|(_, info)| (HEADER + info.len()).next_multiple_of(4))
        .sum();
    let is_overlong = HEADER + length >= LENGTHS;
    let expressed = usize::from(number16(bytes, 0)?);
    let is_whole = (HEADER + length) % LENGTHS == expressed;
    entries.get(..length).filter(|_| is_overlong && is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nla::push;

    const MTU: u16 = 4;
    /// Bytes of an entry: as of Linux 6.12 without statistics.
    const ENTRY: usize = 192;

    /// A list with so many VFs, as the kernel writes it, between two other attributes.
    fn link(vfs: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, MTU, &1500_u32.to_ne_bytes());
        let length = HEADER + vfs * (HEADER + ENTRY);
        let expressed = u16::try_from(length % LENGTHS).unwrap();
        bytes.extend(expressed.to_ne_bytes());
        bytes.extend(VFINFO_LIST.to_ne_bytes());
        for _ in 0..vfs {
            push(&mut bytes, VF_INFO, &[0x5a; ENTRY]);
        }
        push(&mut bytes, MTU, &9000_u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn list_of_any_length_is_whole_and_so_is_what_follows() {
        for vfs in [0, 1, 7, 334, 335, 512, 700, 4096] {
            let bytes = link(vfs);
            let all: Vec<_> = attributes_of_link(&bytes).collect();
            let kinds: Vec<u16> = all.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [MTU, VFINFO_LIST, MTU], "{vfs}");
            assert_eq!(attributes(all[1].1).count(), vfs);
            assert_eq!(all[2].1, 9000_u32.to_ne_bytes());
        }
    }

    #[test]
    fn length_that_the_entries_contradict_is_taken_as_it_is() {
        let mut bytes = link(512);
        bytes[8] ^= 4;
        let (_, list) = attributes_of_link(&bytes).nth(1).unwrap();
        assert!(list.len() < LENGTHS);
    }
}
