//! Queries about addresses: which links have one that is valid beyond the link.

use std::collections::BTreeSet;
use std::io;

use super::request::{linked_names, rtnetlink_list};
use crate::nla::{attribute, number32};

// include/uapi/linux/rtnetlink.h
const GET_ADDRESS: u16 = 22;

/// Names of the links with an address of IPv4 or IPv6 that is valid beyond the link.
///
/// # Errors
/// When the kernel refuses to answer.
pub fn global_address_links() -> io::Result<BTreeSet<String>> {
    let addresses = rtnetlink_list(GET_ADDRESS, &[0; 8])?;
    let links = addresses.iter().filter_map(|address| of_global(address));
    Ok(linked_names(links.collect()))
}

/// The link of an address (`ifaddrmsg` and its attributes), unless the address is valid on its link or on this machine only.
fn of_global(address: &[u8]) -> Option<u32> {
    /// `RT_SCOPE_LINK`; beyond it are addresses of this machine only.
    const SCOPE_LINK: u8 = 253;
    const LOCAL: u16 = 2;
    const INET: u8 = 2;
    let [family, _, _, scope] = *address.first_chunk()?;
    if scope >= SCOPE_LINK {
        return None;
    }
    // Few programs give the addresses of RFC 3927 the scope that they have.
    let local = attribute(address.get(8..)?, LOCAL);
    if family == INET && local.is_some_and(|local| local.starts_with(&[169, 254])) {
        return None;
    }
    number32(address, 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nla::push;

    #[test]
    fn addresses_of_link_and_machine_do_not_count() {
        for (family, scope, local, expected) in [
            (2, 0, vec![192, 0, 2, 1], Some(7)),
            (10, 0, Vec::new(), Some(7)),
            // `RT_SCOPE_SITE`.
            (10, 200, Vec::new(), Some(7)),
            (10, 253, Vec::new(), None),
            (2, 254, vec![127, 0, 0, 1], None),
            (2, 0, vec![169, 254, 1, 1], None),
        ] {
            let mut address = vec![family, 24, 0, scope, 7, 0, 0, 0];
            push(&mut address, 2, &local);
            assert_eq!(of_global(&address), expected, "{address:?}");
        }
    }

    #[test]
    fn loopback_has_no_global_address() {
        let links = global_address_links().unwrap();
        assert!(!links.contains("lo"), "{links:?}");
    }

    proptest! {
        #[test]
        fn any_address_is_read_without_panic(bytes: Vec<u8>) {
            let _ = of_global(&bytes);
        }
    }
}
