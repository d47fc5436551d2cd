//! Memory, wake-ups and CPU time of a running process, as counted by the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Activity of a process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Number of times that its threads went to sleep voluntarily, which equals its wake-ups.
    pub wakeups: u64,
    /// CPU time of its threads, in milliseconds.
    pub cpu: f64,
}

impl Activity {
    /// Of the process with this id.
    pub fn of(pid: u32) -> Result<Self> {
        let mut all = Self::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let dir = task?.path();
            // A thread that has ended meanwhile does not count.
            let Ok(status) = fs::read_to_string(dir.join("status")) else {
                continue;
            };
            all.wakeups += field(&status, "voluntary_ctxt_switches")
                .with_context(|| format!("no context switches in {}", dir.display()))?;
            all.cpu += cpu(&dir)?;
        }
        Ok(all)
    }

    /// The difference to an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            wakeups: self.wakeups.saturating_sub(earlier.wakeups),
            cpu: self.cpu - earlier.cpu,
        }
    }
}

/// Resident memory now, and at its peak, in KiB.
pub fn memory(pid: u32) -> Result<[u64; 2]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name| field(&status, name).with_context(|| format!("no {name} of {pid}"));
    Ok([of("VmRSS")?, of("VmHWM")?])
}

/// `schedstat`, if the kernel has it, counts nanoseconds; `stat` counts ticks of 10 ms (Documentation/scheduler/sched-stats.rst).
fn cpu(task: &Path) -> Result<f64> {
    let first = |text: String| text.split_whitespace().next()?.parse::<f64>().ok();
    if let Some(nanoseconds) = fs::read_to_string(task.join("schedstat"))
        .ok()
        .and_then(first)
    {
        return Ok(nanoseconds / 1e6);
    }
    let stat = fs::read_to_string(task.join("stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    Ok(ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        * 10.0)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = |line: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        value.split_whitespace().next()?.parse().ok()
    };
    status.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn field_is_found_by_its_whole_name() {
        let status =
            "VmHWM:\t    7 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t5\n";
        assert_eq!(field(status, "voluntary_ctxt_switches"), Some(5));
        assert_eq!(field(status, "VmHWM"), Some(7));
        assert_eq!(field(status, "VmRSS"), None);
    }

    #[test]
    fn process_uses_memory_and_time() {
        // A process without threads of other tests.
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = process.id();
        let before = Activity::of(pid).unwrap();
        let [resident, peak] = memory(pid).unwrap();
        assert!(resident > 0 && peak >= resident);
        let done = Activity::of(pid).unwrap().since(before);
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(done.cpu >= 0.0);
    }
}
