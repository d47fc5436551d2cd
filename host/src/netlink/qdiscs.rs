//! Queue disciplines of a link.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::TcMessage;

use super::connection::Netlink;
use super::error::NetlinkError;
use crate::link::{Qdisc, QdiscPlace};
use crate::nla::{attribute, number32};
use crate::raw_name::RawName;

// include/uapi/linux/rtnetlink.h
const RTM_NEWQDISC: u16 = 36;
/// Length of `struct tcmsg`.
const HEADER: usize = 20;
const TCA_KIND: u16 = 1;

impl Netlink {
    /// Reads the queue disciplines at the root and at the ingress of a link.
    ///
    /// The kernel writes those of all links of the namespace, so that this is for a namespace with few links,
    /// or for a link that never left the host: a move to another namespace removes all of them.
    pub async fn qdiscs(&self, link: u32) -> Result<Vec<Qdisc>, NetlinkError> {
        let message = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let answers = self.dump("list the queue disciplines", message).await?;
        let bodies = answers
            .into_iter()
            .filter_map(|answer| answer.into_body(RTM_NEWQDISC));
        let all = bodies.filter_map(|body| read(&body));
        let of_link = all.filter(|(index, _)| *index == link);
        Ok(of_link.map(|(_, qdisc)| qdisc).collect())
    }
}

/// Reads the link and the queue discipline of an `RTM_NEWQDISC` message; those inside others are left out.
pub(super) fn read(body: &[u8]) -> Option<(u32, Qdisc)> {
    let attributes = body.get(HEADER..)?;
    let places = [QdiscPlace::Root, QdiscPlace::Ingress];
    let parent = number32(body, 12)?;
    let qdisc = Qdisc {
        kind: RawName::from_bytes(attribute(attributes, TCA_KIND)?),
        place: places.into_iter().find(|place| place.parent() == parent)?,
        is_explicit: number32(body, 8)? != 0,
    };
    Some((number32(body, 4)?, qdisc))
}
