//! Who holds which device: the kubelet's pod resources, the hand-over files of claims, and the CNI plugin's journal.

pub mod claims;
pub mod event;
pub mod journal;
pub mod pod_resources;
pub mod unattached;
