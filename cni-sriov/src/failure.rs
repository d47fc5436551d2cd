//! What a call fails with: the errors of all stages in one type, and the one place that turns them into the codes of the CNI specification.

mod code;
mod document;
mod error;

pub use self::error::Failure;
