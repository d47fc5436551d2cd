//! Where the files of prepared claims are.

use std::path::{Path, PathBuf};

use k8s_openapi::api::resource::v1::ResourceClaim;
use sriov_config::vf_config::Accepted;
use sriov_device_info::Store;
use sriov_device_info::claims::{ClaimRef, ClaimStore};
use sriov_host::HostRoot;
use sriov_node::grant::cdi::CdiDir;

use crate::claim::{self, AllocatedClaim, ClaimError};
use crate::settings::{DriverName, NodeName, Settings};
use crate::state::StateStore;

/// Names and directories of one driver on this node.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) driver: DriverName,
    pub(crate) node: NodeName,
    pub(crate) host: HostRoot,
    /// The driver's directory below that of the kubelet, with its state and its sockets.
    pub(crate) driver_dir: PathBuf,
    /// The kubelet's socket of pod resources.
    pub(crate) pod_resources: PathBuf,
    /// The CNI plugin's state directory.
    pub(crate) cni_dir: PathBuf,
    /// The CNI plugin, and the directory of the plugins that it runs.
    pub(crate) cni_plugin: PathBuf,
    pub(crate) device_infos: Store,
    pub(crate) cdi: CdiDir,
    /// Whether parameters and variables of `dra-driver-sriov` are accepted and given.
    pub(crate) has_sriovnetwork_names: bool,
}

impl Paths {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            driver: settings.driver.clone(),
            node: settings.node.clone(),
            host: settings.host.clone(),
            driver_dir: driver_dir(&settings.kubelet_dir, &settings.driver),
            pod_resources: sriov_node::holders::pod_resources::socket(&settings.kubelet_dir),
            cni_dir: settings.cni_dir.clone(),
            cni_plugin: settings.cni_plugin.clone(),
            device_infos: Store::new(&settings.devinfo_dir),
            cdi: CdiDir::new(&settings.cdi_dir),
            has_sriovnetwork_names: settings.has_sriovnetwork_names,
        }
    }

    /// Reads what the scheduler allocated to a claim on this node.
    ///
    /// # Errors
    /// When the claim cannot be prepared, as far as its object shows it.
    pub(super) fn read_claim(
        &self,
        object: &ResourceClaim,
        meant: &ClaimRef,
    ) -> Result<AllocatedClaim, ClaimError> {
        let accepted = if self.has_sriovnetwork_names {
            Accepted::WithSriovnetwork
        } else {
            Accepted::Own
        };
        claim::read(object, meant, &self.driver, &self.node, accepted)
    }

    pub(crate) fn state(&self) -> StateStore {
        StateStore::below(&self.driver_dir)
    }

    pub(crate) fn hand_overs(&self) -> ClaimStore {
        ClaimStore::below(&self.cni_dir)
    }

    /// The directory of the metadata files of a claim (KEP-5304); by UID, as another claim may get the name before this one is unprepared.
    pub(super) fn metadata_dir(&self, claim: &ClaimRef) -> PathBuf {
        self.driver_dir.join("dra-device-metadata").join(&claim.uid)
    }

    /// The metadata file of a request.
    pub(super) fn metadata_file(&self, claim: &ClaimRef, request: &str) -> PathBuf {
        self.metadata_dir(claim).join(request).join("metadata.json")
    }

    /// The CDI specification of a claim.
    pub(super) fn specification(&self, claim: &ClaimRef) -> PathBuf {
        let dir = self.cdi.path();
        dir.join(format!("virtfn-claim_{}.json", claim.uid))
    }
}

/// The driver's directory.
pub(crate) fn driver_dir(kubelet_dir: &Path, driver: &DriverName) -> PathBuf {
    kubelet_dir.join("plugins").join(driver.as_str())
}
