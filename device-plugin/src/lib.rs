//! The device plugin: finds VFs, groups them into pools, advertises them to kubelet, answers Allocate.
//!
//! Start at [`plugin::run`]: it owns the snapshot. `pools` decides which device is in which pool and why not, `allocate` what a pod gets;
//! both are pure. `grpc` speaks with kubelet, `kubelet` registers.

#![forbid(unsafe_code)]

pub mod allocate;
pub mod args;
pub mod asked;
pub mod cdi;
pub mod changes;
pub mod grpc;
pub mod health;
pub mod http;
pub mod kept;
pub mod kubelet;
pub mod means;
pub mod metrics;
pub mod observe;
pub mod offer;
pub mod ownership;
pub mod plugin;
pub mod podresources;
pub mod pools;
pub mod prefer;
pub mod privileges;
pub mod proto;
pub mod tool;
pub mod transition;
pub mod unattached;
pub mod uplinks;
