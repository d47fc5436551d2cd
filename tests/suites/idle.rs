//! An idle device plugin wakes up only for its regular query of the kubelet's pod resources.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]
#![cfg(test)]

use std::fs;
use std::time::{Duration, Instant};

use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::process::Activity;
use sriov_testkit::sized_tree::{self as tree, Size};

/// Limit of wake-ups for each query: one for the timer, the others for a new connection, its data and its end.
const WAKEUPS: u64 = 9;
/// Activity within this time belongs to the same query; the next query follows after two seconds or more.
const AT_ONCE: Duration = Duration::from_millis(500);

#[test]
fn idle_plugin_wakes_up_for_its_queries_only() {
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
        .wait_for("all resources are registered", |known| known.len() == 3)
        .unwrap();
    let asked = || {
        let mut questions = 0;
        kubelet.pods(|pods| questions = pods.questions);
        questions
    };
    // Waits for the next query after a quiet time, and for the activity that belongs to it.
    let next = |quiet: Duration| {
        let (mut last, mut has_come) = ((asked(), Instant::now()), false);
        sriov_testkit::node::wait_for("the plugin queries the kubelet again", || {
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
    // After a start the plugin queries after two and ten seconds, then every half minute.
    next(Duration::from_secs(1));
    // A change of a link of this machine also wakes the plugin, so one quiet span of three is enough.
    let is_quiet = |(questions, wakeups): &(usize, u64)| *questions == 1 && *wakeups <= WAKEUPS;
    let mut spans = Vec::new();
    for _ in 0..3 {
        let (before, questions) = (Activity::of(plugin.id()).unwrap(), asked());
        next(Duration::from_secs(5));
        let questions = asked() - questions;
        let done = Activity::of(plugin.id()).unwrap().since(before);
        println!(
            "{} wake-ups for {questions} queries, {:.2} ms CPU",
            done.wakeups, done.cpu
        );
        spans.push((questions, done.wakeups));
        if spans.iter().any(is_quiet) {
            break;
        }
    }
    assert!(
        spans.iter().any(is_quiet),
        "queries and wake-ups: {spans:?}"
    );
    plugin.stop().unwrap();
}
