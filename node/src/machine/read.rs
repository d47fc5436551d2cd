//! Reading a machine file: its form first, then all rules at once.

use std::fmt;

use super::check::mistakes;
use super::file::Machine;

/// A text is not a machine file.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// It does not have the form of the format.
    #[error("not a machine file: {0}")]
    Form(String),
    /// It has the form, and values that no machine has.
    #[error("{0}")]
    Values(Mistakes),
}

/// All mistakes of a machine file, each with the place and the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Machine {
    /// Reads a machine file.
    ///
    /// # Errors
    /// One error of form with its line, or all wrong values.
    pub fn parse(text: &str) -> Result<Self, MachineError> {
        let parsed = serde_yaml_ng::from_str::<Self>(text);
        let mut machine = parsed.map_err(|error| MachineError::Form(error.to_string()))?;
        let mistakes = mistakes(&machine);
        if !mistakes.is_empty() {
            return Err(MachineError::Values(Mistakes(mistakes)));
        }
        machine.normalise();
        Ok(machine)
    }
}
