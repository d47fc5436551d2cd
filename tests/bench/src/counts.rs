//! Counts of the CNI plugin on the node: requests, bytes, memory, page faults, and its time under the rtnl lock.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cni::{PARALLEL, able, cases};
use crate::figure::tell;
use crate::figure::{Figure, number};
use crate::program::{Program, succeeded};
use crate::rtnl::{Held, Probes};
use sriov_testkit::cni::attachment;
use sriov_testkit::multus::{Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf};

/// Rounds with probes.
const ROUNDS: usize = 15;
const VERBS: [&str; 4] = ["VERSION", "ADD", "CHECK", "DEL"];

/// Figures by name, in the order of their first sample.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn put(&mut self, position: usize, name: &str, unit: &str, value: f64) {
        if !self.0.iter().any(|figure| figure.name == name) {
            self.0.push(Figure::of(name, unit, Vec::new()));
        }
        let mut figures = self.0.iter_mut();
        if let Some(figure) = figures.find(|figure| figure.name == name) {
            figure.put(position, value);
        }
    }
}

/// Measures and prints.
pub fn measure(programs: &[Program]) -> Result<()> {
    let pf = Pf::with_vfs(0, PARALLEL)?;
    let pod = Netns::new("bench-counts")?;
    let attachment = attachment(&pod, &pf.vf(0)?);
    let mut figures = Figures::default();
    for (case, fields) in cases() {
        for (position, program) in able(programs, &pf, &fields)? {
            traced(&mut figures, position, program, case, &fields, &attachment)?;
        }
    }
    let [_, (_, vlan), _, (_, full), _] = cases();
    for (position, program) in programs.iter().enumerate() {
        memory(&mut figures, position, program, &vlan, &attachment)?;
        let size = fs::metadata(program.file())?.len() / 1024;
        figures.put(position, "binary", "KiB", f64::from(u32::try_from(size)?));
    }
    let able = able(programs, &pf, &full)?;
    locked(&mut figures, &able, &full, &attachment)?;
    figures.0.iter().try_for_each(tell)
}

/// Counts of a trace; VERSION is traced once for all cases.
fn traced(
    figures: &mut Figures,
    position: usize,
    program: &Program,
    case: &str,
    fields: &Value,
    attachment: &Attachment,
) -> Result<()> {
    let mut fields = fields.clone();
    for verb in VERBS.into_iter().filter(|verb| program.has(verb)) {
        let (trace, done) = program.trace(verb, &fields, attachment)?;
        let name = match verb {
            "VERSION" => verb.to_owned(),
            _ => format!("{verb}, {case}"),
        };
        let is_known = figures.0.iter().any(|figure| {
            let samples = if position == 0 {
                &figure.ours
            } else {
                &figure.peer
            };
            figure.name.starts_with(&format!("{name}:")) && !samples.is_empty()
        });
        let counts = [
            ("system calls", trace.calls()),
            ("netlink requests", trace.requests()),
            ("bytes received by netlink", trace.received()),
            ("bytes of VF lists", trace.vf_lists()),
            ("fsyncs", trace.synchronisations()),
            ("programs", trace.with(" execve(")),
        ];
        let is_wanted = |what: &str| verb != "VERSION" || what == "system calls";
        for (what, count) in counts.into_iter().filter(|(what, _)| is_wanted(what)) {
            if !is_known {
                figures.put(position, &format!("{name}: {what}"), "", number(count));
            }
        }
        if let ("ADD", Some(fields)) = (verb, fields.as_object_mut()) {
            fields.insert("prevResult".into(), done.document);
        }
    }
    Ok(())
}

/// Peak memory and page faults, as counted by the kernel for a child.
fn memory(
    figures: &mut Figures,
    position: usize,
    program: &Program,
    fields: &Value,
    attachment: &Attachment,
) -> Result<()> {
    for verb in ["VERSION", "ADD", "DEL"] {
        let mut time = Command::new("/bin/busybox");
        set_environment(&mut time, program.bin(), verb, attachment);
        time.args(["time", "-v"]).arg(program.file());
        let stdin = program.stdin(fields, attachment);
        let done = succeeded(verb, answer(time, &stdin)?)?;
        let told = |what: &str| -> Result<f64> {
            let mut lines = done.log.lines();
            let line = lines.find(|line| line.contains(what));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
            value.with_context(|| format!("`time -v` printed no {what}"))
        };
        // busybox treats the kernel's KiB as pages of 4 KiB (procps/time.c, `ptok`).
        let peak = told("Maximum resident set size")? / 4.0;
        figures.put(position, &format!("{verb}: peak memory"), "KiB", peak);
        let faults = told("Minor (reclaiming a frame) page faults")?;
        figures.put(position, &format!("{verb}: page faults"), "", faults);
    }
    Ok(())
}

/// Time under the rtnl lock, and the kernel's time in settings and moves.
fn locked(
    figures: &mut Figures,
    programs: &[(usize, &Program)],
    fields: &Value,
    attachment: &Attachment,
) -> Result<()> {
    let probes = match Probes::set() {
        Ok(probes) => probes,
        Err(error) => {
            eprintln!("bench: cannot measure the rtnl lock: {error:#}");
            return Ok(());
        }
    };
    for _ in 0..ROUNDS {
        for (position, program) in programs {
            for verb in ["ADD", "DEL"] {
                let run = || program.call(verb, fields, attachment);
                let (_, held) = probes.watch("sriov", run)?;
                let Held {
                    times,
                    held,
                    waited,
                    longest,
                    work,
                } = held;
                let mut put = |what: &str, unit: &str, value: f64| {
                    figures.put(*position, &format!("{verb}: {what}"), unit, value);
                };
                put("rtnl lock taken", "", number(times));
                put("rtnl lock held", "ms", held);
                put("rtnl lock held at once, at most", "ms", longest);
                put("rtnl lock waited for", "ms", waited);
                for (what, time) in work {
                    put(&format!("of it, {what}"), "ms", time);
                }
            }
        }
    }
    Ok(())
}
