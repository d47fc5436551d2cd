//! Counts from a trace of a program: system calls, netlink requests, synchronisations, bytes of VF lists.
//!
//! Counts do not depend on the load of the machine, so the suites have limits for them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::multus::{Answer, Attachment, answer, set_environment};

/// `RTM_NEWLINK` (`include/uapi/linux/rtnetlink.h`) as the node's strace prints it: as a number.
const NEWLINK: &str = "nlmsg_type=0x10 ";
/// `sizeof(struct ifinfomsg)`.
const IFINFOMSG: usize = 16;
/// `IFLA_VFINFO_LIST` (`include/uapi/linux/if_link.h`); the highest bit of a type marks a nested attribute.
const VFINFO_LIST: u16 = 22;

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
