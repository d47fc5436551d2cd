//! The paths of the sockets: one of each for every instance, as two run during a rolling update (k8s.io/dynamic-resource-allocation, `kubeletplugin`).

use std::path::{Path, PathBuf};

use sriov_host::stable_hash::stable_hash;
use sriov_node::kubelet::socket::LONGEST_PATH;

use crate::settings::DriverName;

/// The sockets of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// With the registration service, in the directory that the kubelet watches.
    pub(super) registration: PathBuf,
    /// With the DRA services.
    pub(super) service: PathBuf,
}

impl Endpoint {
    /// The sockets of the driver's pod; without the UID of a pod there is one instance.
    ///
    /// # Errors
    /// The path that is too long for a socket whatever its name is.
    pub(super) fn new(
        kubelet_dir: &Path,
        driver_dir: &Path,
        driver: &DriverName,
        pod_uid: Option<&str>,
    ) -> Result<Self, PathBuf> {
        let registry = kubelet_dir.join("plugins_registry");
        let Some(uid) = pod_uid else {
            return Ok(Self {
                registration: fitting(&registry, [format!("{driver}-reg.sock")])?,
                service: fitting(driver_dir, ["dra.sock".to_owned()])?,
            });
        };
        // No two instances on one node have the same hash, as at most two run.
        let (short, both) = (
            stable_hash(uid.as_bytes()),
            stable_hash(format!("{driver}\0{uid}").as_bytes()),
        );
        Ok(Self {
            registration: fitting(
                &registry,
                [
                    format!("{driver}-{uid}-reg.sock"),
                    format!("{driver}-{short:016x}-reg.sock"),
                    format!("dra-{both:016x}-reg.sock"),
                ],
            )?,
            service: fitting(
                driver_dir,
                [format!("dra-{uid}.sock"), format!("dra-{short:016x}.sock")],
            )?,
        })
    }
}

/// The first name whose path fits into the address of a socket.
fn fitting<const N: usize>(dir: &Path, names: [String; N]) -> Result<PathBuf, PathBuf> {
    let mut last = dir.to_owned();
    for name in names {
        last = dir.join(name);
        if last.as_os_str().len() <= LONGEST_PATH {
            return Ok(last);
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "5b1f4a52-7c0e-4a3f-9a60-0d3c1b7d2f11";

    fn endpoint(root: &str, driver: &str, uid: Option<&str>) -> Result<Endpoint, PathBuf> {
        let driver: DriverName = driver.parse().unwrap();
        let dir = Path::new(root).join("plugins").join(driver.as_str());
        Endpoint::new(Path::new(root), &dir, &driver, uid)
    }

    #[test]
    fn each_instance_has_its_own_sockets() {
        let root = "/var/lib/kubelet";
        let one = endpoint(root, "sriov.virtfn.dev", None).unwrap();
        assert_eq!(
            one.registration,
            Path::new("/var/lib/kubelet/plugins_registry/sriov.virtfn.dev-reg.sock")
        );
        assert_eq!(
            one.service,
            Path::new("/var/lib/kubelet/plugins/sriov.virtfn.dev/dra.sock")
        );
        let other = endpoint(root, "sriov.virtfn.dev", Some(UID)).unwrap();
        assert!(
            other
                .registration
                .ends_with(format!("sriov.virtfn.dev-{UID}-reg.sock"))
        );
        assert!(other.service.ends_with(format!("dra-{UID}.sock")));
    }

    #[test]
    fn long_paths_get_shorter_names_that_differ() {
        let mut seen = Vec::new();
        for length in 1..=40 {
            let root = format!("/{}", "k".repeat(length));
            for driver in [
                "sriov.virtfn.dev",
                "a-long-name-of-a-driver.sriov.example.com",
            ] {
                for uid in [UID, "another"] {
                    let Ok(Endpoint {
                        registration,
                        service,
                    }) = endpoint(&root, driver, Some(uid))
                    else {
                        continue;
                    };
                    for path in [registration, service] {
                        assert!(path.as_os_str().len() <= LONGEST_PATH, "{path:?}");
                        assert!(!seen.contains(&path), "{path:?}");
                        seen.push(path);
                    }
                }
            }
        }
        let root = format!("/{}", "k".repeat(120));
        assert!(endpoint(&root, "sriov.virtfn.dev", Some(UID)).is_err());
    }
}
