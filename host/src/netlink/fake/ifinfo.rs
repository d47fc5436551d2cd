//! A link of the kernel in memory as the message that the kernel would write about it.

use netlink_packet_route::link::{LinkAttribute, LinkVfInfo};

use super::emit::bytes;
use super::state::HeldLink;
use crate::link::Link;
use crate::mac::MacAddr;
use crate::netlink::ifinfo::{
    ADDRESS, ALLMULTI, ALT_IFNAME, BROADCAST, GROUP, HEADER as IFINFOMSG, IFALIAS, IFF_LOWER_UP,
    IFF_UP, IFNAME, INFO_KIND, LIMITS, LINK, LINK_NETNSID, LINKINFO, LINKMODE, MASTER, MAX_MTU,
    MIN_MTU, MTU, NUM_RX_QUEUES, NUM_TX_QUEUES, PARENT_DEV_NAME, PERM_ADDRESS, PROMISCUITY,
    PROP_LIST, QDISC, TSO_MAX_SEGS, TSO_MAX_SIZE, TXQLEN, VFINFO_LIST, XDP,
};
use crate::netlink::{vfs, xdp};
use crate::nla::push;
use crate::vf::{VfChange, VfIndex, VfSettings};

// include/uapi/linux/if_arp.h
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_INFINIBAND: u16 = 32;
const ARPHRD_NONE: u16 = 0xfffe;
/// `NLA_F_NESTED`, include/uapi/linux/netlink.h.
const NESTED: u16 = 0x8000;

/// `struct ifinfomsg` and the attributes of a link, in the order of `rtnl_fill_ifinfo`.
pub(super) fn encode(held: &HeldLink, with_vfs: bool) -> Vec<u8> {
    let link = &held.link;
    let (layer, address) = match (link.mac, link.guid) {
        (Some(mac), _) => (ARPHRD_ETHER, mac.bytes().to_vec()),
        // A queue pair number and a subnet prefix, then the GUID.
        (None, Some(guid)) => (
            ARPHRD_INFINIBAND,
            [&[0; 12][..], &guid.number().to_be_bytes()].concat(),
        ),
        (None, None) => (ARPHRD_NONE, Vec::new()),
    };
    let properties = &link.properties;
    let mut flags = properties.flags.bits();
    flags |= if link.is_up { IFF_UP } else { 0 };
    flags |= if link.has_carrier { IFF_LOWER_UP } else { 0 };
    let mut body = vec![0, 0];
    body.extend(layer.to_ne_bytes());
    body.extend(link.index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.resize(IFINFOMSG, 0);
    let mut add = |kind, value: &[u8]| push(&mut body, kind, value);
    let text = |text: &[u8]| [text, &[0]].concat();
    add(IFNAME, &text(link.name.as_bytes()));
    for (kind, number) in numbers(link) {
        add(kind, &number.to_ne_bytes());
    }
    add(LINKMODE, &[properties.mode]);
    if let Some(qdisc) = &link.qdisc {
        add(QDISC, &text(qdisc.as_bytes()));
    }
    if let Some(alias) = &properties.alias {
        add(IFALIAS, &text(alias.as_bytes()));
    }
    add(ADDRESS, &address);
    if let Some(broadcast) = properties.broadcast {
        add(BROADCAST, &broadcast.bytes());
    }
    add(NESTED | XDP, &xdp::encode(&properties.xdp));
    if let Some(kind) = &link.kind {
        let mut info = Vec::new();
        push(&mut info, INFO_KIND, &text(kind.as_bytes()));
        add(NESTED | LINKINFO, &info);
    }
    for (kind, value) in &held.attributes {
        add(*kind, value);
    }
    if with_vfs && !held.vfs.is_empty() {
        let vfs = held.vfs.iter();
        let list = vfs.map(|(vf, settings)| vf_info(*vf, settings, &held.hidden));
        let list = bytes(&LinkAttribute::VfInfoList(list.collect()));
        add(NESTED | VFINFO_LIST, list.get(4..).unwrap_or_default());
    }
    if !link.altnames.is_empty() {
        let mut list = Vec::new();
        for name in &link.altnames {
            push(&mut list, ALT_IFNAME, &text(name.as_bytes()));
        }
        add(NESTED | PROP_LIST, &list);
    }
    if let Some(mac) = link.permanent_mac {
        add(PERM_ADDRESS, &mac.bytes());
    }
    if let Some(parent) = &held.parent {
        add(PARENT_DEV_NAME, &text(parent.as_bytes()));
    }
    body
}

/// Attributes that are one number; those that a kernel may not report only where they are known.
fn numbers(link: &Link) -> Vec<(u16, u32)> {
    let properties = &link.properties;
    let limits = properties.limits.iter().filter_map(|(limit, value)| {
        let (kind, _) = LIMITS.iter().find(|(_, other)| other == limit)?;
        Some((*kind, *value))
    });
    let known = [
        (TXQLEN, properties.queue_length),
        (MASTER, properties.master),
        (LINK, link.lower),
        (LINK_NETNSID, link.lower_netns),
        (MIN_MTU, link.mtu_range.map(|(min, _)| min)),
        (MAX_MTU, link.mtu_range.map(|(_, max)| max)),
        (NUM_TX_QUEUES, link.queues.map(|(transmit, _)| transmit)),
        (NUM_RX_QUEUES, link.queues.map(|(_, receive)| receive)),
        (TSO_MAX_SIZE, link.tso_max.map(|(size, _)| size)),
        (TSO_MAX_SEGS, link.tso_max.map(|(_, segments)| segments)),
    ];
    let always = [
        (MTU, link.mtu),
        (GROUP, properties.group),
        (PROMISCUITY, properties.promiscuity),
        (ALLMULTI, properties.allmulti),
    ];
    let known = known
        .into_iter()
        .filter_map(|(kind, number)| Some((kind, number?)));
    always.into_iter().chain(known).chain(limits).collect()
}

/// The MAC address is there for every VF, zero when none was set (`rtnl_fill_vfinfo`, `net/core/rtnetlink.c`).
fn vf_info(vf: VfIndex, settings: &VfSettings, hidden: &[&str]) -> LinkVfInfo {
    let VfSettings {
        mac,
        vlan,
        spoofchk,
        trust,
        rate,
        link_state,
        node_guid,
        port_guid,
    } = *settings;
    let changes = [
        Some(VfChange::Mac(mac.unwrap_or(MacAddr::ZERO))),
        vlan.map(VfChange::Vlan),
        spoofchk.map(VfChange::Spoofchk),
        trust.map(VfChange::Trust),
        rate.map(VfChange::Rate),
        link_state.map(VfChange::LinkState),
        node_guid.map(VfChange::NodeGuid),
        port_guid.map(VfChange::PortGuid),
    ];
    let told = changes
        .iter()
        .flatten()
        .filter(|change| !hidden.contains(&change.setting()));
    LinkVfInfo(told.map(|change| vfs::encode(vf, change)).collect())
}
