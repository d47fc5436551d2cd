//! Starts the daemon step by step, and runs it until a shutdown signal.

use std::sync::Arc;

use sriov_device_info::Store;
use sriov_device_info::claims::ClaimStore;
use sriov_host::heap;
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
use sriov_node::grant::Granter;
use sriov_node::grant::cdi::CdiDir;
use sriov_node::grant::files::DeviceFiles;
use sriov_node::grant::upkeep::OwnFiles;
use sriov_node::heartbeat::heartbeat;
use sriov_node::holders::event::Event;
use sriov_node::holders::pod_resources;
use sriov_node::http::server::{self as http, HttpState};
use sriov_node::watch_dir::DirEvents;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::StartError;
use super::metrics::Endpoints;
use super::servers::PoolServers;
use crate::kubelet::counts::SharedKubeletCounts;
use crate::kubelet::place::Place;
use crate::settings::Settings;

/// Runs until SIGTERM, SIGINT or SIGQUIT; SIGHUP reads the configuration and the devices again.
///
/// # Errors
/// Only at the start: later the last good configuration stays in use.
pub(crate) async fn run(settings: Settings) -> Result<(), StartError> {
    log::init(settings.log_level);
    log_start(&settings);
    // Before the first thread: the thread that scans and the one that answers would have a heap each.
    heap::share_one_arena();
    // Before the first scan, or a change right after it would be missed.
    let (heartbeat, pulse) = heartbeat();
    let mut wakeups = Wakeups::subscribe(&settings.config_file, pulse)?;
    let (counts, kubelet) = (Arc::new(Shared::default()), Arc::default());
    let config = ConfigFile::load(config_place(&settings), &counts).map_err(DaemonError::from)?;
    let (place, events) = kubelet_dir(&settings)?;

    let channels = Channels::default();
    let mut tasks = JoinSet::new();
    if let Some(address) = settings.metrics_address {
        let report = Arc::new(endpoints(&settings, &channels, &counts, &kubelet));
        tasks.spawn(http::run(address, HttpState { report, heartbeat }));
    }
    let granter = granter(&settings, channels.send_events);
    let mut holders = HoldersTask {
        host: settings.host.clone(),
        socket: pod_resources::socket(&settings.kubelet_dir),
        cni_dir: settings.cni_dir.clone(),
        files: granter.files.clone(),
        pools: channels.pools,
        own_files: OwnFiles {
            is_own: |holder| holder.pod().is_some(),
            claims: None,
        },
        events: channels.events,
        state: HoldersState::default(),
        owners: channels.send_owners,
    };
    // Before the first device is advertised: one that the CNI plugin withholds must not be offered for a moment.
    tokio::select! {
        () = wakeups.shutdown.recv() => return Ok(()),
        () = holders.learn() => {}
    }
    tasks.spawn(holders.run());
    let claims = ClaimStore::below(&settings.cni_dir);
    let core = Core {
        config,
        looks: BackgroundScans::new(settings.host, claims, Arc::clone(&counts)),
        pipeline: Pipeline::default(),
        counts,
        owners: channels.owners,
        all_pools: channels.send_pools,
        snapshot: channels.send_snapshot,
        front_end: PoolServers::new(place, events, granter, kubelet),
        timers: Timers::default(),
    };
    let ended = core.run(wakeups).await;
    tasks.shutdown().await;
    Ok(ended?)
}

/// Chooses the kubelet's directory, and checks all directories that are written.
fn kubelet_dir(settings: &Settings) -> Result<(Place, DirEvents), StartError> {
    let place = Place::choose(&settings.kubelet_dir, settings.registration);
    let dirs = [&place.dir, &settings.devinfo_dir];
    for dir in dirs.into_iter().chain(&settings.cdi_dir) {
        ensure_writable(dir).map_err(DaemonError::from)?;
    }
    let events = DirEvents::of(&place.dir).map_err(|source| StartError::KubeletDir {
        path: place.dir.clone(),
        source,
    })?;
    Ok((place, events))
}

fn endpoints(
    settings: &Settings,
    channels: &Channels,
    counts: &Arc<Shared<Counts>>,
    kubelet: &Arc<SharedKubeletCounts>,
) -> Endpoints {
    Endpoints {
        host: settings.host.clone(),
        snapshot: channels.snapshot.clone(),
        pools: channels.pools.clone(),
        owners: channels.owners.clone(),
        counts: Arc::clone(counts),
        kubelet: Arc::clone(kubelet),
        has_exporter_names: settings.has_exporter_names,
    }
}

fn granter(settings: &Settings, events: mpsc::UnboundedSender<Event>) -> Granter {
    let files = DeviceFiles {
        store: Store::new(&settings.devinfo_dir),
        cdi: settings.cdi_dir.clone().map(CdiDir::new),
    };
    Granter {
        host: settings.host.clone(),
        files,
        claims: ClaimStore::below(&settings.cni_dir),
        events,
    }
}

fn config_place(settings: &Settings) -> ConfigPlace {
    ConfigPlace {
        path: settings.config_file.clone(),
        resource_prefix: settings.resource_prefix.clone(),
        devinfo_dir: settings.devinfo_dir.clone(),
    }
}

/// The first line of the log: what runs, and how.
fn log_start(settings: &Settings) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %settings.config_file.display(),
        prefix = settings.resource_prefix,
        kubelet = %settings.kubelet_dir.display(),
        registration = ?settings.registration,
        cdi = settings.cdi_dir.is_some(),
        "sriov-device-plugin starts"
    );
    if settings.cdi_dir.is_some() {
        tracing::warn!(
            "--use-cdi needs Kubernetes 1.29, or 1.28 with the feature gate DevicePluginCDIDevices: an older kubelet starts pods without their device nodes"
        );
    }
}
