//! The log level of the CNI plugin.

/// Log level, with the names of `sriov-cni`; its `panic` is `error` here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// `panic` and `error`.
    Error,
    /// `warning`.
    Warning,
    /// `info`, and any other text.
    #[default]
    Info,
    /// `debug`.
    Debug,
}

impl LogLevel {
    /// Reads a level as `sriov-cni` does: an unknown one is `info`.
    pub(super) fn read(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "panic" | "error" => LogLevel::Error,
            "warning" => LogLevel::Warning,
            "debug" => LogLevel::Debug,
            _ => LogLevel::Info,
        }
    }
}
