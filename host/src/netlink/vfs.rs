//! VFs at their PF: settings read in one request, changed one at a time.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoGuid, VfInfoLinkState,
    VfInfoMac, VfInfoRate, VfInfoSpoofCheck, VfInfoTrust, VfLinkState as WireLinkState, VfVlan,
    VfVlanInfo, VlanProtocol,
};

use nix::errno::Errno;

use super::links::{as_link, read as read_link};
use super::{Link, Netlink, NetlinkError};
use crate::guid::Guid;
use crate::mac::MacAddr;
use crate::vf::{VfChange, VfIndex, VfLinkState, VfRate, VfSettings};
use crate::vlan::{Vlan, VlanId, VlanProto, VlanQos};

impl Netlink {
    /// A PF's link and the settings of one of its VFs, in one request; nothing when there is no such link.
    ///
    /// The settings are nothing when the PF's driver does not tell them, or when the kernel cannot express its list of VFs
    /// (more than some 221, or EMSGSIZE with InfiniBand before Linux 6.15): no path may need them to succeed.
    pub async fn vf_of_pf(
        &self,
        pf: u32,
        vf: VfIndex,
    ) -> Result<Option<(Link, Option<VfSettings>)>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = pf;
        message.attributes.push(LinkAttribute::ExtMask(vec![
            LinkExtentMask::Vf,
            // Statistics cost a request to the firmware each on some drivers.
            LinkExtentMask::SkipStats,
        ]));
        let operation = format!("read VF {vf} of link {pf}");
        match self
            .one(&operation, RouteNetlinkMessage::GetLink(message))
            .await
        {
            Ok(answer) => Ok(answer
                .and_then(as_link)
                .map(|message| (read_link(&message), find(&message, vf)))),
            Err(error) if error.errno() == Some(Errno::EMSGSIZE) => {
                Ok(self.link(pf).await?.map(|link| (link, None)))
            }
            Err(error) => Err(error),
        }
    }

    /// The settings of a VF, or nothing, as for [`Netlink::vf_of_pf`].
    pub async fn vf_settings(
        &self,
        pf: u32,
        vf: VfIndex,
    ) -> Result<Option<VfSettings>, NetlinkError> {
        let found = self.vf_of_pf(pf, vf).await?;
        Ok(found.and_then(|(_, settings)| settings))
    }

    /// Executes one change of one VF, as one request with one attribute: a batch is not atomic and hides the culprit.
    pub async fn set_vf(
        &self,
        pf: u32,
        vf: VfIndex,
        change: &VfChange,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = pf;
        message
            .attributes
            .push(LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![encode(
                vf, change,
            )])]));
        self.change(
            &format!("set {change} of VF {vf} of link {pf}"),
            RouteNetlinkMessage::SetLink(message),
            0,
        )
        .await
    }
}

pub(super) fn encode(vf: VfIndex, change: &VfChange) -> VfInfo {
    let vf = u32::from(vf.get());
    match change {
        VfChange::Mac(mac) => VfInfo::Mac(VfInfoMac::new(vf, &mac.bytes())),
        VfChange::Vlan(Vlan { id, qos, proto }) => {
            let proto = match proto {
                VlanProto::Dot1q => VlanProtocol::Ieee8021Q,
                VlanProto::Dot1ad => VlanProtocol::Ieee8021Ad,
            };
            VfInfo::VlanList(vec![VfVlan::Info(VfVlanInfo::new(
                vf,
                id.get().into(),
                qos.get().into(),
                proto,
            ))])
        }
        VfChange::NodeGuid(guid) => VfInfo::IbNodeGuid(VfInfoGuid::new(vf, guid.number())),
        VfChange::PortGuid(guid) => VfInfo::IbPortGuid(VfInfoGuid::new(vf, guid.number())),
        VfChange::Spoofchk(on) => VfInfo::SpoofCheck(VfInfoSpoofCheck::new(vf, *on)),
        VfChange::Trust(on) => VfInfo::Trust(VfInfoTrust::new(vf, *on)),
        VfChange::Rate(VfRate { min, max }) => VfInfo::Rate(VfInfoRate::new(vf, *min, *max)),
        VfChange::LinkState(state) => {
            let state = match state {
                VfLinkState::Auto => WireLinkState::Auto,
                VfLinkState::Enable => WireLinkState::Enable,
                VfLinkState::Disable => WireLinkState::Disable,
            };
            VfInfo::LinkState(VfInfoLinkState::new(vf, state))
        }
    }
}

/// Finds a VF by the number in its attributes and not by its place: the kernel leaves out a VF that its driver does not describe.
pub(super) fn find(message: &LinkMessage, vf: VfIndex) -> Option<VfSettings> {
    let lists = message.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::VfInfoList(list) = attribute {
            Some(list)
        } else {
            None
        }
    });
    let mut infos = lists.flatten().map(|LinkVfInfo(info)| info);
    let wanted = u32::from(vf.get());
    let info = infos.find(|info| {
        info.iter()
            .any(|attribute| matches!(attribute, VfInfo::Mac(mac) if mac.vf_id == wanted))
    })?;
    let mut settings = VfSettings::default();
    let ethernet = is_ethernet(message);
    for attribute in info {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "statistics and what newer kernels add are not settings"
        )]
        match attribute {
            VfInfo::Mac(mac) if ethernet => {
                settings.mac = mac.mac.first_chunk::<6>().copied().map(MacAddr::new);
            }
            VfInfo::VlanList(list) => {
                settings.vlan = list.iter().find_map(|vlan| {
                    if let VfVlan::Info(info) = vlan {
                        read_vlan(info)
                    } else {
                        None
                    }
                });
            }
            VfInfo::SpoofCheck(check) => settings.spoofchk = Some(check.enabled),
            VfInfo::Trust(trust) => settings.trust = Some(trust.enabled),
            VfInfo::Rate(rate) => {
                settings.rate = Some(VfRate {
                    min: rate.min_tx_rate,
                    max: rate.max_tx_rate,
                });
            }
            VfInfo::LinkState(state) => settings.link_state = read_link_state(state),
            VfInfo::IbNodeGuid(guid) => settings.node_guid = Some(Guid::from_number(guid.guid)),
            VfInfo::IbPortGuid(guid) => settings.port_guid = Some(Guid::from_number(guid.guid)),
            _ => {}
        }
    }
    Some(settings)
}

/// The kernel gives the address of a VF 32 bytes and no length: it is as long as the PF's.
fn is_ethernet(pf: &LinkMessage) -> bool {
    pf.attributes
        .iter()
        .all(|attribute| !matches!(attribute, LinkAttribute::Address(bytes) if bytes.len() != 6))
}

pub(super) fn read_vlan(info: &VfVlanInfo) -> Option<Vlan> {
    let proto = match info.protocol {
        VlanProtocol::Ieee8021Ad => VlanProto::Dot1ad,
        VlanProtocol::Ieee8021Q | _ => VlanProto::Dot1q,
    };
    let id = VlanId::try_from(u16::try_from(info.vlan_id).ok()?).ok()?;
    let qos = VlanQos::try_from(u8::try_from(info.qos).ok()?).ok()?;
    Some(Vlan { id, qos, proto })
}

pub(super) fn read_link_state(info: &VfInfoLinkState) -> Option<VfLinkState> {
    match info.state {
        WireLinkState::Auto => Some(VfLinkState::Auto),
        WireLinkState::Enable => Some(VfLinkState::Enable),
        WireLinkState::Disable => Some(VfLinkState::Disable),
        WireLinkState::Other(_) | _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(infos: Vec<Vec<VfInfo>>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::VfInfoList(
            infos.into_iter().map(LinkVfInfo).collect(),
        ));
        message
    }

    #[test]
    fn what_is_set_is_what_is_read_back() {
        let vlan = Vlan {
            id: 100.try_into().unwrap(),
            qos: 3.try_into().unwrap(),
            proto: VlanProto::Dot1ad,
        };
        let changes = [
            VfChange::Mac("02:00:00:00:00:07".parse().unwrap()),
            VfChange::Vlan(vlan),
            VfChange::Spoofchk(true),
            VfChange::Trust(true),
            VfChange::Rate(VfRate { min: 10, max: 200 }),
            VfChange::LinkState(VfLinkState::Disable),
            VfChange::NodeGuid(Guid::from_number(7)),
            VfChange::PortGuid(Guid::from_number(8)),
        ];
        let vf = VfIndex::new(3);
        let settings = find(
            &listed(vec![
                changes.iter().map(|change| encode(vf, change)).collect(),
            ]),
            vf,
        )
        .unwrap();
        for change in changes {
            assert_eq!(change.is_done(&settings), Some(true), "{change}");
        }
    }

    #[test]
    fn a_vf_is_found_by_its_number() {
        let info = |vf, last| {
            vec![encode(
                VfIndex::new(vf),
                &VfChange::Mac(MacAddr::new([2, 0, 0, 0, 0, last])),
            )]
        };
        let message = listed(vec![info(0, 10), info(5, 15)]);
        assert_eq!(
            find(&message, VfIndex::new(5)).unwrap().mac,
            Some(MacAddr::new([2, 0, 0, 0, 0, 15]))
        );
        assert_eq!(find(&message, VfIndex::new(1)), None);
    }

    #[test]
    fn a_vf_of_an_infiniband_pf_has_no_mac() {
        let vf = VfIndex::new(0);
        let mac = encode(vf, &VfChange::Mac(MacAddr::new([2, 0, 0, 0, 0, 1])));
        let mut message = listed(vec![vec![mac, encode(vf, &VfChange::Trust(true))]]);
        message
            .attributes
            .push(LinkAttribute::Address(vec![0x80; 20]));
        let settings = find(&message, vf).unwrap();
        assert_eq!((settings.mac, settings.trust), (None, Some(true)));
    }
}
