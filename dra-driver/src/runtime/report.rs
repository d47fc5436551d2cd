//! The results of the publisher, for metrics, probes and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::publish::plan::Write;

/// The newest report; shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Report(Arc<Mutex<Facts>>);

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether the API server has all desired slices.
    pub(super) is_published: bool,
    /// Slices and devices that are desired.
    pub(super) slices: usize,
    pub(super) devices: usize,
    /// Generation of the pool.
    pub(super) generation: i64,
    /// Whether the API server stores taints; absent until it was tested.
    pub(super) keeps_taints: Option<bool>,
    /// Successful writes by verb.
    pub(super) writes: BTreeMap<&'static str, u64>,
    /// Slices that somebody else deleted or changed.
    pub(super) foreign: BTreeMap<&'static str, u64>,
    /// Watches that ended without an event for too long.
    pub(super) silent_watches: u64,
    /// Why the API server could not be used the last time; absent while it can.
    pub(super) error: Option<String>,
}

impl Report {
    /// Changes the facts.
    pub(super) fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
    }

    /// Counts a write that succeeded.
    pub(super) fn wrote(&self, write: &Write) {
        let verb = match write {
            Write::Create(_) => "create",
            Write::Update(..) => "update",
            Write::Delete(_) => "delete",
        };
        *self.lock().writes.entry(verb).or_default() += 1;
    }

    /// The facts as they are.
    pub(super) fn now(&self) -> Facts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
