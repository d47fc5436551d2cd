//! The CNI plugin's part of the bench, on the node: wall and CPU time, counts, memory; a peer's in turn with ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use super::figure::Figure;
use crate::cni::{attachment, config};
use crate::multus::{Answer, Attachment, answer, set_environment};
use crate::node::{Netns, Pf};

/// Rounds of each case.
const ROUNDS: usize = 25;
/// Attachments at the same time.
const PARALLEL: usize = 7;

/// Measures and prints one figure a line, as JSON.
pub fn main() -> Result<()> {
    let mut bins = vec![PathBuf::from(crate::cni::BIN)];
    bins.extend(std::env::args().nth(1).map(PathBuf::from));
    let pf = Pf::with_vfs(0, PARALLEL)?;
    let mut figures = Vec::new();
    figures.extend(starts(&bins)?);
    for (name, fields) in cases() {
        figures.extend(rounds(&pf, &bins, name, &fields)?);
    }
    figures.extend(together(&pf, &bins)?);
    figures.extend(counts(&pf, &bins)?);
    for figure in figures {
        println!("{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

fn cases() -> [(&'static str, Value); 3] {
    let full = json!({ "vlan": 100, "mac": "02:00:00:00:0c:01", "spoofchk": "on", "trust": "on" });
    let mut with_ipam = full.clone();
    if let Some(fields) = with_ipam.as_object_mut() {
        fields.insert(
            "ipam".into(),
            json!({ "type": "static", "addresses": [{ "address": "192.0.2.10/24" }] }),
        );
    }
    [
        ("nothing asked", json!({})),
        ("vlan, mac, spoofchk, trust", full),
        ("the same and IPAM", with_ipam),
    ]
}

/// Processes that do next to nothing.
fn starts(bins: &[PathBuf]) -> Result<Vec<Figure>> {
    let time = |program: &Path| -> Result<f64> {
        let mut command = Command::new(program);
        command.env_clear().env("CNI_COMMAND", "VERSION");
        let start = Instant::now();
        let done = answer(command, "{\"cniVersion\":\"1.0.0\"}")?;
        if done.code != Some(0) {
            bail!("{} failed: {}", program.display(), done.log);
        }
        Ok(milliseconds(start.elapsed()))
    };
    let mut empty = Figure::of("an empty static program", "ms", Vec::new());
    let mut version = Figure::of("VERSION", "ms", Vec::new());
    for _ in 0..ROUNDS * 2 {
        empty.ours.push(time(Path::new("/opt/virtfn/guest-empty"))?);
        for (position, bin) in bins.iter().enumerate() {
            let samples = if position == 0 {
                &mut version.ours
            } else {
                &mut version.peer
            };
            samples.push(time(&bin.join("sriov"))?);
        }
    }
    Ok(vec![empty, version])
}

/// ADD, CHECK and DEL again and again; programs take turns, so that the machine's moods are shared.
fn rounds(pf: &Pf, bins: &[PathBuf], case: &str, fields: &Value) -> Result<Vec<Figure>> {
    let pod = Netns::new("bench")?;
    let attachment = attachment(&pod, &pf.vf(0)?);
    let figure =
        |verb: &str, what: &str| Figure::of(&format!("{verb}, {what}: {case}"), "ms", Vec::new());
    let verbs = ["ADD", "CHECK", "DEL"];
    let mut wall = verbs.map(|verb| figure(verb, "wall"));
    let mut cpu = verbs.map(|verb| figure(verb, "CPU"));
    for _ in 0..ROUNDS {
        for (position, bin) in bins.iter().enumerate() {
            let mut fields = fields.clone();
            for ((verb, wall), cpu) in verbs.iter().zip(&mut wall).zip(&mut cpu) {
                let before = cpu_time()?;
                let start = Instant::now();
                let done = call(bin, verb, &fields, &attachment)?;
                let (took, used) = (start.elapsed(), cpu_time()? - before);
                let samples = |figure: &mut Figure, value| {
                    if position == 0 {
                        figure.ours.push(value);
                    } else {
                        figure.peer.push(value);
                    }
                };
                samples(wall, milliseconds(took));
                samples(cpu, used);
                if let (&"ADD", Some(fields)) = (verb, fields.as_object_mut()) {
                    fields.insert("prevResult".into(), done.document);
                }
            }
        }
    }
    Ok(wall.into_iter().chain(cpu).collect())
}

/// Seven pods at once: the time until the last has its VF.
fn together(pf: &Pf, bins: &[PathBuf]) -> Result<Vec<Figure>> {
    let (_, fields) = &cases()[1];
    let pods = (0..PARALLEL)
        .map(|index| Netns::new(&format!("bench-{index}")))
        .collect::<Result<Vec<_>>>()?;
    let attachments = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| Ok(attachment(pod, &pf.vf(index)?)))
        .collect::<Result<Vec<_>>>()?;
    let verbs = ["ADD", "DEL"];
    let mut figures = verbs.map(|verb| {
        Figure::of(
            &format!("{PARALLEL} times {verb} at once, wall"),
            "ms",
            Vec::new(),
        )
    });
    for _ in 0..ROUNDS / 2 {
        for (position, bin) in bins.iter().enumerate() {
            for (verb, figure) in verbs.iter().zip(&mut figures) {
                let start = Instant::now();
                std::thread::scope(|scope| {
                    let calls: Vec<_> = attachments
                        .iter()
                        .enumerate()
                        .map(|(index, attachment)| {
                            let mut fields = fields.clone();
                            if let Some(mac) = fields.get_mut("mac") {
                                *mac = json!(format!("02:00:00:00:0c:{index:02x}"));
                            }
                            scope.spawn(move || call(bin, verb, &fields, attachment))
                        })
                        .collect();
                    calls.into_iter().try_for_each(|call| {
                        call.join()
                            .unwrap_or_else(|_| bail!("a caller panicked"))
                            .map(|_| ())
                    })
                })?;
                let took = milliseconds(start.elapsed());
                if position == 0 {
                    figure.ours.push(took);
                } else {
                    figure.peer.push(took);
                }
            }
        }
    }
    Ok(figures.into())
}

/// What no noise changes: system calls, netlink requests, synchronisations, bytes received, peak memory, size.
fn counts(pf: &Pf, bins: &[PathBuf]) -> Result<Vec<Figure>> {
    let (_, fields) = &cases()[1];
    let pod = Netns::new("bench")?;
    let attachment = attachment(&pod, &pf.vf(0)?);
    let mut figures: Vec<Figure> = Vec::new();
    let mut put = |position: usize, name: String, unit: &str, value: f64| match figures
        .iter_mut()
        .find(|figure| figure.name == name)
    {
        Some(figure) if position > 0 => figure.peer.push(value),
        _ => figures.push(Figure::one(&name, unit, value)),
    };
    for (position, bin) in bins.iter().enumerate() {
        for verb in ["ADD", "DEL"] {
            let trace = tempfile::NamedTempFile::new()?;
            let mut strace = Command::new("/usr/bin/strace");
            set_environment(&mut strace, bin, verb, &attachment);
            strace
                .args(["-f", "-o"])
                .arg(trace.path())
                .arg(bin.join("sriov"));
            succeeded(
                verb,
                answer(strace, &config(&attachment.device_id, fields).to_string())?,
            )?;
            let text = fs::read_to_string(trace.path())?;
            let count = |holds: &dyn Fn(&str) -> bool| {
                f64::from(
                    u32::try_from(text.lines().filter(|line| holds(line)).count())
                        .unwrap_or(u32::MAX),
                )
            };
            put(
                position,
                format!("{verb}: system calls"),
                "",
                count(&|line| !line.contains(" resumed>") && !line.contains("+++")),
            );
            put(
                position,
                format!("{verb}: netlink requests"),
                "",
                count(&|line| line.contains(" sendto(")),
            );
            put(
                position,
                format!("{verb}: fsyncs"),
                "",
                count(&|line| line.contains(" fsync(")),
            );
            let received: u32 = text
                .lines()
                .filter(|line| line.contains(" recvfrom(") && !line.contains("MSG_PEEK"))
                .filter_map(|line| line.rsplit("= ").next()?.trim().parse::<u32>().ok())
                .sum();
            put(
                position,
                format!("{verb}: bytes received by netlink"),
                "",
                f64::from(received),
            );
        }
        let mut time = Command::new("/bin/busybox");
        set_environment(&mut time, bin, "ADD", &attachment);
        time.args(["time", "-v"]).arg(bin.join("sriov"));
        let done = succeeded(
            "ADD",
            answer(time, &config(&attachment.device_id, fields).to_string())?,
        )?;
        let peak = done
            .log
            .lines()
            .find(|line| line.contains("Maximum resident set size"))
            .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .context("`time -v` told no memory")?;
        // busybox takes the kernel's KiB for pages of 4 KiB (procps/time.c, `ptok`).
        put(position, "ADD: peak memory".into(), "KiB", peak / 4.0);
        call(bin, "DEL", fields, &attachment)?;
        let size = fs::metadata(bin.join("sriov"))?.len() / 1024;
        put(
            position,
            "binary".into(),
            "KiB",
            f64::from(u32::try_from(size)?),
        );
    }
    Ok(figures)
}

fn call(bin: &Path, verb: &str, fields: &Value, attachment: &Attachment) -> Result<Answer> {
    let mut program = Command::new(bin.join("sriov"));
    set_environment(&mut program, bin, verb, attachment);
    program.env("CNI_PATH", format!("{}:{}", bin.display(), crate::cni::BIN));
    let stdin = config(&attachment.device_id, fields).to_string();
    succeeded(verb, answer(program, &stdin)?)
}

fn succeeded(verb: &str, done: Answer) -> Result<Answer> {
    if done.code == Some(0) {
        Ok(done)
    } else {
        bail!("{verb} failed: {} {}", done.document, done.log)
    }
}

/// CPU time of all children that ended, in milliseconds.
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
