//! What the device plugin does while nothing happens: between two questions to kubelet about pods it is woken for them and for nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking"
)]
#![cfg(test)]

use std::fs;
use std::time::{Duration, Instant};

use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::process::Activity;
use sriov_testkit::sized_tree::{self as tree, Size};

/// Each question is a connection of its own: one for its timer, the others for its bytes there and back, and its end.
const WAKEUPS: u64 = 9;
/// What comes within this time of a question is one with it; the next one of its own is two seconds away, or more.
const AT_ONCE: Duration = Duration::from_millis(500);

#[test]
fn nothing_wakes_an_idle_plugin_but_its_question_to_kubelet() {
    let dir = tempfile::tempdir().unwrap();
    let size = Size { pfs: 1, vfs: 7 };
    tree::build(dir.path(), size).unwrap();
    let config = tree::resource_list(size, 3);
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::write(dir.path().join("config/config.json"), config).unwrap();
    let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let flags = plugin::flags(
        dir.path(),
        "config/config.json",
        &[("cni-dir", "cni"), ("host-root", "")],
    );
    let plugin = Plugin::start(plugin::binary().unwrap(), &flags, &dir.path().join("log")).unwrap();
    kubelet
        .wait_for("all resources are known", |known| known.len() == 3)
        .unwrap();
    let asked = || {
        let mut questions = 0;
        kubelet.pods(|pods| questions = pods.questions);
        questions
    };
    // The next question that comes after so long without one, with all that follows it at once.
    let next = |quiet: Duration| {
        let (mut last, mut has_come) = ((asked(), Instant::now()), false);
        sriov_testkit::node::wait_for("kubelet is asked again", || {
            let (before, since) = last;
            let now = asked();
            if now != before {
                has_come |= since.elapsed() > quiet;
                last = (now, Instant::now());
            }
            has_come && last.1.elapsed() > AT_ONCE
        })
        .unwrap();
    };
    // A start is followed by questions after two and ten seconds, then by one each half minute.
    next(Duration::from_secs(1));
    // A link of this machine that changes meanwhile wakes the plugin as well, and rightly: one quiet span of three is proof.
    let is_quiet = |(questions, wakeups): &(usize, u64)| *questions == 1 && *wakeups <= WAKEUPS;
    let mut spans = Vec::new();
    for _ in 0..3 {
        let (before, questions) = (Activity::of(plugin.id()).unwrap(), asked());
        next(Duration::from_secs(5));
        let questions = asked() - questions;
        let done = Activity::of(plugin.id()).unwrap().since(before);
        println!(
            "{} wake-ups for {questions} questions, {:.2} ms CPU",
            done.wakeups, done.cpu
        );
        spans.push((questions, done.wakeups));
        if spans.iter().any(is_quiet) {
            break;
        }
    }
    assert!(
        spans.iter().any(is_quiet),
        "questions and wake-ups: {spans:?}"
    );
    plugin.stop().unwrap();
}
