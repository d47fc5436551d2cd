//! The sockets that the kubelet connects to: how they appear, what is done to their bytes, and the registration through the plugin watcher.

mod authority;
mod header_block;
pub mod socket;
pub mod watcher;
