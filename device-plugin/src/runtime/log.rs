//! Sets up logging.

use std::io;

use tracing::level_filters::LevelFilter;

/// Logs to standard error, without colours: kubectl shows them as they are.
pub(super) fn init(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(level)
        .init();
}
