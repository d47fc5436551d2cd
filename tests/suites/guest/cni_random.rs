//! Random sequences of calls on seven VFs in parallel; an oracle compares them with PF, pods, state and IPAM's calls.
//!
//! Each free VF is at its baseline, no VF has two owners, and IPAM's ADDs and DELs balance.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, RECORDER_BIN, Recorder, STATE, assert_nothing_left, at_pf, attachment, config, run_with,
    state,
};
use sriov_testkit::multus::{Answer, Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf, ip_json, netdev_of, without_noise};

const VFS: usize = 7;
/// Steps of each VF between two reboots, and number of reboots.
const STEPS: usize = 14;
const LIVES: u64 = 3;

/// Marsaglia's xorshift64: the same sequence for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// The holder of a VF from the runtime's view.
enum Holder {
    Nobody,
    /// A pod: its ADD succeeded, and no DEL was called.
    Pod(Pod),
    /// A pod whose last call was killed: it has the VF completely, partly or not.
    Unclear(Pod),
}

struct Pod {
    attachment: Attachment,
    netns: Option<Netns>,
    result: Value,
}

/// One VF with its expected state.
struct Life<'a> {
    pf: &'a Pf,
    index: usize,
    vf: String,
    before: Value,
    recorder: &'a Recorder,
    holder: Holder,
    /// Released pods: their late DELs must have no effect.
    gone: Vec<Attachment>,
    dice: Dice,
    pods: usize,
    story: Vec<String>,
}

fn call(verb: &str, fields: &Value, attachment: &Attachment) -> Answer {
    let path = format!("{RECORDER_BIN}:{BIN}");
    run_with(verb, fields, attachment, &[("CNI_PATH", &path)])
}

impl Life<'_> {
    fn fields(&self) -> Value {
        json!({ "cniVersion": "1.1.0", "vlan": 200 + self.index, "mac": format!("02:00:00:00:0a:{:02x}", self.index),
            "trust": "on", "mtu": 1400, "ipam": { "type": "recorder" } })
    }

    fn new_pod(&mut self) -> Pod {
        self.pods += 1;
        let netns = Netns::new(&format!("life-{}-{}", self.index, self.pods)).unwrap();
        Pod {
            attachment: attachment(&netns, &self.vf),
            netns: Some(netns),
            result: Value::Null,
        }
    }

    /// Calls a verb, which is sometimes killed; absent if it was.
    fn maybe_killed(&mut self, verb: &str, fields: &Value, of: &Attachment) -> Option<Answer> {
        if self.dice.below(3) > 0 {
            return Some(call(verb, fields, of));
        }
        let names = [
            "sendto", "rename", "write", "fsync", "openat", "unlink", "close", "clone3",
        ];
        let name = names[self.dice.below(names.len())];
        let nth = 1 + self.dice.below(9);
        self.story.push(format!("kill at {name} {nth}"));
        let mut program = Command::new("/usr/bin/strace");
        set_environment(&mut program, Path::new(BIN), verb, of);
        program
            .env("CNI_PATH", format!("{RECORDER_BIN}:{BIN}"))
            .args(["-o", "/dev/null"])
            .arg(format!("--inject={name}:signal=KILL:when={nth}"))
            .arg(format!("{BIN}/sriov"));
        let done = answer(program, &config(&of.device_id, fields).to_string()).unwrap();
        done.code.is_some().then_some(done)
    }

    fn step(&mut self) {
        let fields = self.fields();
        let holder = std::mem::replace(&mut self.holder, Holder::Nobody);
        let choice = self.dice.below(6);
        self.holder = match (holder, choice) {
            (Holder::Nobody, 0) if !self.gone.is_empty() => {
                self.late_del();
                Holder::Nobody
            }
            (Holder::Nobody, _) => {
                let pod = self.new_pod();
                self.add(pod)
            }
            (Holder::Pod(mut pod), 0) => {
                self.story.push("its namespace is removed".into());
                pod.netns = None;
                Holder::Pod(pod)
            }
            (Holder::Pod(pod), 1 | 2) if pod.netns.is_some() => {
                self.story.push("check".into());
                let mut check = fields;
                check["prevResult"] = pod.result.clone();
                let answer = call("CHECK", &check, &pod.attachment);
                self.expect(answer.code == Some(0), &answer);
                Holder::Pod(pod)
            }
            (Holder::Pod(pod), 3) if pod.netns.is_some() => {
                self.story.push("another pod requests the VF".into());
                let other = self.new_pod();
                let answer = call("ADD", &fields, &other.attachment);
                self.expect(answer.document["code"] == 11, &answer);
                self.late_del();
                Holder::Pod(pod)
            }
            (Holder::Pod(pod), 4) if pod.netns.is_none() => self.replace(pod),
            (Holder::Unclear(mut pod), 0 | 1) => {
                pod.netns = None;
                self.replace(pod)
            }
            (Holder::Pod(pod) | Holder::Unclear(pod), _) => self.del(pod),
        };
        self.look();
    }

    fn add(&mut self, mut pod: Pod) -> Holder {
        self.story
            .push(format!("add {}", pod.attachment.container_id));
        let fields = self.fields();
        match self.maybe_killed("ADD", &fields, &pod.attachment) {
            None => Holder::Unclear(pod),
            Some(answer) => {
                self.expect(answer.code == Some(0), &answer);
                pod.result = answer.document;
                Holder::Pod(pod)
            }
        }
    }

    fn del(&mut self, pod: Pod) -> Holder {
        self.story
            .push(format!("del {}", pod.attachment.container_id));
        let fields = self.fields();
        match self.maybe_killed("DEL", &fields, &pod.attachment) {
            None => Holder::Unclear(pod),
            Some(answer) => {
                self.expect(answer.code == Some(0), &answer);
                self.gone.push(pod.attachment);
                Holder::Nobody
            }
        }
    }

    /// The next pod gets the VF without a DEL of the previous pod, whose namespace is gone.
    fn replace(&mut self, old: Pod) -> Holder {
        self.story
            .push("the next pod gets the VF without a DEL".into());
        let pod = self.new_pod();
        let holder = self.add(pod);
        if matches!(holder, Holder::Unclear(_)) {
            // A killed call may not have released the VF: the runtime still owes a DEL for the old pod.
            let answer = call("DEL", &self.fields(), &old.attachment);
            self.expect(answer.code == Some(0), &answer);
        }
        self.gone.push(old.attachment);
        holder
    }

    fn late_del(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let late = self.gone[self.dice.below(self.gone.len())].clone();
        self.story.push(format!("late del {}", late.container_id));
        let answer = call("DEL", &self.fields(), &late);
        self.expect(answer.code == Some(0), &answer);
    }

    fn expect(&self, holds: bool, answer: &Answer) {
        assert!(
            holds,
            "VF {}: {:#?}: {} {}",
            self.index, self.story, answer.document, answer.log
        );
    }

    fn now(&self) -> Value {
        let mut link = netdev_of(&self.vf)
            .and_then(|name| ip_json(None, &["link", "show", "dev", &name]))
            .unwrap_or_default();
        without_noise(&mut link);
        json!([link, at_pf(self.pf, self.index)])
    }

    /// Compares the VF with its expected state.
    fn look(&self) {
        let files: Vec<String> = state()
            .into_iter()
            .filter(|name| {
                name.contains(&self.vf) || name.contains(&format!("life-{}-", self.index))
            })
            .collect();
        let last = |attachment: &Attachment| {
            let calls = self.recorder.calls();
            let is_own = |call: &&String| {
                let mut words = call.split(' ');
                matches!(words.next(), Some("ADD" | "DEL"))
                    && words.next() == Some(&attachment.container_id)
            };
            calls.iter().rfind(is_own).cloned().unwrap_or_default()
        };
        match &self.holder {
            Holder::Nobody => {
                assert_eq!(
                    self.now(),
                    self.before,
                    "VF {}: {:#?}",
                    self.index,
                    self.story
                );
                assert_eq!(
                    files,
                    Vec::<String>::new(),
                    "VF {}: {:#?}",
                    self.index,
                    self.story
                );
            }
            Holder::Pod(pod) => {
                assert_eq!(
                    files.len(),
                    4,
                    "VF {}: {files:?} {:#?}",
                    self.index,
                    self.story
                );
                assert!(
                    last(&pod.attachment).starts_with("ADD"),
                    "VF {}: {:#?}",
                    self.index,
                    self.story
                );
                let at_pf = at_pf(self.pf, self.index);
                assert_eq!(
                    (&at_pf["vlan_list"][0]["vlan"], &at_pf["trust"]),
                    (&json!(200 + self.index), &json!(true)),
                    "VF {}: {:#?}",
                    self.index,
                    self.story
                );
                if let Some(netns) = &pod.netns {
                    let link = sriov_testkit::cni::in_pod(netns);
                    assert_eq!(
                        (&link["parentdev"], &link["mtu"]),
                        (&json!(self.vf), &json!(1400)),
                        "VF {}: {:#?}",
                        self.index,
                        self.story
                    );
                }
            }
            Holder::Unclear(_) => {}
        }
        // Removed pods have returned their addresses to IPAM.
        for gone in &self.gone {
            let last = last(gone);
            let is_unclear = matches!(self.holder, Holder::Unclear(_));
            assert!(
                is_unclear || !last.starts_with("ADD"),
                "VF {}: {last} {:#?}",
                self.index,
                self.story
            );
        }
    }
}

/// Calls GC with the attachments of the existing pods.
fn collect(lives: &mut [Life<'_>]) {
    let listed: Vec<Value> = lives
        .iter()
        .filter_map(|life| match &life.holder {
            Holder::Pod(pod) => {
                Some(json!({ "containerID": pod.attachment.container_id, "ifname": "net1" }))
            }
            Holder::Nobody | Holder::Unclear(_) => None,
        })
        .collect();
    let any = lives[0]
        .gone
        .first()
        .cloned()
        .unwrap_or_else(|| match &lives[0].holder {
            Holder::Pod(pod) | Holder::Unclear(pod) => pod.attachment.clone(),
            Holder::Nobody => panic!("no pod got a VF"),
        });
    let mut fields = lives[0].fields();
    fields["cni.dev/valid-attachments"] = json!(listed);
    let answer = call("GC", &fields, &any);
    assert_eq!(answer.code, Some(0), "{} {}", answer.document, answer.log);
    for life in lives.iter_mut() {
        life.story.push("gc".into());
        match std::mem::replace(&mut life.holder, Holder::Nobody) {
            Holder::Unclear(pod) => life.gone.push(pod.attachment),
            other @ (Holder::Nobody | Holder::Pod(_)) => {
                life.holder = other;
                continue;
            }
        }
        // The DEL that follows every ADD removes the temporary file of a killed call.
        let gone = life.gone.last().unwrap().clone();
        let answer = call("DEL", &life.fields(), &gone);
        life.expect(answer.code == Some(0), &answer);
    }
}

/// Simulates a reboot: pods and VFs are gone, and the state on disk is of another boot.
fn reboot(lives: &mut [Life<'_>]) {
    for life in lives.iter_mut() {
        life.story.push("reboot".into());
        if let Holder::Pod(pod) | Holder::Unclear(pod) =
            std::mem::replace(&mut life.holder, Holder::Nobody)
        {
            life.gone.push(pod.attachment);
        }
    }
    lives[0].pf.set_vfs(VFS).unwrap();
    for file in state() {
        let path = Path::new(STATE).join(&file);
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let mut saved: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        saved["boot_id"] = json!("the boot before");
        fs::write(&path, saved.to_string()).unwrap();
    }
    for life in lives.iter_mut() {
        life.before = life.now();
        // The runtime deletes the pods of the earlier boot.
        for gone in std::mem::take(&mut life.gone) {
            let answer = call("DEL", &life.fields(), &gone);
            life.expect(answer.code == Some(0), &answer);
        }
        life.look();
    }
}

#[test]
fn random_calls_leave_nothing_behind() {
    let seed = std::env::var("VIRTFN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20);
    let pf = Pf::with_vfs(0, VFS).unwrap();
    let recorder =
        Recorder::new(&json!({ "cniVersion": "1.1.0", "ips": [{ "address": "192.0.2.10/24" }] }))
            .unwrap();
    let mut lives: Vec<Life<'_>> = (0..VFS)
        .map(|index| {
            let mut life = Life {
                pf: &pf,
                index,
                vf: pf.vf(index).unwrap(),
                before: Value::Null,
                recorder: &recorder,
                holder: Holder::Nobody,
                gone: Vec::new(),
                dice: Dice(seed * 7919 + u64::try_from(index).unwrap() * 104_729 + 1),
                pods: 0,
                story: vec![format!("seed {seed}")],
            };
            life.before = life.now();
            life
        })
        .collect();
    for _ in 0..LIVES {
        for _ in 0..2 {
            // A meta plugin serialises GC with the other verbs; the other verbs run in parallel.
            std::thread::scope(|scope| {
                for life in &mut lives {
                    scope.spawn(|| {
                        (0..STEPS / 2).for_each(|_| life.step());
                    });
                }
            });
            collect(&mut lives);
            lives.iter().for_each(Life::look);
        }
        reboot(&mut lives);
    }
    assert_nothing_left();
}
