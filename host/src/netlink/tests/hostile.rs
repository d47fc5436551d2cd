//! Replies that a hostile pod or a newer kernel can cause: the link in them is never lost, and nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::RawName;
use crate::netlink::{addresses, ifinfo, neighbours, qdiscs, routes, vf_list};
use crate::nla::push;

// IFLA_*, include/uapi/linux/if_link.h
const IFALIAS: u16 = 20;
const AF_SPEC: u16 = 26;
const PROP_LIST: u16 = 52;
const NEWER: u16 = 900;

const HEADER: usize = 16;

fn device() -> crate::PciAddress {
    "0000:01:10.4".parse().unwrap()
}

/// A VF's link among others.
fn with_vf(name: RawName, altnames: Vec<RawName>) -> FakeKernel {
    let kernel = kernel();
    kernel.add_link(Link {
        device: Some(device()),
        name,
        altnames,
        ..link(7, "")
    });
    kernel.add_link(link(8, "eth3"));
    kernel
}

/// Reads the VF's link in each way, and the last link of the list, which must not be lost either.
fn read(kernel: &FakeKernel) -> Link {
    run(async {
        let netlink = Netlink::fake(kernel, IMPATIENT).unwrap();
        let by_index = netlink.link(7).await.unwrap().unwrap();
        let by_device = netlink.link_of_device(device()).await.unwrap();
        assert_eq!(by_device.as_ref(), Some(&by_index));
        let indices: Vec<u32> = netlink
            .links()
            .await
            .unwrap()
            .iter()
            .map(|link| link.index)
            .collect();
        assert_eq!(indices, [PF, 7, 8]);
        by_index
    })
}

#[test]
fn link_with_a_name_that_is_not_utf8_is_found_by_its_device() {
    for name in [&b"x\xff"[..], b"\xff\xfe", b"\x80"] {
        let name = RawName::from_bytes(name);
        let altnames = vec![RawName::from_bytes(b"alt\xc3"), "alt".into()];
        let link = read(&with_vf(name.clone(), altnames.clone()));
        assert_eq!((link.name, link.altnames), (name, altnames));
    }
}

#[test]
fn odd_attributes_leave_the_rest_of_a_link_readable() {
    let alias = [b'a'; 4096];
    for (kind, value) in [
        (IFALIAS, &b"x\xff\0"[..]),
        (IFALIAS, b""),
        (IFALIAS, &alias),
        (IFALIAS, b"no zero behind it"),
        (AF_SPEC, b"\xff\xff\xff\xff\xff"),
        (AF_SPEC, &[8, 0, 2, 0x80, 200, 0, 1, 0]),
        (PROP_LIST, &[1, 0, 53, 0, 9]),
        (NEWER, &[0xff; 100]),
    ] {
        let kernel = with_vf("eth2".into(), vec!["alt".into()]);
        kernel.add_attribute(7, kind, value);
        let link = read(&kernel);
        assert_eq!(
            (link.mtu, link.altnames),
            (1500, vec!["alt".into()]),
            "{kind}"
        );
    }
}

#[test]
fn link_behind_hundreds_of_long_altnames_is_found_and_cleared() {
    let altnames: Vec<RawName> = (0..400)
        .map(|number| format!("{number:0>100}").into())
        .collect();
    let kernel = with_vf("eth2".into(), altnames.clone());
    assert_eq!(read(&kernel).altnames, altnames);
    run(async {
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        for name in altnames {
            let change = LinkChange::DropAltName(name);
            netlink.set_link(7, &change).await.unwrap();
        }
    });
    assert!(read(&kernel).altnames.is_empty());
}

#[test]
fn altname_that_is_not_utf8_is_removed_by_its_bytes() {
    let name = RawName::from_bytes(b"x\xff");
    let kernel = with_vf("eth2".into(), vec![name.clone(), "alt".into()]);
    run(async {
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let change = LinkChange::DropAltName(name);
        netlink.set_link(7, &change).await.unwrap();
    });
    assert_eq!(kernel.link(7).unwrap().altnames, ["alt"]);
}

#[test]
fn message_that_is_too_short_for_a_link_is_skipped() {
    for length in 0..HEADER {
        assert_eq!(ifinfo::read(&vec![0; length]), None);
    }
    assert!(ifinfo::read(&[0; HEADER]).is_some());
}

/// Attributes of any type and value, some of them nested, some with a wrong length.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![0_u16..70, any::<u16>()];
    let leaf = (kind.clone(), vec(any::<u8>(), 0..40)).prop_map(|(kind, value)| {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, &value);
        bytes
    });
    let nested = leaf.prop_recursive(4, 32, 4, move |inner| {
        (kind.clone(), vec(inner, 0..4)).prop_map(|(kind, parts)| {
            let mut bytes = Vec::new();
            push(&mut bytes, 0x8000 | kind, &parts.concat());
            bytes
        })
    });
    (vec(nested, 0..8), vec((any::<Index>(), any::<u8>()), 0..4)).prop_map(|(parts, damage)| {
        let mut bytes = parts.concat();
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn link_with_any_attributes_keeps_its_index(rest in garbage()) {
        let mut body = vec![0; HEADER];
        body[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        body.extend(rest);
        let link = ifinfo::read(&body).unwrap();
        prop_assert_eq!(link.index, 7);
    }

    #[test]
    fn any_reply_is_read_without_panic(header in vec(any::<u8>(), 0..20), rest in garbage()) {
        let body = [header, rest].concat();
        let _ = (ifinfo::read(&body), vf_list::find(&body, VF), addresses::read(&body));
        let _ = (routes::read(&body), neighbours::read(&body), qdiscs::read(&body));
    }

    #[test]
    fn any_names_and_alias_are_read_as_bytes(
        name in vec(1_u8.., 1..16),
        altnames in vec(vec(1_u8.., 1..128), 0..20),
        alias in vec(any::<u8>(), 0..256),
    ) {
        let name = RawName::from_bytes(&name);
        let altnames: Vec<RawName> = altnames.iter().map(|name| RawName::from_bytes(name)).collect();
        let kernel = with_vf(name.clone(), altnames.clone());
        kernel.add_attribute(7, IFALIAS, &alias);
        let link = read(&kernel);
        prop_assert_eq!((link.name, link.altnames), (name, altnames));
    }

    #[test]
    fn list_that_is_cut_anywhere_is_an_error(length in 1_usize..50) {
        let kernel = with_vf("eth2".into(), Vec::new());
        kernel.fail_when(|_, _| true, Failure::Cut(length));
        run(async {
            let netlink = Netlink::fake(&kernel, IMPATIENT).unwrap();
            prop_assert!(netlink.links().await.is_err());
            Ok(())
        })?;
    }
}
