//! The unit that creates VFs at boot, and `sriov install` of the binary that ships, killed at every system call.
//! The installed file is the old program or the new one at any moment, and the next installation succeeds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use sriov_testkit::cni::BIN;
use sriov_testkit::node::Pf;

const UNIT: &str = include_str!("../../../deploy/systemd/sriov-vfs@.service");

const OLD: &str = "the earlier plugin";

/// A command that runs the installer, with options before its arguments.
fn installer(program: &str, options: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(options)
        .arg(format!("{BIN}/sriov"))
        .args(["install", "--no-sleep", "--cni-bin-dir"])
        .arg(dir);
    command
}

fn strace(options: &[&str], dir: &Path) -> ExitStatus {
    let mut command = installer("/usr/bin/strace", options, dir);
    command.output().unwrap().status
}

/// The system calls of an installation after its `execve`, in order: name and position among calls of the same name.
fn calls(dir: &Path) -> Vec<(String, usize)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(strace(&["-o", file.path().to_str().unwrap()], dir).success());
    let mut seen = BTreeMap::new();
    let text = fs::read_to_string(file.path()).unwrap();
    let names = text.lines().filter_map(|line| line.split_once('('));
    names
        .filter(|(name, _)| *name != "execve")
        .map(|(name, _)| {
            let nth = seen.entry(name.to_owned()).or_insert(0);
            *nth += 1;
            (name.to_owned(), *nth)
        })
        .collect()
}

#[test]
fn killed_installation_leaves_the_old_or_the_new_program() {
    let new = fs::read(format!("{BIN}/sriov")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("sriov");
    let start = || fs::write(&plugin, OLD).unwrap();
    start();
    let calls = calls(dir.path());
    for name in ["flock", "fsync", "rename"] {
        assert!(calls.iter().any(|(call, _)| call == name), "{calls:?}");
    }
    let (mut old_ones, mut new_ones) = (0, 0);
    for (name, nth) in &calls {
        start();
        let inject = format!("--inject={name}:signal=KILL:when={nth}");
        let status = strace(&["-o", "/dev/null", &inject], dir.path());
        assert!(!status.success(), "{name} {nth}");
        let text = fs::read(&plugin).unwrap();
        if text == new {
            new_ones += 1;
            let mode = fs::metadata(&plugin).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755, "{name} {nth}");
        } else {
            old_ones += 1;
            assert_eq!(text, OLD.as_bytes(), "{name} {nth}");
        }
        let mut again = installer("/bin/env", &[], dir.path());
        assert!(again.output().unwrap().status.success());
        assert_eq!(fs::read(&plugin).unwrap(), new, "{name} {nth}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name} {nth}");
    }
    println!(
        "{} calls: {old_ones} times the old, {new_ones} times the new",
        calls.len()
    );
    assert!(old_ones > 5 && new_ones > 0);
}

/// Each refused call leads to one sentence, exit code 1, and an unchanged program.
#[test]
fn failed_installation_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("sriov");
    for call in ["flock", "fchmod", "fsync", "rename"] {
        fs::write(&plugin, OLD).unwrap();
        let inject = format!("--inject={call}:error=EIO:when=1");
        let status = strace(&["-o", "/dev/null", &inject], dir.path());
        assert_eq!(status.code(), Some(1), "{call}");
        assert_eq!(fs::read_to_string(&plugin).unwrap(), OLD, "{call}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{call}");
    }
}

/// Runs the command of the unit as systemd does.
fn run_unit(pf: &str, vfs: usize) {
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let command = line.and_then(|line| line.strip_prefix("/bin/sh -c '"));
    let command = command.and_then(|rest| rest.strip_suffix('\'')).unwrap();
    let status = Command::new("/bin/sh")
        .args(["-c", &command.replace("%I", pf)])
        .env("NUM_VFS", vfs.to_string())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn unit_creates_vfs_once_and_keeps_existing_ones() {
    let pf = Pf::with_vfs(0, 0).unwrap();
    let file = format!("/sys/class/net/{}/device/sriov_numvfs", pf.netdev);
    for vfs in [3, 5] {
        run_unit(&pf.netdev, vfs);
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), "3");
    }
    pf.set_vfs(0).unwrap();
}
