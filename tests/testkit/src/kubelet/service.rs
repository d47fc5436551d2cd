//! The Registration service of the double, and the connection to a registered plugin.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use sriov_device_plugin::proto::v1beta1::device_plugin_client::DevicePluginClient;
use sriov_device_plugin::proto::v1beta1::registration_server::{Registration, RegistrationServer};
use sriov_device_plugin::proto::v1beta1::{Empty, RegisterRequest};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::channel::connect;
use super::resources::Resources;

/// Serves `kubelet.sock` in a directory.
pub(super) fn listen(
    dir: &Path,
    resources: Arc<watch::Sender<Resources>>,
    refusal: Arc<Mutex<Option<String>>>,
    life: watch::Receiver<()>,
) -> Result<JoinHandle<()>> {
    let socket = dir.join("kubelet.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let service = RegistrationServer::new(Registrar {
        dir: dir.to_owned(),
        resources,
        refusal,
        life,
    });
    Ok(tokio::spawn(async move {
        let _ = Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await;
    }))
}

/// Calls a plugin back, and receives its lists until the plugin or the double stops.
pub(super) async fn follow(
    socket: &Path,
    name: &str,
    resources: &Arc<watch::Sender<Resources>>,
    mut life: watch::Receiver<()>,
) -> Result<()> {
    let mut client = DevicePluginClient::new(connect(socket).await?);
    let options = client.get_device_plugin_options(Empty {}).await?;
    let is_pre_start_required = options.into_inner().pre_start_required;
    let (name, socket, resources) = (name.to_owned(), socket.to_owned(), Arc::clone(resources));
    resources.send_modify(|resources| {
        let resource = resources.entry(name.clone()).or_default();
        resource.socket = socket;
        resource.registrations += 1;
        resource.is_pre_start_required = is_pre_start_required;
    });
    let take = async move {
        let Ok(lists) = client.list_and_watch(Empty {}).await else {
            return;
        };
        let mut lists = lists.into_inner();
        while let Ok(Some(list)) = lists.message().await {
            resources.send_modify(|resources| {
                resources
                    .entry(name.clone())
                    .or_default()
                    .lists
                    .push(list.devices);
            });
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = take => {}
            _ = life.changed() => {}
        }
    });
    Ok(())
}

struct Registrar {
    dir: PathBuf,
    resources: Arc<watch::Sender<Resources>>,
    refusal: Arc<Mutex<Option<String>>>,
    life: watch::Receiver<()>,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let RegisterRequest {
            version,
            endpoint,
            resource_name,
            options,
        } = request.into_inner();
        if version != "v1beta1" {
            return Err(Status::invalid_argument(format!(
                "unsupported version {version}"
            )));
        }
        let refusal = || self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = refusal().as_ref() {
            return Err(Status::permission_denied(why));
        }
        let socket = self.dir.join(endpoint);
        // An earlier end must not end the new connection.
        let mut life = self.life.clone();
        life.mark_unchanged();
        let called_back = follow(&socket, &resource_name, &self.resources, life).await;
        called_back.map_err(|error| Status::internal(format!("{error:#}")))?;
        let is_required = options.is_some_and(|options| options.pre_start_required);
        self.resources.send_modify(|resources| {
            let resource = resources.entry(resource_name).or_default();
            resource.is_pre_start_required |= is_required;
        });
        Ok(Response::new(Empty {}))
    }
}
