//! The main job on real VFs, end to end: device plugin, kubelet double, CNI plugin, traffic, and the release.
//!
//! All facts are read from the kernel with iproute2 and tcpdump, without our own code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::facts::picture;
use crate::story::{Allocation, Pf as PfFacts, Story, Wire};
use crate::wire::{Capture, Frame, Tag};
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::multus::{self, Attachment, DeviceInfoDirs, Network};
use sriov_testkit::node::{Netns, Pf, ip, ping};
use sriov_testkit::plugin::Plugin;

const BIN: &str = "/opt/cni/bin";
const CONFIG_MAP: &str = include_str!("../../../deploy/examples/configmap.yaml");
const TRADING: &str = include_str!("../../../deploy/examples/nad-vlan.yaml");
const STORAGE: &str = include_str!("../../../deploy/examples/nad-other-vlan.yaml");

/// Runs the demo and prints its result; succeeds only if every expectation holds.
pub(crate) fn main(json: bool) -> ExitCode {
    match tell(json) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell(json: bool) -> Result<bool> {
    let story = run()?;
    let failures = story.failures();
    if json {
        let mut document = serde_json::to_value(&story)?;
        if let Some(object) = document.as_object_mut() {
            object.insert("failures".to_owned(), serde_json::to_value(&failures)?);
        }
        println!("{document:#}");
    } else {
        println!("{story}");
        for failure in &failures {
            println!("NOT AS IT SHOULD BE: {failure}");
        }
    }
    Ok(failures.is_empty())
}

fn run() -> Result<Story> {
    let (first, second) = (Pf::with_vfs(0, 7)?, Pf::with_vfs(1, 0)?);
    // Before the VFs: on the emulated NIC, a VLAN that is added to a PF with VFs does not reach its filter.
    let _wire = wire_end(&second)?;
    second.set_vfs(7)?;
    let config = Path::new("/tmp/config.json");
    std::fs::write(config, config_json()?)?;
    let kubelet = Kubelet::start(Path::new("/var/lib/kubelet"), false)?;
    let flag = format!("--config-file={}", config.display());
    let plugin = Plugin::start(
        Path::new("/opt/virtfn/sriov-device-plugin"),
        &[&flag],
        Path::new("/tmp/device-plugin.log"),
    )?;
    let listed = |known: &Resources| {
        known.len() == 2 && known.values().all(|resource| !resource.lists.is_empty())
    };
    let known = kubelet.wait_for("the kubelet has the lists of both resources", listed)?;

    let trading = Network::from_manifest(TRADING)?;
    let storage = Network::from_manifest(STORAGE)?;
    let (pod, other) = (Netns::new("feed")?, Netns::new("backup")?);
    let dirs = DeviceInfoDirs::default();
    let (allocation, mut attachment) = allocate(&kubelet, &known, &dirs, &trading, &pod, &[])?;
    attachment.mac = Some("02:00:00:00:00:64".to_owned());
    let (_, quiet) = allocate(&kubelet, &known, &dirs, &storage, &other, &[])?;
    // A third pod on the VLAN of the first receives the frames that the second must not receive.
    let peer = Netns::new("peer")?;
    let mut same_vlan = storage.clone();
    same_vlan.config.insert("vlan".to_owned(), Value::from(100));
    let (_, hearing) = allocate(
        &kubelet,
        &known,
        &dirs,
        &same_vlan,
        &peer,
        &[&quiet.device_id],
    )?;

    let index = (0..7)
        .find(|index| first.vf(*index).is_ok_and(|vf| vf == allocation.device))
        .context("the device is not a VF of the first PF")?;
    let look = |pod: Option<&str>| {
        picture(
            &first.netdev,
            u64::try_from(index)?,
            &allocation.device,
            pod,
        )
    };
    let before = look(None)?;
    let configuration = prepare(&dirs, &trading, &attachment)?;
    let result = succeed("ADD", &configuration, &attachment)?;
    let quiet_configuration = prepare(&dirs, &storage, &quiet)?;
    succeed("ADD", &quiet_configuration, &quiet)?;
    let hearing_configuration = prepare(&dirs, &same_vlan, &hearing)?;
    succeed("ADD", &hearing_configuration, &hearing)?;
    let during = look(Some(&pod.name))?;
    let wire = listen(&second, &pod, &other, &peer, "02:00:00:00:00:64")?;
    for (network, configuration, attachment) in [
        (&trading, &configuration, &attachment),
        (&storage, &quiet_configuration, &quiet),
        (&same_vlan, &hearing_configuration, &hearing),
    ] {
        succeed("DEL", configuration, attachment)?;
        // Multus removes its copy of the file.
        std::fs::remove_file(dirs.of_attachment(network, attachment))?;
    }
    let after = look(Some(&pod.name))?;
    let pfs = [&first, &second]
        .into_iter()
        .map(pf_facts)
        .collect::<Result<_>>()?;
    let resources = known
        .iter()
        .map(|(name, resource)| (name.clone(), resource.ids()))
        .collect();
    plugin.stop()?;
    let left = left(&[&pod, &other, &peer])?;
    Ok(Story {
        pfs,
        resources,
        allocation,
        before,
        during,
        after,
        configuration,
        result,
        wire,
        left,
    })
}

/// The work of the kubelet: chooses, allocates and records a device.
fn allocate(
    kubelet: &Kubelet,
    known: &Resources,
    dirs: &DeviceInfoDirs,
    network: &Network,
    pod: &Netns,
    taken: &[&String],
) -> Result<(Allocation, Attachment)> {
    let resource = known
        .get(&network.resource)
        .with_context(|| format!("no plugin advertises {}", network.resource))?;
    let free: Vec<String> = resource
        .ids()
        .into_iter()
        .filter(|id| !taken.contains(&id))
        .collect();
    let device = kubelet
        .prefer(&network.resource, &free, 1)?
        .into_iter()
        .next()
        .context("no device is free")?;
    let answer = kubelet.allocate(&network.resource, &[&device])?;
    let file = dirs.of_device(network, &device);
    let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let attachment = Attachment {
        pod: pod.name.clone(),
        container_id: format!("sandbox-of-{}", pod.name),
        netns: pod.path(),
        ifname: "net1".to_owned(),
        device_id: device.clone(),
        mac: None,
    };
    let allocation = Allocation {
        resource: network.resource.clone(),
        device,
        envs: answer.envs.into_iter().collect::<BTreeMap<_, _>>(),
        device_info_file: file.display().to_string(),
        device_info: serde_json::from_str(&text)?,
    };
    Ok((allocation, attachment))
}

fn prepare(dirs: &DeviceInfoDirs, network: &Network, attachment: &Attachment) -> Result<Value> {
    multus::copy_device_info(dirs, network, attachment)?;
    Ok(multus::delegate_config(dirs, network, attachment))
}

fn succeed(verb: &str, configuration: &Value, attachment: &Attachment) -> Result<Value> {
    let answer = multus::call(Path::new(BIN), verb, configuration, attachment)?;
    if answer.code != Some(0) {
        bail!("{verb} of {} failed: {}", attachment.pod, answer.document);
    }
    Ok(answer.document)
}

/// Pings a VLAN interface on the second PF from the pod, and captures frames there and at two VFs.
fn listen(second: &Pf, pod: &Netns, other: &Netns, peer: &Netns, mac: &str) -> Result<Wire> {
    let has_carrier = |pod: &Netns| {
        let links = sriov_testkit::node::ip_json(Some(&pod.name), &["link", "show", "dev", "net1"]);
        links.is_ok_and(|links| {
            links
                .pointer("/0/flags")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .any(|flag| flag == "LOWER_UP")
        })
    };
    sriov_testkit::node::wait_for("all pods have carrier", || {
        [pod, other, peer].into_iter().all(has_carrier)
    })?;
    // The emulated NIC delivers no broadcast to a PF with VFs: the pod gets a permanent neighbour entry.
    let to_pf = [
        "192.0.2.1",
        "lladdr",
        "52:54:00:00:00:11",
        "dev",
        "net1",
        "nud",
        "permanent",
    ];
    ip(&[["-netns", &pod.name, "neigh", "replace"].as_slice(), &to_pf].concat())?;
    let at_pf = Capture::start(None, &second.netdev)?;
    let at_other = Capture::start(Some(&other.name), "net1")?;
    let at_peer = Capture::start(Some(&peer.name), "net1")?;
    let answered = ping(&pod.name, "192.0.2.1", 3, 5)?;
    // A broadcast without an answer.
    ping(&pod.name, "192.0.2.255", 2, 1)?;
    let of_pod = |frames: Vec<Frame>| {
        frames
            .into_iter()
            .filter(|frame| frame.source == mac)
            .collect::<Vec<_>>()
    };
    let heard = of_pod(at_other.stop()?).len();
    let heard_by_peer = of_pod(at_peer.stop()?).len();
    let mut by_tag: BTreeMap<Option<(u16, u8)>, usize> = BTreeMap::new();
    for frame in of_pod(at_pf.stop()?) {
        *by_tag
            .entry(frame.tag.map(|Tag { vlan, priority }| (vlan, priority)))
            .or_default() += 1;
    }
    let tag = |(vlan, priority)| Tag { vlan, priority };
    Ok(Wire {
        answered,
        pod_frames: by_tag
            .into_iter()
            .map(|(key, count)| (key.map(tag), count))
            .collect(),
        other_vlan: 200,
        heard_in_other_vlan: heard,
        heard_in_same_vlan: heard_by_peer,
    })
}

/// The other end of the pod's network: a VLAN interface on the PF.
fn wire_end(pf: &Pf) -> Result<RemoveLink> {
    ip(&[
        "link", "add", "link", &pf.netdev, "name", "wire100", "type", "vlan", "id", "100",
    ])?;
    let wire = RemoveLink("wire100");
    ip(&["address", "add", "192.0.2.1/24", "dev", "wire100"])?;
    ip(&["link", "set", "wire100", "up"])?;
    Ok(wire)
}

struct RemoveLink(&'static str);

impl Drop for RemoveLink {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", self.0]);
    }
}

fn pf_facts(pf: &Pf) -> Result<PfFacts> {
    let device = Path::new("/sys/bus/pci/devices").join(&pf.address);
    let read = |attribute: &str| {
        anyhow::Ok(
            std::fs::read_to_string(device.join(attribute))?
                .trim()
                .to_owned(),
        )
    };
    let driver = std::fs::read_link(device.join("driver"))?;
    Ok(PfFacts {
        pci: pf.address.clone(),
        netdev: pf.netdev.clone(),
        driver: driver
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        numa_node: read("numa_node")?,
        vfs: read("sriov_numvfs")?.parse()?,
    })
}

/// Leftovers that must not exist: state of the CNI plugin, sockets of the device plugin, copies for the attachments, interfaces in the pods.
fn left(pods: &[&Netns]) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let dirs = [
        "/var/lib/cni/sriov",
        "/var/lib/cni/sriov/pci",
        "/var/lib/kubelet/plugins_registry",
        "/var/run/k8s.cni.cncf.io/devinfo/cni",
    ];
    for dir in dirs {
        let entries = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        left.extend(
            entries
                .filter(|path| !path.is_dir())
                .map(|path: PathBuf| path.display().to_string()),
        );
    }
    for pod in pods {
        let links = sriov_testkit::node::ip_json(Some(&pod.name), &["link", "show"])?;
        let names = links
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|link| link["ifname"].as_str());
        left.extend(
            names
                .filter(|name| *name != "lo")
                .map(|name| format!("{name} in {}", pod.name)),
        );
    }
    Ok(left)
}

fn config_json() -> Result<String> {
    let manifest: Value = serde_yaml_ng::from_str(CONFIG_MAP)?;
    let text = manifest
        .pointer("/data/config.json")
        .and_then(Value::as_str);
    Ok(text.context("the ConfigMap has no config.json")?.to_owned())
}
