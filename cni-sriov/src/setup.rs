//! Where things are and how long they may take: values that `main` makes and passes down.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sriov_host::HostRoot;
use sriov_host::netlink::{Netlink, OpenError};

/// Directory of the journal, also of the Go plugin's state.
pub(crate) const STATE_DIR: &str = "/var/lib/cni/sriov";

/// Paths, deadlines and the way to the kernel.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Root of the host's file systems.
    pub host: HostRoot,
    /// Directory of the journal, the allocation files and the locks.
    pub state_dir: PathBuf,
    /// Directory below which device-info files are written.
    pub device_info_dir: PathBuf,
    /// Time limit of each netlink request.
    pub request_deadline: Duration,
    /// Time limit of the wait for a lock.
    pub lock_deadline: Duration,
    /// Opens a netlink socket in the host's network namespace.
    pub open_host: OpenHost,
}

/// Opens a netlink socket in the host's network namespace, with this time limit for its requests; tests open a kernel in memory instead.
#[derive(Clone)]
pub struct OpenHost(pub Arc<dyn Fn(Duration) -> Result<Netlink, OpenError> + Send + Sync>);

impl fmt::Debug for OpenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenHost")
    }
}

impl Setup {
    /// Opens a socket in the host's network namespace.
    pub(crate) fn host_netlink(&self) -> Result<Netlink, OpenError> {
        let OpenHost(open) = &self.open_host;
        open(self.request_deadline)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            host: HostRoot::default(),
            state_dir: PathBuf::from(STATE_DIR),
            device_info_dir: PathBuf::from("/var/run/k8s.cni.cncf.io/devinfo"),
            request_deadline: Duration::from_secs(20),
            lock_deadline: Duration::from_secs(30),
            open_host: OpenHost(Arc::new(Netlink::host)),
        }
    }
}
