//! Requests as the kernel in memory understands them; it understands only what [`Netlink`](crate::netlink::Netlink) may send.

use std::os::unix::fs::MetadataExt;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage, LinkVfInfo, Prop, VfInfo, VfVlan,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};

use super::Request;
use crate::guid::Guid;
use crate::mac::MacAddr;
use crate::netlink::{LinkChange, addresses, vfs};
use crate::netns::NetnsId;
use crate::vf::{VfChange, VfIndex, VfRate};

/// What is asked; nothing when it is more or other than one named change.
pub(super) fn request(message: &RouteNetlinkMessage, flags: u16) -> Option<Request> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all that is not asked by `Netlink` is refused alike"
    )]
    match message {
        RouteNetlinkMessage::GetLink(_) if flags & NLM_F_DUMP == NLM_F_DUMP => {
            Some(Request::ListLinks)
        }
        RouteNetlinkMessage::GetLink(link) => read_link(link),
        RouteNetlinkMessage::SetLink(link) => set_link(link),
        RouteNetlinkMessage::NewLinkProp(link) => {
            let name = altname(link)?.to_owned();
            Some(changed(link, LinkChange::AddAltName(name)))
        }
        RouteNetlinkMessage::DelLinkProp(link) => {
            let name = altname(link)?.to_owned();
            Some(changed(link, LinkChange::DropAltName(name)))
        }
        RouteNetlinkMessage::GetAddress(_) => Some(Request::ListAddresses),
        RouteNetlinkMessage::NewAddress(address) => Some(Request::AddAddress {
            link: address.header.index,
            address: addresses::read(address)?,
        }),
        RouteNetlinkMessage::GetRoute(_) => Some(Request::ListRoutes),
        RouteNetlinkMessage::NewRoute(message) => route(message),
        _ => None,
    }
}

fn read_link(link: &LinkMessage) -> Option<Request> {
    let index = link.header.index;
    match link.attributes.as_slice() {
        [] => Some(Request::ReadLink(index)),
        [LinkAttribute::IfName(name)] if index == 0 => Some(Request::ReadLinkNamed(name.clone())),
        [LinkAttribute::ExtMask(mask)]
            if mask.contains(&LinkExtentMask::Vf) && mask.contains(&LinkExtentMask::SkipStats) =>
        {
            Some(Request::ReadVfs(index))
        }
        _ => None,
    }
}

fn set_link(link: &LinkMessage) -> Option<Request> {
    let header = &link.header;
    match link.attributes.as_slice() {
        [] if header.change_mask == LinkFlags::Up => {
            let up = header.flags.contains(LinkFlags::Up);
            Some(changed(
                link,
                if up { LinkChange::Up } else { LinkChange::Down },
            ))
        }
        _ if !header.change_mask.is_empty() => None,
        [] => Some(Request::Probe(header.index)),
        [LinkAttribute::VfInfoList(list)] => set_vf(header.index, list),
        [LinkAttribute::NetNsFd(fd), LinkAttribute::IfName(name)] => {
            // The descriptor is one of this process, as it would be for the kernel.
            let namespace = std::fs::metadata(format!("/proc/self/fd/{fd}")).ok()?;
            Some(Request::MoveLink {
                link: header.index,
                target: NetnsId {
                    dev: namespace.dev(),
                    ino: namespace.ino(),
                },
                name: name.clone(),
            })
        }
        [LinkAttribute::Address(bytes)] => {
            let bytes = <[u8; 6]>::try_from(bytes.as_slice()).ok()?;
            Some(changed(link, LinkChange::Mac(MacAddr::new(bytes))))
        }
        [LinkAttribute::Mtu(mtu)] => Some(changed(link, LinkChange::Mtu(*mtu))),
        [LinkAttribute::IfName(name)] => Some(changed(link, LinkChange::Name(name.parse().ok()?))),
        _ => None,
    }
}

fn changed(link: &LinkMessage, change: LinkChange) -> Request {
    Request::SetLink {
        link: link.header.index,
        change,
    }
}

fn altname(link: &LinkMessage) -> Option<&str> {
    let [LinkAttribute::PropList(properties)] = link.attributes.as_slice() else {
        return None;
    };
    match properties.as_slice() {
        [Prop::AltIfName(name)] => Some(name),
        _ => None,
    }
}

/// One attribute of one VF: a batch is not atomic and hides the culprit.
fn set_vf(pf: u32, list: &[LinkVfInfo]) -> Option<Request> {
    let [LinkVfInfo(infos)] = list else {
        return None;
    };
    let [info] = infos.as_slice() else {
        return None;
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all that is not set by `Netlink` is refused alike"
    )]
    let (vf, change) = match info {
        VfInfo::Mac(mac) => {
            let bytes = mac.mac.first_chunk::<6>()?;
            (mac.vf_id, VfChange::Mac(MacAddr::new(*bytes)))
        }
        VfInfo::VlanList(list) => match list.as_slice() {
            [VfVlan::Info(info)] => (info.vf_id, VfChange::Vlan(vfs::read_vlan(info)?)),
            _ => return None,
        },
        VfInfo::SpoofCheck(check) => (check.vf_id, VfChange::Spoofchk(check.enabled)),
        VfInfo::Trust(trust) => (trust.vf_id, VfChange::Trust(trust.enabled)),
        VfInfo::Rate(rate) => {
            let rates = VfRate {
                min: rate.min_tx_rate,
                max: rate.max_tx_rate,
            };
            (rate.vf_id, VfChange::Rate(rates))
        }
        VfInfo::LinkState(state) => (
            state.vf_id,
            VfChange::LinkState(vfs::read_link_state(state)?),
        ),
        VfInfo::IbNodeGuid(guid) => (guid.vf_id, VfChange::NodeGuid(Guid::from_number(guid.guid))),
        VfInfo::IbPortGuid(guid) => (guid.vf_id, VfChange::PortGuid(Guid::from_number(guid.guid))),
        _ => return None,
    };
    let vf = VfIndex::new(u16::try_from(vf).ok()?);
    Some(Request::SetVf { pf, vf, change })
}

fn route(message: &RouteMessage) -> Option<Request> {
    let link = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Oif(link) = attribute {
            Some(*link)
        } else {
            None
        }
    })?;
    let route = addresses::decode(message)?;
    Some(Request::AddRoute { link, route })
}
