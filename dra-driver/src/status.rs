//! The devices in the status of a claim: from the hand-over files and the CNI plugin's journal. Pure.

use std::collections::BTreeMap;

use sriov_device_info::attachments::{Attachment, Phase};
use sriov_device_info::claims::{ClaimRef, PodClaims};
use sriov_host::PciAddress;

/// Addresses and name of an interface in its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) interface: String,
    pub(crate) hardware_address: Option<String>,
    /// With prefix length, at most 16.
    pub(crate) addresses: Vec<String>,
}

/// A device of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceStatus {
    pub(crate) pool: String,
    pub(crate) device: String,
    pub(crate) conditions: Vec<Condition>,
    /// Present while the device is attached.
    pub(crate) network: Option<Network>,
}

/// A condition of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) is_true: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

/// Addresses that a device may have in a status (`resource.k8s.io/v1`, `NetworkDeviceDataMaxIPs`).
const MOST_ADDRESSES: usize = 16;

/// The devices of each claim.
pub(crate) fn statuses(
    pods: &[PodClaims],
    journal: &BTreeMap<PciAddress, Attachment>,
) -> BTreeMap<ClaimRef, Vec<DeviceStatus>> {
    let mut all: BTreeMap<ClaimRef, Vec<DeviceStatus>> = BTreeMap::new();
    for found in pods.iter().flat_map(|pod| &pod.devices) {
        let attachment = journal.get(&found.pci_address);
        let phase = attachment.map(|attachment| attachment.phase);
        let status = DeviceStatus {
            pool: found.pool.clone(),
            device: found.device.clone(),
            conditions: conditions(phase),
            network: attachment.and_then(network),
        };
        all.entry(found.claim.clone()).or_default().push(status);
    }
    all
}

fn conditions(phase: Option<Phase>) -> Vec<Condition> {
    let condition = |kind, is_true, reason, message| Condition {
        kind,
        is_true,
        reason,
        message,
    };
    let attached = match phase {
        Some(Phase::Attached) => (
            true,
            "Attached",
            "the CNI plugin attached the VF to its pod",
        ),
        Some(Phase::Prepared) => (
            false,
            "Attaching",
            "the CNI plugin has begun to attach the VF",
        ),
        Some(Phase::Dirty) => (false, "Dirty", "the CNI plugin could not restore the VF"),
        Some(Phase::Released) => (
            false,
            "Releasing",
            "the VF is restored, its addresses are not released yet",
        ),
        Some(Phase::Other) => (
            false,
            "Unknown",
            "a later version of the CNI plugin has the VF",
        ),
        None => (false, "NotAttached", "no network of the pod has the VF"),
    };
    let is_dirty = phase == Some(Phase::Dirty);
    let dirty = "the former state of the VF could not be restored; the CNI plugin holds it back";
    let (ready, clean) = if is_dirty {
        ((false, "Dirty", dirty), (false, "Dirty", dirty))
    } else {
        (
            (true, "Prepared", "the driver prepared the VF for the pod"),
            (true, "Clean", "nothing is left of an earlier pod"),
        )
    };
    let all = [("Ready", ready), ("Attached", attached), ("Clean", clean)];
    let all = all.into_iter();
    all.map(|(kind, (is_true, reason, message))| condition(kind, is_true, reason, message))
        .collect()
}

/// The interface in the pod, from the CNI result.
fn network(attachment: &Attachment) -> Option<Network> {
    if attachment.phase != Phase::Attached {
        return None;
    }
    let mut network = Network {
        interface: attachment.ifname.clone(),
        ..Network::default()
    };
    let Some(result) = &attachment.result else {
        return Some(network);
    };
    let interfaces = result.get("interfaces").and_then(|list| list.as_array());
    let interfaces = interfaces.map_or(&[][..], Vec::as_slice);
    let is_own = |one: &&serde_json::Value| {
        one.get("name")
            .is_some_and(|name| *name == *attachment.ifname)
    };
    let own = interfaces.iter().find(is_own);
    let mac = own.and_then(|one| Some(one.get("mac")?.as_str()?.to_owned()));
    network.hardware_address = mac.filter(|mac| !mac.is_empty());
    let ips = result.get("ips").and_then(|list| list.as_array());
    let ips = ips.map_or(&[][..], Vec::as_slice).iter();
    let addresses = ips.filter_map(|one| Some(one.get("address")?.as_str()?.to_owned()));
    for address in addresses.take(MOST_ADDRESSES) {
        // The API server refuses the same address twice.
        if !network.addresses.contains(&address) {
            network.addresses.push(address);
        }
    }
    Some(network)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> PodClaims {
        let device = |device: &str, address: &str| {
            json!({
                "claim": {"namespace": "ns", "name": "c", "uid": "u"},
                "request": "vf", "pool": "n1", "device": device, "pci_address": address,
                "resource": "x.y/vf", "network": null, "ifname": null, "metadata": null,
            })
        };
        let pod = json!({
            "driver": "sriov.virtfn.dev",
            "pod": {"namespace": "ns", "name": "p", "uid": "5d0ab3e5-0000-4000-8000-000000000001"},
            "devices": [
                device("0000-01-10-0", "0000:01:10.0"),
                device("0000-01-10-2", "0000:01:10.2"),
            ],
        });
        serde_json::from_value(pod).unwrap()
    }

    fn attachment(phase: &str) -> Attachment {
        let saved = json!({
            "phase": phase, "boot_id": "b", "incarnation": 1, "network": "n",
            "container_id": "c", "ifname": "net1", "netns": {"path": "/n"},
            "pf": "0000:01:00.0", "vf": 0,
            "result": {
                "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/n"}],
                "ips": [{"address": "10.0.0.2/24", "interface": 0}, {"address": "10.0.0.2/24"}],
            },
        });
        serde_json::from_value(saved).unwrap()
    }

    /// The true conditions of the first device, and its network.
    fn check(phase: Option<&str>, expected: &str, network: Option<&Network>) {
        let address: PciAddress = "0000:01:10.0".parse().unwrap();
        let journal = phase.map(|phase| (address, attachment(phase)));
        let all = statuses(&[pod()], &journal.into_iter().collect());
        let devices = all.values().next().unwrap();
        assert_eq!(devices.len(), 2);
        let first = &devices[0];
        let holds = first
            .conditions
            .iter()
            .filter(|condition| condition.is_true);
        let holds: Vec<&str> = holds.map(|condition| condition.kind).collect();
        assert_eq!(holds.join(" "), expected, "{phase:?}");
        assert_eq!(first.network.as_ref(), network, "{phase:?}");
    }

    #[test]
    fn conditions_follow_the_journal() {
        check(None, "Ready Clean", None);
        check(Some("prepared"), "Ready Clean", None);
        check(Some("released"), "Ready Clean", None);
        check(Some("dirty"), "", None);
        check(Some("paused"), "Ready Clean", None);
        let network = Network {
            interface: "net1".to_owned(),
            hardware_address: Some("02:00:00:00:00:01".to_owned()),
            addresses: vec!["10.0.0.2/24".to_owned()],
        };
        check(Some("attached"), "Ready Attached Clean", Some(&network));
    }
}
