//! Measures by kprobes the time under the rtnl lock, which serialises all changes of links on the node, and the kernel's time for each request.
//!
//! Probes slow the kernel down a little, so no other figure is measured at the same time.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

const TRACING: &str = "/sys/kernel/tracing";
/// The lock (`net/core/rtnetlink.c`) and the function that takes it: `rtnl_lock` itself is inlined.
const LOCK: &str = "rtnl_mutex";
const TAKE: &str = "mutex_lock";
/// The function that releases it: `rtnl_unlock` continues after the release.
const FREE: &str = "__rtnl_unlock";
/// The kernel's work for each setting and move: its name here, and the function of Linux 6.12.
const WORK: [(&str, &str); 7] = [
    ("the driver sets the MAC", "igb:igb_ndo_set_vf_mac"),
    ("the driver sets the VLAN", "igb:igb_ndo_set_vf_vlan"),
    (
        "the driver sets the spoof check",
        "igb:igb_ndo_set_vf_spoofchk",
    ),
    ("the driver sets the trust", "igb:igb_ndo_set_vf_trust"),
    ("the driver reports a VF", "igb:igb_ndo_get_vf_config"),
    (
        "the move into another namespace",
        "__dev_change_net_namespace",
    ),
    ("the link goes up", "__dev_open"),
];

/// Probes that are active until this is dropped.
#[derive(Debug)]
pub struct Probes {
    /// Those functions of [`WORK`] that this kernel has.
    work: Vec<&'static str>,
}

/// Times of one program between start and stop, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// Number of acquisitions of the lock.
    pub times: usize,
    /// Total time with the lock.
    pub held: f64,
    /// Total time of waiting for the lock.
    pub waited: f64,
    /// Longest time with the lock.
    pub longest: f64,
    /// Total time of each work.
    pub work: Vec<(&'static str, f64)>,
}

impl Probes {
    /// Activates the probes.
    ///
    /// # Errors
    /// If this kernel has no kprobes.
    pub fn set() -> Result<Self> {
        if !Path::new(TRACING).join("kprobe_events").exists() {
            let mount = ["mount", "-t", "tracefs", "tracefs", TRACING];
            let done = Command::new("/bin/busybox").args(mount).status()?;
            anyhow::ensure!(done.success(), "cannot mount tracefs");
        }
        write("kprobe_events", "")?;
        let pair = |name: &str, function: &str| {
            let probe = |kind, end| {
                let line = format!("{kind}:bench/{name}_{end} {function}\n");
                append("kprobe_events", &line)
            };
            probe("p", "in").and_then(|()| probe("r", "out"))
        };
        // The argument of a probe at the return needs Linux 6.9.
        pair("take", &format!("{TAKE} lock=$arg1:x64")).context("this kernel has no kprobes")?;
        let lock = address(LOCK)?;
        for end in ["in", "out"] {
            let file = format!("events/bench/take_{end}/filter");
            write(&file, &format!("lock == {lock}"))?;
        }
        append("kprobe_events", &format!("p:bench/free_in {FREE}\n"))?;
        let mut work = Vec::new();
        for (position, (what, function)) in WORK.iter().enumerate() {
            if pair(&format!("work{position}"), function).is_ok() {
                work.push(*what);
            } else {
                eprintln!("bench: this kernel has no {function}");
            }
        }
        write("events/bench/enable", "1")?;
        write("tracing_on", "0")?;
        Ok(Self { work })
    }

    /// Runs `work`, and returns the times of the programs with this name.
    pub fn watch<T>(&self, program: &str, run: impl FnOnce() -> Result<T>) -> Result<(T, Held)> {
        write("trace", "")?;
        write("tracing_on", "1")?;
        let done = run();
        write("tracing_on", "0")?;
        let text = fs::read_to_string(Path::new(TRACING).join("trace"))?;
        let mut held = read(&text, program);
        held.work.retain(|(what, _)| self.work.contains(what));
        Ok((done?, held))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for (file, text) in [
            ("tracing_on", "0"),
            ("events/bench/enable", "0"),
            ("kprobe_events", ""),
        ] {
            let _ = write(file, text);
        }
    }
}

/// The address of a variable of the kernel.
fn address(name: &str) -> Result<String> {
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let mut lines = symbols.lines().map(str::split_whitespace);
    let found = lines.find_map(|mut words| {
        let address = words.next()?;
        (words.nth(1) == Some(name)).then(|| format!("0x{address}"))
    });
    found.with_context(|| format!("this kernel does not export the address of `{name}`"))
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = Path::new(TRACING).join(file);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn append(file: &str, text: &str) -> Result<()> {
    use std::io::Write;
    let path = Path::new(TRACING).join(file);
    let mut file = fs::File::options().append(true).open(&path)?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("{} refused `{}`", path.display(), text.trim()))
}

/// Reads a trace: `sriov-123  [000] d..1.  12.345678: take_in: (mutex_lock+0x0/0x20) lock=0x1`.
fn read(trace: &str, program: &str) -> Held {
    let mut held = Held {
        work: WORK.iter().map(|(what, _)| (*what, 0.0)).collect(),
        ..Held::default()
    };
    let mut open: Vec<(&str, &str, f64)> = Vec::new();
    for (task, at, event) in trace.lines().filter_map(event) {
        if task.rsplit_once('-').map(|(name, _)| name) != Some(program) {
            continue;
        }
        let mut since = |begun: &str| {
            let position = open
                .iter()
                .rposition(|(of, what, _)| *of == task && *what == begun)?;
            Some(at - open.swap_remove(position).2)
        };
        match event {
            "take_out" => {
                held.waited += since("take_in").unwrap_or_default();
                open.push((task, "taken", at));
            }
            "free_in" => {
                if let Some(time) = since("taken") {
                    held.times += 1;
                    held.held += time;
                    held.longest = held.longest.max(time);
                }
            }
            other => match other.strip_suffix("_out") {
                None => open.push((task, other, at)),
                Some(name) => {
                    let time = since(&format!("{name}_in")).unwrap_or_default();
                    let position = name
                        .strip_prefix("work")
                        .and_then(|number| number.parse().ok());
                    let work = position.and_then(|position: usize| held.work.get_mut(position));
                    if let Some((_, all)) = work {
                        *all += time;
                    }
                }
            },
        }
    }
    held
}

/// Task, milliseconds and name of the event of a line.
fn event(line: &str) -> Option<(&str, f64, &str)> {
    let mut words = line.split_whitespace();
    let task = words.next().filter(|word| *word != "#")?;
    let mut words = words.skip_while(|word| {
        let seconds = word.strip_suffix(':');
        seconds.is_none_or(|seconds| seconds.parse::<f64>().is_err())
    });
    let seconds: f64 = words.next()?.strip_suffix(':')?.parse().ok()?;
    Some((task, seconds * 1000.0, words.next()?.strip_suffix(':')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_held_from_acquisition_to_release() {
        let trace = "# tracer: nop
           sriov-9       [000] ...1.    10.000000: take_in: (mutex_lock+0x0/0x20) lock=0x1
           sriov-9       [000] ...1.    10.002000: take_out: (rtnetlink_rcv_msg+0x1/0x2 <- mutex_lock) lock=0x1
           sriov-9       [000] ...1.    10.002500: work0_in: (igb_ndo_set_vf_mac+0x0/0x1 [igb])
       kworker/0:1-7     [001] ...1.    10.002600: take_in: (mutex_lock+0x0/0x20) lock=0x1
           sriov-9       [000] ...1.    10.003500: work0_out: (do_setvfinfo+0x1/0x2 <- igb_ndo_set_vf_mac)
           sriov-9       [000] ...1.    10.005000: free_in: (__rtnl_unlock+0x0/0x40)
       kworker/0:1-7     [001] ...1.    10.005600: take_out: (linkwatch_event+0x0/0x20 <- mutex_lock) lock=0x1
           sriov-8       [001] ...1.    10.006000: take_out: (rtnetlink_rcv_msg+0x1/0x2 <- mutex_lock) lock=0x1
           sriov-8       [001] ...1.    10.007000: free_in: (__rtnl_unlock+0x0/0x40)
";
        let held = read(trace, "sriov");
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        assert_eq!(held.times, 2);
        near(held.held, 4.0);
        near(held.longest, 3.0);
        near(held.waited, 2.0);
        near(held.work[0].1, 1.0);
    }
}
