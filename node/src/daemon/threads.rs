//! The threads of a daemon: one that runs all tasks, and a few for what may block.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::error::DaemonError;

/// Threads for what may block: a look at the devices, a page of metrics, the owners, allocations.
const BLOCKING_THREADS: usize = 16;

/// The runtime of the process; a thread that has nothing to do ends after a second.
///
/// # Errors
/// When the system refuses it.
pub fn runtime() -> Result<Runtime, DaemonError> {
    let mut builder = Builder::new_current_thread();
    builder.thread_keep_alive(Duration::from_secs(1));
    builder.max_blocking_threads(BLOCKING_THREADS);
    builder.enable_all().build().map_err(DaemonError::Runtime)
}
