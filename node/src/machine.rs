//! A machine as one text file: constructed from the file for a replay, captured into a file from sysfs, and made anonymous.
//!
//! A replay reads the constructed tree with the same code as a real machine. `docs/machines.md` describes the format.

mod anonymous;
mod capture;
mod check;
mod construct;
mod file;
mod names;
mod read;

pub use self::anonymous::{Anonymous, anonymous};
pub use self::capture::{CaptureError, Captured, capture};
pub use self::construct::{ConstructError, Constructed};
pub use self::file::Machine;
pub use self::read::{MachineError, Mistakes};

#[cfg(test)]
mod tests;
