//! A hostile pod does what it can to its VF, in a random order; DEL must succeed, and the next pod must get a VF like a fresh one.
//!
//! `VIRTFN_ROUNDS` is the number of random scripts, `VIRTFN_SEED` repeats the choices of a run.
//! Of the system calls at which a restart of the driver is killed, a run takes each `VIRTFN_STRIDE`th, 1 takes all.

mod calls;
mod deeds;
mod modules;
mod pinned;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, assert_nothing_left, at_pf, attachment, config, in_pod, run, succeed,
};
use sriov_testkit::multus::{Answer, Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf, ip, ip_json, netdev_of, ping, wait_for, without_noise};

use self::deeds::{DEEDS, Deed, Pod};

/// Random scripts of a run of the gate.
const ROUNDS: u64 = 8;
/// Share of the system calls of a restart at which a run of the gate kills: most are reads of sysfs while the device appears.
const STRIDE: usize = 4;
/// Deeds of one script at most.
const LONGEST: usize = 5;
/// Time that a DEL may take: a namespace that the kernel does not clean up, and a restart of the driver.
const SLOWEST: Duration = Duration::from_secs(30);

/// Marsaglia's xorshift64: the same scripts for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// A number that the environment sets for a run; absent when it is empty.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map(|text| text.parse().unwrap())
}

/// The seed of this run.
fn seed() -> u64 {
    let seed = number("VIRTFN_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() << 20 | u64::from(now.subsec_micros())
    });
    println!("VIRTFN_SEED={seed}");
    seed.max(1)
}

/// Reports the progress of a long run past the harness: the lab takes a node that is silent for ten minutes for dead.
fn report(done: u64, of: u64) {
    if done.is_multiple_of(10) {
        let _ = writeln!(std::io::stderr(), "{done} of {of}");
    }
}

fn hostile_fields() -> Value {
    json!({ "cniVersion": "1.1.0", "mac": "02:00:00:00:0c:01", "spoofchk": "off", "trust": "on" })
}

fn next_fields() -> Value {
    json!({ "cniVersion": "1.1.0", "mac": "02:00:00:00:0c:02" })
}

/// Two VFs: the one that pods fight about, and one of a pod that answers to pings.
struct Arena {
    pf: Pf,
    vf: String,
    peer: Netns,
    /// The VF while nobody has it.
    free: Value,
    /// The VF in a pod that got it fresh.
    fresh: Value,
    rounds: usize,
}

impl Arena {
    fn new() -> Self {
        let pf = Pf::with_vfs(0, 2).unwrap();
        let peer = Netns::new("peer").unwrap();
        let mut arena = Self {
            vf: pf.vf(0).unwrap(),
            peer,
            free: Value::Null,
            fresh: Value::Null,
            rounds: 0,
            pf,
        };
        let fields = json!({ "cniVersion": "1.1.0", "mac": "02:00:00:00:0c:03" });
        succeed("ADD", &fields, &arena.peer_attachment());
        ip(&[
            "-netns",
            "peer",
            "address",
            "add",
            "192.0.2.1/24",
            "dev",
            "net1",
        ])
        .unwrap();
        arena.free = arena.now();
        arena.fresh = arena.next_pod("the first pod");
        arena
    }

    fn peer_attachment(&self) -> Attachment {
        attachment(&self.peer, &self.pf.vf(1).unwrap())
    }

    fn now(&self) -> Value {
        let mut link = netdev_of(&self.vf)
            .and_then(|name| ip_json(None, &["link", "show", "dev", &name]))
            .unwrap_or_default();
        without_noise(&mut link);
        json!([link, at_pf(&self.pf, 0)])
    }

    /// A pod gets the VF, spoils it, and loses it; then the next pod gets it.
    fn round(&mut self, script: &[Deed], is_dead: bool) {
        self.rounds += 1;
        let mut pod = Pod::new(self.rounds);
        let attachment = attachment(&pod.netns, &self.vf);
        succeed("ADD", &hostile_fields(), &attachment);
        for deed in script {
            deed(&mut pod);
        }
        if is_dead {
            pod.story.push("its namespace is deleted".into());
            pod.netns.delete().unwrap();
        }
        let begin = Instant::now();
        let deleted = run("DEL", &hostile_fields(), &attachment);
        self.expect_released(&pod, &deleted, begin.elapsed());
        let fresh = self.next_pod(&pod.told());
        assert_eq!(fresh, self.fresh, "the next pod: {}", pod.told());
    }

    fn expect_released(&self, pod: &Pod, deleted: &Answer, took: Duration) {
        let story = format!("{} {}", pod.told(), deleted.log);
        println!("{took:?} {}", pod.story.join("; "));
        assert_eq!(deleted.code, Some(0), "{} {story}", deleted.document);
        assert!(took < SLOWEST, "{took:?} {story}");
        assert_eq!(self.now(), self.free, "{story}");
        assert_eq!(pod.stacked(), Vec::<String>::new(), "{story}");
    }

    /// The VF in a pod that does nothing, after it has sent and received.
    fn next_pod(&self, story: &str) -> Value {
        let pod = Netns::new("next").unwrap();
        let attachment = attachment(&pod, &self.vf);
        succeed("ADD", &next_fields(), &attachment);
        let mut link = ip_json(Some("next"), &["link", "show", "dev", "net1"]).unwrap();
        without_noise(&mut link);
        let before = counters(&pod);
        ip(&[
            "-netns",
            "next",
            "address",
            "add",
            "192.0.2.2/24",
            "dev",
            "net1",
        ])
        .unwrap();
        wait_for("the peer answers", || {
            ping("next", "192.0.2.1", 1, 1).unwrap()
        })
        .unwrap_or_else(|error| panic!("{error}: {story}"));
        let after = counters(&pod);
        for (name, is_traffic) in [("packets", true), ("errors", false), ("dropped", false)] {
            for direction in ["rx", "tx"] {
                let of = |counters: &Value| counters[direction][name].as_u64().unwrap_or(0);
                let (before, after) = (of(&before), of(&after));
                let expected = if is_traffic {
                    after > before
                } else {
                    after == before
                };
                assert!(expected, "{direction} {name}: {before}, {after}: {story}");
            }
        }
        succeed("DEL", &next_fields(), &attachment);
        assert_eq!(self.now(), self.free, "after the next pod: {story}");
        link
    }

    fn close(self) {
        let fields = json!({ "cniVersion": "1.1.0", "mac": "02:00:00:00:0c:03" });
        succeed("DEL", &fields, &self.peer_attachment());
        assert_nothing_left();
    }
}

fn counters(pod: &Netns) -> Value {
    let link = ip_json(
        Some(&pod.name),
        &["-statistics", "link", "show", "dev", "net1"],
    )
    .unwrap();
    link[0]["stats64"].clone()
}

#[test]
fn each_deed_by_itself_is_undone() {
    let mut arena = Arena::new();
    for deed in DEEDS {
        arena.round(&[*deed], false);
    }
    arena.close();
}

#[test]
fn random_scripts_are_undone() {
    let mut dice = Dice(seed());
    let rounds = number("VIRTFN_ROUNDS").unwrap_or(ROUNDS);
    println!("VIRTFN_ROUNDS={rounds}");
    let mut arena = Arena::new();
    for round in 0..rounds {
        report(round, rounds);
        let script: Vec<Deed> = (0..=dice.below(LONGEST))
            .map(|_| DEEDS[dice.below(DEEDS.len())])
            .collect();
        let is_dead = dice.below(4) == 0;
        arena.round(&script, is_dead);
    }
    arena.close();
}

/// `kill -9` at each call from the restart of the driver on: the next DEL goes on.
#[test]
fn restart_of_the_driver_may_be_killed_anywhere() {
    let mut arena = Arena::new();
    let calls = arena.interrupted(&["-o", "/tmp/hostile-trace"], None);
    assert_eq!(calls.code, Some(0), "{} {}", calls.document, calls.log);
    let all = from_restart(&std::fs::read_to_string("/tmp/hostile-trace").unwrap());
    let stride = number("VIRTFN_STRIDE").map_or(STRIDE, |stride| usize::try_from(stride).unwrap());
    let calls = picked(&all, stride, Dice(seed()).below(stride));
    let (some, of) = (calls.len(), all.len());
    let _ = writeln!(
        std::io::stderr(),
        "VIRTFN_STRIDE={stride}: {some} of {of} system calls"
    );
    let mut reached = 0;
    let number = u64::try_from(calls.len()).unwrap();
    for ((name, nth), done) in calls.iter().zip(0..) {
        report(done, number);
        let inject = format!("--inject={name}:signal=KILL:when={nth}");
        let killed = arena.interrupted(&["-o", "/dev/null", &inject], Some((name, *nth)));
        reached += usize::from(killed.code.is_none());
    }
    println!(
        "killed at {reached} of {} system calls, which are picked from {}",
        calls.len(),
        all.len()
    );
    assert!(reached > calls.len() / 2, "{reached} of {}", calls.len());
    arena.close();
}

/// The first of each kind of call, and each `stride`th of the others from `first` on.
fn picked(calls: &[Call], stride: usize, first: usize) -> Vec<Call> {
    let mut kinds = std::collections::BTreeSet::new();
    let picked = calls.iter().enumerate();
    let picked = picked.filter(|(place, (name, _))| kinds.insert(name) || place % stride == first);
    picked.map(|(_, call)| call.clone()).collect()
}

#[test]
fn kills_of_as_many_runs_as_the_stride_cover_each_call() {
    let calls: Vec<Call> = (0..97)
        .map(|nth| (format!("call-{}", nth % 7), nth))
        .collect();
    for stride in 1..9 {
        let runs = (0..stride).flat_map(|first| picked(&calls, stride, first));
        let mut covered: Vec<Call> = runs.collect();
        covered.sort_by_key(|(_, nth)| *nth);
        covered.dedup();
        assert_eq!(covered, calls, "{stride}");
        assert!(picked(&calls, stride, 0).len() < 97 / stride + 8);
    }
}

/// A system call: the nth of its name.
type Call = (String, usize);

/// The calls of a trace from the first one that names the file `unbind` on.
fn from_restart(trace: &str) -> Vec<Call> {
    let mut seen = std::collections::BTreeMap::new();
    let mut calls = Vec::new();
    let mut is_restarting = false;
    for line in trace.lines() {
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        if name.contains(' ') {
            continue;
        }
        let nth = seen.entry(name.to_owned()).or_insert(0);
        *nth += 1;
        is_restarting |= rest.contains("/unbind\"");
        if is_restarting {
            calls.push((name.to_owned(), *nth));
        }
    }
    calls
}

impl Arena {
    /// A DEL that must restart the driver runs under strace with these options; if it is killed, another DEL goes on.
    fn interrupted(&mut self, options: &[&str], at: Option<(&String, usize)>) -> Answer {
        self.rounds += 1;
        let mut pod = Pod::new(self.rounds);
        let attachment = attachment(&pod.netns, &self.vf);
        succeed("ADD", &hostile_fields(), &attachment);
        deeds::vlan_elsewhere(&mut pod);
        let mut program = Command::new("/usr/bin/strace");
        set_environment(&mut program, Path::new(BIN), "DEL", &attachment);
        program.args(options).arg(format!("{BIN}/sriov"));
        let config = config(&attachment.device_id, &hostile_fields()).to_string();
        let done = answer(program, &config).unwrap();
        let again = run("DEL", &hostile_fields(), &attachment);
        let at = format!("killed at {at:?}: {} {}", pod.told(), again.log);
        assert_eq!(again.code, Some(0), "{} {at}", again.document);
        assert_eq!(self.now(), self.free, "{at}");
        assert_eq!(pod.stacked(), Vec::<String>::new(), "{at}");
        assert_eq!(in_pod(&pod.netns), Value::Null, "{at}");
        done
    }
}
