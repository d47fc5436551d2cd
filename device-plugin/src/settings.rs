//! The settings of the process, from the command line: paths, addresses, and how to register.

use std::net::SocketAddr;
use std::path::PathBuf;

use sriov_host::HostRoot;
use sriov_node::flags::RESOURCE_PREFIX;
use tracing::level_filters::LevelFilter;

/// The settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Configuration file.
    pub(crate) config_file: PathBuf,
    /// Prefix of resources that name none.
    pub(crate) resource_prefix: String,
    /// The kubelet's root directory.
    pub(crate) kubelet_dir: PathBuf,
    /// Directory of the device-info files.
    pub(crate) devinfo_dir: PathBuf,
    /// Directory of the CDI specifications; absent when device nodes are passed directly.
    pub(crate) cdi_dir: Option<PathBuf>,
    /// State directory of the CNI plugin; only read.
    pub(crate) cni_dir: PathBuf,
    /// Where metrics and probes are served; absent when they are not.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Whether the names of `sriov-network-metrics-exporter` are exported as well.
    pub(crate) has_exporter_names: bool,
    /// The machine.
    pub(crate) host: HostRoot,
    pub(crate) registration: Registration,
    pub(crate) log_level: LevelFilter,
}

/// How to register with the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    /// By the Register call; by a socket in `plugins_registry` where the kubelet has only that directory.
    Auto,
    /// By a socket in `plugins_registry`.
    Watcher,
    /// By the Register call.
    Legacy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config_file: "/etc/pcidp/config.json".into(),
            resource_prefix: RESOURCE_PREFIX.to_owned(),
            kubelet_dir: "/var/lib/kubelet".into(),
            devinfo_dir: "/var/run/k8s.cni.cncf.io/devinfo/dp".into(),
            cdi_dir: None,
            metrics_address: None,
            has_exporter_names: true,
            cni_dir: "/var/lib/cni/sriov".into(),
            host: HostRoot::default(),
            registration: Registration::Auto,
            log_level: LevelFilter::INFO,
        }
    }
}
