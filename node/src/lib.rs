//! The live side of the inventory: finds the devices, learns who holds them, grants them to pods, and serves the HTTP endpoints and the sockets for the kubelet.
//!
//! It has everything that a daemon of this node needs whatever its front end; the front ends translate.
//! Start at [`discover::pipeline::Pipeline`] (kernel to pools), [`holders`] (who holds what) and [`grant::Granter`] (what a pod gets).

#![forbid(unsafe_code)]

pub mod counts;
pub mod daemon;
pub mod discover;
pub mod file_lock;
pub mod flags;
pub mod grant;
pub mod heartbeat;
pub mod holders;
pub mod http;
pub mod kubelet;
pub mod machine;
pub mod metrics;
pub mod proto;
pub mod unix_channel;
pub mod watch_dir;
