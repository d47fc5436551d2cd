//! Generated code of the kubelet's DRA APIs: messages, servers, and the clients of the kubelet double in tests.

#![expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::as_conversions,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto files say what there is to say"
)]

#[rustfmt::skip]
pub mod dra_v1;
#[rustfmt::skip]
pub mod health_v1;
#[rustfmt::skip]
pub mod health_v1alpha1;
