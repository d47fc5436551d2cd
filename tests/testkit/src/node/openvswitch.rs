//! Open vSwitch on the node: its database, its daemon with the kernel's datapath, and bridges over the node's links.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{modules, wait_for};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A running switch; its end removes bridges and daemons.
#[derive(Debug)]
pub struct OpenVswitch {
    dir: TempDir,
    daemons: Vec<Child>,
    bridges: Vec<String>,
}

impl OpenVswitch {
    /// Loads the kernel's datapath and starts the daemons, with a database of their own.
    ///
    /// # Errors
    /// If a component is missing or does not start.
    pub fn start() -> Result<Self> {
        modules::load("openvswitch")?;
        let mut switch = Self {
            dir: tempfile::tempdir()?,
            daemons: Vec::new(),
            bridges: Vec::new(),
        };
        let file = switch.path("conf.db");
        switch.run("/usr/bin/ovsdb-tool", &["create", &file, SCHEMA])?;
        let socket = switch.path("db.sock");
        let remote = format!("--remote=punix:{socket}");
        switch.spawn("/usr/sbin/ovsdb-server", &[&remote, &file])?;
        wait_for("the switch's database answers", || {
            Path::new(&socket).exists()
        })?;
        switch.vsctl(&["--no-wait", "init"])?;
        switch.spawn("/usr/sbin/ovs-vswitchd", &[&format!("unix:{socket}")])?;
        Ok(switch)
    }

    /// Creates a bridge over a link, and waits until the datapath has both.
    ///
    /// # Errors
    /// With the message of the switch.
    pub fn add_bridge(&mut self, bridge: &str, link: &str) -> Result<()> {
        self.bridges.push(bridge.to_owned());
        self.vsctl(&["add-br", bridge, "--", "add-port", bridge, link])
    }

    /// Removes a bridge and releases its link.
    ///
    /// # Errors
    /// With the message of the switch.
    pub fn delete_bridge(&mut self, bridge: &str) -> Result<()> {
        self.bridges.retain(|known| known != bridge);
        self.vsctl(&["del-br", bridge])
    }

    fn vsctl(&self, words: &[&str]) -> Result<()> {
        let socket = format!("--db=unix:{}", self.path("db.sock"));
        let mut all = vec!["--timeout=60", &socket];
        all.extend(words);
        self.run("/usr/bin/ovs-vsctl", &all)
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .env("OVS_RUNDIR", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<()> {
        let output = self.command(program, words).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{program} {}: {}", words.join(" "), text.trim());
        }
        Ok(())
    }

    fn spawn(&mut self, program: &str, words: &[&str]) -> Result<()> {
        let log = std::fs::File::create(self.path("log"))?;
        let child = self.command(program, words).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {program}"))?;
        self.daemons.push(child);
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Drop for OpenVswitch {
    fn drop(&mut self) {
        for bridge in std::mem::take(&mut self.bridges) {
            let _ = self.delete_bridge(&bridge);
        }
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
