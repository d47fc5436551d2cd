//! A decoded request: about one attachment, or about a network as a whole.

use std::path::{Path, PathBuf};

use sriov_config::NetConf;
use sriov_host::IfName;

/// A request about a network as a whole.
#[derive(Clone, Debug)]
pub(crate) struct NetworkRequest {
    /// Network configuration.
    pub(crate) conf: NetConf,
    /// The whole standard input, which IPAM gets.
    pub(crate) stdin: String,
    /// Directories in which the IPAM plugin is looked up.
    pub(crate) cni_path: Vec<PathBuf>,
}

/// A request about one attachment.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The network.
    pub(crate) network: NetworkRequest,
    /// Id of the container.
    pub(crate) container_id: String,
    /// Name of the interface in the pod.
    pub(crate) ifname: IfName,
    /// `CNI_ARGS`.
    pub(crate) args: Option<String>,
    /// Path of the pod's network namespace; may be absent for DEL.
    pub(crate) netns: Option<PathBuf>,
    /// Whether the host's own network namespace is allowed (`CNI_NETNS_OVERRIDE`).
    pub(crate) netns_override: bool,
}

impl Request {
    /// Network configuration.
    pub(crate) fn conf(&self) -> &NetConf {
        &self.network.conf
    }

    /// Network, container id and interface name, by which an attachment is known.
    pub(crate) fn key(&self) -> [&str; 3] {
        let ifname = self.ifname.as_str();
        [&self.network.conf.name, &self.container_id, ifname]
    }

    /// Path of the pod's network namespace; empty when there is none.
    pub(crate) fn netns_path(&self) -> &Path {
        self.netns.as_deref().unwrap_or(Path::new(""))
    }
}
