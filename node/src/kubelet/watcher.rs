//! Answers the kubelet's plugin watcher, which finds sockets in `plugins_registry` by itself and calls the `Registration` service on them.

use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::proto::pluginregistration as api;
use crate::proto::pluginregistration::registration_server::Registration;

/// How a registration ended; the error is the kubelet's reason for a refusal.
pub type Registered = Result<(), String>;

/// The registration that the kubelet reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// `DevicePlugin` or `DRAPlugin`.
    pub kind: &'static str,
    /// The resource, or the driver.
    pub name: String,
    /// Path of the socket with the plugin's services, for the kubelet.
    pub endpoint: String,
    /// The services, the preferred one first.
    pub versions: &'static [&'static str],
}

/// The service on one socket.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The plugin.
    pub plugin: Plugin,
    /// Receives how each registration ended.
    pub registered: mpsc::Sender<Registered>,
}

#[tonic::async_trait]
impl Registration for Watched {
    async fn get_info(
        &self,
        _: Request<api::InfoRequest>,
    ) -> Result<Response<api::PluginInfo>, Status> {
        let Plugin {
            kind,
            name,
            endpoint,
            versions,
        } = &self.plugin;
        Ok(Response::new(api::PluginInfo {
            r#type: (*kind).to_owned(),
            name: name.clone(),
            endpoint: endpoint.clone(),
            supported_versions: versions.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<api::RegistrationStatus>,
    ) -> Result<Response<api::RegistrationStatusResponse>, Status> {
        let api::RegistrationStatus {
            plugin_registered,
            error,
        } = request.into_inner();
        let registered = if plugin_registered {
            Ok(())
        } else {
            Err(error)
        };
        // A full channel has outcomes that nobody has handled yet; the newest state follows from the next call.
        let _ = self.registered.try_send(registered);
        Ok(Response::new(api::RegistrationStatusResponse {}))
    }
}
