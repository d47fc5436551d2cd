//! A failure as the error document of the CNI specification, and as a line of the log.

use serde_json::{Value, json};

use super::error::Failure;
use sriov_host::chain::{causes, join};

impl Failure {
    /// The failure and all its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        join(self.to_string(), &self.details())
    }

    /// The document for standard output, in the version that standard input names.
    pub fn document(&self, stdin: &str) -> Value {
        let conf = serde_json::from_str::<Value>(stdin).unwrap_or_default();
        let version = conf.get("cniVersion").and_then(Value::as_str);
        json!({
            "cniVersion": version.unwrap_or("1.1.0"),
            "code": self.code(),
            "msg": self.to_string(),
            "details": self.details(),
        })
    }

    /// The causes; of several failures, the causes of each.
    fn details(&self) -> String {
        match self {
            Self::Several(failures) => {
                let details = failures.iter().map(Self::details);
                let details: Vec<String> = details.filter(|details| !details.is_empty()).collect();
                details.join("; ")
            }
            Self::NotReady(failure) => failure.chain(),
            Self::Stdin(_)
            | Self::Runtime(_)
            | Self::Panic
            | Self::Request(_)
            | Self::Device(_)
            | Self::Journal(_)
            | Self::Ipam(_)
            | Self::Result(_)
            | Self::Kernel(_)
            | Self::Drifted(_) => causes(self),
        }
    }
}
