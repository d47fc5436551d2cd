//! Waits for a state, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const DEADLINE: Duration = Duration::from_mins(1);

/// Waits for a state, for a minute at most.
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) -> Result<()> {
    wait_within(DEADLINE, Duration::from_millis(20), what, holds)
}

/// Waits for a state until a deadline, and checks it after each pause.
pub fn wait_within(
    deadline: Duration,
    pause: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> Result<()> {
    let end = Instant::now() + deadline;
    while !holds() {
        if Instant::now() > end {
            bail!("not reached within {} s: {what}", deadline.as_secs());
        }
        std::thread::sleep(pause);
    }
    Ok(())
}
