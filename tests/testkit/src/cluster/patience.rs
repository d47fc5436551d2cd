//! Waiting for what kubelet, the runtime or the API server does, and the end of a log for the message when it does not.

use std::time::Duration;

use anyhow::Result;

use crate::node::wait_within;

/// What the parts of the node need at most for one thing: twenty times as long as on an idle machine, most of it being emulated.
const DEADLINE: Duration = Duration::from_mins(4);
/// A question to the API server costs the node as much as a small program.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Waits for something that kubelet, the runtime or the API server does.
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) -> Result<()> {
    wait_within(DEADLINE, PAUSE, what, holds)
}

/// The last lines of a log, for a message.
pub fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
