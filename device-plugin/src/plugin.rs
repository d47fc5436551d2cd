//! The plugin itself: one task owns configuration and snapshot, publishes pools, and starts and stops their servers.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sriov_config::resources::ResourceName;
use sriov_config::{Finding, Mistakes, ResourceList};
use sriov_device_info::Store;
use sriov_host::heap;
use sriov_host::snapshot::{HostSnapshot, ScanProblem};
use sriov_host::sysfs::{self, ScanError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;

use crate::args::Setup;
use crate::asked;
use crate::cdi::CdiDir;
use crate::changes::Changes;
use crate::grpc::PoolServer;
use crate::http::{self, Told};
use crate::kubelet::{self, DirEvents, Place};
use crate::means::Means;
use crate::metrics::Metrics;
use crate::offer::{self, Offer};
use crate::ownership::{self, Owners, Sources};
use crate::podresources;
use crate::pools::{Pool, Pools, plan_pools};
use crate::privileges::{NotWritable, ensure_writable};
use crate::transition::Transitions;
use crate::uplinks;

/// While VFs are being made or removed their PF is looked at this often, if a scan does not take long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why the plugin could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runtime could not be made.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The configuration could not be read.
    #[error("cannot read the configuration `{}`", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration is wrong.
    #[error("the configuration `{}` is wrong", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// All mistakes.
        source: Mistakes,
    },
    /// The devices could not be found.
    #[error("cannot find the devices")]
    Scan(#[source] ScanError),
    /// The metrics cannot be served.
    #[error(
        "cannot listen on `{address}` for metrics (below 1024 that needs CAP_NET_BIND_SERVICE)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A directory cannot be written.
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
    /// kubelet's directory is not there.
    #[error("cannot watch kubelet's directory `{}`: is kubelet installed, is --kubelet-dir right?", path.display())]
    KubeletDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Logs to standard error, without colours: kubectl shows them as they are.
fn log(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(level)
        .init();
}

/// This error and all that caused it, in one line; what a layer only repeats is said once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let layer = cause.to_string();
        if !text.ends_with(&layer) {
            text = format!("{text}: {layer}");
        }
        source = cause.source();
    }
    text
}

/// Runs until SIGTERM, SIGINT or SIGQUIT; SIGHUP reads configuration and devices again.
///
/// # Errors
/// Only at the start: later the last good configuration is kept.
pub async fn run(setup: Setup) -> Result<(), StartError> {
    log(setup.log_level);
    // Before the first thread: one that scans and one that answers would have a heap each.
    heap::share_one_arena();
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
    let mut end = Ends::new().map_err(StartError::Runtime)?;
    // Before the first look, or a change right after it would be missed.
    let mut changes = Changes::of(&setup.config_file);
    let config_text = read_config(&setup)?;
    let config = parse_config(&setup, &config_text)?;
    let place = Place::choose(&setup.kubelet_dir, setup.registration);
    let dirs = [&place.dir, &setup.devinfo_dir];
    for dir in dirs.into_iter().chain(&setup.cdi_dir) {
        ensure_writable(dir)?;
    }
    let events = DirEvents::of(&place.dir).map_err(|source| StartError::KubeletDir {
        path: place.dir.clone(),
        source,
    })?;
    let metrics = Arc::new(Metrics::default());
    let first = scan(&setup, &metrics)?;
    metrics.count(|counts| counts.read_config(Some(&config)));
    let (send_events, see_events) = mpsc::unbounded_channel();
    let means = Means {
        host: setup.host.clone(),
        store: Store::new(&setup.devinfo_dir),
        cdi: setup.cdi_dir.clone().map(CdiDir::new),
        events: send_events,
        metrics: Arc::clone(&metrics),
    };
    let (all_pools, seen_pools) = watch::channel(Arc::default());
    let (owners, mut seen_owners) = watch::channel(Arc::<Owners>::default());
    let sources = Sources {
        socket: podresources::socket(&setup.kubelet_dir),
        cni_dir: setup.cni_dir.clone(),
        pools: seen_pools.clone(),
        events: see_events,
        means: means.clone(),
    };
    let told = Told {
        host: setup.host.clone(),
        pools: seen_pools,
        owners: seen_owners.clone(),
        metrics,
    };
    let mut tasks = JoinSet::new();
    if let Some(address) = setup.metrics_address {
        let listener = http::listen(address).await;
        let listener = listener.map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!("metrics are served on http://{address}/metrics");
        tasks.spawn(http::serve(listener, told));
    }
    // Before kubelet hears of a device: one that is kept back must not be offered for a moment.
    ownership::learn(&sources, &owners).await;
    tasks.spawn(ownership::keep(sources, owners));
    let mut plugin = Plugin {
        setup,
        config,
        config_text,
        transitions: Transitions::default(),
        scan_time: Duration::ZERO,
        look_again: None,
        recovery: None,
        problems: Vec::new(),
        offer: Offer::default(),
        owners: seen_owners.clone(),
        place,
        events,
        means,
        all_pools,
        running: BTreeMap::new(),
    };
    seen_owners.mark_unchanged();
    plugin.take(first).await;
    loop {
        let due = plugin.look_again.into_iter().chain(plugin.recovery).min();
        tokio::select! {
            () = end.come() => break,
            _ = hangup.recv() => plugin.reread_config(),
            () = changes.come() => plugin.reread_config(),
            () = reached(due) => {}
            Ok(()) = seen_owners.changed() => {
                plugin.publish().await;
                continue;
            }
        }
        plugin.refresh().await;
    }
    plugin.end().await;
    tasks.shutdown().await;
    Ok(())
}

#[derive(Debug)]
struct Plugin {
    setup: Setup,
    /// The last good configuration.
    config: ResourceList,
    /// What the file held when it was read last, good or not.
    config_text: String,
    /// PFs whose VFs are being made or removed.
    transitions: Transitions,
    /// How long the last scan took.
    scan_time: Duration,
    /// When they are looked at again.
    look_again: Option<Instant>,
    /// When a device that recovered may be told.
    recovery: Option<Instant>,
    /// What the last scan could not read; it is logged once.
    problems: Vec<ScanProblem>,
    offer: Offer,
    owners: watch::Receiver<Arc<Owners>>,
    place: Place,
    events: DirEvents,
    means: Means,
    /// All pools, for whoever needs more than one.
    all_pools: watch::Sender<Arc<Pools>>,
    running: BTreeMap<ResourceName, Running>,
}

/// A pool that is served.
#[derive(Debug)]
struct Running {
    pool: watch::Sender<Arc<Pool>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Plugin {
    /// Takes the configuration when its file changed and is good.
    fn reread_config(&mut self) {
        let text = match read_config(&self.setup) {
            Ok(text) if text == self.config_text => return,
            Ok(text) => text,
            // A ConfigMap that is being replaced may be away for a moment.
            Err(error) => {
                tracing::warn!("{}; the last good configuration is kept", chain(&error));
                return;
            }
        };
        let read = parse_config(&self.setup, &text);
        self.config_text = text;
        let is_valid = read.as_ref().is_ok_and(|config| config.unusable.is_empty());
        self.means
            .metrics
            .count(|counts| counts.read_config(read.as_ref().ok()));
        match read {
            Ok(config) if is_valid => {
                tracing::info!("the configuration changed");
                self.config = config;
            }
            Ok(_) => tracing::error!("the last good configuration is kept"),
            Err(error) => {
                tracing::error!("{}; the last good configuration is kept", chain(&error));
            }
        }
    }

    /// Looks at the devices and publishes what they are.
    async fn refresh(&mut self) {
        self.look_again = None;
        self.recovery = None;
        let (setup, metrics) = (self.setup.clone(), Arc::clone(&self.means.metrics));
        let start = Instant::now();
        // Thousands of VFs are many files: kubelet's calls do not wait for them.
        let scanned = tokio::task::spawn_blocking(move || scan(&setup, &metrics)).await;
        self.scan_time = start.elapsed();
        match scanned {
            Ok(Ok(snapshot)) => self.take(snapshot).await,
            Ok(Err(error)) => tracing::error!("{}; what is advertised is kept", chain(&error)),
            Err(error) => tracing::error!("{}; what is advertised is kept", chain(&error)),
        }
    }

    async fn take(&mut self, mut snapshot: HostSnapshot) {
        if self.problems != snapshot.problems {
            for problem in &snapshot.problems {
                tracing::warn!("{}: {}", problem.device, problem.reason);
            }
            self.problems.clone_from(&snapshot.problems);
        }
        let (before, now) = (self.offer.snapshot(), Instant::now());
        let kept = self.transitions.kept(&snapshot, before, now);
        if !kept.is_empty() {
            self.look_again = Some(now + LOOK_AGAIN.max(2 * self.scan_time));
            if before.functions.is_empty() {
                return;
            }
            snapshot.take_pfs(&kept, before);
        }
        snapshot.keep_unreadable(before);
        asked::complete(&self.setup.host, &mut snapshot, &self.config);
        let pools = plan_pools(&snapshot, &self.config, &uplinks::uplinks(&self.setup.host));
        for (address, why) in &pools.left_out {
            tracing::debug!("{address} is in no pool: {why}");
        }
        self.offer.take(snapshot, pools);
        self.publish().await;
    }

    /// Sends what changed; starts a pool with its first devices, and stops what the configuration no longer names.
    async fn publish(&mut self) {
        let owners = self.owners.borrow().clone();
        let (pools, recovery) = self.offer.pools(&owners, Instant::now());
        self.recovery = recovery;
        let (ill, well) = offer::news(&self.all_pools.borrow(), &pools);
        for line in ill {
            tracing::warn!("{line}");
        }
        for line in well {
            tracing::info!("{line}");
        }
        self.all_pools.send_if_modified(|now| {
            let is_changed = **now != pools;
            if is_changed {
                *now = Arc::new(pools.clone());
            }
            is_changed
        });
        let mut gone = std::mem::take(&mut self.running);
        for pool in pools.pools {
            let name = pool.resource.name.clone();
            let running = match gone.remove(&name) {
                Some(running) => {
                    running.pool.send_if_modified(|now| {
                        let changed = **now != pool;
                        if changed {
                            tracing::info!("{name}: {} devices", pool.devices.len());
                            *now = Arc::new(pool);
                        }
                        changed
                    });
                    running
                }
                None if pool.ids().is_empty() => {
                    tracing::warn!(
                        "{name}: no devices, it is not advertised until there are; `sriov-device-plugin explain {name}` says why"
                    );
                    continue;
                }
                None => self.start(pool),
            };
            self.running.insert(name, running);
        }
        for (name, running) in gone {
            tracing::info!("{name}: no longer in the configuration");
            running.end().await;
        }
    }

    fn start(&self, pool: Pool) -> Running {
        let name = &pool.resource.name;
        tracing::info!("{name}: {} devices", pool.devices.len());
        let endpoint = self.place.socket(name).to_string_lossy().into_owned();
        let (pool, receive) = watch::channel(Arc::new(pool));
        let (refused, was_refused) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let (_, is_over) = watch::channel(false);
        let server = PoolServer {
            pool: receive,
            means: self.means.clone(),
            endpoint,
            is_over,
            streams: watch::Sender::new(0),
            refused,
        };
        let task = tokio::spawn(kubelet::keep_served(
            server,
            self.place.clone(),
            self.events.clone(),
            was_refused,
            stopped,
        ));
        Running { pool, stop, task }
    }

    /// Leaves cleanly: sockets go, device-info files stay, for pods run on.
    async fn end(self) {
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
        for running in self.running.into_values() {
            running.end().await;
        }
        tracing::info!("stopped");
    }
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!("{}", chain(&error));
        }
    }
}

/// The signals that end the plugin.
struct Ends {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Waits for a moment, or for ever.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn read_config(setup: &Setup) -> Result<String, StartError> {
    fs::read_to_string(&setup.config_file).map_err(|source| StartError::ReadConfig {
        path: setup.config_file.clone(),
        source,
    })
}

fn parse_config(setup: &Setup, text: &str) -> Result<ResourceList, StartError> {
    let warn = |warnings: &[Finding]| {
        for warning in warnings {
            tracing::warn!("{}: {warning}", setup.config_file.display());
        }
    };
    let config = ResourceList::parse(text, &setup.resource_prefix).map_err(|refused| {
        warn(&refused.warnings);
        StartError::Config {
            path: setup.config_file.clone(),
            source: refused.mistakes,
        }
    })?;
    for mistake in config.mistakes() {
        tracing::error!("{}: {mistake}", setup.config_file.display());
    }
    warn(&config.warnings);
    Ok(config)
}

fn scan(setup: &Setup, metrics: &Metrics) -> Result<HostSnapshot, StartError> {
    let start = Instant::now();
    let snapshot = sysfs::scan(&setup.host);
    metrics.count(|counts| match &snapshot {
        Ok(_) => counts.scans.observe(start.elapsed()),
        Err(_) => counts.failed_scans += 1,
    });
    snapshot.map_err(StartError::Scan)
}
