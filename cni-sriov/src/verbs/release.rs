//! Releases attachments: what DEL, GC, STATUS, a failed ADD and the next ADD share.

mod go;
mod leftovers;
mod lost;
mod reconstruct;
mod undo;

pub(super) use self::go::release_go;
pub(super) use self::leftovers::{exists, release_leftovers};
pub(super) use self::lost::release_lost;
pub(super) use self::undo::{settle, undo};
