//! The state directory: one file for each attached VF, the lock of each VF, and the files of the Go plugin.
//!
//! Lock, allocation file and state copy are those of the Go plugin, so that both can run on one node.

mod entry;
mod error;
mod files;
mod go_copy;
mod go_state;
mod lock;
mod state_dir;
mod store;

pub(crate) use self::entry::Entry;
pub(crate) use self::error::JournalError;
pub(crate) use self::go_state::{GoState, encode as encode_go_state};
pub(crate) use self::lock::VfLock;
pub(crate) use self::store::Journal;
