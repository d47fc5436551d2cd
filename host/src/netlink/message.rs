//! A message on the wire: requests come from the typed encoder, replies stay bytes and are read one attribute at a time.
//!
//! The typed decoder of the crate refuses a whole message for one attribute, for instance an alias that is not UTF-8,
//! which any pod may give to its link.

use std::convert::Infallible;

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;

/// A request or a reply.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// A request.
    Request(Box<RouteNetlinkMessage>),
    /// A reply: its type (`RTM_*`), and the fixed part with the attributes behind it.
    Reply { kind: u16, body: Vec<u8> },
}

impl Message {
    /// The body of a reply of one type.
    pub(super) fn into_body(self, wanted: u16) -> Option<Vec<u8>> {
        match self {
            Self::Reply { kind, body } => (kind == wanted).then_some(body),
            Self::Request(_) => None,
        }
    }
}

impl From<RouteNetlinkMessage> for Message {
    fn from(request: RouteNetlinkMessage) -> Self {
        Self::Request(Box::new(request))
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Self::Request(request) => request.message_type(),
            Self::Reply { kind, .. } => *kind,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Request(request) => NetlinkSerializable::buffer_len(request.as_ref()),
            Self::Reply { body, .. } => body.len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Request(request) => request.serialize(buffer),
            Self::Reply { body, .. } => buffer.copy_from_slice(body),
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self::Reply {
            kind: header.message_type,
            body: payload.to_vec(),
        })
    }
}
