//! The program by exec, with standard streams that are closed, full or non-blocking, with an environment of any bytes, and with hostile input:
//! each call ends, and each failure is one JSON document on standard output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, write};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sriov");
const VERBS: [&str; 7] = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION", "PAUSE"];
/// No verb gets further than the configuration: its version is unknown.
const REFUSED: &[u8] = br#"{"cniVersion": "9.9.9", "name": "n", "type": "sriov"}"#;

fn command(verb: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", "c")
        .env("CNI_IFNAME", "net1")
        .env("CNI_NETNS", "/nowhere")
        .env("CNI_PATH", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program with this input, and returns its exit code and what it wrote to standard output.
fn run(command: &mut Command, stdin: &[u8]) -> (Option<i32>, Vec<u8>) {
    let mut child = command.spawn().unwrap();
    if let Some(mut input) = child.stdin.take() {
        // The program need not read all.
        let _ = input.write_all(stdin);
    }
    let output = child.stdout.take();
    let code = ended(&mut child);
    let mut text = Vec::new();
    if let Some(mut output) = output {
        output.read_to_end(&mut text).unwrap();
    }
    (code, text)
}

/// The exit code; a call that does not end fails the test.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_mins(1);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    panic!("the call does not end");
}

fn document(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", text.escape_ascii()))
}

/// Each verb fails with one document.
fn assert_reported(verb: &str, (code, text): (Option<i32>, Vec<u8>)) {
    if verb == "VERSION" {
        assert_eq!(code, Some(0));
        assert!(document(&text)["supportedVersions"].is_array());
    } else {
        assert_eq!(code, Some(1), "{verb}");
        assert!(document(&text)["code"].is_number(), "{verb}");
    }
}

/// The writing end of a pipe that takes nothing more, and its reading end.
fn full_pipe(is_blocking: bool) -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    while write(writer.as_fd(), &[b'x'; 4096]).is_ok() {}
    if is_blocking {
        fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    }
    (reader, writer)
}

/// The program with one of its streams redirected by a shell.
fn redirected(verb: &str, redirection: &str) -> Command {
    let mut command = command(verb);
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(format!("exec {PROGRAM} {redirection}"))
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command = shell;
    command
}

#[test]
fn standard_error_that_takes_nothing_changes_no_answer() {
    for verb in VERBS {
        for redirection in ["2>&-", "2>/dev/full"] {
            assert_reported(verb, run(&mut redirected(verb, redirection), REFUSED));
        }
        for is_blocking in [false, true] {
            let (_reader, writer) = full_pipe(is_blocking);
            assert_reported(verb, run(command(verb).stderr(writer), REFUSED));
        }
        let (reader, writer) = full_pipe(true);
        drop(reader);
        assert_reported(verb, run(command(verb).stderr(writer), REFUSED));
    }
}

#[test]
fn standard_output_that_takes_nothing_fails_the_call() {
    for verb in VERBS {
        let (code, _) = run(&mut redirected(verb, ">/dev/full"), REFUSED);
        assert_eq!(code, Some(1), "{verb}");
        let (code, _) = run(&mut redirected(verb, ">&-"), REFUSED);
        assert!(code.is_some(), "{verb}");
        let (reader, writer) = full_pipe(true);
        drop(reader);
        let (code, _) = run(command(verb).stdout(writer), REFUSED);
        assert_eq!(code, Some(1), "{verb}");
    }
}

#[test]
fn output_waits_until_a_full_pipe_is_read() {
    for is_blocking in [false, true] {
        let (reader, writer) = full_pipe(is_blocking);
        let mut child = command("VERSION").stdout(writer).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"{}").unwrap();
        fcntl(reader.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let mut text = Vec::new();
        File::from(reader).read_to_end(&mut text).unwrap();
        assert_eq!(ended(&mut child), Some(0));
        let start = text.iter().position(|byte| *byte != b'x').unwrap();
        assert!(document(&text[start..])["supportedVersions"].is_array());
    }
}

#[test]
fn input_may_be_closed_or_come_late() {
    for verb in VERBS {
        assert_reported(verb, run(&mut redirected(verb, "<&-"), b""));
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let mut child = command(verb).stdin(reader).spawn().unwrap();
        // The program finds nothing to read at first, at least in most runs.
        std::thread::sleep(Duration::from_millis(20));
        File::from(writer).write_all(REFUSED).unwrap();
        let mut text = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
        assert_reported(verb, (ended(&mut child), text));
    }
}

#[test]
fn hostile_input_is_refused() {
    let nested = [b"{\"cniVersion\": ".to_vec(), vec![b'['; 1 << 20]].concat();
    let long = [
        b"{\"cniVersion\": \"9.9.9\", \"name\": \"".to_vec(),
        vec![b'x'; 4 << 20],
        b"\"}".to_vec(),
    ]
    .concat();
    let inputs: [&[u8]; 9] = [
        b"",
        b"\xff\xfe",
        b"{\"cniVersion\": \"1.0.0\", \"name\": \"\xff\"}",
        b"\0\0\0\0",
        b"[]",
        b"{\"cniVersion\": 1e999}",
        b"{\"cniVersion\": {\"cniVersion\": null}, \"name\": 5}",
        &nested,
        &long,
    ];
    for verb in VERBS {
        for input in inputs {
            let done = run(&mut command(verb), input);
            // VERSION answers whatever text it gets.
            let is_refused = verb == "VERSION" && str::from_utf8(input).is_err();
            assert_reported(if is_refused { "ADD" } else { verb }, done);
        }
    }
    let (code, text) = run(&mut command("ADD"), &vec![b' '; 20 << 20]);
    assert_eq!((code, &document(&text)["code"]), (Some(1), &5.into()));
    assert!(
        document(&text)["details"]
            .as_str()
            .unwrap()
            .contains("longer than")
    );
}

#[test]
fn environment_may_be_any_bytes() {
    let bytes = OsStr::from_bytes(b"a\xff/b");
    let names: [&[u8]; 8] = [
        b"CNI_COMMAND",
        b"CNI_CONTAINERID",
        b"CNI_IFNAME",
        b"CNI_NETNS",
        b"CNI_ARGS",
        b"CNI_PATH",
        b"OTHER",
        b"OTHER\xff",
    ];
    for verb in VERBS {
        for name in names {
            let name = OsStr::from_bytes(name);
            let (code, text) = run(command(verb).env(name, bytes), REFUSED);
            if verb == "VERSION" && name != "CNI_COMMAND" {
                assert_eq!(code, Some(0));
            } else {
                assert_eq!(code, Some(1), "{verb} {}", name.display());
            }
            document(&text);
        }
    }
    let conf = br#"{"cniVersion": "1.0.0", "name": "n", "type": "sriov"}"#;
    let (_, text) = run(command("ADD").env("CNI_NETNS", bytes), conf);
    assert_eq!(document(&text)["code"], 4);
}

#[test]
fn log_file_that_cannot_be_written_changes_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in ["/dev/full", "/", "/nowhere/x", fifo.to_str().unwrap()] {
        let conf = format!(
            r#"{{"cniVersion": "1.0.0", "name": "n", "type": "sriov", "logFile": "{path}", "vlan": -1}}"#
        );
        let (code, text) = run(&mut command("ADD"), conf.as_bytes());
        assert_eq!(
            (code, &document(&text)["code"]),
            (Some(1), &7.into()),
            "{path}"
        );
    }
}

#[test]
fn key_that_was_probably_meant_otherwise_is_in_the_log() {
    let conf = br#"{"cniVersion": "1.0.0", "name": "n", "type": "sriov", "vlan_trunk": "1-7"}"#;
    let mut child = command("ADD").spawn().unwrap();
    child.stdin.take().unwrap().write_all(conf).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("vlan_trunk"), "{log}");
}
