//! Measures the device plugin: the shipped binary with a kubelet double on constructed machines of growing size.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use sriov_device_info::atomic;
use sriov_device_plugin::proto::v1beta1::device_plugin_client::DevicePluginClient;
use sriov_device_plugin::proto::v1beta1::{AllocateRequest, ContainerAllocateRequest};

use crate::confined::{Confined, Subject};
use crate::figure::{Figure, beside, quantile};
use sriov_lab::progress;
use sriov_lab::wait::wait_for;
use sriov_testkit::plugin::Plugin;
use sriov_testkit::process::{Activity, memory};
use sriov_testkit::sized_tree::{self as tree, Size};

const SIZES: [Size; 5] = [
    Size { pfs: 1, vfs: 7 },
    Size { pfs: 16, vfs: 7 },
    Size { pfs: 8, vfs: 64 },
    Size { pfs: 8, vfs: 256 },
    Size { pfs: 32, vfs: 256 },
];
/// Number of resources that share the VFs, at most one for each VF.
const RESOURCES: usize = 16;
const START: &str = "start to all pools listed";
/// Number of measured starts, and the limit of their total time.
const STARTS: usize = 7;
const STARTING: Duration = Duration::from_mins(1);
/// A peer with a slower start is not measured on larger machines: its time grows faster than the number of VFs.
const PATIENCE_WITH_PEER: f64 = 60_000.0;
/// Number of measured changes of the inventory.
const RESCANS: usize = 10;
const RESCAN: Duration = Duration::from_secs(20);
/// Number of measured scrapes.
const SCRAPES: usize = 20;
/// Where device-info files are, below the root directory.
const DEVICE_INFO: &str = "var/run/k8s.cni.cncf.io/devinfo/dp";
/// Number of concurrent callers of Allocate, calls of each, and rounds.
const CALLERS: usize = 64;
const CALLS: usize = 40;
const ROUNDS: usize = 5;
/// Ten seconds after an Allocate call the plugin queries the pod resources again, which is not part of its idle activity.
const SETTLE: Duration = Duration::from_secs(15);

/// Measures every size, first ours and then the peer.
pub fn figures(ours: &Subject, peer: Option<&Subject>, idle: Duration) -> Result<Vec<Figure>> {
    let mut all = Vec::new();
    let mut patience = peer;
    for size in SIZES {
        let name = format!("{} VFs of {} PFs", size.functions(), size.pfs);
        let figures = progress::step(&format!("measuring {name}"), || of_size(ours, size, idle));
        let (figures, missing) = figures;
        if let Some(error) = missing {
            return Err(error);
        }
        let Some(peer) = patience else {
            all.extend(figures);
            continue;
        };
        let (theirs, missing) = progress::step(&format!("measuring the peer at {name}"), || {
            of_size(peer, size, idle)
        });
        if let Some(error) = missing {
            eprintln!("bench: the measurement of the peer ends at {name}: {error}");
        }
        let start = theirs.iter().find(|figure| figure.name == START);
        let start = start.and_then(Figure::median);
        if start.is_none_or(|start| start > PATIENCE_WITH_PEER) {
            eprintln!("bench: the peer is not measured beyond {name}");
            patience = None;
        }
        all.extend(beside(figures, theirs));
    }
    let size = |subject: &Subject| -> Result<f64> {
        let kib = fs::metadata(&subject.program)?.len() / 1024;
        Ok(f64::from(u32::try_from(kib)?))
    };
    let mut binary = Figure::one("binary", "KiB", size(ours)?);
    if let Some(peer) = peer {
        binary.put(1, size(peer)?);
    }
    all.push(binary);
    Ok(all)
}

/// The measured figures, and the reason if some are missing.
fn of_size(subject: &Subject, size: Size, idle: Duration) -> (Vec<Figure>, Option<anyhow::Error>) {
    let mut figures = Vec::new();
    let error = measure(subject, size, idle, &mut figures).err();
    for figure in &mut figures {
        figure.functions = Some(size.functions());
    }
    (figures, error)
}

fn measure(subject: &Subject, size: Size, idle: Duration, figures: &mut Vec<Figure>) -> Result<()> {
    let resources = RESOURCES.min(size.functions());
    let mut starts = Figure::of(START, "ms", Vec::new());
    let begun = Instant::now();
    let (machine, plugin) = loop {
        // Each start has its own kubelet double: leftovers of one start must not help the next.
        let machine = Confined::new(subject, size, resources)?;
        let start = Instant::now();
        let plugin = machine.start()?;
        machine.wait_for_all()?;
        starts.put(0, milliseconds(start));
        if starts.ours.len() == STARTS || begun.elapsed() > STARTING {
            break (machine, plugin);
        }
    };
    figures.push(starts);
    let resident = |name: &str| -> Result<Figure> {
        let [now, _] = memory(plugin.id())?;
        Ok(Figure::one(name, "KiB", u32::try_from(now)?.into()))
    };
    figures.push(resident("resident memory, started")?);
    for (callers, who) in [(1, "one caller"), (CALLERS, "64 callers")] {
        let rounds = (0..ROUNDS).map(|_| allocations(&machine, callers));
        let rounds = rounds.collect::<Result<Vec<_>>>()?;
        for (share, percent) in [(0.5, "50"), (0.99, "99"), (0.999, "99.9")] {
            let values = rounds.iter().filter_map(|waits| quantile(waits, share));
            let name = format!("Allocate, {who}: {percent} % within");
            figures.push(Figure::of(&name, "ms", values.collect()));
        }
    }
    std::thread::sleep(SETTLE);
    let before = Activity::of(plugin.id())?;
    std::thread::sleep(idle);
    let done = Activity::of(plugin.id())?.since(before);
    let seconds = idle.as_secs();
    let wakeups = u32::try_from(done.wakeups)?.into();
    figures.extend([
        Figure::one(&format!("wake-ups in {seconds} idle seconds"), "", wakeups),
        Figure::one(&format!("CPU in {seconds} idle seconds"), "ms", done.cpu),
    ]);
    figures.push(resident("resident memory, after the calls")?);
    let rescans = rescans(&machine, &plugin, size);
    figures.push(rescans.context("no new list after SIGHUP")?);
    figures.push(resident("resident memory, after all this")?);
    let [_, peak] = memory(plugin.id())?;
    let peak = u32::try_from(peak)?.into();
    figures.push(Figure::one("peak memory", "KiB", peak));
    drop(plugin);
    // A peer has no metrics.
    if subject.pci_ids.is_none() {
        if geteuid().is_root() {
            figures.push(scrapes(&machine)?);
        } else {
            eprintln!(
                "bench: only root can measure the scrape, which needs a network device for each VF"
            );
        }
    }
    Ok(())
}

/// Time from a request for the page of metrics to its end, where each VF has a network device with counters.
fn scrapes(machine: &Confined) -> Result<Figure> {
    // Only the threads that this one starts, and their programs, see its network namespace.
    let scrapes = std::thread::scope(|scope| scope.spawn(|| scrapes_here(machine)).join());
    scrapes.unwrap_or_else(|_| bail!("the scrapes panicked"))
}

fn scrapes_here(machine: &Confined) -> Result<Figure> {
    machine.add_links()?;
    let (_plugin, scrape) = machine.start_with_metrics()?;
    wait_for("the plugin is ready", || {
        matches!(scrape.ask("GET /readyz"), Ok((200, _)))
    })?;
    let counted = scrape
        .page()?
        .matches("sriov_vf_receive_bytes_total{")
        .count();
    if counted != machine.functions() {
        bail!("the page has the counters of {counted} VFs");
    }
    let mut scrapes = Figure::of("scrape of /metrics", "ms", Vec::new());
    for _ in 0..SCRAPES {
        let start = Instant::now();
        scrape.page()?;
        scrapes.put(0, milliseconds(start));
    }
    machine.remove_links()?;
    Ok(scrapes)
}

/// Time from a SIGHUP, after a change of a VF's driver, to the kubelet's list.
fn rescans(machine: &Confined, plugin: &Plugin, size: Size) -> Result<Figure> {
    let mut rescans = Figure::of("rescan to kubelet's list", "ms", Vec::new());
    for round in 0..RESCANS {
        let wanted = if round % 2 == 0 {
            tree::unbind_vf(machine.root(), 0, 0)?;
            size.functions() - 1
        } else {
            tree::bind_vf(machine.root(), 0, 0)?;
            size.functions()
        };
        let start = Instant::now();
        plugin.signal(Signal::SIGHUP)?;
        machine.wait_for(wanted, RESCAN)?;
        rescans.put(0, milliseconds(start));
    }
    Ok(rescans)
}

/// Durations of all calls, in milliseconds; each caller has its own connection.
fn allocations(machine: &Confined, callers: usize) -> Result<Vec<f64>> {
    let known = machine.wait_for_all()?;
    let largest = known.values().max_by_key(|state| state.ids().len());
    let state = largest.context("no resource")?;
    let (socket, ids) = (&state.socket, state.ids());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let calls = CALLS * CALLERS / callers;
        let callers: Vec<_> = (0..callers)
            .map(|caller| {
                // No two callers have the same device, if there are enough.
                let own = ids.iter().cycle().skip(caller).step_by(callers);
                let ids = own.take(calls).cloned().collect();
                let files = machine.root().join(DEVICE_INFO);
                tokio::spawn(call_each(socket.clone(), files, ids))
            })
            .collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.await??);
        }
        Ok(all)
    })
}

async fn call_each(socket: PathBuf, files: PathBuf, ids: Vec<String>) -> Result<Vec<f64>> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    let mut client = DevicePluginClient::new(endpoint.connect().await?);
    let mut waits = Vec::new();
    for id in ids {
        // The newest Go plugin refuses a device whose file its last pod has left.
        remove_file_of(&files, &id)?;
        let request = AllocateRequest {
            container_requests: vec![ContainerAllocateRequest {
                devices_ids: vec![id],
            }],
        };
        let start = Instant::now();
        client.allocate(request).await?;
        waits.push(milliseconds(start));
    }
    Ok(waits)
}

/// Removes the device-info file of a device: `RESOURCE-ID-device.json`.
fn remove_file_of(dir: &Path, id: &str) -> Result<()> {
    let end = format!("-{id}-device.json");
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(&end) {
            // Another caller may have the same device.
            atomic::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
