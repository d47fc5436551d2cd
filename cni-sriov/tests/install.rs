//! `sriov install`, by exec in directories of our own: its output and its files, and that no reader ever sees half a program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed expectation of a test is a panic"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sriov");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A plugin directory of a node.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn plugin(&self) -> PathBuf {
        self.dir().join("sriov")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("install")
            .arg(format!("--cni-bin-dir={}", self.dir().display()))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The output of a successful installation; the directory is printed as DIR.
    fn install(&self, words: &[&str]) -> String {
        let (code, text) = output(self.command(words).arg("--no-sleep"));
        assert_eq!(code, Some(0), "{text}");
        text.replace(&self.dir().display().to_string(), "DIR")
    }

    /// The plugin is whole and nothing else is there.
    fn assert_installed(&self) {
        assert_eq!(fs::read(self.plugin()).unwrap(), fs::read(PROGRAM).unwrap());
        let metadata = fs::symlink_metadata(self.plugin()).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_dir(self.dir()).unwrap().count(), 1);
    }
}

/// Exit code, and both outputs.
fn output(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn output_names_what_was_found_and_done() {
    let node = Node::new();
    assert_eq!(
        node.install(&[]),
        format!("installed DIR/sriov (version {VERSION})\n")
    );
    node.assert_installed();
    assert_eq!(
        node.install(&[]),
        format!("left DIR/sriov alone: it is identical (version {VERSION})\n")
    );
    fs::write(node.plugin(), "another plugin").unwrap();
    assert_eq!(
        node.install(&[]),
        format!("replaced DIR/sriov, another program (version {VERSION})\n")
    );
    node.assert_installed();

    // An older one of ours: its version is found in the real program's text.
    let (new, old) = (
        format!("virtfn sriov {VERSION}\n"),
        format!("virtfn sriov {}\n", "9".repeat(VERSION.len())),
    );
    let mut text = fs::read(PROGRAM).unwrap();
    let at = text
        .windows(new.len())
        .position(|window| window == new.as_bytes())
        .unwrap();
    text[at..at + new.len()].copy_from_slice(old.as_bytes());
    fs::write(node.plugin(), text).unwrap();
    assert_eq!(
        node.install(&[]),
        format!("replaced DIR/sriov, version 99999 (version {VERSION})\n")
    );
    node.assert_installed();
}

#[test]
fn symbolic_link_or_wrong_mode_is_replaced() {
    let node = Node::new();
    node.install(&[]);
    fs::set_permissions(node.plugin(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(node.install(&[]).starts_with("replaced"));
    node.assert_installed();
    fs::remove_file(node.plugin()).unwrap();
    symlink("/nowhere/sriov", node.plugin()).unwrap();
    assert!(node.install(&[]).starts_with("replaced"));
    node.assert_installed();
    // The next installation removes what a killed one left, even if it has nothing else to do.
    fs::write(node.dir().join(".sriov.new"), "half").unwrap();
    assert!(node.install(&[]).starts_with("left"));
    node.assert_installed();
}

#[test]
fn another_program_keeps_its_name() {
    let node = Node::new();
    let program = node.dir().join("source");
    fs::write(&program, "text").unwrap();
    let word = format!("--sriov-bin-file={}", program.display());
    let to = Node::new();
    to.install(&[&word]);
    assert_eq!(fs::read_to_string(to.dir().join("source")).unwrap(), "text");
}

#[test]
fn running_plugin_is_replaced() {
    let node = Node::new();
    // Copied by another process: a file that this process wrote may still be open in a child of another test, and cannot be run then.
    let copied = Command::new("cp")
        .arg("/bin/cat")
        .arg(node.plugin())
        .status();
    assert!(copied.unwrap().success());
    let mut running = Command::new(node.plugin())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    node.install(&[]);
    node.assert_installed();
    assert_eq!(running.try_wait().unwrap(), None);
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
}

#[test]
fn failure_is_one_sentence_and_changes_nothing() {
    let node = Node::new();
    for (words, code, sentence) in [
        (
            vec!["--cni-bin-dir=/nowhere"],
            1,
            "sriov: cannot use the directory `/nowhere`: mount the runtime's plugin directory there, or name another with --cni-bin-dir: No such file or directory (os error 2)\n",
        ),
        (
            vec!["--sriov-bin-file=/nowhere/x"],
            1,
            "sriov: cannot read `/nowhere/x`: No such file or directory (os error 2)\n",
        ),
        (
            vec!["--sriov-bin-file=/"],
            1,
            "sriov: cannot read `/`: Is a directory (os error 21)\n",
        ),
        (
            vec!["--nonsense"],
            2,
            "sriov: invalid option '--nonsense'\n",
        ),
    ] {
        let done = output(node.command(&words).arg("--no-sleep"));
        assert_eq!(done, (Some(code), sentence.to_owned()));
    }
    fs::create_dir_all(node.plugin().join("inner")).unwrap();
    let (code, text) = output(&mut node.command(&["--no-sleep"]));
    assert!(code == Some(1) && text.contains("Is a directory"), "{text}");
    assert_eq!(fs::read_dir(node.dir()).unwrap().count(), 1);
}

/// The child, after it printed that it stays.
fn staying(node: &Node) -> Child {
    let mut child = node.command(&[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "staying until SIGTERM");
    child
}

#[test]
fn without_no_sleep_it_runs_until_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let node = Node::new();
        let mut child = staying(&node);
        node.assert_installed();
        assert_eq!(child.try_wait().unwrap(), None);
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// Old and new programs take turns under eight installers, some of which are killed: a reader never sees anything else.
#[test]
fn reader_sees_a_whole_program_whoever_is_killed() {
    let node = Node::new();
    let (old, new) = (vec![7; 1 << 20], vec![9; 2 << 20]);
    let sources = [&old, &new].map(|text| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sriov"), text).unwrap();
        dir
    });
    let words = sources.each_ref().map(|dir| {
        let program = dir.path().join("sriov");
        [
            "--no-sleep".to_owned(),
            format!("--sriov-bin-file={}", program.display()),
        ]
    });
    fs::write(node.plugin(), &old).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0, 0];
            while !is_over.load(Ordering::Relaxed) || seen == [0, 0] {
                let text = fs::read(node.plugin()).unwrap();
                assert!(text == old || text == new, "{} bytes", text.len());
                seen[usize::from(text == old)] += 1;
            }
            seen
        });
        for round in 0..12 {
            let mut children: Vec<Child> = (0..8)
                .map(|index| {
                    let words = &words[(index + round) % 2];
                    node.command(&[&words[0], &words[1]]).spawn().unwrap()
                })
                .collect();
            for (index, child) in children.iter_mut().enumerate() {
                if index % 3 == round % 3 {
                    child.kill().unwrap();
                }
                child.wait().unwrap();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        println!("seen: {:?}", reader.join().unwrap());
    });
    node.install(&[]);
    node.assert_installed();
}
