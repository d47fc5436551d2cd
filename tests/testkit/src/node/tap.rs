//! Frames on a network device of the node: tcpdump writes them into a file as lines.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use tempfile::TempDir;

use super::wait_for;

/// tcpdump on an interface of the node or of a named namespace: one line for each frame, as soon as it is seen.
pub fn tcpdump(netns: Option<&str>, interface: &str) -> Command {
    let mut command = match netns {
        None => Command::new("/usr/bin/tcpdump"),
        Some(netns) => {
            let mut command = Command::new("/usr/sbin/ip");
            command.args(["netns", "exec", netns, "/usr/bin/tcpdump"]);
            command
        }
    };
    command.args(["-i", interface]);
    command.args(["-e", "-nn", "-l", "--immediate-mode", "-Z", "root"]);
    command.stdin(Stdio::null());
    command
}

/// tcpdump on one interface, ended with this.
#[derive(Debug)]
pub struct Tap {
    tcpdump: Child,
    dir: TempDir,
}

impl Tap {
    /// Listens on an interface of the node or of a named namespace; `filter` are words of tcpdump's language.
    ///
    /// # Errors
    /// If tcpdump does not listen before the deadline.
    pub fn new(netns: Option<&str>, interface: &str, filter: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = |name: &str| File::create(dir.path().join(name));
        let tcpdump = tcpdump(netns, interface)
            .args(filter)
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()?;
        let tap = Self { tcpdump, dir };
        wait_for("tcpdump listens", || {
            tap.read("err").contains("listening on")
        })?;
        Ok(tap)
    }

    /// The frames until now, a line each.
    pub fn frames(&self) -> String {
        self.read("out")
    }

    /// Whether the line of a frame contains all of these words.
    pub fn has(&self, words: &[&str]) -> bool {
        let frames = self.frames();
        let mut lines = frames.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}
