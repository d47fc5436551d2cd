//! Netlink attributes as bytes: a walk over what the kernel or a hostile pod wrote, and the writing of single attributes.
//!
//! Nothing here fails: an attribute that is cut short ends the walk, and what came before it counts.

/// Flags in the field of an attribute's type: `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` (`include/uapi/linux/netlink.h`).
const FLAGS: u16 = 0xc000;
/// Length and type.
const HEADER: usize = 4;

/// Walks over attributes, each with its type.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (number16(bytes, 0)?, number16(bytes, 2)?);
        let length = usize::from(length).max(HEADER);
        let value = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !FLAGS, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// The number of 16 bits at an offset, in the machine's byte order.
pub(crate) fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number of 32 bits at an offset, in the machine's byte order.
pub(crate) fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number of 64 bits at an offset, in the machine's byte order.
pub(crate) fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Appends an attribute with its padding.
pub(crate) fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_found_in_order_and_by_type() {
        let mut bytes = Vec::new();
        push(&mut bytes, 3, b"eth0\0");
        push(&mut bytes, 0x8034, &[]);
        push(&mut bytes, 4, &1500_u32.to_ne_bytes());
        let all: Vec<(u16, &[u8])> = attributes(&bytes).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1], (0x34, &[][..]));
        assert_eq!(number32(attribute(&bytes, 4).unwrap(), 0), Some(1500));
        assert_eq!(attribute(&bytes, 7), None);
    }

    #[test]
    fn cut_attribute_ends_the_walk_after_the_whole_ones() {
        let mut bytes = Vec::new();
        push(&mut bytes, 3, b"eth0\0");
        push(&mut bytes, 20, &[b'x'; 255]);
        for length in 0..bytes.len() {
            let found = attributes(&bytes[..length]).count();
            // The padding behind a value may be missing.
            let expected = usize::from(length >= 9) + usize::from(length >= 12 + 4 + 255);
            assert_eq!(found, expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn written_attributes_are_read_back(values: Vec<(u16, Vec<u8>)>) {
            let mut bytes = Vec::new();
            for (kind, value) in &values {
                push(&mut bytes, *kind, value);
            }
            let read: Vec<_> = attributes(&bytes).map(|(kind, value)| (kind, value.to_vec())).collect();
            let expected: Vec<_> = values.into_iter().map(|(kind, value)| (kind & !FLAGS, value)).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_are_walked_to_their_end(bytes: Vec<u8>) {
            prop_assert!(attributes(&bytes).count() <= bytes.len() / HEADER);
        }
    }
}
