//! Generated code of kubelet's APIs: messages, servers, and the clients that the kubelet double speaks with.

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
#[rustfmt::skip]
pub mod pluginregistration;
#[rustfmt::skip]
pub mod v1;
