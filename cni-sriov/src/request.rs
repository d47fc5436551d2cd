//! The runtime's request: environment and standard input, decoded with all mistakes at once. No host is touched here.

mod attachment;
mod environment;
mod error;
mod verb;

pub(crate) use self::attachment::{NetworkRequest, Request};
pub use self::environment::Environment;
pub(crate) use self::error::RequestError;
pub use self::verb::Verb;
