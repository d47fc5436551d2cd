//! Counts of the system calls of an Allocate call and of a scrape, and of the scans after a change.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::node::{Pf, wait_for};
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::strace::Trace;

/// Limit of calls for the VF and its PF in sysfs, and for its device-info file: existence, temporary file, rename.
const NAMED: usize = 14;
/// The requests of a scrape: for the counters of all links (`RTM_GETSTATS`), and of the VFs of one PF (`RTM_GETLINK`).
/// strace prints numbers instead of their names, as it has not seen the creation of the socket.
const STATS: &str = "nlmsg_type=0x5e ";
const LINKS: &str = "nlmsg_type=0x12 ";
/// Limit of calls of a scrape for one PF with seven VFs in sysfs.
const SCRAPE: usize = 1;
/// Limit of reads of the machine's list of devices for one change.
const SCANS: usize = 1;

const CONFIG: &str = r#"{"resourceList": [{"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"drivers": ["igbvf"]}}]}"#;

/// The first call of a scan.
const SCAN: &str = "\"/sys/bus/pci/devices\", O_";

/// strace, attached to a running plugin.
struct Tracer {
    strace: Child,
    file: tempfile::NamedTempFile,
}

impl Tracer {
    fn attach(plugin: &Plugin) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("/usr/bin/strace");
        let strings = ["-qq", "-f", "-s", "4096", "-o"];
        strace.args(strings).arg(file.path());
        let strace = strace
            .args(["-p", &plugin.id().to_string()])
            .spawn()
            .unwrap();
        wait_for("all threads are traced", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", plugin.id())).unwrap();
            tasks.flatten().all(|task| {
                let status = fs::read_to_string(task.path().join("status"));
                status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
            })
        })
        .unwrap();
        Self { strace, file }
    }

    fn detach(mut self) -> Trace {
        let id = i32::try_from(self.strace.id()).unwrap();
        kill(Pid::from_raw(id), Signal::SIGINT).unwrap();
        self.strace.wait().unwrap();
        Trace::read(self.file.path()).unwrap()
    }
}

fn has_now(kubelet: &Kubelet) -> bool {
    let known = kubelet.known();
    known.values().any(|state| !state.ids().is_empty())
}

#[test]
fn allocate_and_scrape_read_little_and_a_change_is_one_scan() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    // An earlier suite may have left VFs of the other PF, which the resource would contain too.
    Pf::with_vfs(1, 0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("config.json"), CONFIG).unwrap();
    let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let mut flags = plugin::flags(dir.path(), "config/config.json", &[]);
    flags.push("--metrics-address=0".to_owned());
    let program = Path::new("/opt/virtfn/sriov-device-plugin");
    let log = dir.path().join("log");
    let plugin = Plugin::start(program, &flags, &log).unwrap();
    let has = |count: usize| {
        let is_right = |known: &Resources| {
            let state = known.get("x.y/vf");
            state.is_some_and(|state| state.ids().len() == count)
        };
        kubelet
            .wait_for("the list has the expected devices", is_right)
            .unwrap();
    };
    has(7);

    // Another event on the node may cause a scan at the same time: one undisturbed try is enough.
    let undisturbed = |act: &dyn Fn(), scans: usize, others: &[String]| {
        let mut last = None;
        for _ in 0..5 {
            let tracer = Tracer::attach(&plugin);
            act();
            let trace = tracer.detach();
            let is_alone = others.iter().all(|other| trace.with(other) == 0);
            if trace.with(SCAN) <= scans && is_alone {
                return trace;
            }
            last = Some(trace);
        }
        panic!(
            "more than {scans} scans or reads of {others:?}, in every try:\n{}",
            last.unwrap().text()
        )
    };
    let scrape = Scrape::of_log(&log).unwrap();
    let trace = undisturbed(&|| drop(scrape.page().unwrap()), 0, &[]);
    let requests = [STATS, LINKS].map(|request| trace.with(request));
    let devices = trace.with("/sys/bus/pci/devices");
    println!("a scrape: {requests:?} requests, {devices} calls name a device");
    assert!(
        requests == [1, 1] && devices <= SCRAPE,
        "{requests:?}, {devices}\n{}",
        trace.text()
    );
    let device = pf.vf(3).unwrap();
    let allocate = || drop(kubelet.allocate("x.y/vf", &[&device]).unwrap());
    let others: Vec<String> = [0, 1, 2, 4, 5, 6]
        .iter()
        .map(|index| pf.vf(*index).unwrap())
        .collect();
    let trace = undisturbed(&allocate, 0, &others);
    let (named, fsyncs) = (trace.with(&device), trace.synchronisations());
    println!("Allocate: {named} calls name the device, {fsyncs} fsyncs");
    // Files below `/var/run` do not survive a reboot.
    assert!(
        (1..=NAMED).contains(&named) && fsyncs == 0,
        "{named} calls name the device, {fsyncs} fsyncs\n{}",
        trace.text()
    );
    let write = |text: &str| fs::write(config.join("config.json"), text).unwrap();
    let change = || {
        let is_listed = has_now(&kubelet);
        let to = if is_listed { "vfio-pci" } else { "igbvf" };
        write(&CONFIG.replace("igbvf", to));
        has(if is_listed { 0 } else { 7 });
    };
    let trace = undisturbed(&change, SCANS, &[]);
    assert_eq!(trace.with(SCAN), SCANS, "{}", trace.text());
    plugin.stop().unwrap();
}
