//! The front end of the kubelet: the device plugin API, one socket for each pool.

pub(crate) mod counts;
mod error;
mod listener;
mod lists;
pub(crate) mod place;
pub(crate) mod registration;
pub(crate) mod served_pool;
pub(crate) mod server;
