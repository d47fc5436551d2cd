//! Reads the settings of a VF from the VF list of its PF (`rtnl_fill_vfinfo`, `net/core/rtnetlink.c`).

use super::ifinfo::{ADDRESS, VFINFO_LIST, parts};
use super::overlong::VF_INFO;
use crate::guid::Guid;
use crate::mac::MacAddr;
use crate::nla::{attribute, attributes, number32, number64};
use crate::vf::{VfChange, VfIndex, VfLinkState, VfRate, VfSettings};
use crate::vlan::{Vlan, VlanId, VlanProto, VlanQos};

// IFLA_VF_*, include/uapi/linux/if_link.h
pub(super) const MAC: u16 = 1;
pub(super) const SPOOFCHK: u16 = 4;
pub(super) const LINK_STATE: u16 = 5;
pub(super) const RATE: u16 = 6;
pub(super) const TRUST: u16 = 9;
pub(super) const NODE_GUID: u16 = 10;
pub(super) const PORT_GUID: u16 = 11;
pub(super) const VLAN_LIST: u16 = 12;
const VLAN_INFO: u16 = 1;
/// The kernel's value for a setting that the driver does not report: -1.
const UNREPORTED: u32 = u32::MAX;

/// Finds a VF by the number in its attributes, not by its position: the kernel leaves out a VF that the driver does not describe.
pub(super) fn find(pf: &[u8], vf: VfIndex) -> Option<VfSettings> {
    let wanted = u32::from(vf.get());
    let lists = parts(pf).filter(|(kind, _)| *kind == VFINFO_LIST);
    let mut infos = lists.flat_map(|(_, list)| vf_infos(list));
    let info = infos.find(|info| {
        let mac = attribute(info, MAC);
        mac.and_then(|mac| number32(mac, 0)) == Some(wanted)
    })?;
    let is_ethernet = is_ethernet(pf);
    let mut settings = VfSettings::default();
    for (kind, value) in attributes(info) {
        match read(kind, value) {
            Some(VfChange::Mac(mac)) => settings.mac = Some(mac).filter(|_| is_ethernet),
            Some(VfChange::Vlan(vlan)) => settings.vlan = Some(vlan),
            Some(VfChange::Spoofchk(on)) => settings.spoofchk = Some(on),
            Some(VfChange::Trust(on)) => settings.trust = Some(on),
            Some(VfChange::Rate(rate)) => settings.rate = Some(rate),
            Some(VfChange::LinkState(state)) => settings.link_state = Some(state),
            Some(VfChange::NodeGuid(guid)) => settings.node_guid = Some(guid),
            Some(VfChange::PortGuid(guid)) => settings.port_guid = Some(guid),
            None => {}
        }
    }
    Some(settings)
}

/// Number of VFs in the list; `None` if there is no list, or more VFs than the kernel can express.
pub(super) fn count(pf: &[u8]) -> Option<usize> {
    const NUM_VF: u16 = 21;
    /// Well below the number at which the length of the list overflows.
    const MOST: u32 = 200;
    let number = parts(pf).find(|(kind, _)| *kind == NUM_VF);
    let number = number.and_then(|(_, value)| number32(value, 0));
    if number.is_some_and(|number| number > MOST) {
        return None;
    }
    let (_, list) = parts(pf).find(|(kind, _)| *kind == VFINFO_LIST)?;
    Some(vf_infos(list).count())
}

/// The attributes of each VF of a list.
pub(super) fn vf_infos(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let infos = attributes(list).filter(|(kind, _)| *kind == VF_INFO);
    infos.map(|(_, info)| info)
}

/// Reads one setting as the change that makes it; `None` for statistics and for what is unknown, malformed or not reported.
pub(super) fn read(kind: u16, value: &[u8]) -> Option<VfChange> {
    // Each value begins with the number of the VF.
    let switch = || {
        let setting = number32(value, 4).filter(|setting| *setting != UNREPORTED);
        setting.map(|setting| setting != 0)
    };
    match kind {
        // The address has 32 bytes and no length.
        MAC => {
            let mac = value.get(4..)?.first_chunk::<6>()?;
            Some(VfChange::Mac(MacAddr::new(*mac)))
        }
        VLAN_LIST => {
            let mut vlans = attributes(value).filter(|(kind, _)| *kind == VLAN_INFO);
            vlans
                .find_map(|(_, info)| read_vlan(info))
                .map(VfChange::Vlan)
        }
        SPOOFCHK => switch().map(VfChange::Spoofchk),
        TRUST => switch().map(VfChange::Trust),
        RATE => Some(VfChange::Rate(VfRate {
            min: number32(value, 4)?,
            max: number32(value, 8)?,
        })),
        LINK_STATE => {
            let state = match number32(value, 4)? {
                0 => VfLinkState::Auto,
                1 => VfLinkState::Enable,
                2 => VfLinkState::Disable,
                _ => return None,
            };
            Some(VfChange::LinkState(state))
        }
        NODE_GUID => read_guid(value).map(VfChange::NodeGuid),
        PORT_GUID => read_guid(value).map(VfChange::PortGuid),
        _ => None,
    }
}

/// `struct ifla_vf_guid`: the number of the VF, padding, and the GUID.
fn read_guid(value: &[u8]) -> Option<Guid> {
    number64(value, 8).map(Guid::from_number)
}

/// `struct ifla_vf_vlan_info`: VF, identifier, priority, and the protocol in network byte order.
fn read_vlan(info: &[u8]) -> Option<Vlan> {
    const DOT1AD: u16 = 0x88a8;
    let number = |at| number32(info, at);
    let proto = u16::from_be_bytes(*info.get(12..)?.first_chunk()?);
    Some(Vlan {
        id: VlanId::try_from(u16::try_from(number(4)?).ok()?).ok()?,
        qos: VlanQos::try_from(u8::try_from(number(8)?).ok()?).ok()?,
        proto: if proto == DOT1AD {
            VlanProto::Dot1ad
        } else {
            VlanProto::Dot1q
        },
    })
}

/// The address of a VF is as long as that of its PF.
fn is_ethernet(pf: &[u8]) -> bool {
    parts(pf).all(|(kind, value)| kind != ADDRESS || value.len() == 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nla::push;

    /// An `RTM_NEWLINK` message of a PF with these VFs.
    fn pf(address: &[u8], vfs: &[Vec<(u16, Vec<u8>)>]) -> Vec<u8> {
        let mut list = Vec::new();
        for vf in vfs {
            let mut info = Vec::new();
            for (kind, value) in vf {
                push(&mut info, *kind, value);
            }
            push(&mut list, VF_INFO, &info);
        }
        let mut body = vec![0; 16];
        push(&mut body, ADDRESS, address);
        push(&mut body, VFINFO_LIST, &list);
        body
    }

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn mac(vf: u32, last: u8) -> (u16, Vec<u8>) {
        let mut value = words(&[vf]);
        value.extend([2, 0, 0, 0, 0, last]);
        value.resize(36, 0);
        (MAC, value)
    }

    #[test]
    fn vf_is_found_by_its_number() {
        let body = pf(&[0; 6], &[vec![mac(0, 10)], vec![mac(5, 15)]]);
        assert_eq!(
            find(&body, VfIndex::new(5)).unwrap().mac,
            Some(MacAddr::new([2, 0, 0, 0, 0, 15]))
        );
        assert_eq!(find(&body, VfIndex::new(1)), None);
    }

    #[test]
    fn vf_of_an_infiniband_pf_has_no_mac() {
        let trust = (TRUST, words(&[0, 1]));
        let body = pf(&[0x80; 20], &[vec![mac(0, 1), trust]]);
        let settings = find(&body, VfIndex::new(0)).unwrap();
        assert_eq!((settings.mac, settings.trust), (None, Some(true)));
    }

    #[test]
    fn setting_that_the_driver_does_not_report_is_unknown() {
        for (reported, expected) in [(u32::MAX, None), (0, Some(false)), (1, Some(true))] {
            let settings = vec![
                mac(0, 1),
                (SPOOFCHK, words(&[0, reported])),
                (TRUST, words(&[0, reported])),
            ];
            let found = find(&pf(&[0; 6], &[settings]), VfIndex::new(0)).unwrap();
            assert_eq!((found.spoofchk, found.trust), (expected, expected));
        }
    }

    #[test]
    fn malformed_setting_leaves_the_others_alone() {
        let settings = vec![
            mac(0, 1),
            (RATE, words(&[0, 10])),
            (LINK_STATE, words(&[0, 7])),
            (VLAN_LIST, vec![1, 2, 3]),
            (99, vec![0xff; 40]),
            (TRUST, words(&[0, 1])),
        ];
        let found = find(&pf(&[0; 6], &[settings]), VfIndex::new(0)).unwrap();
        let expected = VfSettings {
            mac: Some(MacAddr::new([2, 0, 0, 0, 0, 1])),
            trust: Some(true),
            ..VfSettings::default()
        };
        assert_eq!(found, expected);
    }
}
