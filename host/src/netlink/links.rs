//! Links: what the kernel says of one, and single changes of it.

use std::fmt;
use std::os::fd::AsRawFd;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, Prop};

use super::{Netlink, NetlinkError};
use crate::guid::Guid;
use crate::ifname::IfName;
use crate::mac::MacAddr;
use crate::netns::Netns;
use crate::pci::PciAddress;

/// A network device of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// MAC address, when it is an Ethernet one.
    pub mac: Option<MacAddr>,
    /// GUID of the port behind an `IPoIB` link: the end of its 20-byte address (RFC 4391, section 9.1.1).
    pub guid: Option<Guid>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it can send: up, and its driver says that there is a link (`IFF_LOWER_UP`).
    pub has_carrier: bool,
    /// The address that it was made with, where its driver tells (`IFLA_PERM_ADDRESS`, Linux 5.6).
    pub permanent_mac: Option<MacAddr>,
    /// PCI address of its device, also while it is away from the host's namespace (`IFLA_PARENT_DEV_NAME`, Linux 5.14).
    pub device: Option<PciAddress>,
}

/// One change of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Sets it up.
    Up,
    /// Sets it down.
    Down,
    /// Sets its MAC address.
    Mac(MacAddr),
    /// Sets its MTU, in bytes.
    Mtu(u32),
    /// Renames it.
    Name(IfName),
    /// Adds an alternative name.
    AddAltName(String),
    /// Removes an alternative name.
    DropAltName(String),
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("set it up"),
            Self::Down => f.write_str("set it down"),
            Self::Mac(mac) => write!(f, "set its MAC address to {mac}"),
            Self::Mtu(mtu) => write!(f, "set its MTU to {mtu}"),
            Self::Name(name) => write!(f, "rename it to `{name}`"),
            Self::AddAltName(name) => write!(f, "add the alternative name `{name}`"),
            Self::DropAltName(name) => write!(f, "remove the alternative name `{name}`"),
        }
    }
}

impl Netlink {
    /// The link with this index.
    pub async fn link(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(&format!("read link {index}"), message).await
    }

    /// The link with this name or alternative name.
    pub async fn link_named(&self, name: &IfName) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_string()));
        self.one_link(&format!("read link `{name}`"), message).await
    }

    /// The link of a PCI device, wherever in this namespace and under whatever name it is.
    pub async fn link_of_device(&self, device: PciAddress) -> Result<Option<Link>, NetlinkError> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.dump("list the links", message).await?;
        let mut links = answers
            .into_iter()
            .filter_map(as_link)
            .map(|message| read(&message));
        Ok(links.find(|link| link.device == Some(device)))
    }

    /// Asks the kernel for a change of nothing, to learn whether it would make one: it needs `CAP_NET_ADMIN`.
    pub async fn probe(&self) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        // The loopback device, which each namespace has under this index.
        message.header.index = 1;
        self.change("change a link", RouteNetlinkMessage::SetLink(message), 0)
            .await
    }

    /// Moves a link into another namespace and gives it a name there, in one message: no other name is ever seen.
    ///
    /// The kernel sets the link down; its index may change.
    /// A name that it has here and that is taken there is no obstacle.
    ///
    /// # Errors
    /// EEXIST when `name` is taken there.
    /// The link then **is there**, under the name that it had: the kernel moves first, renames after, and takes nothing back.
    /// Only when that name is taken there as well it stays here (`do_setlink`, `net/core/rtnetlink.c`; seen on Linux 6.12).
    pub async fn move_link(
        &self,
        index: u32,
        target: &Netns,
        name: &IfName,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message
            .attributes
            .push(LinkAttribute::NetNsFd(target.fd().as_raw_fd()));
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_string()));
        self.change(
            &format!("move link {index} to another namespace as `{name}`"),
            RouteNetlinkMessage::SetLink(message),
            0,
        )
        .await
    }

    /// Executes one change of a link.
    pub async fn set_link(&self, index: u32, change: &LinkChange) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let mut kind: fn(LinkMessage) -> RouteNetlinkMessage = RouteNetlinkMessage::SetLink;
        match change {
            LinkChange::Up => {
                message.header.flags = LinkFlags::Up;
                message.header.change_mask = LinkFlags::Up;
            }
            LinkChange::Down => message.header.change_mask = LinkFlags::Up,
            LinkChange::Mac(mac) => message
                .attributes
                .push(LinkAttribute::Address(mac.bytes().to_vec())),
            LinkChange::Mtu(mtu) => message.attributes.push(LinkAttribute::Mtu(*mtu)),
            LinkChange::Name(name) => message
                .attributes
                .push(LinkAttribute::IfName(name.to_string())),
            LinkChange::AddAltName(name) => {
                kind = RouteNetlinkMessage::NewLinkProp;
                message
                    .attributes
                    .push(LinkAttribute::PropList(vec![Prop::AltIfName(name.clone())]));
            }
            LinkChange::DropAltName(name) => {
                kind = RouteNetlinkMessage::DelLinkProp;
                message
                    .attributes
                    .push(LinkAttribute::PropList(vec![Prop::AltIfName(name.clone())]));
            }
        }
        // A new property is an addition to a list (net/core/rtnetlink.c, rtnl_linkprop).
        let flags = match change {
            LinkChange::AddAltName(_) => {
                netlink_packet_core::NLM_F_EXCL | netlink_packet_core::NLM_F_APPEND
            }
            LinkChange::Up
            | LinkChange::Down
            | LinkChange::Mac(_)
            | LinkChange::Mtu(_)
            | LinkChange::Name(_)
            | LinkChange::DropAltName(_) => 0,
        };
        self.change(
            &format!("change link {index}: {change}"),
            kind(message),
            flags,
        )
        .await
    }

    pub(super) async fn one_link(
        &self,
        operation: &str,
        mut message: LinkMessage,
    ) -> Result<Option<Link>, NetlinkError> {
        message.header.interface_family = AddressFamily::Unspec;
        let answer = self
            .one(operation, RouteNetlinkMessage::GetLink(message))
            .await?;
        Ok(answer.and_then(as_link).map(|message| read(&message)))
    }
}

pub(super) fn as_link(answer: RouteNetlinkMessage) -> Option<LinkMessage> {
    if let RouteNetlinkMessage::NewLink(message) = answer {
        Some(message)
    } else {
        None
    }
}

pub(super) fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        altnames: Vec::new(),
        mac: None,
        guid: None,
        mtu: 0,
        is_up: message.header.flags.contains(LinkFlags::Up),
        has_carrier: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp),
        permanent_mac: None,
        device: None,
    };
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the kernel tells much more of a link than is asked here"
        )]
        match attribute {
            LinkAttribute::IfName(name) if link.name.is_empty() => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if link.mac.is_none() => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr::new);
                link.guid = port_guid(bytes);
            }
            LinkAttribute::PermAddress(bytes) => {
                link.permanent_mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr::new);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::ParentDevName(name) => link.device = name.parse().ok(),
            LinkAttribute::PropList(properties) => {
                let names = properties.iter().filter_map(|property| {
                    if let Prop::AltIfName(name) = property {
                        Some(name.clone())
                    } else {
                        None
                    }
                });
                link.altnames.extend(names);
            }
            _ => {}
        }
    }
    link
}

fn port_guid(address: &[u8]) -> Option<Guid> {
    let guid = address.last_chunk::<8>().filter(|_| address.len() == 20)?;
    Some(Guid::from_number(u64::from_be_bytes(*guid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guid_of_a_port_is_the_end_of_its_ipoib_address() {
        let mut address = vec![0x80, 0, 0, 0x48, 0xfe, 0x80, 0, 0, 0, 0, 0, 0];
        address.extend([2, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(
            port_guid(&address).unwrap().to_string(),
            "02:00:00:00:00:00:00:07"
        );
        assert_eq!(port_guid(&[2, 0, 0, 0, 0, 7]), None);
    }
}
