//! Bytes of a message or an attribute of the packet crates.

use netlink_packet_core::Emitable;

pub(super) fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
