//! The settings of the process, from the command line and the environment: names, paths, addresses.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sriov_host::HostRoot;
use sriov_node::flags::RESOURCE_PREFIX;
use tracing::level_filters::LevelFilter;

/// The name of the driver unless a flag replaces it; the group of its claim parameters as well.
pub(crate) const DRIVER: &str = "sriov.virtfn.dev";

/// The settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Name of this driver in slices and claims.
    pub(crate) driver: DriverName,
    /// Name of this node, which is the name of its pool as well.
    pub(crate) node: NodeName,
    /// UID of the driver's pod; absent outside a pod. Two instances of a rolling update differ in it.
    pub(crate) pod_uid: Option<String>,
    /// File with the address and the credentials of the API server; absent in a pod, which has a service account.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Configuration file.
    pub(crate) config_file: PathBuf,
    /// Prefix of resources that name none.
    pub(crate) resource_prefix: String,
    /// The kubelet's root directory.
    pub(crate) kubelet_dir: PathBuf,
    /// Directory of the device-info files.
    pub(crate) devinfo_dir: PathBuf,
    /// Directory of the CDI specifications.
    pub(crate) cdi_dir: PathBuf,
    /// State directory of the CNI plugin.
    pub(crate) cni_dir: PathBuf,
    /// The CNI plugin, which detaches a VF whose DEL was missed.
    pub(crate) cni_plugin: PathBuf,
    /// Where metrics and probes are served; absent when they are not.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Whether the attributes, parameters and variables of `dra-driver-sriov` are used as well.
    pub(crate) has_sriovnetwork_names: bool,
    /// The machine.
    pub(crate) host: HostRoot,
    pub(crate) log_level: LevelFilter,
}

impl Settings {
    /// The defaults on a node.
    pub(crate) fn of(driver: DriverName, node: NodeName) -> Self {
        Self {
            driver,
            node,
            pod_uid: None,
            kubeconfig: None,
            config_file: "/etc/pcidp/config.json".into(),
            resource_prefix: RESOURCE_PREFIX.to_owned(),
            kubelet_dir: "/var/lib/kubelet".into(),
            devinfo_dir: "/var/run/k8s.cni.cncf.io/devinfo/dp".into(),
            cdi_dir: "/var/run/cdi".into(),
            cni_dir: "/var/lib/cni/sriov".into(),
            cni_plugin: "/opt/cni/bin/sriov".into(),
            metrics_address: None,
            has_sriovnetwork_names: false,
            host: HostRoot::default(),
            log_level: LevelFilter::INFO,
        }
    }
}

/// Name of a driver: a lower-case DNS subdomain of at most 63 bytes, as `resource.k8s.io/v1` requires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DriverName(String);

/// Name of a node: a lower-case DNS subdomain of at most 253 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeName(String);

/// A name that is not a lower-case DNS subdomain of the allowed length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a name: expected a DNS subdomain, lower-case letters, digits, `-` and `.`, at most {longest}"
)]
pub(crate) struct InvalidName {
    text: String,
    longest: usize,
}

impl DriverName {
    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeName {
    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DriverName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        subdomain(text, 63).map(Self)
    }
}

impl FromStr for NodeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        subdomain(text, 253).map(Self)
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rule of `k8s.io/apimachinery`, `IsDNS1123Subdomain`.
fn subdomain(text: &str, longest: usize) -> Result<String, InvalidName> {
    let is_inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let is_end = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
        ends.into_iter().all(is_end) && bytes.iter().all(is_inner)
    };
    if text.len() <= longest && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(InvalidName {
        text: text.to_owned(),
        longest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_the_api_server_refuses_is_refused() {
        let long = format!("{}.x", "a".repeat(62));
        for text in ["", "Node", "a..b", "-a", "a-", "a_b", "a/b", long.as_str()] {
            assert!(text.parse::<DriverName>().is_err(), "{text}");
        }
        let node: NodeName = long.parse().unwrap();
        assert_eq!(node.to_string(), long);
        let driver: DriverName = DRIVER.parse().unwrap();
        assert_eq!(driver.as_str(), DRIVER);
    }
}
