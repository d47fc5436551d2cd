//! Why a pod cannot use a device now.

/// Why a device cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// It was removed while a pod held it.
    #[error("it is gone")]
    Gone,
    /// It is present, but an attribute of it cannot be read any more.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It lost its driver while a pod held it.
    #[error("no driver is bound to it")]
    NoDriver,
    /// Another driver was bound to it while a pod held it.
    #[error("its driver is `{now}`, but was `{was}` when its pod got it")]
    DriverChanged {
        /// The driver when this process first saw the pod hold the device.
        was: String,
        /// The driver now.
        now: String,
    },
    /// It was removed and created again while a pod held it.
    #[error("it was created again, and its pod has the former device")]
    Remade,
    /// Its PF was removed.
    #[error("its PF is gone")]
    PfMissing,
    /// Its PF is administratively down.
    #[error("its PF `{0}` is down")]
    PfDown(String),
    /// Its PF is up and has no carrier.
    #[error("its PF `{0}` has no carrier")]
    PfWithoutCarrier(String),
    /// The CNI plugin could not restore it after its last pod: a reset or a setting failed.
    #[error("the CNI plugin holds it back: its former state could not be restored")]
    Dirty,
    /// It is held through another resource, or by a claim; who holds it, as a sentence.
    #[error("{0}")]
    HeldElsewhere(String),
    /// It is held through a resource whose selectors no longer match it.
    #[error("no selector of its resource matches it now")]
    LeftPool,
}

impl Unhealthy {
    /// The reason as one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unreadable(_) => "unreadable",
            Self::NoDriver => "no_driver",
            Self::DriverChanged { .. } => "driver_changed",
            Self::Remade => "remade",
            Self::PfMissing => "pf_missing",
            Self::PfDown(_) => "pf_down",
            Self::PfWithoutCarrier(_) => "pf_without_carrier",
            Self::Dirty => "dirty",
            Self::HeldElsewhere(_) => "held_elsewhere",
            Self::LeftPool => "left_pool",
        }
    }
}
