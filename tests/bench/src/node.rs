//! Measures the device plugin on real VFs, and the time from Allocate to an interface that is up in the pod.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use sriov_host::netlink::Netlink;
use sriov_host::netns::Netns as HostNetns;

use crate::figure::Figure;
use crate::figure::tell;
use crate::program::{Program, succeeded};
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::multus::{self, Attachment, DeviceInfoDirs, Network};
use sriov_testkit::node::{Netns, Pf, wait_for};
use sriov_testkit::plugin::Plugin;
use sriov_testkit::process::memory;

/// Number of VFs of each PF.
const VFS: usize = 7;
const STARTS: usize = 7;
/// Number of driver changes of a VF, and of attachments of a pod.
const CHANGES: usize = 10;
const PODS: usize = 25;
/// Limit for a change to reach the kubelet.
const PATIENCE: Duration = Duration::from_secs(20);
const RESOURCE: &str = "intel.com/vf";

/// Measures on `ports` PFs and prints; with `has_pods`, also the attachment of pods.
pub fn measure(
    programs: &[Program],
    plugins: &[PathBuf],
    ports: u8,
    with_pods: bool,
) -> Result<()> {
    let pfs = (0..ports)
        .map(|port| Pf::with_vfs(port, VFS))
        .collect::<Result<Vec<_>>>()?;
    let functions = pfs.len() * VFS;
    let first = pfs.first().context("no PF")?;
    let name = |what: &str| format!("{functions} real VFs: {what}");
    let mut start = Figure::of(&name("start to list"), "ms", Vec::new());
    let changes = ["a VF removed", "a VF added"];
    let mut changes = changes.map(|what| {
        let what = name(&format!(
            "{what}: from the kernel's notice to the kubelet's list"
        ));
        Figure::of(&what, "ms", Vec::new())
    });
    let ways = [
        "Allocate",
        "Allocate to ADD's answer",
        "Allocate to carrier",
    ];
    let mut ways = ways.map(|way| Figure::of(&format!("one pod: {way}"), "ms", Vec::new()));
    let mut resident = Figure::of(&name("resident memory"), "KiB", Vec::new());
    for (position, plugin) in plugins.iter().enumerate() {
        for _ in 0..STARTS {
            let begun = Instant::now();
            let stack = Stack::start(plugin, functions)?;
            start.put(position, milliseconds(begun.elapsed()));
            stack.end();
        }
        let stack = Stack::start(plugin, functions)?;
        if let Err(error) = hot_plug(&stack, first, functions, position, &mut changes) {
            if position == 0 {
                return Err(error);
            }
            eprintln!("bench: the peer does not notice it: {error:#}");
        }
        let [now, _] = memory(stack.plugin.id())?;
        resident.put(position, u32::try_from(now)?.into());
        stack.end();
    }
    for figure in [&start, &resident].into_iter().chain(&changes) {
        tell(figure)?;
    }
    if with_pods {
        // Each device plugin with the CNI plugin of the same project; with ours if there is no other.
        for position in 0..programs.len().max(plugins.len()) {
            let program = programs.get(position).or(programs.first());
            let plugin = plugins.get(position).or(plugins.first());
            let stack = Stack::start(plugin.context("no device plugin")?, functions)?;
            let program = program.context("no CNI plugin")?;
            attachments(&stack, program, first, position, &mut ways)?;
            stack.end();
        }
        ways.iter().try_for_each(tell)?;
    }
    first.set_vfs(VFS)
}

/// A kubelet double and a device plugin in their default directories.
struct Stack {
    kubelet: Kubelet,
    plugin: Plugin,
}

impl Stack {
    fn start(program: &Path, functions: usize) -> Result<Self> {
        let config = json!({ "resourceList": [{ "resourceName": "vf", "selectors": { "drivers": ["igbvf"] } }] });
        fs::create_dir_all("/etc/pcidp")?;
        fs::write("/etc/pcidp/config.json", config.to_string())?;
        let kubelet = Kubelet::start(Path::new("/var/lib/kubelet"), false)?;
        let log = Path::new("/tmp/device-plugin.log");
        let plugin = Plugin::start(program, &["--config-file=/etc/pcidp/config.json"], log)?;
        let stack = Self { kubelet, plugin };
        stack.wait_for(functions)?;
        Ok(stack)
    }

    /// A peer that handles signals only after its first lists exits as if killed, which is not a failure of the bench.
    fn end(self) {
        if let Err(error) = self.plugin.stop() {
            eprintln!("bench: {error:#}");
        }
    }

    fn wait_for(&self, healthy: usize) -> Result<Resources> {
        let has = |known: &Resources| {
            let newest = known.get(RESOURCE).and_then(|state| state.lists.last());
            newest.map_or(0, |list| {
                list.iter()
                    .filter(|device| device.health == "Healthy")
                    .count()
            }) == healthy
        };
        let what = format!("{healthy} devices are listed");
        self.kubelet.wait_within(PATIENCE, &what, has)
    }
}

/// Unbinds and binds the driver of a VF: the same uevents as for a VF that is removed and created.
fn hot_plug(
    stack: &Stack,
    pf: &Pf,
    functions: usize,
    position: usize,
    changes: &mut [Figure; 2],
) -> Result<()> {
    let vf = pf.vf(0)?;
    let mut tried = Ok(());
    for _ in 0..CHANGES {
        for (figure, (verb, left)) in changes
            .iter_mut()
            .zip([("unbind", functions - 1), ("bind", functions)])
        {
            fs::write(format!("/sys/bus/pci/drivers/igbvf/{verb}"), &vf)?;
            let start = Instant::now();
            tried = tried.and_then(|()| {
                stack.wait_for(left)?;
                figure.put(position, milliseconds(start.elapsed()));
                Ok(())
            });
        }
        if tried.is_err() {
            break;
        }
    }
    tried
}

/// Makes the calls of the kubelet and Multus for one pod after the other, and waits for the carrier in the pod.
fn attachments(
    stack: &Stack,
    program: &Program,
    pf: &Pf,
    position: usize,
    ways: &mut [Figure; 3],
) -> Result<()> {
    let network = network(program.version())?;
    let dirs = DeviceInfoDirs::default();
    let pod = Netns::new("bench-pod")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for round in 0..PODS {
        let device = pf.vf(round % VFS)?;
        let attachment = sriov_testkit::cni::attachment(&pod, &device);
        let start = Instant::now();
        stack.kubelet.allocate(RESOURCE, &[&device])?;
        let allocated = start.elapsed();
        multus::copy_device_info(&dirs, &network, &attachment)?;
        let config = multus::delegate_config(&dirs, &network, &attachment);
        succeed(program, "ADD", &config, &attachment)?;
        let added = start.elapsed();
        let link = attachment.ifname.parse()?;
        runtime.block_on(async {
            let netns = HostNetns::open(&pod.path())?;
            let netlink = Netlink::in_netns(&netns, PATIENCE)?;
            loop {
                let link = netlink.link_named(&link).await?;
                if link.is_some_and(|link| link.is_up && link.has_carrier) {
                    return anyhow::Ok(());
                }
                if start.elapsed() > PATIENCE {
                    bail!("the pod has no carrier");
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })?;
        let up = start.elapsed();
        for (figure, time) in ways.iter_mut().zip([allocated, added, up]) {
            figure.put(position, milliseconds(time));
        }
        succeed(program, "DEL", &config, &attachment)?;
        fs::remove_file(dirs.of_attachment(&network, &attachment))?;
        wait_for("the VF has a network device again", || {
            sriov_testkit::node::netdev_of(&device).is_ok()
        })?;
    }
    Ok(())
}

/// A VLAN, which every plugin supports.
fn network(version: &str) -> Result<Network> {
    let config = json!({
        "cniVersion": version, "name": "bench", "type": "sriov", "vlan": 100,
        "capabilities": { "CNIDeviceInfoFile": true },
    });
    let Value::Object(config) = config else {
        bail!("no configuration")
    };
    let config: Map<String, Value> = config;
    Ok(Network {
        name: "bench".to_owned(),
        resource: RESOURCE.to_owned(),
        config,
    })
}

fn succeed(program: &Program, verb: &str, config: &Value, attachment: &Attachment) -> Result<()> {
    let done = multus::call(program.bin(), verb, config, attachment)?;
    succeeded(verb, done).map(|_| ())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
