//! Sets up logging.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs to standard error, without colours: kubectl shows them as they are.
pub fn init(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(level)
        .finish()
        .with(targets(level))
        .init();
}

/// This program at the level, and warnings of its libraries: a library's frames say nothing about devices.
fn targets(level: LevelFilter) -> Targets {
    let libraries = level.min(LevelFilter::WARN);
    Targets::new()
        .with_target("sriov_", level)
        // Failed requests are logged where they are handled, once for each reason.
        .with_target("kube_client", LevelFilter::OFF)
        .with_default(libraries)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_log_warnings_at_most() {
        for (target, level, is_logged) in [
            ("sriov_device_plugin::runtime", Level::DEBUG, true),
            ("sriov_node::discover", Level::DEBUG, true),
            ("h2::codec", Level::DEBUG, false),
            ("hyper", Level::INFO, false),
            ("tower", Level::WARN, true),
            ("kube_client::client", Level::ERROR, false),
        ] {
            let enabled = targets(LevelFilter::DEBUG).would_enable(target, &level);
            assert_eq!(enabled, is_logged, "{target} {level}");
        }
        assert!(!targets(LevelFilter::ERROR).would_enable("h2", &Level::WARN));
    }
}
