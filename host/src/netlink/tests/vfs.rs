//! Settings of VFs, also those that igb refuses, through the real encoder to a kernel in memory.

use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::RawName;
use crate::netlink::{ifinfo, vf_list};
use crate::vf::{VfLinkState, VfRate};
use crate::vlan::{Vlan, VlanProto};

fn read_vfs(pf: u32) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = pf;
    let mask = vec![LinkExtentMask::Vf, LinkExtentMask::SkipStats];
    message.attributes.push(LinkAttribute::ExtMask(mask));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(message));
    message.finalize();
    let mut datagram = vec![0; message.buffer_len()];
    message.serialize(&mut datagram);
    datagram
}

/// Every setting, also those that igb refuses.
fn changes() -> Vec<VfChange> {
    let vlan = Vlan {
        id: 100.try_into().unwrap(),
        qos: 3.try_into().unwrap(),
        proto: VlanProto::Dot1ad,
    };
    vec![
        VfChange::Mac(MacAddr::new([2, 0, 0, 0, 0, 7])),
        VfChange::Vlan(vlan),
        VfChange::Vlan(Vlan::default()),
        VfChange::Spoofchk(true),
        VfChange::Spoofchk(false),
        VfChange::Trust(true),
        VfChange::Rate(VfRate { min: 10, max: 200 }),
        VfChange::LinkState(VfLinkState::Auto),
        VfChange::LinkState(VfLinkState::Enable),
        VfChange::LinkState(VfLinkState::Disable),
        VfChange::NodeGuid("02:00:00:00:00:00:00:07".parse().unwrap()),
        VfChange::PortGuid("02:00:00:00:00:00:00:08".parse().unwrap()),
    ]
}

#[test]
fn each_setting_of_a_vf_is_one_request_and_is_read_back() {
    run(async {
        let kernel = kernel();
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        for change in changes() {
            netlink.set_vf(PF, VF, &change).await.unwrap();
            let settings = netlink.vf_settings(PF, VF).await.unwrap().unwrap();
            assert_eq!(change.is_done(&settings), Some(true), "{change}");
            assert_eq!(change.is_done(&kernel.vf(PF, VF).unwrap()), Some(true));
        }
        let set = |change| Request::SetVf {
            pf: PF,
            vf: VF,
            change,
        };
        let expected: Vec<Request> = changes()
            .into_iter()
            .flat_map(|change| [set(change), Request::ReadVfs(PF)])
            .collect();
        assert_eq!(kernel.requests(), expected);
        assert_eq!(netlink.requests(), expected.len());
        let other = netlink.vf_settings(PF, VfIndex::new(1)).await.unwrap();
        assert_eq!(
            other.unwrap(),
            VfSettings {
                mac: Some(MacAddr::ZERO),
                ..VfSettings::default()
            }
        );
    });
}

#[test]
fn failure_of_one_request_leaves_the_others_alone() {
    let wanted = changes();
    for failing in 0..wanted.len() {
        run(async {
            let kernel = kernel();
            let refusal = Failure::errno(Errno::EOPNOTSUPP);
            kernel.fail_when(move |number, _| number == failing, refusal);
            let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
            for (number, change) in wanted.iter().enumerate() {
                let before = kernel.vf(PF, VF);
                let done = netlink.set_vf(PF, VF, change).await;
                assert_eq!(done.is_err(), number == failing, "{change}");
                if done.is_err() {
                    assert_eq!(kernel.vf(PF, VF), before, "{change}");
                }
            }
        });
    }
}

#[test]
fn guid_that_is_not_reported_is_accepted() {
    let guid = VfChange::PortGuid("02:00:00:00:00:00:00:08".parse().unwrap());
    run(async {
        let kernel = FakeKernel::default();
        kernel.add_link(Link {
            mac: None,
            guid: Some("02:00:00:00:00:00:00:01".parse().unwrap()),
            ..link(PF, "ib0")
        });
        kernel.add_vf(PF, VF, VfSettings::default());
        kernel.hide(PF, guid.setting());
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        netlink.set_vf(PF, VF, &guid).await.unwrap();
        assert_eq!(guid.is_done(&kernel.vf(PF, VF).unwrap()), Some(true));
        let report = netlink.vf_of_pf(PF, VF).await.unwrap().unwrap();
        let (pf, settings) = (report.link, report.settings);
        assert_eq!(Some(pf), kernel.link(PF));
        assert_eq!(settings, Some(VfSettings::default()));
    });
}

#[test]
fn unreported_setting_is_none() {
    run(async {
        let netlink = Netlink::fake(&kernel(), PATIENT).unwrap();
        let beyond = netlink.vf_settings(PF, VfIndex::new(9)).await.unwrap();
        assert_eq!(beyond, None);
        assert_eq!(netlink.vf_settings(77, VF).await.unwrap(), None);
    });
}

#[test]
fn refusal_has_the_operation_and_the_kernels_text() {
    let change = VfChange::LinkState(VfLinkState::Enable);
    for (text, expected) in [
        (
            None,
            "cannot set link_state enable of VF 2 of link 3: the kernel refuses it (EOPNOTSUPP: Operation not supported on transport endpoint)",
        ),
        (
            Some("firmware too old"),
            "cannot set link_state enable of VF 2 of link 3: the kernel refuses it (EOPNOTSUPP: firmware too old)",
        ),
    ] {
        run(async {
            let kernel = kernel();
            let failure = Failure::Refuse {
                errno: Errno::EOPNOTSUPP,
                text: text.map(str::to_owned),
            };
            kernel.fail_when(
                |_, request| {
                    matches!(request, Request::SetVf { change, .. } if change.setting() == "link_state")
                },
                failure,
            );
            let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
            let error = netlink.set_vf(PF, VF, &change).await.unwrap_err();
            assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP));
            assert_eq!(chain(&error), expected);
            assert_eq!(kernel.vf(PF, VF), Some(VfSettings::default()));
            netlink
                .set_vf(PF, VF, &VfChange::Trust(true))
                .await
                .unwrap();
        });
    }
}

#[test]
fn answer_longer_than_64_kib_is_read() {
    run(async {
        let kernel = FakeKernel::default();
        // Alternative names have up to 127 bytes: 490 of them fill one attribute, the VFs come on top.
        let altnames: Vec<RawName> = (0..490)
            .map(|number| format!("{number:0>127}").into())
            .collect();
        kernel.add_link(Link {
            altnames,
            ..link(PF, "pf0")
        });
        for vf in 0..200 {
            let settings = VfSettings {
                trust: Some(vf == 199),
                spoofchk: Some(true),
                ..VfSettings::default()
            };
            kernel.add_vf(PF, VfIndex::new(vf), settings);
        }
        let answers = kernel.answer(&read_vfs(PF));
        assert!(matches!(answers.as_slice(), [whole] if whole.len() > 64 * 1024));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let last = netlink.vf_settings(PF, VfIndex::new(199)).await.unwrap();
        assert_eq!(last.unwrap().trust, Some(true));
    });
}

proptest! {
    #[test]
    fn damaged_answer_causes_no_panic(
        place in any::<Index>(),
        byte in any::<u8>(),
        length in any::<Index>(),
    ) {
        const HEADER: usize = 16;
        let settings = VfSettings {
            vlan: Some(Vlan::default()),
            trust: Some(true),
            rate: Some(VfRate { min: 10, max: 200 }),
            link_state: Some(VfLinkState::Enable),
            ..VfSettings::default()
        };
        let kernel = FakeKernel::default();
        kernel.add_link(link(PF, "pf0"));
        kernel.add_vf(PF, VF, settings);
        let whole = kernel.answer(&read_vfs(PF)).swap_remove(0);
        let mut changed = whole.clone();
        changed[HEADER + place.index(whole.len() - HEADER)] = byte;
        let mut short = whole.clone();
        short.truncate(HEADER + length.index(whole.len() - HEADER));
        let length = u32::try_from(short.len()).unwrap();
        short[..4].copy_from_slice(&length.to_ne_bytes());

        let read = |datagram: &[u8]| {
            let body = &datagram[HEADER..];
            Some((ifinfo::read(body)?, vf_list::find(body, VF)))
        };
        prop_assert!(read(&whole).unwrap().1.unwrap().trust.unwrap());
        read(&changed);
        read(&short);
    }
}

#[test]
fn vf_list_that_is_too_long_hides_only_the_settings() {
    run(async {
        let kernel = kernel();
        let too_long = |_, request: &Request| matches!(request, Request::ReadVfs(_));
        kernel.fail_when(too_long, Failure::errno(Errno::EMSGSIZE));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let report = netlink.vf_of_pf(PF, VF).await.unwrap().unwrap();
        let (pf, settings) = (report.link, report.settings);
        assert_eq!((pf.name, settings), ("pf0".into(), None));
        let asked = [Request::ReadVfs(PF), Request::ReadLink(PF)];
        assert_eq!(kernel.requests(), asked);
    });
}
