//! Waits for the kubelet, the runtime and the API server, and quotes the end of a log if a wait fails.

use std::time::Duration;

use anyhow::Result;

use crate::node::wait_within;

/// Limit for one action of the emulated node: twenty times its duration on an idle machine.
const DEADLINE: Duration = Duration::from_mins(4);
/// Pause between two requests to the API server: each costs the node as much as a small program.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Waits for an action of the kubelet, the runtime or the API server.
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) -> Result<()> {
    wait_within(DEADLINE, PAUSE, what, holds)
}

/// The last 15 lines of a log.
pub fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
