//! The DRA plugin API, v1: each claim of a call is prepared or unprepared by itself, and has its own error.

use std::collections::HashMap;
use std::sync::Arc;

use sriov_device_info::claims::ClaimRef;
use sriov_host::chain;
use tonic::{Request, Response, Status};

use crate::prepare::{ClaimSource, PreparedDevice, Preparer};
use crate::proto::dra_v1 as api;
use crate::proto::dra_v1::dra_plugin_server::DraPlugin;

/// The service.
pub(super) struct Plugin<S>(pub(super) Arc<Preparer<S>>);

#[tonic::async_trait]
impl<S: ClaimSource> DraPlugin for Plugin<S> {
    async fn node_prepare_resources(
        &self,
        request: Request<api::NodePrepareResourcesRequest>,
    ) -> Result<Response<api::NodePrepareResourcesResponse>, Status> {
        let mut claims = HashMap::new();
        for claim in request.into_inner().claims {
            let claim = reference(claim);
            let prepared = self.0.prepare(&claim).await;
            let answer = match prepared {
                Ok(devices) => api::NodePrepareResourceResponse {
                    devices: devices.into_iter().map(device).collect(),
                    error: String::new(),
                },
                Err(error) => api::NodePrepareResourceResponse {
                    devices: Vec::new(),
                    error: self.failed(&claim, "NotPrepared", &error),
                },
            };
            claims.insert(claim.uid, answer);
        }
        Ok(Response::new(api::NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<api::NodeUnprepareResourcesRequest>,
    ) -> Result<Response<api::NodeUnprepareResourcesResponse>, Status> {
        let mut claims = HashMap::new();
        for claim in request.into_inner().claims {
            let claim = reference(claim);
            let unprepared = self.0.unprepare(&claim).await;
            let error = unprepared.err();
            let error = error.map(|error| self.failed(&claim, "NotUnprepared", &error));
            let error = error.unwrap_or_default();
            claims.insert(claim.uid, api::NodeUnprepareResourceResponse { error });
        }
        Ok(Response::new(api::NodeUnprepareResourcesResponse {
            claims,
        }))
    }
}

fn reference(claim: api::Claim) -> ClaimRef {
    let api::Claim {
        namespace,
        uid,
        name,
    } = claim;
    ClaimRef {
        namespace,
        name,
        uid,
    }
}

fn device(device: PreparedDevice) -> api::Device {
    api::Device {
        request_names: vec![device.request],
        pool_name: device.pool,
        device_name: device.device,
        cdi_device_ids: vec![device.cdi_name],
        share_id: None,
    }
}

impl<S> Plugin<S> {
    /// Logs and reports why a claim was not prepared or unprepared; the kubelet makes an event of the pod from the text.
    fn failed(
        &self,
        claim: &ClaimRef,
        reason: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> String {
        let text = chain(error);
        let ClaimRef {
            namespace, name, ..
        } = claim;
        tracing::warn!(claim = %format!("{namespace}/{name}"), error = text, "{reason}");
        let Self(preparer) = self;
        (preparer.refused)(claim, reason, text.clone());
        text
    }
}
