//! Generated code of the kubelet's device plugin API: messages, the server, and the client of the kubelet double in tests.

#![expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::as_conversions,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto files say what there is to say"
)]

#[rustfmt::skip]
pub mod v1beta1;
