//! A kubelet double: it implements the real protocols on real sockets, and records every list that a plugin sends.
//!
//! It behaves like `pkg/kubelet/cm/devicemanager`: it calls back inside Register, opens one ListAndWatch for each resource,
//! and on a restart removes all sockets and creates its own again.

mod channel;
mod pods;
mod resources;
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sriov_device_plugin::proto::v1beta1::device_plugin_client::DevicePluginClient;
use sriov_device_plugin::proto::v1beta1::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, PreStartContainerRequest, PreferredAllocationRequest,
};
use sriov_node::proto::pluginregistration::registration_client::RegistrationClient;
use sriov_node::proto::pluginregistration::{InfoRequest, RegistrationStatus};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use self::channel::connect;
pub use self::pods::{Pod, Pods};
pub use self::resources::{Resource, Resources};

/// The double; it runs until it is dropped.
#[derive(Debug)]
pub struct Kubelet {
    root: PathBuf,
    runtime: Runtime,
    resources: Arc<watch::Sender<Resources>>,
    pods: Arc<Mutex<Pods>>,
    server: Option<JoinHandle<()>>,
    pod_server: Option<JoinHandle<()>>,
    refusal: Arc<Mutex<Option<String>>>,
    /// Its connections to plugins end when this is dropped.
    life: watch::Sender<()>,
}

impl Kubelet {
    /// Starts below a root directory (`/var/lib/kubelet` on a node), with `plugins_registry` only when `is_watching`.
    pub fn start(root: &Path, is_watching: bool) -> Result<Self> {
        fs::create_dir_all(root.join("device-plugins"))?;
        if is_watching {
            fs::create_dir_all(root.join("plugins_registry"))?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let mut kubelet = Self {
            root: root.to_owned(),
            runtime,
            resources: Arc::new(watch::channel(Resources::new()).0),
            pods: Arc::default(),
            server: None,
            pod_server: None,
            refusal: Arc::default(),
            life: watch::Sender::new(()),
        };
        kubelet.listen()?;
        Ok(kubelet)
    }

    /// Restarts like the kubelet: removes all sockets of `device-plugins`, forgets all resources, and creates its own socket again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.listen()
    }

    /// Stops: removes all sockets of `device-plugins`, and forgets all resources.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.life = watch::Sender::new(());
        for entry in fs::read_dir(self.root.join("device-plugins"))? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "sock")
            {
                fs::remove_file(path)?;
            }
        }
        self.resources.send_modify(Resources::clear);
        self.silence();
        Ok(())
    }

    /// Ends the connections to all plugins and keeps running, as the kubelet does with a resource whose socket in `plugins_registry` is removed.
    pub fn let_go(&self) {
        self.life.send_replace(());
    }

    /// Changes the pods and their devices, and the behaviour of the pod resources service.
    pub fn pods(&self, change: impl FnOnce(&mut Pods)) {
        change(&mut self.pods.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Refuses registrations for this reason, or accepts them again.
    pub fn refuse(&self, why: Option<&str>) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        *refusal = why.map(str::to_owned);
    }

    /// Stops the pod resources service until a restart.
    pub fn silence(&mut self) {
        if let Some(server) = self.pod_server.take() {
            server.abort();
        }
        let _ = fs::remove_file(self.root.join("pod-resources/kubelet.sock"));
    }

    /// The registered resources.
    pub fn known(&self) -> Resources {
        self.resources.borrow().clone()
    }

    /// Waits for a state of the registered resources, and returns them.
    pub fn wait_for(&self, what: &str, holds: impl FnMut(&Resources) -> bool) -> Result<Resources> {
        self.wait_within(Duration::from_mins(1), what, holds)
    }

    /// The same with another deadline.
    pub fn wait_within(
        &self,
        deadline: Duration,
        what: &str,
        mut holds: impl FnMut(&Resources) -> bool,
    ) -> Result<Resources> {
        let mut known = self.resources.subscribe();
        let found = self.runtime.block_on(async {
            tokio::time::timeout(deadline, known.wait_for(|resources| holds(resources)))
                .await
                .map(|found| found.map(|found| found.clone()))
        });
        match found {
            Ok(found) => Ok(found?),
            Err(_elapsed) => bail!(
                "not reached within {} s: {what}: {:?}",
                deadline.as_secs(),
                self.resources.borrow()
            ),
        }
    }

    /// Registers the plugins of all sockets in `plugins_registry`, as the plugin watcher does.
    pub fn look_for_plugins(&self) -> Result<usize> {
        let mut found = 0;
        for entry in fs::read_dir(self.root.join("plugins_registry"))? {
            let socket = entry?.path();
            self.runtime.block_on(async {
                let channel = connect(&socket).await?;
                let mut client = RegistrationClient::new(channel.clone());
                let info = client.get_info(InfoRequest {}).await?.into_inner();
                if info.r#type != "DevicePlugin"
                    || !info
                        .supported_versions
                        .iter()
                        .any(|version| version == "v1beta1")
                {
                    bail!("it is not a device plugin: {info:?}");
                }
                let plugin = Path::new(&info.endpoint);
                service::follow(plugin, &info.name, &self.resources, self.life.subscribe()).await?;
                client
                    .notify_registration_status(RegistrationStatus {
                        plugin_registered: true,
                        error: String::new(),
                    })
                    .await?;
                anyhow::Ok(())
            })?;
            found += 1;
        }
        Ok(found)
    }

    /// Allocates devices for one container.
    pub fn allocate(&self, resource: &str, ids: &[&str]) -> Result<ContainerAllocateResponse> {
        let request = AllocateRequest {
            container_requests: vec![ContainerAllocateRequest {
                devices_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            }],
        };
        let mut client = self.client(resource)?;
        let answer = self
            .runtime
            .block_on(client.allocate(request))?
            .into_inner();
        answer
            .container_responses
            .into_iter()
            .next()
            .context("the answer has no container")
    }

    /// Calls `PreStartContainer` for a container with these devices.
    pub fn pre_start(&self, resource: &str, ids: &[&str]) -> Result<()> {
        let request = PreStartContainerRequest {
            devices_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let mut client = self.client(resource)?;
        self.runtime.block_on(client.pre_start_container(request))?;
        Ok(())
    }

    /// Calls `GetPreferredAllocation`, and returns the chosen devices.
    pub fn prefer(&self, resource: &str, available: &[String], size: i32) -> Result<Vec<String>> {
        let request = PreferredAllocationRequest {
            container_requests: vec![ContainerPreferredAllocationRequest {
                available_device_i_ds: available.to_vec(),
                must_include_device_i_ds: Vec::new(),
                allocation_size: size,
            }],
        };
        let mut client = self.client(resource)?;
        let answer = self
            .runtime
            .block_on(client.get_preferred_allocation(request))?
            .into_inner();
        Ok(answer
            .container_responses
            .into_iter()
            .next()
            .context("the answer has no container")?
            .device_i_ds)
    }

    fn client(&self, resource: &str) -> Result<DevicePluginClient<Channel>> {
        let socket = self
            .resources
            .borrow()
            .get(resource)
            .map(|resource| resource.socket.clone());
        let socket = socket.with_context(|| format!("{resource} is not registered"))?;
        Ok(DevicePluginClient::new(
            self.runtime.block_on(connect(&socket))?,
        ))
    }

    fn listen(&mut self) -> Result<()> {
        let _guard = self.runtime.enter();
        self.server = Some(service::listen(
            &self.root.join("device-plugins"),
            Arc::clone(&self.resources),
            Arc::clone(&self.refusal),
            self.life.subscribe(),
        )?);
        self.pod_server = Some(pods::listen(
            &self.root.join("pod-resources"),
            Arc::clone(&self.pods),
            Arc::clone(&self.resources),
        )?);
        Ok(())
    }
}
