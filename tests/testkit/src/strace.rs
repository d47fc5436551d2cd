//! Counts from a trace of a program: system calls, netlink requests, synchronisations, bytes of VF lists.
//!
//! Counts do not depend on the load of the machine, so the suites have limits for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use sriov_lab::wait::wait_for;

use crate::multus::{Answer, Attachment, answer, set_environment};

/// `RTM_NEWLINK` (`include/uapi/linux/rtnetlink.h`) as the node's strace prints it: as a number.
const NEWLINK: &str = "nlmsg_type=0x10 ";
/// `sizeof(struct ifinfomsg)`.
const IFINFOMSG: usize = 16;
/// `IFLA_VFINFO_LIST` (`include/uapi/linux/if_link.h`); the highest bit of a type marks a nested attribute.
const VFINFO_LIST: u16 = 22;

/// strace, attached to all threads of a running process until this is dropped.
///
/// It is ended with SIGKILL: after another signal strace waits without end for the threads of a process that was killed.
/// A process that was not killed continues without strace.
#[derive(Debug)]
pub struct Attached(Child);

impl Attached {
    /// Attaches to a process, with more options of strace; the counts of `--inject` begin now.
    pub fn to(pid: u32, options: &[&str]) -> Result<Self> {
        let child = Command::new("/usr/bin/strace")
            .args(["-qq", "-f", "-p", &pid.to_string()])
            .args(options)
            // It reports threads that it met between two calls.
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start strace")?;
        let attached = Self(child);
        let tracer = format!("TracerPid:\t{}\n", attached.0.id());
        wait_for("all threads are traced", || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            tasks.is_ok_and(|mut tasks| {
                tasks.all(|task| {
                    let status =
                        task.and_then(|task| fs::read_to_string(task.path().join("status")));
                    status.is_ok_and(|status| status.contains(&tracer))
                })
            })
        })?;
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A system call at which `--inject=NAME:when=NTH` finds a process: its name, and its position among the calls of this name in its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the call.
    pub name: String,
    /// Position, from 1 on.
    pub nth: usize,
    /// The call as strace prints it.
    pub line: String,
}

/// The trace of a program and its children.
#[derive(Clone, Debug)]
pub struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// Runs a verb of the CNI plugin in a directory.
    pub fn of_cni(
        bin: &Path,
        verb: &str,
        stdin: &str,
        attachment: &Attachment,
    ) -> Result<(Self, Answer)> {
        let file = tempfile::NamedTempFile::new()?;
        let mut strace = Command::new("/usr/bin/strace");
        set_environment(&mut strace, bin, verb, attachment);
        let strings = ["-f", "-xx", "-s", "100000", "-o"];
        strace.args(strings).arg(file.path()).arg(bin.join("sriov"));
        // The IPAM plugins are in the lab's directory for every subject.
        strace.env("CNI_PATH", format!("{}:{}", bin.display(), crate::cni::BIN));
        let answer = answer(strace, stdin)?;
        Ok((Self::read(file.path())?, answer))
    }

    /// Reads the present content of the file that `strace -f -o FILE` writes.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("no trace in {}", file.display()))?;
        let text = String::from_utf8_lossy(&text);
        Ok(Self {
            lines: text.lines().map(str::to_owned).collect(),
        })
    }

    /// Number of started system calls; lines of resumed calls, exits and signals do not count.
    pub fn calls(&self) -> usize {
        self.begun().count()
    }

    /// Number of calls whose line contains a text.
    pub fn with(&self, word: &str) -> usize {
        self.begun().filter(|line| line.contains(word)).count()
    }

    /// Number of messages sent by netlink.
    pub fn requests(&self) -> usize {
        let sent = self.begun().filter(|line| line.contains(" send"));
        sent.filter(|line| line.contains("nlmsg_len=")).count()
    }

    /// Number of `fsync`, `fdatasync` and similar calls.
    pub fn synchronisations(&self) -> usize {
        let is_one = |line: &&str| {
            ["fsync(", "fdatasync(", "syncfs(", "sync_file_range("]
                .iter()
                .any(|call| line.contains(call))
        };
        self.begun().filter(is_one).count()
    }

    /// Number of bytes received by netlink.
    pub fn received(&self) -> usize {
        self.answers()
            .filter_map(|line| line.rsplit("= ").next()?.trim().parse::<usize>().ok())
            .sum()
    }

    /// Number of received bytes that describe VFs of a PF.
    pub fn vf_lists(&self) -> usize {
        self.answers().map(vf_list).sum()
    }

    /// The calls that change files or the kernel's settings, and for each thread the call after the last of them. The trace needs `-y`.
    ///
    /// The places of two threads may be equal; each is listed once.
    pub fn changes(&self) -> Vec<Place> {
        let mut counts = BTreeMap::new();
        // Whether the last call of a thread was a change, and the call after it.
        let mut after: BTreeMap<&str, Option<Place>> = BTreeMap::new();
        let mut places: Vec<Place> = Vec::new();
        for line in self.begun() {
            let (thread, call) = line.split_once(' ').unwrap_or_default();
            let Some((name, arguments)) = call.trim_start().split_once('(') else {
                continue;
            };
            let nth = counts.entry((thread, name)).or_insert(0);
            *nth += 1;
            let place = Place {
                name: name.to_owned(),
                nth: *nth,
                line: line.to_owned(),
            };
            let is_refused = arguments.contains(" = -1 E");
            if is_change(name, arguments) && !is_refused {
                after.insert(thread, None);
                places.push(place);
            } else if let Some(next @ None) = after.get_mut(thread) {
                *next = Some(place);
            }
        }
        places.extend(after.into_values().flatten());
        let mut seen = Vec::new();
        places.retain(|place| {
            let key = (place.name.clone(), place.nth);
            let is_new = !seen.contains(&key);
            seen.push(key);
            is_new
        });
        places
    }

    /// The trace itself.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    fn begun(&self) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().map(String::as_str);
        lines.filter(|line| {
            !line.contains(" resumed>") && !line.contains(" +++ ") && !line.contains(" --- ")
        })
    }

    fn answers(&self) -> impl Iterator<Item = &str> {
        self.begun()
            .filter(|line| line.contains(" recv") && !line.contains("MSG_PEEK"))
    }
}

/// Calls that change something whatever their arguments are.
const CHANGES: &str = "chmod fallocate fchmod fchmodat fdatasync fsync ftruncate link linkat mkdir mkdirat rename renameat renameat2 \
    rmdir symlink symlinkat truncate unlink unlinkat";

/// Whether a call changes a file or a setting of the kernel; messages to other processes and lines of the log do not count.
fn is_change(name: &str, arguments: &str) -> bool {
    match name {
        "open" | "openat" => arguments.contains("O_CREAT"),
        "write" | "writev" | "pwrite64" => {
            let (number, path) = arguments.split_once('<').unwrap_or_default();
            number != "2" && path.starts_with('/') && !path.starts_with("/dev/")
        }
        // A request of netlink that changes something wants an answer without data; queries do not.
        "sendto" | "sendmsg" => arguments.contains("NLM_F_ACK"),
        _ => CHANGES.split_whitespace().any(|change| change == name),
    }
}

/// Bytes of the VF lists in the messages of one line.
fn vf_list(line: &str) -> usize {
    let messages = line.split(NEWLINK).skip(1);
    let texts = messages.filter_map(|message| message.split('"').nth(1));
    texts
        .filter_map(|text| attribute(&bytes(text), VFINFO_LIST))
        .sum()
}

/// Length of an attribute of a link message, with its header.
fn attribute(message: &[u8], wanted: u16) -> Option<usize> {
    let mut rest = message.get(IFINFOMSG..)?;
    while let [l0, l1, t0, t1, ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        if u16::from_ne_bytes([*t0, *t1]) & 0x3fff == wanted {
            return Some(length);
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// The bytes behind `\x00\x1a`.
fn bytes(text: &str) -> Vec<u8> {
    let parts = text.split("\\x").skip(1);
    parts
        .filter_map(|part| u8::from_str_radix(part, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> Trace {
        Trace {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn call_counts_once_and_exit_does_not_count() {
        let trace = trace(
            "7   execve(\"\\x2f\", [], 0x7 /* 1 vars */) = 0\n\
             7   clone3({flags=0} <unfinished ...>\n\
             8   fsync(4)                          = 0\n\
             7   <... clone3 resumed>, 88)         = 8\n\
             8   fdatasync(4)                      = 0\n\
             8   exit(0)                           = ?\n\
             8   +++ exited with 0 +++\n\
             7   --- SIGCHLD {si_signo=SIGCHLD} ---",
        );
        assert_eq!((trace.calls(), trace.synchronisations()), (5, 2));
        assert_eq!(trace.with("execve("), 1);
    }

    #[test]
    fn changes_are_counted_for_each_thread_by_name() {
        let trace = trace(
            "7   openat(AT_FDCWD</>, \"/a\", O_RDONLY) = 4</a>\n\
             7   openat(AT_FDCWD</>, \"/b\", O_WRONLY|O_CREAT, 0600) = 5</b>\n\
             8   write(9<anon_inode:[eventfd]>, \"\", 8) = 8\n\
             7   write(2</log>, \"\", 8) = 8\n\
             7   write(5</b>, \"x\", 1 <unfinished ...>\n\
             8   rename(\"/c\", \"/d\") = 0\n\
             7   <... write resumed>) = 1\n\
             7   close(5</b>) = 0\n\
             7   close(4</a>) = 0\n\
             8   rename(\"/d\", \"/e\") = 0\n\
             8   unlink(\"/d\")                     = -1 ENOENT (No such file or directory)",
        );
        let places: Vec<_> = trace
            .changes()
            .into_iter()
            .map(|place| (place.name, place.nth))
            .collect();
        let expected = [
            ("openat", 2),
            ("write", 2),
            ("rename", 1),
            ("rename", 2),
            ("close", 1),
            ("unlink", 1),
        ];
        assert_eq!(places, expected.map(|(name, nth)| (name.to_owned(), nth)));
    }

    #[test]
    fn netlink_bytes_are_counted_with_vf_lists() {
        // `ifinfomsg`, IFLA_MTU (4) and a nested IFLA_VFINFO_LIST of 12 bytes, with and without the peek before.
        let message = format!(
            "{}{}{}",
            "\\x00".repeat(16),
            "\\x08\\x00\\x04\\x00\\xdc\\x05\\x00\\x00",
            "\\x0c\\x00\\x16\\x80\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08"
        );
        let line = |flags: &str| {
            format!(
                "7   recvfrom(9, [{{nlmsg_len=52, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=0}}, \"{message}\"], 64, {flags}, NULL) = 52\n"
            )
        };
        let trace = trace(&format!(
            "7   sendto(9, [{{nlmsg_len=40, nlmsg_type=0x12}}], 40, 0, NULL, 0) = 40\n\
             7   sendto(10, \"\\x00\", 28, 0, {{sa_family=AF_PACKET}}, 20) = 28\n{}{}",
            line("MSG_PEEK|MSG_TRUNC"),
            line("0")
        ));
        assert_eq!((trace.requests(), trace.received()), (1, 52));
        assert_eq!(trace.vf_lists(), 12);
    }
}
