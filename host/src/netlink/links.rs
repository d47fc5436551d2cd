//! Requests about links: reading one or all, moving one, changing one.

use std::os::fd::AsRawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};

use super::connection::Netlink;
use super::error::NetlinkError;
use super::{changes, ifinfo};
use crate::ifname::IfName;
use crate::link::{Link, LinkChange};
use crate::netns::Netns;
use crate::pci::PciAddress;

// include/uapi/linux/rtnetlink.h
pub(super) const RTM_NEWLINK: u16 = 16;

impl Netlink {
    /// Reads the link with this index.
    pub async fn link(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(&format!("read link {index}"), message).await
    }

    /// Reads the link with this name or alternative name.
    pub async fn link_named(&self, name: &IfName) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_string()));
        self.one_link(&format!("read link `{name}`"), message).await
    }

    /// Reads all links of this namespace.
    ///
    /// With `RTEXT_FILTER_SKIP_STATS` the kernel makes room for the longest message; without any filter it silently
    /// leaves out a link whose message is longer than 16 KiB, for instance for its alternative names
    /// (`rtnl_calcit` and `rtnl_dump_ifinfo`, `net/core/rtnetlink.c`).
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(without_statistics());
        let message = RouteNetlinkMessage::GetLink(message);
        let answers = self.dump("list the links", message).await?;
        let bodies = answers
            .into_iter()
            .filter_map(|answer| answer.into_body(RTM_NEWLINK));
        Ok(bodies.filter_map(|body| self.read_link(&body)).collect())
    }

    /// Finds the link of a PCI device in this namespace, whatever its name is.
    pub async fn link_of_device(&self, device: PciAddress) -> Result<Option<Link>, NetlinkError> {
        let mut links = self.links().await?.into_iter();
        Ok(links.find(|link| link.device == Some(device)))
    }

    /// Requests a change of nothing, which fails as any change would without `CAP_NET_ADMIN`.
    pub async fn probe(&self) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        // The loopback device, which each namespace has under this index.
        message.header.index = 1;
        self.change("change a link", RouteNetlinkMessage::SetLink(message), 0)
            .await
    }

    /// Moves a link into another namespace and names it there, in one message: the link is never visible there under another name.
    ///
    /// The kernel sets the link down; its index may change.
    /// The link's name here may be taken there.
    ///
    /// # Errors
    /// EEXIST if `name` is taken there.
    /// The link then **is there**, under the name that it had here: the kernel moves first, renames second, and undoes nothing.
    /// Only if that name is taken there as well, the link stays here (`do_setlink`, `net/core/rtnetlink.c`; seen on Linux 6.12).
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
        let (message, flags) = changes::encode(index, change);
        self.change(&format!("change link {index}: {change}"), message, flags)
            .await
    }

    /// Reads one link.
    pub(super) async fn one_link(
        &self,
        operation: &str,
        message: LinkMessage,
    ) -> Result<Option<Link>, NetlinkError> {
        let answer = self
            .one(operation, RouteNetlinkMessage::GetLink(message))
            .await?;
        let body = answer.and_then(|answer| answer.into_body(RTM_NEWLINK));
        Ok(body.and_then(|body| self.read_link(&body)))
    }

    /// Reads a link from a message, and its device from the driver if the message has none:
    /// before Linux 5.14, of a virtio device, or behind properties that are longer than the kernel can express.
    pub(super) fn read_link(&self, body: &[u8]) -> Option<Link> {
        let mut link = ifinfo::read(body)?;
        if link.device.is_none() && link.kind.is_none() {
            link.device = self.device_behind(link.index);
        }
        Some(link)
    }
}

fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}
