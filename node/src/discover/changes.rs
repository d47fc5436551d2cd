//! Waits until the pools may have changed: notices of the kernel, the directory of the configuration, the slow timer.
//!
//! A notice does not carry what changed: the scan finds out. Between changes only the timer wakes the process up.

use std::io;
use std::path::Path;
use std::time::Duration;

use sriov_host::notice::Notices;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::watch_dir::DirEvents;

/// The slow timer, for notices that were lost.
const RESCAN: Duration = Duration::from_mins(1);
/// Changes arrive in bursts: a burst ends when nothing arrived for this long,
const QUIET: Duration = Duration::from_millis(50);
/// and in any case after this.
const LONGEST: Duration = Duration::from_millis(300);

/// The sources of changes.
#[derive(Debug)]
pub struct Changes {
    devices: Option<watch::Receiver<()>>,
    links: Option<watch::Receiver<()>>,
    config: Option<DirEvents>,
    timer: Interval,
    /// The latest end of the burst that is in progress.
    burst: Option<Instant>,
}

impl Changes {
    /// Subscribes to all sources; one that fails is logged once, and the slow timer makes up for it.
    pub fn of(config_file: &Path) -> Self {
        // A ConfigMap is changed by swapping a link in the directory of its files.
        let dir = config_file.parent().filter(|dir| *dir != Path::new(""));
        let config = DirEvents::of_files(dir.unwrap_or(Path::new(".")));
        let mut timer = tokio::time::interval_at(Instant::now() + RESCAN, RESCAN);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            devices: or_log("devices", Notices::of_devices()),
            links: or_log("links", Notices::of_links()),
            config: config
                .map_err(|error| tracing::warn!("cannot watch the configuration: {error}"))
                .ok(),
            timer,
            burst: None,
        }
    }

    /// Waits for the end of the next burst. Safe to cancel: a burst in progress is continued by the next call.
    pub async fn recv(&mut self) {
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
                () = notice(self.devices.as_mut()) => {}
                () = notice(self.links.as_mut()) => {}
                () = changed(self.config.as_mut()) => {}
                _ = self.timer.tick() => break,
                () = over => break,
            }
            self.burst = burst.or_else(|| Some(Instant::now() + LONGEST));
        }
        self.burst = None;
    }
}

fn or_log(what: &str, notices: io::Result<Notices>) -> Option<watch::Receiver<()>> {
    match notices.and_then(listen) {
        Ok(receiver) => Some(receiver),
        Err(error) => {
            tracing::warn!(
                "cannot subscribe to changes of {what}: {error}; only the timer notices them"
            );
            None
        }
    }
}

/// Starts a thread that sleeps in the kernel; it ends with the process, or at the first notice without a receiver.
fn listen(notices: Notices) -> io::Result<watch::Receiver<()>> {
    let (send, receive) = watch::channel(());
    std::thread::Builder::new()
        .name("notices".to_owned())
        .spawn(move || while notices.wait().is_ok() && send.send(()).is_ok() {})?;
    Ok(receive)
}

async fn notice(notices: Option<&mut watch::Receiver<()>>) {
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
