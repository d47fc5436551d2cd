//! Who holds which device: the kubelet's pod resources and the CNI plugin's journal.

pub mod event;
pub mod journal;
pub mod pod_resources;
pub mod unattached;
