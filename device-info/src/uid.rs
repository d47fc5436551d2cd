//! The UID of a pod, as far as it is part of a file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest UID: a UUID has 36 bytes, the hash of a static pod 32.
const LONGEST: usize = 128;

/// UID of a pod: letters, digits, `-`, `_` and `.`, not with a `.` at the begin, so that it is a file name and never a path.
///
/// The kubelet takes a UUID from the API server, and makes a hash for a static pod; a file may give a static pod any UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodUid(String);

/// A text that is not the UID of a pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the UID of a pod: expected 1 to {LONGEST} letters, digits, `-`, `_` and `.`, not with a `.` at the begin"
)]
pub struct InvalidPodUid(String);

impl FromStr for PodUid {
    type Err = InvalidPodUid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for PodUid {
    type Error = InvalidPodUid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = (1..=LONGEST).contains(&text.len()) && !text.starts_with('.');
        if is_name && text.bytes().all(is_allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidPodUid(text))
        }
    }
}

impl From<PodUid> for String {
    fn from(uid: PodUid) -> Self {
        uid.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
