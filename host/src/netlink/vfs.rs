//! VFs at their PF: their settings are read in one request and changed one at a time.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoGuid, VfInfoLinkState,
    VfInfoMac, VfInfoRate, VfInfoSpoofCheck, VfInfoTrust, VfLinkState as WireLinkState, VfVlan,
    VfVlanInfo, VlanProtocol,
};

use nix::errno::Errno;

use super::connection::Netlink;
use super::error::NetlinkError;
use super::links::RTM_NEWLINK;
use super::vf_list;
use crate::link::Link;
use crate::vf::{VfChange, VfIndex, VfLinkState, VfRate, VfSettings};
use crate::vlan::{Vlan, VlanProto};

/// A PF's link, and one of its VFs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfReport {
    /// The PF's link.
    pub link: Link,
    /// Settings of the VF; absent if they are not reported.
    pub settings: Option<VfSettings>,
    /// Number of VFs that the list has without this one; absent if the list has it, or if there is no list.
    ///
    /// The kernel leaves out a VF about which the driver returns an error, for instance EBUSY while the VF is reset.
    pub listed_without: Option<usize>,
}

impl Netlink {
    /// Reads a PF's link and the settings of one of its VFs in one request; `None` if there is no such link.
    ///
    /// The settings are absent if the PF's driver does not report them, or if the kernel refuses the list of VFs
    /// (EMSGSIZE with InfiniBand before Linux 6.15): no path may need them to succeed.
    pub async fn vf_of_pf(&self, pf: u32, vf: VfIndex) -> Result<Option<VfReport>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = pf;
        message.attributes.push(LinkAttribute::ExtMask(vec![
            LinkExtentMask::Vf,
            // Statistics cost a request to the firmware for each VF on some drivers.
            LinkExtentMask::SkipStats,
        ]));
        let operation = format!("read VF {vf} of link {pf}");
        match self
            .one(&operation, RouteNetlinkMessage::GetLink(message))
            .await
        {
            Ok(answer) => {
                let body = answer.and_then(|answer| answer.into_body(RTM_NEWLINK));
                Ok(body.and_then(|body| {
                    let settings = vf_list::find(&body, vf);
                    let listed = vf_list::count(&body).filter(|_| settings.is_none());
                    Some(VfReport {
                        link: self.read_link(&body)?,
                        settings,
                        listed_without: listed,
                    })
                }))
            }
            Err(error) if error.errno() == Some(Errno::EMSGSIZE) => {
                let link = self.link(pf).await?;
                Ok(link.map(|link| VfReport {
                    link,
                    settings: None,
                    listed_without: None,
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the settings of a VF, as [`Netlink::vf_of_pf`] does.
    pub async fn vf_settings(
        &self,
        pf: u32,
        vf: VfIndex,
    ) -> Result<Option<VfSettings>, NetlinkError> {
        let found = self.vf_of_pf(pf, vf).await?;
        Ok(found.and_then(|report| report.settings))
    }

    /// Executes one change of one VF as one request with one attribute: a batch is not atomic, and its error names no attribute.
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
