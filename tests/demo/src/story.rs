//! The demo's result: facts as data, and the same facts as text for a terminal.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;

use crate::facts::{LinkFacts, Picture};
use crate::wire::Tag;

/// All observations of the demo.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Story {
    /// The node's PFs.
    pub(crate) pfs: Vec<Pf>,
    /// Devices of each resource in the kubelet's lists.
    pub(crate) resources: BTreeMap<String, Vec<String>>,
    /// Answer of Allocate for the pod.
    pub(crate) allocation: Allocation,
    /// The VF before ADD.
    pub(crate) before: Picture,
    /// The VF while the pod has it.
    pub(crate) during: Picture,
    /// The VF after DEL.
    pub(crate) after: Picture,
    /// Standard input of the CNI plugin.
    pub(crate) configuration: Value,
    /// Result of the CNI plugin's ADD.
    pub(crate) result: Value,
    /// Captured traffic.
    pub(crate) wire: Wire,
    /// Files and devices that remained after the release.
    pub(crate) left: Vec<String>,
}

/// A PF of the node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pf {
    /// PCI address.
    pub(crate) pci: String,
    /// Name of its network device.
    pub(crate) netdev: String,
    /// Driver.
    pub(crate) driver: String,
    /// NUMA node.
    pub(crate) numa_node: String,
    /// Number of VFs.
    pub(crate) vfs: u64,
}

/// The device plugin's answer of Allocate, and the device-info file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Allocation {
    /// Resource.
    pub(crate) resource: String,
    /// Device id.
    pub(crate) device: String,
    /// Environment of the container.
    pub(crate) envs: BTreeMap<String, String>,
    /// Path of the device-info file.
    pub(crate) device_info_file: String,
    /// Its content.
    pub(crate) device_info: Value,
}

/// Traffic while the pod pings the second PF.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wire {
    /// Whether the ping was answered.
    pub(crate) answered: bool,
    /// Number of the pod's frames at the second PF, by tag.
    pub(crate) pod_frames: Vec<(Option<Tag>, usize)>,
    /// VLAN of the VF of another pod, which captures frames.
    pub(crate) other_vlan: u64,
    /// Number of the pod's frames that reached the VF in another VLAN.
    pub(crate) heard_in_other_vlan: usize,
    /// Number of the pod's broadcasts that reached a VF in the same VLAN.
    pub(crate) heard_in_same_vlan: usize,
}

impl Story {
    /// The expectations that failed; empty after success.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                failures.push(what.to_owned());
            }
        };
        let expected_tag = Tag {
            vlan: 100,
            priority: 3,
        };
        expect(
            self.during.in_pod.is_some() && self.during.on_host.is_none(),
            "the VF's network device is not in the pod",
        );
        expect(
            self.during.at_pf.vlan == 100 && self.during.at_pf.qos == 3,
            "the PF does not report VLAN 100 with priority 3",
        );
        expect(
            self.wire.answered,
            "the ping over the VLAN was not answered",
        );
        expect(
            !self.wire.pod_frames.is_empty(),
            "no frame of the pod reached the second PF",
        );
        expect(
            self.wire
                .pod_frames
                .iter()
                .all(|(tag, _)| *tag == Some(expected_tag)),
            "a frame of the pod was not tagged with VLAN 100 and priority 3",
        );
        expect(
            self.wire.heard_in_same_vlan > 0,
            "the pod's broadcasts did not reach a VF of the same VLAN",
        );
        expect(
            self.wire.heard_in_other_vlan == 0,
            "frames of the pod reached a VF of another VLAN",
        );
        expect(
            self.before == self.after,
            "the VF after DEL differs from the VF before ADD",
        );
        expect(
            self.left.is_empty(),
            "files or devices are left after the release",
        );
        failures
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nThe node")?;
        for Pf {
            pci,
            netdev,
            driver,
            numa_node,
            vfs,
        } in &self.pfs
        {
            writeln!(
                f,
                "  PF {pci}  {netdev}  driver {driver}  NUMA node {numa_node}  {vfs} VFs"
            )?;
        }
        writeln!(
            f,
            "\nResources that sriov-device-plugin advertised to the kubelet (deploy/examples/configmap.yaml)"
        )?;
        for (resource, devices) in &self.resources {
            writeln!(
                f,
                "  {resource:<22} {} VFs: {}",
                devices.len(),
                devices.join(" ")
            )?;
        }
        let Allocation {
            resource,
            device,
            envs,
            device_info_file,
            device_info,
        } = &self.allocation;
        writeln!(f, "\nA pod requests one {resource} and gets {device}")?;
        for (name, value) in envs {
            writeln!(f, "  {name}={value}")?;
        }
        writeln!(f, "  {device_info_file}\n    {device_info}")?;
        writeln!(
            f,
            "\nThe CNI plugin attaches it (deploy/examples/nad-vlan.yaml)"
        )?;
        writeln!(
            f,
            "  {:<26} {:<26} {:<26} after DEL",
            "", "before ADD", "in the pod"
        )?;
        for (fact, of) in FACTS {
            let (before, during, after) = (of(&self.before), of(&self.during), of(&self.after));
            let mark = if before == during { ' ' } else { '*' };
            writeln!(f, "  {mark} {fact:<24} {before:<26} {during:<26} {after}")?;
        }
        writeln!(
            f,
            "  Spoof check and trust are what the driver reports; the emulated NIC does not enforce spoof check."
        )?;
        let Wire {
            answered,
            pod_frames,
            other_vlan,
            heard_in_other_vlan,
            heard_in_same_vlan,
        } = &self.wire;
        writeln!(f, "\nOn the wire, while the pod pings the second PF")?;
        writeln!(
            f,
            "  the ping was {}",
            if *answered {
                "answered"
            } else {
                "NOT answered"
            }
        )?;
        for (tag, count) in pod_frames {
            let tag = tag.map_or_else(
                || "no tag".to_owned(),
                |Tag { vlan, priority }| format!("VLAN {vlan}, priority {priority}"),
            );
            writeln!(f, "  {count} frames of the pod at the second PF: {tag}")?;
        }
        writeln!(
            f,
            "  of its broadcasts, a VF with VLAN 100 received {heard_in_same_vlan}, a VF with VLAN {other_vlan} received {heard_in_other_vlan}"
        )?;
        match self.left.as_slice() {
            [] => writeln!(
                f,
                "\nAfter DEL the VF has its earlier settings, and nothing is left on the node."
            ),
            left => writeln!(f, "\nLEFT BEHIND: {}", left.join(", ")),
        }
    }
}

type Fact = (&'static str, fn(&Picture) -> String);

const FACTS: &[Fact] = &[
    ("PF: admin MAC", |picture| picture.at_pf.mac.clone()),
    ("PF: VLAN", |picture| vlan(picture)),
    ("PF: spoof check", |picture| on(picture.at_pf.spoofchk)),
    ("PF: trust", |picture| on(picture.at_pf.trust)),
    ("netdev on the host", |picture| {
        link(picture.on_host.as_ref())
    }),
    ("netdev in the pod", |picture| link(picture.in_pod.as_ref())),
    ("MAC of the netdev", |picture| {
        either(picture, |link| link.mac.clone())
    }),
    ("MTU", |picture| {
        either(picture, |link| link.mtu.to_string())
    }),
    ("addresses", |picture| {
        either(picture, |link| link.addresses.join(" "))
    }),
];

fn on(value: bool) -> String {
    if value { "on" } else { "off" }.to_owned()
}

fn vlan(picture: &Picture) -> String {
    match picture.at_pf.vlan {
        0 => "none".to_owned(),
        vlan => format!("{vlan}, priority {}", picture.at_pf.qos),
    }
}

fn link(link: Option<&LinkFacts>) -> String {
    let mut text = String::new();
    match link {
        None => text.push('-'),
        Some(LinkFacts { name, up, .. }) => {
            let _ = write!(text, "{name}, {}", if *up { "up" } else { "down" });
        }
    }
    text
}

fn either(picture: &Picture, of: impl Fn(&LinkFacts) -> String) -> String {
    let text = picture
        .in_pod
        .as_ref()
        .or(picture.on_host.as_ref())
        .map_or_else(String::new, of);
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}
