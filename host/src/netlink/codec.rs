//! Datagrams to messages and back; a message that is cut short fails its request instead of being left out of a list.

use std::fmt::Debug;
use std::io;

use bytes::BytesMut;
use netlink_packet_core::{
    NLMSG_OVERRUN, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_proto::{NetlinkCodec, NetlinkMessageCodec};

use crate::nla::number32;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The codec of `netlink-proto`, which drops a message that is cut short without a word.
pub(super) struct StrictCodec;

impl NetlinkMessageCodec for StrictCodec {
    fn decode<T>(src: &mut BytesMut) -> io::Result<Option<NetlinkMessage<T>>>
    where
        T: NetlinkDeserializable + Debug,
    {
        if src.is_empty() {
            return Ok(None);
        }
        let length = number32(src, 0).and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| (HEADER..=src.len()).contains(&length)) {
            return NetlinkCodec::decode(src);
        }
        let cut = src.split();
        let Some(sequence_number) = number32(&cut, 8) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut header = NetlinkHeader::default();
        header.message_type = NLMSG_OVERRUN;
        header.sequence_number = sequence_number;
        let lost = NetlinkPayload::Overrun(cut.to_vec());
        Ok(Some(NetlinkMessage::new(header, lost)))
    }

    fn encode<T>(message: NetlinkMessage<T>, buffer: &mut BytesMut) -> io::Result<()>
    where
        T: NetlinkSerializable + Debug,
    {
        NetlinkCodec::encode(message, buffer)
    }
}
