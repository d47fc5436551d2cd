//! The errors of all stages in one type.

use std::io;

use crate::device::DeviceError;
use crate::drift::Drifted;
use crate::ipam::IpamError;
use crate::journal::JournalError;
use crate::kernel::KernelError;
use crate::request::RequestError;
use crate::result::ResultError;

/// A call that did not succeed; nothing that it changed remains, unless the message lists it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Standard input could not be read.
    #[error("cannot read standard input")]
    Stdin(#[source] io::Error),
    /// The asynchronous runtime could not be started.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// A mistake in this program; what the call changed is in the journal, and DEL undoes it.
    #[error("a mistake in this program ended the call")]
    Panic,
    /// The request is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The device cannot be attached or read.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The state directory cannot be used, or the VF is not the caller's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The IPAM plugin failed.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// A result cannot be read or expressed.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// A change was refused or had no effect.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// CHECK found differences.
    #[error(transparent)]
    Drifted(#[from] Drifted),
    /// STATUS: an ADD would fail.
    #[error("not ready")]
    NotReady(#[source] Box<Failure>),
    /// Several failures; their order is that of the events.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Failure>),
}

impl Failure {
    /// This failure, and what failed afterwards.
    pub(crate) fn and(self, mut others: Vec<Self>) -> Self {
        if others.is_empty() {
            return self;
        }
        others.insert(0, self);
        Self::Several(others)
    }

    /// One failure of several; success when there is none.
    ///
    /// # Errors
    /// The only failure, or [`Failure::Several`].
    pub(crate) fn all(mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.pop() {
            None => Ok(()),
            Some(only) if failures.is_empty() => Err(only),
            Some(last) => {
                failures.push(last);
                Err(Self::Several(failures))
            }
        }
    }
}
