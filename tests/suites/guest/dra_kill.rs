//! `kill -9` of the DRA driver at the system calls of Prepare and Unprepare that change something, on real VFs.
//! The driver that starts next continues a call that is repeated, or undoes a Prepare that is not.
//!
//! A run takes each `VIRTFN_STRIDE`th of the calls, 1 takes all.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_testkit::api_server::ApiServer;
use sriov_testkit::cni::{assert_nothing_left, at_pf};
use sriov_testkit::dra_plugin::{ClaimName, DraPlugin};
use sriov_testkit::driver::{Driver, NODE};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::{Pf, ip_json, netdev_of, wait_for, without_noise};
use sriov_testkit::strace::{Attached, Place, Trace};
use tempfile::{NamedTempFile, TempDir};

use crate::cni_hostile::number;

/// The name of the driver.
const DRIVER: &str = "sriov.virtfn.dev";
const UID: &str = "11111111-2222-3333-4444-555555555555";
const POD: &str = "5b1f4a52-7c0e-4a3f-9a60-0d3c1b7d2f11";
const STRIDE: usize = 4;
/// Tries to reach a call.
const TRIES: usize = 3;
/// Most calls of a kind of round that are not reached.
const MISSED: usize = 2;

/// The call that is killed, and the one that the next driver gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// A Prepare, and the kubelet repeats it.
    Prepare,
    /// A Prepare, and the pod is deleted in the meantime.
    Abandon,
    /// An Unprepare, and the kubelet repeats it.
    Unprepare,
}

/// The files below the directories of the driver, by path; directories end with a slash.
type Files = BTreeMap<String, String>;

/// A driver on the node, with a kubelet and an API server that has one claim.
struct Node {
    driver: Driver,
    plugin: DraPlugin,
    claim: ClaimName,
    api: ApiServer,
    _kubelet: Kubelet,
    dir: TempDir,
    vfs: Vec<String>,
    /// Whether the claim binds another driver.
    is_rebound: bool,
    pf: Pf,
}

/// The outcome that each round must have.
struct Undisturbed {
    cdi_ids: Vec<String>,
    prepared: Files,
    released: Files,
    vfs: Value,
}

impl Node {
    /// The claim has as many VFs, with the same parameters.
    fn new(vfs: usize, parameters: &Value) -> Self {
        let pf = Pf::with_vfs(0, vfs).unwrap();
        let vfs: Vec<String> = (0..vfs).map(|index| pf.vf(index).unwrap()).collect();
        let dir = tempfile::tempdir().unwrap();
        let list = json!({ "resourceList": [{ "resourceName": "claimed", "resourcePrefix": "example.com", "publish": "dra",
            "selectors": [{ "pfNames": [pf.netdev] }] }] });
        fs::write(dir.path().join("config.json"), list.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), true).unwrap();
        let api = ApiServer::start().unwrap();
        api.put_claim(claim(&vfs, parameters));
        let (driver, plugin) = start(dir.path(), &api);
        Self {
            driver,
            plugin,
            claim: ClaimName {
                namespace: "trading".into(),
                name: "feed".into(),
                uid: UID.into(),
            },
            api,
            _kubelet: kubelet,
            dir,
            vfs,
            is_rebound: !parameters["driver"].is_null(),
            pf,
        }
    }

    /// Starts the next driver after the end of this one: two would have the same sockets.
    fn restart(&mut self) {
        self.driver.process.signal(Signal::SIGKILL).unwrap();
        self.driver.wait_until_killed().unwrap();
        (self.driver, self.plugin) = start(self.dir.path(), &self.api);
    }

    fn prepare(&self) -> Vec<String> {
        let prepared = self.plugin.prepare(&self.claim);
        prepared.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()))
    }

    /// Prepares as the kubelet does, which tries again: the last scan may have met a device of the last round without a driver.
    fn prepare_in_the_end(&self) -> Vec<String> {
        let mut cdi_ids = Vec::new();
        let prepared = wait_for("the claim is prepared", || {
            cdi_ids = self.plugin.prepare(&self.claim).unwrap_or_default();
            !cdi_ids.is_empty()
        });
        prepared.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
        cdi_ids
    }

    fn unprepare(&self) {
        let unprepared = self.plugin.unprepare(&self.claim);
        unprepared.unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("driver.log")).unwrap_or_default()
    }

    /// All files of the driver; sockets and the lock are not of a claim.
    fn files(&self) -> Files {
        let root = self.dir.path();
        let mut dirs = ["kubelet", "cni", "devinfo", "cdi"]
            .map(|dir| root.join(dir))
            .to_vec();
        let mut files = Files::new();
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if kind.is_dir() {
                    files.insert(format!("{name}/"), String::new());
                    dirs.push(path);
                } else if kind.is_file() && !name.ends_with("/serialize.lock") {
                    files.insert(name, fs::read_to_string(path).unwrap());
                }
            }
        }
        files
    }

    /// Each VF: its driver, its network device, and its settings at the PF.
    fn vfs(&self) -> Value {
        let vf = |(index, vf): (usize, &String)| {
            let device = Path::new("/sys/bus/pci/devices").join(vf);
            let driver = fs::read_link(device.join("driver")).ok();
            let driver = driver.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
            let wish = fs::read_to_string(device.join("driver_override")).unwrap();
            let link =
                netdev_of(vf).and_then(|name| ip_json(None, &["link", "show", "dev", &name]));
            let mut link = link.unwrap_or_default();
            without_noise(&mut link);
            let mut at_pf = at_pf(&self.pf, index);
            if self.is_rebound {
                // igbvf chooses a new address when it is bound.
                let is_one = link[0]["address"] == at_pf["address"];
                (link[0]["address"], at_pf["address"]) = (is_one.into(), is_one.into());
            }
            json!([driver, wish.trim(), link, at_pf])
        };
        self.vfs.iter().enumerate().map(vf).collect()
    }

    /// One undisturbed round, and the calls that change something in its Prepare and its Unprepare.
    fn undisturbed(&self) -> (Undisturbed, [Vec<Place>; 2]) {
        let vfs = self.vfs();
        // Directories are made once.
        self.prepare();
        self.unprepare();
        self.wait_for_vfs(&vfs, "the first round");
        let is_of_claim = |name: &String| {
            let parts = [UID, POD]
                .into_iter()
                .chain(self.vfs.iter().map(String::as_str));
            parts.into_iter().any(|part| name.contains(part))
        };
        let released = self.files();
        assert!(!released.keys().any(is_of_claim), "{released:?}");
        let mut cdi_ids = Vec::new();
        let prepare = self.traced(|| cdi_ids = self.prepare());
        let prepared = self.files();
        let unprepare = self.traced(|| self.unprepare());
        let undisturbed = Undisturbed {
            cdi_ids,
            prepared,
            released,
            vfs,
        };
        self.check_released(&undisturbed, "the undisturbed round");
        (undisturbed, [prepare, unprepare])
    }

    fn traced(&self, call: impl FnOnce()) -> Vec<Place> {
        let file = NamedTempFile::new().unwrap();
        let options = ["-y", "-o", file.path().to_str().unwrap()];
        let strace = Attached::to(self.driver.process.id(), &options).unwrap();
        call();
        drop(strace);
        Trace::read(file.path()).unwrap().changes()
    }

    /// Kills the driver at one call; whether it reached the call.
    fn round(&mut self, round: Round, place: &Place, undisturbed: &Undisturbed) -> bool {
        let at = format!("{round:?}, killed at {}", place.line);
        if round == Round::Unprepare {
            assert_eq!(self.prepare_in_the_end(), undisturbed.cdi_ids, "{at}");
        }
        let Place { name, nth, .. } = place;
        let inject = format!("--inject={name}:signal=KILL:when={nth}");
        let options = ["-o", "/dev/null", &inject];
        let strace = Attached::to(self.driver.process.id(), &options).unwrap();
        let called = match round {
            Round::Prepare | Round::Abandon => self.plugin.prepare(&self.claim).err(),
            Round::Unprepare => self.plugin.unprepare(&self.claim).err(),
        };
        // A refusal is an answer.
        let is_killed = called.is_some_and(|error| !error.to_string().starts_with("Prepare: "));
        drop(strace);
        if is_killed {
            let killed = self.driver.wait_until_killed();
            killed.unwrap_or_else(|error| panic!("{at}: {error:#}\n{}", self.log()));
        }
        self.restart();
        if round == Round::Prepare {
            assert_eq!(self.prepare(), undisturbed.cdi_ids, "{at}");
            assert_eq!(self.files(), undisturbed.prepared, "{at}");
        }
        self.unprepare();
        self.check_released(undisturbed, &at);
        is_killed
    }

    /// Checks that nothing of the claim is left.
    fn check_released(&self, undisturbed: &Undisturbed, at: &str) {
        self.wait_for_vfs(&undisturbed.vfs, at);
        assert_eq!(self.files(), undisturbed.released, "{at}");
        assert_nothing_left();
    }

    /// The network device appears a moment after its driver is bound.
    fn wait_for_vfs(&self, before: &Value, at: &str) {
        let waited = wait_for("the VFs are as before", || self.vfs() == *before);
        waited.unwrap_or_else(|_| panic!("{at}: {:#}\nwas {before:#}\n{}", self.vfs(), self.log()));
    }
}

/// Starts a driver, and connects to it as the kubelet does.
fn start(dir: &Path, api: &ApiServer) -> (Driver, DraPlugin) {
    let driver = Driver::start_on_node(dir, api).unwrap();
    driver.wait_until_published().unwrap();
    let mut plugin = None;
    wait_for("the driver accepts connections", || {
        plugin = DraPlugin::connect(&dir.join("kubelet")).ok();
        plugin.is_some()
    })
    .unwrap();
    (driver, plugin.unwrap())
}

/// A claim that the scheduler has allocated, with one request for each VF.
fn claim(vfs: &[String], parameters: &Value) -> Value {
    let result = |(index, vf): (usize, &String)| json!({ "request": format!("vf-{index}"), "driver": DRIVER, "pool": NODE, "device": vf.replace([':', '.'], "-") });
    let results: Vec<Value> = vfs.iter().enumerate().map(result).collect();
    let mut devices = json!({ "results": results });
    if !parameters.is_null() {
        let mut parameters = parameters.clone();
        parameters["apiVersion"] = json!("sriov.virtfn.dev/v1alpha1");
        parameters["kind"] = json!("VfConfig");
        devices["config"] = json!([{ "source": "FromClaim", "opaque": { "driver": DRIVER, "parameters": parameters } }]);
    }
    json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": { "name": "feed", "namespace": "trading", "uid": UID },
        "spec": {},
        "status": {
            "allocation": { "devices": devices },
            "reservedFor": [{ "resource": "pods", "name": "app-0", "uid": POD }],
        },
    })
}

/// Kills the driver at each `VIRTFN_STRIDE`th call that changes something.
fn kill_everywhere(vfs: usize, parameters: &Value, least: [usize; 2]) {
    let stride = number("VIRTFN_STRIDE").map_or(STRIDE, |stride| usize::try_from(stride).unwrap());
    let mut node = Node::new(vfs, parameters);
    let (undisturbed, [prepare, unprepare]) = node.undisturbed();
    for place in prepare.iter().chain(&unprepare) {
        println!("{} {}: {}", place.name, place.nth, place.line);
    }
    assert!(prepare.len() >= least[0] && unprepare.len() >= least[1]);
    // The two ways to go on after a Prepare take turns.
    for (round, places, first) in [
        (Round::Prepare, &prepare, 0),
        (Round::Abandon, &prepare, stride / 2),
        (Round::Unprepare, &unprepare, 0),
    ] {
        let picked: Vec<&Place> = places.iter().skip(first).step_by(stride).collect();
        let mut reached = 0;
        for place in &picked {
            // Which thread makes a call, and so its position, may differ between two runs.
            let is_reached = (0..TRIES).any(|_| node.round(round, place, &undisturbed));
            if !is_reached {
                println!("{round:?}: not killed at {}", place.line);
            }
            reached += usize::from(is_reached);
        }
        let (some, of) = (picked.len(), places.len());
        // Past the harness: the lab takes a node that is silent for ten minutes for dead.
        let _ = writeln!(
            std::io::stderr(),
            "{round:?}: killed at {reached} of {some} calls, which are picked from {of} that change something"
        );
        assert!(reached + MISSED >= some, "{round:?}: {reached} of {some}");
    }
}

#[test]
fn claim_of_one_vf_survives_kills() {
    kill_everywhere(1, &Value::Null, [9, 6]);
}

#[test]
fn claim_of_two_vfs_survives_kills() {
    kill_everywhere(2, &Value::Null, [9, 6]);
}

/// A VF whose driver is replaced is bound to its own driver again.
#[test]
fn claim_that_binds_a_driver_survives_kills() {
    kill_everywhere(
        1,
        &json!({ "driver": "vfio-pci", "env": { "FEED": "a" } }),
        [12, 9],
    );
}
