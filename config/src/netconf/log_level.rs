//! How much the CNI plugin logs.

/// How much is logged; the names are those of `sriov-cni`, where a panic is our worst error.
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
