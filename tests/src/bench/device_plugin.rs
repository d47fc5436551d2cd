//! The device plugin's part of the bench: the shipped binary and a kubelet double on constructed trees of growing size.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sriov_device_plugin::proto::v1beta1::device_plugin_client::DevicePluginClient;
use sriov_device_plugin::proto::v1beta1::{AllocateRequest, ContainerAllocateRequest};

use super::figure::{Figure, quantile};
use super::tree::{self, Size};
use crate::kubelet::{Kubelet, Resources};
use crate::lab::progress;
use crate::plugin::Plugin;

const SIZES: [Size; 5] = [
    Size { pfs: 1, vfs: 7 },
    Size { pfs: 16, vfs: 7 },
    Size { pfs: 8, vfs: 64 },
    Size { pfs: 8, vfs: 256 },
    Size { pfs: 32, vfs: 256 },
];
/// Resources that share the VFs, at most one a VF.
const RESOURCES: usize = 16;
/// Callers of Allocate at the same time, and calls of each.
const CALLERS: usize = 64;
const CALLS: usize = 20;
/// Changes of the inventory whose way to kubelet is measured.
const RESCANS: usize = 5;
const SETTLE: Duration = Duration::from_secs(2);
/// Time of doing nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Measures every size.
pub fn figures(binary: &Path) -> Result<Vec<Figure>> {
    let mut all = Vec::new();
    for size in SIZES {
        let name = format!("{} VFs of {} PFs", size.functions(), size.pfs);
        let figures = progress::step(&format!("measuring {name}"), || of_size(binary, size))?;
        all.extend(figures.into_iter().map(|figure| Figure {
            name: format!("{name}: {}", figure.name),
            ..figure
        }));
    }
    let size = fs::metadata(binary)?.len() / 1024;
    all.push(Figure::one(
        "device plugin: binary",
        "KiB",
        f64::from(u32::try_from(size)?),
    ));
    Ok(all)
}

fn of_size(binary: &Path, size: Size) -> Result<Vec<Figure>> {
    // `/var/run` is in memory on a node: a disk's synchronisation is not what is measured.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    };
    let root = dir.path().join("root");
    tree::build(&root, size)?;
    let resources = RESOURCES.min(size.functions());
    fs::write(
        dir.path().join("config.json"),
        tree::resource_list(size, resources),
    )?;
    let kubelet = Kubelet::start(&dir.path().join("k"), false)?;
    let flag = |name: &str, path: &str| format!("--{name}={}", dir.path().join(path).display());
    let flags = [
        flag("config-file", "config.json"),
        flag("kubelet-dir", "k"),
        flag("devinfo-dir", "devinfo"),
        flag("host-root", "root"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let listed =
        |known: &Resources| -> usize { known.values().map(|resource| resource.ids().len()).sum() };

    let start = Instant::now();
    let plugin = Plugin::start(binary, &flags, &dir.path().join("log"))?;
    kubelet
        .wait_for("all pools are served", |known| {
            known.len() == resources && listed(known) == size.functions()
        })
        .with_context(|| fs::read_to_string(dir.path().join("log")).unwrap_or_default())?;
    let mut figures = vec![Figure::one(
        "start to all pools served",
        "ms",
        milliseconds(start),
    )];

    let mut rescans = Vec::new();
    for round in 0..RESCANS {
        let wanted = if round % 2 == 0 {
            tree::remove_vf(&root, 0, 0)?;
            size.functions() - 1
        } else {
            tree::return_vf(&root, size, 0, 0)?;
            size.functions()
        };
        let start = Instant::now();
        plugin.signal(Signal::SIGHUP)?;
        kubelet.wait_for("kubelet heard of the change", |known| {
            listed(known) == wanted
        })?;
        rescans.push(milliseconds(start));
    }
    figures.push(Figure::of("change to kubelet's list", "ms", rescans));

    for (callers, what) in [(1, "one caller"), (CALLERS, "64 callers at once")] {
        let waits = allocations(&kubelet, callers)?;
        for (share, percent) in [(0.5, "50"), (0.99, "99"), (0.999, "99.9")] {
            let value = quantile(&waits, share).unwrap_or_default();
            let name = format!("Allocate, {what}, {percent} % within");
            figures.push(Figure::one(&name, "ms", value));
        }
    }

    // The end of the callers' connections is no part of doing nothing.
    std::thread::sleep(SETTLE);
    let (switches, ticks) = idleness(plugin.id())?;
    std::thread::sleep(IDLE);
    let (more_switches, more_ticks) = idleness(plugin.id())?;
    let seconds = IDLE.as_secs();
    figures.push(Figure::one(
        &format!("wake-ups in {seconds} idle seconds"),
        "",
        more_switches - switches,
    ));
    figures.push(Figure::one(
        &format!("CPU in {seconds} idle seconds"),
        "ticks",
        more_ticks - ticks,
    ));
    for (field, what) in [("VmRSS", "resident memory"), ("VmHWM", "peak memory")] {
        let status = fs::read_to_string(format!("/proc/{}/status", plugin.id()))?;
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.split_whitespace().nth(1))
            .and_then(|value| value.parse::<f64>().ok());
        figures.extend(value.map(|value| Figure::one(what, "KiB", value)));
    }
    plugin.stop()?;
    Ok(figures)
}

/// Waits of all calls, in milliseconds; each caller has a connection of its own.
fn allocations(kubelet: &Kubelet, callers: usize) -> Result<Vec<f64>> {
    let known = kubelet.wait_for("lists", |known| !known.is_empty())?;
    let state = known
        .values()
        .max_by_key(|state| state.ids().len())
        .context("no resource")?;
    let socket = &state.socket;
    let ids = state.ids();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let calls = CALLS * CALLERS / callers;
        let callers: Vec<_> = (0..callers)
            .map(|caller| {
                let (socket, ids) = (socket.clone(), ids.clone());
                tokio::spawn(async move {
                    let channel = tonic::transport::Endpoint::from_shared(format!(
                        "unix://{}",
                        socket.display()
                    ))?
                    .connect()
                    .await?;
                    let mut client = DevicePluginClient::new(channel);
                    let mut waits = Vec::new();
                    for call in 0..calls {
                        let id = ids
                            .get((caller * calls + call) % ids.len())
                            .context("no device")?;
                        let request = AllocateRequest {
                            container_requests: vec![ContainerAllocateRequest {
                                devices_ids: vec![id.clone()],
                            }],
                        };
                        let start = Instant::now();
                        client.allocate(request).await?;
                        waits.push(milliseconds(start));
                    }
                    anyhow::Ok(waits)
                })
            })
            .collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.await??);
        }
        Ok(all)
    })
}

/// Context switches that all threads asked for, and their CPU time in clock ticks.
fn idleness(pid: u32) -> Result<(f64, f64)> {
    let (mut switches, mut ticks) = (0.0, 0.0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let dir = task?.path();
        let status = fs::read_to_string(dir.join("status"))?;
        let own = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .and_then(|value| value.trim().parse::<f64>().ok());
        switches += own.unwrap_or_default();
        let stat = fs::read_to_string(dir.join("stat"))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        ticks += fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|value| value.parse::<f64>().ok())
            .sum::<f64>();
    }
    Ok((switches, ticks))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
