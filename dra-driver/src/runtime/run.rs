//! Starts the daemon step by step, and runs it until a shutdown signal.

use std::sync::Arc;

use sriov_device_info::Store;
use sriov_device_info::claims::ClaimStore;
use sriov_host::heap;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::counts::{Counts, Shared};
use sriov_node::daemon::channels::Channels;
use sriov_node::daemon::config_file::{ConfigFile, ConfigPlace};
use sriov_node::daemon::core_loop::{Core, Timers, Wakeups};
use sriov_node::daemon::error::DaemonError;
use sriov_node::daemon::holders::{HoldersState, HoldersTask};
use sriov_node::daemon::log;
use sriov_node::daemon::preflight::ensure_writable;
use sriov_node::discover::background_scan::BackgroundScans;
use sriov_node::discover::pipeline::Pipeline;
use sriov_node::grant::files::DeviceFiles;
use sriov_node::grant::upkeep::{ClaimLock, OwnFiles};
use sriov_node::heartbeat::heartbeat;
use sriov_node::holders::event::Event;
use sriov_node::holders::pod_resources;
use sriov_node::http::server::{self as http, HttpState};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::claim_status::ClaimStatusTask;
use super::endpoints::Endpoints;
use super::error::StartError;
use super::events::{EventsTask, Recorder};
use super::front_end::SliceFrontEnd;
use super::publisher::PublisherTask;
use super::report::Report;
use crate::api::client::ApiServer;
use crate::kubelet::serve::KubeletSide;
use crate::prepare::{Paths, Preparer};
use crate::publish::desired::Desired;
use crate::settings::Settings;
use crate::state::SerializeLock;

/// Runs until SIGTERM, SIGINT or SIGQUIT; SIGHUP reads the configuration and the devices again.
///
/// # Errors
/// Only at the start: later the last good configuration stays in use, and the API server is tried again.
pub(crate) async fn run(settings: Settings) -> Result<(), StartError> {
    log::init(settings.log_level);
    log_start(&settings);
    // Before the first thread: the thread that scans and the one that answers would have a heap each.
    heap::share_one_arena();
    // Before the first scan, or a change right after it would be missed.
    let (heartbeat, pulse) = heartbeat();
    let mut wakeups = Wakeups::subscribe(&settings.config_file, pulse)?;
    let counts = Arc::new(Shared::default());
    let config = config_file(&settings, &counts)?;
    ensure_writable(&settings.devinfo_dir).map_err(DaemonError::from)?;
    let api = ApiServer::configured(settings.kubeconfig.as_deref()).await?;

    let channels = Channels::default();
    let report = Report::default();
    let mut tasks = JoinSet::new();
    if let Some(address) = settings.metrics_address {
        let report = Arc::new(Endpoints {
            host: settings.host.clone(),
            snapshot: channels.snapshot.clone(),
            pools: channels.pools.clone(),
            owners: channels.owners.clone(),
            counts: Arc::clone(&counts),
            report: report.clone(),
            observed: api.observed().clone(),
        });
        tasks.spawn(http::run(address, HttpState { report, heartbeat }));
    }
    let (front_end, offers) = SliceFrontEnd::new(Arc::clone(&counts));
    let status = ClaimStatusTask {
        api: api.clone(),
        driver: settings.driver.clone(),
        host: settings.host.clone(),
        cni_dir: settings.cni_dir.clone(),
    };
    let paths = Paths::of(&settings);
    let (recorder, refusals) = Recorder::new();
    let events = EventsTask {
        api: api.clone(),
        driver: settings.driver.clone(),
        node: settings.node.clone(),
        events: refusals,
    };
    let preparer = Preparer {
        paths: paths.clone(),
        source: api.clone(),
        pools: channels.pools.clone(),
        owners: channels.owners.clone(),
        refused: Arc::new(move |claim, reason, text| recorder.warn(claim.clone(), reason, text)),
    };
    let kubelet = KubeletSide::new(&settings, preparer)?;
    let publisher = PublisherTask {
        api,
        driver: settings.driver.clone(),
        node: settings.node.clone(),
        desired: Desired::new(settings.driver.clone(), settings.has_sriovnetwork_names),
        offers,
        owners: channels.owners.clone(),
        report,
    };
    let mut holders = holders_task(
        &settings,
        &paths,
        channels.pools,
        channels.events,
        channels.send_owners,
    );
    // Before the first device is published: one that the CNI plugin withholds must not be offered for a moment.
    tokio::select! {
        () = wakeups.shutdown.recv() => return Ok(()),
        () = holders.learn() => {}
    }
    tasks.spawn(holders.run());
    tasks.spawn(publisher.run());
    tasks.spawn(status.run());
    tasks.spawn(events.run());
    let (stop, stopped) = watch::channel(false);
    let kubelet = tokio::spawn(kubelet.run(stopped));
    let claims = ClaimStore::below(&settings.cni_dir);
    let core = Core {
        config,
        looks: BackgroundScans::new(settings.host, claims, Arc::clone(&counts)),
        pipeline: Pipeline::default(),
        counts,
        owners: channels.owners,
        all_pools: channels.send_pools,
        snapshot: channels.send_snapshot,
        front_end,
        timers: Timers::default(),
    };
    let ended = core.run(wakeups).await;
    // The slices and the prepared claims stay; the sockets are removed.
    stop.send_replace(true);
    let _ = kubelet.await;
    tasks.shutdown().await;
    Ok(ended?)
}

fn log_start(settings: &Settings) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        driver = %settings.driver,
        node = %settings.node,
        config = %settings.config_file.display(),
        prefix = settings.resource_prefix,
        kubelet = %settings.kubelet_dir.display(),
        "sriov-dra-driver starts"
    );
}

fn config_file(settings: &Settings, counts: &Shared<Counts>) -> Result<ConfigFile, DaemonError> {
    let place = ConfigPlace {
        path: settings.config_file.clone(),
        resource_prefix: settings.resource_prefix.clone(),
        devinfo_dir: settings.devinfo_dir.clone(),
    };
    Ok(ConfigFile::load(place, counts)?)
}

fn holders_task(
    settings: &Settings,
    paths: &Paths,
    pools: watch::Receiver<Arc<Pools>>,
    events: mpsc::UnboundedReceiver<Event>,
    owners: watch::Sender<Arc<Owners>>,
) -> HoldersTask {
    HoldersTask {
        host: settings.host.clone(),
        socket: pod_resources::socket(&settings.kubelet_dir),
        cni_dir: settings.cni_dir.clone(),
        files: DeviceFiles {
            store: Store::new(&settings.devinfo_dir),
            // A specification of a claim is not one of a device.
            cdi: None,
        },
        pools,
        own_files: OwnFiles {
            is_own: |holder| holder.pod().is_none(),
            claims: Some(ClaimLock {
                path: SerializeLock::path(&paths.driver_dir),
                claims: paths.hand_overs(),
            }),
        },
        events,
        state: HoldersState::default(),
        owners,
    }
}
