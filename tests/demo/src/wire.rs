//! Captures frames on an interface with tcpdump.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sriov_testkit::node::tcpdump;

/// One captured frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Frame {
    /// Source MAC address.
    pub(crate) source: String,
    /// Destination MAC address.
    pub(crate) destination: String,
    /// VLAN id and priority of the tag, if there is one.
    pub(crate) tag: Option<Tag>,
}

/// An 802.1Q tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tag {
    /// VLAN identifier.
    pub(crate) vlan: u16,
    /// Priority.
    pub(crate) priority: u8,
}

/// A running capture.
pub(crate) struct Capture {
    tcpdump: Child,
    readers: Vec<JoinHandle<Vec<Frame>>>,
}

impl Capture {
    /// Starts tcpdump on an interface, optionally in a named namespace, and returns when it captures.
    pub(crate) fn start(netns: Option<&str>, interface: &str) -> Result<Self> {
        let mut tcpdump = tcpdump(netns, interface)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start /usr/bin/tcpdump")?;
        let stdout = tcpdump
            .stdout
            .take()
            .context("tcpdump has no standard output")?;
        let frames =
            std::thread::spawn(move || lines(stdout).filter_map(|line| parse(&line)).collect());
        let stderr = tcpdump
            .stderr
            .take()
            .context("tcpdump has no standard error")?;
        let (ready, is_ready) = channel();
        let name = interface.to_owned();
        let log = std::thread::spawn(move || {
            for line in lines(stderr) {
                eprintln!("tcpdump on {name}: {line}");
                if line.contains("listening on") {
                    let _ = ready.send(());
                }
            }
            Vec::new()
        });
        let capture = Self {
            tcpdump,
            readers: vec![frames, log],
        };
        capture.wait_ready(&is_ready, interface)
    }

    /// Stops tcpdump and returns the captured frames.
    pub(crate) fn stop(mut self) -> Result<Vec<Frame>> {
        self.end()
    }

    fn wait_ready(self, ready: &Receiver<()>, interface: &str) -> Result<Self> {
        if ready.recv_timeout(Duration::from_secs(20)).is_err() {
            bail!("tcpdump does not capture on {interface} after 20 s");
        }
        Ok(self)
    }

    fn end(&mut self) -> Result<Vec<Frame>> {
        let pid = i32::try_from(self.tcpdump.id()).context("a process id does not fit")?;
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGINT,
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.tcpdump.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.tcpdump.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let heard = self
            .readers
            .drain(..)
            .filter_map(|reader| reader.join().ok())
            .flatten();
        Ok(heard.collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if !self.readers.is_empty() {
            let _ = self.end();
        }
    }
}

fn lines(source: impl std::io::Read) -> impl Iterator<Item = String> {
    BufReader::new(source).lines().map_while(Result::ok)
}

/// Reads a line of `tcpdump -e`: `TIME SOURCE > DESTINATION, ethertype …, length N: vlan 100, p 3, ethertype …`.
fn parse(line: &str) -> Option<Frame> {
    let mut words = line.split_whitespace();
    let source = words.nth(1)?;
    let destination = words.nth(1)?.trim_end_matches(',');
    let is_mac = |text: &str| text.len() == 17 && text.bytes().filter(|b| *b == b':').count() == 5;
    let number = |after: &str| {
        line.split_once(after)?
            .1
            .split([',', ' '])
            .next()?
            .parse::<u16>()
            .ok()
    };
    let tag = number(": vlan ").zip(number(", p ").or(Some(0)));
    (is_mac(source) && is_mac(destination)).then(|| Frame {
        source: source.to_owned(),
        destination: destination.to_owned(),
        tag: tag.and_then(|(vlan, priority)| {
            Some(Tag {
                vlan,
                priority: u8::try_from(priority).ok()?,
            })
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_and_plain_frames_are_parsed() {
        let tagged = "12:00:00.000001 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype 802.1Q (0x8100), length 46: vlan 100, p 3, ethertype ARP (0x0806), Request who-has 192.0.2.1 tell 192.0.2.10, length 28";
        assert_eq!(
            parse(tagged).unwrap(),
            Frame {
                source: "02:00:00:00:00:01".into(),
                destination: "ff:ff:ff:ff:ff:ff".into(),
                tag: Some(Tag {
                    vlan: 100,
                    priority: 3
                })
            }
        );
        let plain = "12:00:00.000001 52:54:00:00:00:10 > 33:33:00:00:00:02, ethertype IPv6 (0x86dd), length 70: fe80::1 > ff02::2: ICMP6";
        assert_eq!(parse(plain).unwrap().tag, None);
        assert_eq!(parse("0 packets dropped by kernel"), None);
    }
}
