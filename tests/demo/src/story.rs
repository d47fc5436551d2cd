//! The demo's result: facts as data, and the same facts told for a person at a terminal.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;

use crate::facts::{LinkFacts, Picture};
use crate::wire::Tag;

/// All that the demo saw.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Story {
    /// The node's PFs.
    pub(crate) pfs: Vec<Pf>,
    /// Devices of each resource as kubelet was told.
    pub(crate) resources: BTreeMap<String, Vec<String>>,
    /// What kubelet got for the pod.
    pub(crate) allocation: Allocation,
    /// The VF before ADD.
    pub(crate) before: Picture,
    /// The VF while the pod has it.
    pub(crate) during: Picture,
    /// The VF after DEL.
    pub(crate) after: Picture,
    /// Configuration that the CNI plugin got on standard input.
    pub(crate) configuration: Value,
    /// Result of the CNI plugin's ADD.
    pub(crate) result: Value,
    /// What was on the wire.
    pub(crate) wire: Wire,
    /// Files and devices that were left when all was torn down.
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
    /// VFs that were created.
    pub(crate) vfs: u64,
}

/// What the device plugin gave for the pod.
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

/// What was seen on the wire while the pod pinged the second PF.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wire {
    /// Whether the ping was answered.
    pub(crate) answered: bool,
    /// Frames of the pod that the second PF saw, by tag.
    pub(crate) pod_frames: Vec<(Option<Tag>, usize)>,
    /// VLAN of the listening VF of another pod.
    pub(crate) other_vlan: u64,
    /// Frames of the pod which that VF heard.
    pub(crate) heard_in_other_vlan: usize,
    /// Frames of the pod which a VF of the same VLAN heard: broadcasts that the other did not.
    pub(crate) heard_in_same_vlan: usize,
}

impl Story {
    /// What should be so and is not; empty when the demo holds.
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
            "the second PF saw no frame of the pod",
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
            "a VF of the same VLAN did not hear the pod's broadcasts",
        );
        expect(
            self.wire.heard_in_other_vlan == 0,
            "a VF of another VLAN heard the pod",
        );
        expect(
            self.before == self.after,
            "the VF after DEL is not what it was before ADD",
        );
        expect(
            self.left.is_empty(),
            "something is left after all was torn down",
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
            "\nWhat sriov-device-plugin told kubelet (deploy/examples/configmap.yaml)"
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
        writeln!(f, "\nA pod asks for one {resource} and gets {device}")?;
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
            "  of its broadcasts, a VF with VLAN 100 heard {heard_in_same_vlan}, a VF with VLAN {other_vlan} heard {heard_in_other_vlan}"
        )?;
        match self.left.as_slice() {
            [] => writeln!(
                f,
                "\nAfter DEL the VF is what it was, and nothing is left on the node."
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
