//! Measures the DRA driver: the shipped binary on constructed machines, with a real etcd and kube-apiserver, and a double of the kubelet.

mod claims;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_lab::kubernetes::ControlPlane;
use sriov_lab::progress;
use sriov_testkit::cluster::api::Api;
use sriov_testkit::driver;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::plugin::Plugin;
use sriov_testkit::process::memory;
use sriov_testkit::scrape::Scrape;
use sriov_testkit::sized_tree::{self as tree, Size};

use crate::figure::{Figure, quantile};

/// The name of the node.
pub(crate) const NODE: &str = "bench";
const SIZES: [Size; 3] = [
    Size { pfs: 1, vfs: 7 },
    Size { pfs: 4, vfs: 64 },
    Size { pfs: 8, vfs: 128 },
];
/// Number of measured starts and changes.
const ROUNDS: usize = 7;
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(2);
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

/// Measures every size with one API server.
///
/// # Errors
/// If the driver does not do what is measured.
pub fn figures(program: &Path) -> Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let plane = ControlPlane::alone(&dir.path().join("control"))?;
    let api = Api::new(plane.local_address());
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } });
    api.post("/api/v1/nodes", &node)?;
    let kubeconfig = plane.kubeconfig("admin");
    let mut all = Vec::new();
    for size in SIZES {
        let name = format!("{} VFs of {} PFs", size.functions(), size.pfs);
        let machine = Machine::new(program, &kubeconfig, size)?;
        let mut figures = progress::step(&format!("measuring {name}"), || machine.measure(&api))?;
        for figure in &mut figures {
            figure.functions = Some(size.functions());
        }
        all.extend(figures);
    }
    let kib = fs::metadata(program)?.len() / 1024;
    all.push(Figure::one("binary", "KiB", u32::try_from(kib)?.into()));
    Ok(all)
}

/// A constructed machine with the driver's directories and a double of the kubelet.
struct Machine {
    dir: tempfile::TempDir,
    program: PathBuf,
    size: Size,
    _kubelet: Kubelet,
}

impl Machine {
    fn new(program: &Path, kubeconfig: &Path, size: Size) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("root");
        tree::build(&root, size)?;
        fs::create_dir_all(root.join("proc/sys/kernel/random"))?;
        fs::write(root.join("proc/sys/kernel/random/boot_id"), "bench\n")?;
        fs::copy(kubeconfig, dir.path().join("kubeconfig"))?;
        let list = tree::published_list(size, "dra")?;
        fs::write(dir.path().join("config.json"), list)?;
        for made in ["devinfo", "cdi", "cni"] {
            fs::create_dir_all(dir.path().join(made))?;
        }
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), true)?;
        Ok(Self {
            dir,
            program: program.to_owned(),
            size,
            _kubelet: kubelet,
        })
    }

    fn measure(&self, api: &Api) -> Result<Vec<Figure>> {
        let mut starts = Figure::of("start to all slices published", "ms", Vec::new());
        let mut running = self.start_published(api, &mut starts)?;
        while starts.ours.len() < ROUNDS {
            running.process.stop()?;
            running = self.start_published(api, &mut starts)?;
        }
        let resident = |name: &str| -> Result<Figure> {
            let [now, _] = memory(running.process.id())?;
            Ok(Figure::one(name, "KiB", u32::try_from(now)?.into()))
        };
        let mut figures = vec![
            starts,
            Figure::one("slices", "", running.value("sriov_dra_slices")?.into()),
            resident("resident memory, started")?,
        ];
        figures.extend(self.changes(&running)?);
        let kubelet_dir = self.dir.path().join("kubelet");
        let [prepare, unprepare] = claims::measure(api, &kubelet_dir, self.size)?;
        for (what, waits) in [
            ("Prepare: 50 % within", &prepare),
            ("Unprepare: 50 % within", &unprepare),
        ] {
            let rest = what.replace("50 %", "99 %");
            for (name, share) in [(what, 0.5), (rest.as_str(), 0.99)] {
                let value = quantile(waits, share).context("no call")?;
                figures.push(Figure::one(name, "ms", value));
            }
        }
        figures.push(resident("resident memory, after the calls")?);
        let [_, peak] = memory(running.process.id())?;
        let peak = u32::try_from(peak)?.into();
        figures.push(Figure::one("peak memory", "KiB", peak));
        running.process.stop()?;
        delete_slices(api)?;
        Ok(figures)
    }

    /// Starts the driver without slices, and waits until all devices are published.
    fn start_published(&self, api: &Api, starts: &mut Figure) -> Result<Running> {
        delete_slices(api)?;
        let start = Instant::now();
        let running = self.start()?;
        let count = u32::try_from(self.size.functions())?;
        running.wait(|running| {
            Ok(running.value("sriov_dra_published")? == 1
                && running.value("sriov_dra_published_devices")? == count)
        })?;
        starts.put(0, milliseconds(start));
        Ok(running)
    }

    fn start(&self) -> Result<Running> {
        let dir = self.dir.path();
        let mut flags = driver::flags(NODE, dir, &dir.join("root"));
        flags.push("--metrics-address=0".to_owned());
        let log = dir.join("log");
        let process = Plugin::start(&self.program, &flags, &log)?;
        let scrape = Scrape::of_log(&log)?;
        Ok(Running { process, scrape })
    }

    /// Time and writes from a change of one VF to its publication.
    fn changes(&self, running: &Running) -> Result<[Figure; 2]> {
        let root = self.dir.path().join("root");
        let mut times = Figure::of("change of one PF to its publication", "ms", Vec::new());
        let mut writes = Figure::of("API writes for a change of one PF", "", Vec::new());
        for round in 0..ROUNDS {
            let before = running.writes()?;
            if round % 2 == 0 {
                tree::unbind_vf(&root, 0, 0)?;
            } else {
                tree::bind_vf(&root, 0, 0)?;
            }
            let start = Instant::now();
            running.process.signal(Signal::SIGHUP)?;
            running.wait(|running| {
                Ok(running.writes()? != before && running.value("sriov_dra_published")? == 1)
            })?;
            times.put(0, milliseconds(start));
            writes.put(0, (running.writes()? - before).into());
        }
        Ok([times, writes])
    }
}

/// The driver, and its metrics.
struct Running {
    process: Plugin,
    scrape: Scrape,
}

impl Running {
    /// The sum of the samples of a family.
    fn value(&self, family: &str) -> Result<u32> {
        let page = self.scrape.page()?;
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.split('{').next()?;
            (name == family).then(|| value.parse::<u32>().ok())?
        };
        Ok(page.lines().filter_map(sample).sum())
    }

    fn writes(&self) -> Result<u32> {
        self.value("sriov_dra_slice_writes_total")
    }

    fn wait(&self, is_done: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !is_done(self)? {
            anyhow::ensure!(start.elapsed() < PATIENCE, "nothing was published");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn delete_slices(api: &Api) -> Result<()> {
    let list = api.get(SLICES)?;
    let slices = list.get("items").and_then(Value::as_array);
    for slice in slices.into_iter().flatten() {
        let name = slice.pointer("/metadata/name").and_then(Value::as_str);
        api.delete(&format!("{SLICES}/{}", name.context("no name")?))?;
    }
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
