//! Waits until the pools may have changed: the kernel's notices, the directory of the configuration, the slow timer.
//!
//! What has changed is not told: the scan sees it. Between changes nothing wakes up but the timer.

use std::io;
use std::path::Path;
use std::time::Duration;

use sriov_host::notice::Notices;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::kubelet::DirEvents;

/// The slow timer: an insurance, nothing waits for it.
const RESCAN: Duration = Duration::from_mins(1);
/// Changes come in bursts: a burst is over when it was quiet for this long,
const QUIET: Duration = Duration::from_millis(50);
/// and is looked at in any case after this.
const LONGEST: Duration = Duration::from_millis(300);

/// Where changes are heard.
#[derive(Debug)]
pub struct Changes {
    devices: Option<watch::Receiver<()>>,
    links: Option<watch::Receiver<()>>,
    config: Option<DirEvents>,
    timer: Interval,
    /// The latest end of a burst that has begun.
    burst: Option<Instant>,
}

impl Changes {
    /// Listens from now on; what cannot be heard is logged once, the slow timer remains.
    pub fn of(config_file: &Path) -> Self {
        let or_log = |what: &str, listening: io::Result<_>| {
            listening
                .map_err(|error| {
                    tracing::warn!(
                        "cannot hear of {what}: {error}; they are noticed with the timer"
                    );
                })
                .ok()
        };
        // A ConfigMap is changed by swapping a link in the directory of its files.
        let dir = config_file.parent().filter(|dir| *dir != Path::new(""));
        let config = DirEvents::of_files(dir.unwrap_or(Path::new(".")));
        let mut timer = tokio::time::interval_at(Instant::now() + RESCAN, RESCAN);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            devices: or_log("devices", Notices::of_devices().and_then(listen)),
            links: or_log("links", Notices::of_links().and_then(listen)),
            config: config
                .map_err(|error| tracing::warn!("cannot watch the configuration: {error}"))
                .ok(),
            timer,
            burst: None,
        }
    }

    /// Waits for the next burst of changes, and for its end; a burst that was not waited for to its end is not forgotten.
    pub async fn come(&mut self) {
        loop {
            let burst = self.burst;
            let over = async {
                match burst {
                    Some(longest) => {
                        tokio::time::sleep_until(longest.min(Instant::now() + QUIET)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = heard(self.devices.as_mut()) => {}
                () = heard(self.links.as_mut()) => {}
                () = changed(self.config.as_mut()) => {}
                _ = self.timer.tick() => break,
                () = over => break,
            }
            self.burst = burst.or_else(|| Some(Instant::now() + LONGEST));
        }
        self.burst = None;
    }
}

/// A thread that sleeps in the kernel and ends with the process, or when nobody listens any more.
fn listen(notices: Notices) -> io::Result<watch::Receiver<()>> {
    let (send, receive) = watch::channel(());
    std::thread::Builder::new()
        .name("notices".to_owned())
        .spawn(move || while notices.wait().is_ok() && send.send(()).is_ok() {})?;
    Ok(receive)
}

async fn heard(notices: Option<&mut watch::Receiver<()>>) {
    let is_over = match notices {
        Some(notices) => notices.changed().await.is_err(),
        None => true,
    };
    if is_over {
        std::future::pending::<()>().await;
    }
}

async fn changed(events: Option<&mut DirEvents>) {
    match events {
        Some(events) => events.changed().await,
        None => std::future::pending().await,
    }
}
