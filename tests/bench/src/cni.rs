//! Measures wall and CPU time of each verb of the CNI plugin on the node, alone and seven at once, with and without IPAM; the floor and a peer take turns with ours.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::figure::{FLOOR, Figure, tell};
use crate::floor::{self, Floor};
use crate::program::{Program, version};
use sriov_testkit::cni::attachment;
use sriov_testkit::multus::Attachment;
use sriov_testkit::node::{Netns, Pf};

/// Rounds of each case, a multiple of the six orders of three programs.
const ROUNDS: usize = 30;
/// The same with several pods.
const PARALLEL_ROUNDS: usize = 12;
/// Time before each call, in which the kernel ends its work for the call before: a program pays for its own calls only.
const REST: Duration = Duration::from_millis(50);
/// Number of attachments at the same time.
pub(super) const PARALLEL: usize = 7;
const VERBS: [&str; 3] = ["ADD", "CHECK", "DEL"];

/// Measures and prints figure by figure; the programs alternate, so that the load of the machine affects both.
pub fn measure(programs: &[Program]) -> Result<()> {
    let pf = Pf::with_vfs(0, PARALLEL)?;
    starts(programs)?;
    for (name, fields) in cases() {
        let able = able(programs, &pf, &fields)?;
        for pods in [1, PARALLEL] {
            rounds(&pf, &able, name, &fields, pods)?;
        }
    }
    Ok(())
}

/// Configurations, from an empty one to all settings of the emulated NIC.
pub(super) fn cases() -> [(&'static str, Value); 5] {
    let vlan = json!({ "vlan": 100 });
    let full = json!({ "vlan": 100, "mac": "02:00:00:00:0c:00", "spoofchk": "on", "trust": "on" });
    let with_ipam = |fields: &Value| {
        let mut fields = fields.clone();
        let ipam = json!({ "type": "static", "addresses": [{ "address": "192.0.2.10/24" }] });
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("ipam".into(), ipam);
        }
        fields
    };
    [
        ("no settings", json!({})),
        ("vlan", vlan.clone()),
        ("vlan and IPAM", with_ipam(&vlan)),
        ("vlan, mac, spoofchk, trust", full.clone()),
        ("the same and IPAM", with_ipam(&full)),
    ]
}

/// The positions of the programs that apply a whole configuration; ours must.
pub(super) fn able<'a>(
    programs: &'a [Program],
    pf: &Pf,
    fields: &Value,
) -> Result<Vec<(usize, &'a Program)>> {
    let pod = Netns::new("bench")?;
    let attachment = attachment(&pod, &pf.vf(0)?);
    let mut able = Vec::new();
    for (position, program) in programs.iter().enumerate() {
        if program.does(pf, &pod, fields, &attachment)? {
            able.push((position, program));
        } else if position == 0 {
            bail!("the plugin did not apply {fields}");
        }
    }
    Ok(able)
}

/// Measures processes that do next to nothing.
fn starts(programs: &[Program]) -> Result<()> {
    let version = |program: &Path| version(program).map(|_| ());
    let mut empty = Timing::of("an empty static program");
    let mut alone = Timing::of("VERSION");
    let mut together = Timing::of(&format!("VERSION, {PARALLEL} at once"));
    for _ in 0..ROUNDS {
        empty.take(0, || version(Path::new("/opt/virtfn/guest-empty")))?;
        for (position, program) in programs.iter().enumerate() {
            let program = program.file();
            alone.take(position, || version(&program))?;
            let calls = [(); PARALLEL].map(|()| || version(&program));
            together.take(position, || at_once(calls))?;
        }
    }
    for timing in [empty, alone, together] {
        timing.tell()?;
    }
    Ok(())
}

/// Repeats ADD, CHECK and DEL, for `pods` pods at once.
fn rounds(
    pf: &Pf,
    programs: &[(usize, &Program)],
    case: &str,
    fields: &Value,
    pods: usize,
) -> Result<()> {
    let namespaces = (0..pods)
        .map(|index| Netns::new(&format!("bench-{index}")))
        .collect::<Result<Vec<_>>>()?;
    let attachments = namespaces
        .iter()
        .enumerate()
        .map(|(index, pod)| Ok(attachment(pod, &pf.vf(index)?)))
        .collect::<Result<Vec<_>>>()?;
    let how = if pods > 1 {
        format!(", {pods} at once")
    } else {
        String::new()
    };
    let mut timings = VERBS.map(|verb| Timing::of(&format!("{verb}{how}: {case}")));
    let floors = (0..pods).map(|index| Floor::of(pf, index, &of_pod(fields, index)));
    let floors = floors.collect::<Result<Vec<_>>>()?;
    if let ([floor, ..], [pod, ..], [attachment, ..]) = (
        floors.as_slice(),
        namespaces.as_slice(),
        attachments.as_slice(),
    ) {
        floor.ensure_equal(pf, pod, attachment)?;
    }
    // `None` is the turn of the floor.
    let mut turns: Vec<_> = programs.iter().map(Some).chain([None]).collect();
    let rounds = if pods > 1 { PARALLEL_ROUNDS } else { ROUNDS };
    for round in 1..=rounds {
        for turn in &turns {
            let Some((position, program)) = turn else {
                floor_round(&floors, &attachments, &mut timings)?;
                continue;
            };
            // CHECK and DEL get the result of ADD, as from a runtime.
            let mut inputs: Vec<Value> = (0..pods).map(|index| of_pod(fields, index)).collect();
            let verbs = VERBS.iter().zip(&mut timings);
            for (verb, timing) in verbs.filter(|(verb, _)| program.has(verb)) {
                let calls = attachments.iter().zip(&inputs);
                let calls = calls.map(|(attachment, fields)| {
                    move || Ok(program.call(verb, fields, attachment)?.document)
                });
                let results = timing.take(*position, || at_once(calls))?;
                for (input, result) in inputs.iter_mut().zip(results) {
                    if let (&"ADD", Some(fields)) = (verb, input.as_object_mut()) {
                        fields.insert("prevResult".into(), result);
                    }
                }
            }
        }
        // The order of the programs must not matter: up to three follow each other equally often.
        turns.rotate_left(1);
        if round % turns.len() == 0 {
            turns.reverse();
        }
    }
    timings.into_iter().try_for_each(Timing::tell)
}

/// ADD and DEL of the floor.
fn floor_round(floors: &[Floor], attachments: &[Attachment], timings: &mut [Timing]) -> Result<()> {
    let verbs = VERBS.iter().zip(timings);
    for (verb, timing) in verbs.filter(|(verb, _)| floor::VERBS.contains(verb)) {
        let calls = floors.iter().zip(attachments);
        let calls = calls.map(|(floor, attachment)| move || floor.call(verb, attachment));
        timing.take(FLOOR, || at_once(calls))?;
    }
    Ok(())
}

/// Each pod has an address of its own.
fn of_pod(fields: &Value, index: usize) -> Value {
    let mut fields = fields.clone();
    if let Some(mac) = fields.get_mut("mac") {
        *mac = json!(format!("02:00:00:00:0c:{index:02x}"));
    }
    fields
}

/// Runs all at the same time and waits for the last; a single one needs no thread.
fn at_once<T: Send>(
    calls: impl IntoIterator<Item = impl FnOnce() -> Result<T> + Send>,
) -> Result<Vec<T>> {
    let calls: Vec<_> = calls.into_iter().collect();
    if calls.len() == 1 {
        return calls.into_iter().map(|call| call()).collect();
    }
    std::thread::scope(|scope| {
        let calls: Vec<_> = calls.into_iter().map(|call| scope.spawn(call)).collect();
        calls
            .into_iter()
            .map(|call| call.join().unwrap_or_else(|_| bail!("a caller panicked")))
            .collect()
    })
}

/// Wall and CPU time of one call or round.
struct Timing {
    wall: Figure,
    cpu: Figure,
}

impl Timing {
    fn of(name: &str) -> Self {
        let figure = |what: &str| Figure::of(&format!("{name} ({what})"), "ms", Vec::new());
        Self {
            wall: figure("wall"),
            cpu: figure("CPU"),
        }
    }

    fn take<T>(&mut self, position: usize, run: impl FnOnce() -> Result<T>) -> Result<T> {
        std::thread::sleep(REST);
        let before = cpu_time()?;
        let start = Instant::now();
        let done = run()?;
        self.wall.put(position, milliseconds(start.elapsed()));
        self.cpu.put(position, cpu_time()? - before);
        Ok(done)
    }

    fn tell(self) -> Result<()> {
        tell(&self.wall)?;
        tell(&self.cpu)
    }
}

/// CPU time of all children that have exited, in milliseconds.
fn cpu_time() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let milliseconds = [usage.user_time(), usage.system_time()].map(|time| {
        let seconds = u32::try_from(time.tv_sec()).unwrap_or_default();
        let micros = u32::try_from(time.tv_usec()).unwrap_or_default();
        f64::from(seconds) * 1000.0 + f64::from(micros) / 1000.0
    });
    Ok(milliseconds.iter().sum())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
