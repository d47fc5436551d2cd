//! The kubelet's side of the driver: its sockets, the registration, the DRA plugin API and the health of devices.
//!
//! Here the transactions of [`crate::prepare`] become messages; nothing else uses the messages. Start at [`serve`].

mod endpoint;
mod health;
mod plugin;
pub(crate) mod serve;
