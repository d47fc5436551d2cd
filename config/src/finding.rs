//! Mistakes and warnings: sentences about places of a JSON document.

use std::fmt;

use crate::places::Position;

/// A sentence about one place of a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path of the value, for instance `resourceList[0].selectors[1].pfNames[0]`.
    pub path: String,
    /// Line and column of the value, or of the object that lacks it; absent for the CNI configuration, which no person wrote.
    pub position: Option<Position>,
    /// The sentence, with the value and the rule.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(position) = self.position {
            write!(f, " at {position}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All mistakes of one document; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Finding>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(findings) = self;
        for (position, finding) in findings.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
