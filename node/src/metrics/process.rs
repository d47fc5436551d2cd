//! CPU time, memory and file descriptors of this process, from its own `/proc`.

use std::fs;

use super::text_format::{Family, Text};

/// Ticks per second in `/proc/PID/stat`: `USER_HZ`, which is 100 on Linux.
const TICKS: f64 = 100.0;

const CPU_TIME: Family = Family::counter(
    "process_cpu_seconds_total",
    "CPU time of the process in seconds.",
);
const MEMORY: Family = Family::gauge(
    "process_resident_memory_bytes",
    "Resident memory of the process.",
);
const VIRTUAL: Family = Family::gauge(
    "process_virtual_memory_bytes",
    "Virtual memory of the process.",
);
const THREADS: Family = Family::gauge("process_threads", "Threads of the process.");
const DESCRIPTORS: Family =
    Family::gauge("process_open_fds", "Open file descriptors of the process.");
const MAX_DESCRIPTORS: Family = Family::gauge("process_max_fds", "Limit of open file descriptors.");
const STARTED: Family = Family::gauge(
    "process_start_time_seconds",
    "Start of the process, in seconds since 1970.",
);

/// The families of this file, in the order of the page.
pub const FAMILIES: &[Family] = &[
    CPU_TIME,
    MEMORY,
    VIRTUAL,
    THREADS,
    DESCRIPTORS,
    MAX_DESCRIPTORS,
    STARTED,
];

/// The counts of the kernel for this process; a value that cannot be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// CPU time in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_memory: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub descriptors: Option<usize>,
    /// Their limit.
    pub max_descriptors: Option<u64>,
    /// The start, in seconds since 1970.
    pub started: Option<f64>,
}

impl Process {
    /// Reads the values of this process.
    pub fn read() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").ok();
        Self {
            // The directory itself is open while it is read.
            descriptors: descriptors.map(|open| open.count().saturating_sub(1)),
            ..Self::parse(
                &read("self/stat"),
                &read("self/status"),
                &read("self/limits"),
                &read("stat"),
            )
        }
    }

    /// Writes the families.
    pub fn write(&self, text: &mut Text) {
        text.single(&CPU_TIME, self.cpu_seconds);
        text.single(&MEMORY, self.resident);
        text.single(&VIRTUAL, self.virtual_memory);
        text.single(&THREADS, self.threads);
        text.single(&DESCRIPTORS, self.descriptors);
        text.single(&MAX_DESCRIPTORS, self.max_descriptors);
        text.single(&STARTED, self.started);
    }

    /// proc(5): `stat` and `status` and `limits` of a process, and `stat` of the machine.
    fn parse(stat: &str, status: &str, limits: &str, machine: &str) -> Self {
        // The name of the program may contain spaces and brackets.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let seconds = |field: usize| {
            let ticks: f64 = fields.split(' ').nth(field)?.parse().ok()?;
            Some(ticks / TICKS)
        };
        let (user, system, started) = (seconds(11), seconds(12), seconds(19));
        let kib = |name| value(status, name, 1)?.checked_mul(1024);
        let boot = value(machine, "btime", 1).and_then(|boot| u32::try_from(boot).ok());
        Self {
            cpu_seconds: user.zip(system).map(|(user, system)| user + system),
            resident: kib("VmRSS:"),
            virtual_memory: kib("VmSize:"),
            threads: value(status, "Threads:", 1),
            descriptors: None,
            max_descriptors: value(limits, "Max open files", 3),
            started: started
                .zip(boot)
                .map(|(started, boot)| f64::from(boot) + started),
        }
    }
}

/// The number in this column of the line that begins with a name.
fn value(text: &str, name: &str, column: usize) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 99 0 0 0 150 50 0 0 20 0 3 0 1250 9 9";
        let status = "Name:\tx\nVmSize:\t    16 kB\nVmRSS:\t     8 kB\nThreads:\t3\n";
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        let process = Process::parse(stat, status, limits, "cpu 1 2\nbtime 1000\n");
        let expected = Process {
            cpu_seconds: Some(2.0),
            resident: Some(8192),
            virtual_memory: Some(16384),
            threads: Some(3),
            descriptors: None,
            max_descriptors: Some(1024),
            started: Some(1012.5),
        };
        assert_eq!(process, expected);
        assert_eq!(Process::parse("", "", "", ""), Process::default());
    }

    #[test]
    fn own_values_are_known() {
        let process = Process::read();
        assert!(
            process.resident > Some(0) && process.started > Some(0.0),
            "{process:?}"
        );
        assert!(process.descriptors > Some(0) && process.max_descriptors > Some(0));
    }
}
