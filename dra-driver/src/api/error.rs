//! Why a request to the API server failed.

use std::error::Error;
use std::time::Duration;

use sriov_host::chain;

/// Why a request failed; `action` completes "to": `read the claim x/y`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No connection, or it ended early.
    #[error("cannot reach the API server to {action}")]
    Unreachable {
        action: String,
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer within the deadline.
    #[error("the API server did not answer within {} s to {action}", within.as_secs())]
    TooSlow { action: String, within: Duration },
    /// An answer that is not a success.
    #[error("the API server refused to {action}: {message} (code {code})")]
    Refused {
        action: String,
        code: u16,
        message: String,
    },
}

impl ApiError {
    /// The failure of an action by the client's error.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only the refusals are distinguished"
    )]
    pub(super) fn of(action: &str, error: kube::Error) -> Self {
        let action = action.to_owned();
        // The client's own texts repeat their cause.
        let source: Box<dyn Error + Send + Sync> = match error {
            kube::Error::Api(status) => {
                return Self::Refused {
                    action,
                    code: status.code,
                    message: status.message,
                };
            }
            kube::Error::Service(source) => source,
            kube::Error::HyperError(source) => Box::new(source),
            kube::Error::ReadEvents(source) => Box::new(source),
            other => Box::new(other),
        };
        Self::Unreachable { action, source }
    }

    /// The HTTP code of a refusal.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. } | Self::TooSlow { .. } => None,
        }
    }

    /// What failed, without the server's own words: they may differ each time, for instance by a generated name.
    pub(crate) fn gist(&self) -> String {
        match self {
            Self::Refused { action, code, .. } => format!("{action}: {code}"),
            Self::Unreachable { .. } | Self::TooSlow { .. } => chain(self),
        }
    }

    /// Whether the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether somebody else changed the object in between.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the server no longer has the requested resource version.
    pub(crate) fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }
}
