//! A client of the DRA driver's socket: prepares and unprepares one claim, as the kubelet does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sriov_dra_driver::proto::dra_v1::dra_plugin_client::DraPluginClient;
use sriov_dra_driver::proto::dra_v1::{
    Claim, NodePrepareResourcesRequest, NodeUnprepareResourcesRequest,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// That of the kubelet.
const DEADLINE: Duration = Duration::from_secs(45);

/// A connection to the driver.
#[derive(Debug)]
pub struct DraPlugin {
    runtime: Runtime,
    client: DraPluginClient<Channel>,
}

/// A claim as the kubelet names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl ClaimName {
    fn message(&self) -> Vec<Claim> {
        vec![Claim {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }]
    }
}

impl DraPlugin {
    /// Connects to a driver whose kubelet has its files below `kubelet_dir`.
    ///
    /// # Errors
    /// If nothing accepts connections there.
    pub fn connect(kubelet_dir: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let socket = kubelet_dir.join("plugins/sriov.virtfn.dev/dra.sock");
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.connect())?;
        Ok(Self {
            runtime,
            client: DraPluginClient::new(channel),
        })
    }

    /// Prepares a claim; gives the qualified names of its CDI devices.
    ///
    /// # Errors
    /// If the driver does not answer, or refuses.
    pub fn prepare(&self, claim: &ClaimName) -> Result<Vec<String>> {
        let claims = claim.message();
        let mut client = self.client.clone();
        let call = client.node_prepare_resources(NodePrepareResourcesRequest { claims });
        let mut answers = self.within_deadline(call)?.claims;
        let answer = answers.remove(&claim.uid).context("no answer")?;
        if !answer.error.is_empty() {
            bail!("Prepare: {}", answer.error);
        }
        let devices = answer.devices.into_iter();
        Ok(devices.flat_map(|device| device.cdi_device_ids).collect())
    }

    fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T> {
        let call = async { tokio::time::timeout(DEADLINE, call).await };
        Ok(self.runtime.block_on(call)??.into_inner())
    }

    /// Unprepares a claim.
    ///
    /// # Errors
    /// If the driver does not answer, or refuses.
    pub fn unprepare(&self, claim: &ClaimName) -> Result<()> {
        let claims = claim.message();
        let mut client = self.client.clone();
        let call = client.node_unprepare_resources(NodeUnprepareResourcesRequest { claims });
        let mut answers = self.within_deadline(call)?.claims;
        let answer = answers.remove(&claim.uid).context("no answer")?;
        if !answer.error.is_empty() {
            bail!("Unprepare: {}", answer.error);
        }
        Ok(())
    }
}
