//! Answers the kubelet's plugin watcher, which finds sockets in `plugins_registry` by itself.

use tonic::{Request, Response, Status};

use super::server::PoolServer;
use crate::proto::pluginregistration as watcher;

#[tonic::async_trait]
impl watcher::registration_server::Registration for PoolServer {
    async fn get_info(
        &self,
        _: Request<watcher::InfoRequest>,
    ) -> Result<Response<watcher::PluginInfo>, Status> {
        Ok(Response::new(watcher::PluginInfo {
            r#type: "DevicePlugin".to_owned(),
            name: self.pool.borrow().pool.name.to_string(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["v1beta1".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<watcher::RegistrationStatus>,
    ) -> Result<Response<watcher::RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        let name = self.pool.borrow().pool.name.clone();
        if status.plugin_registered {
            tracing::info!(pool = %name, "registered with the kubelet");
            self.metrics.of(&name, |counts| counts.accepted += 1);
        } else {
            // A full channel already holds a refusal, which leads to the next try.
            let _ = self.refused.try_send(status.error);
        }
        Ok(Response::new(watcher::RegistrationStatusResponse {}))
    }
}
