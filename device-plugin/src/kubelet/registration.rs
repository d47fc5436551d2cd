//! Keeps a pool registered with the kubelet, in either registration mode, across restarts of the kubelet.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sriov_config::resource_list::ResourceName;
use sriov_host::chain;
use sriov_node::kubelet::socket::{Inode, inode};
use sriov_node::kubelet::watcher::{Plugin, Registered, Watched};
use sriov_node::unix_channel;
use sriov_node::watch_dir::DirEvents;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::error::ServeError;
use super::listener::Listening;
use super::place::Place;
use super::server::{PoolServer, options};
use crate::proto::v1beta1::RegisterRequest;
use crate::proto::v1beta1::registration_client::RegistrationClient;

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// Calls in progress get this long to finish when the plugin stops.
const GRACE: Duration = Duration::from_millis(300);
const REGISTER_DEADLINE: Duration = Duration::from_secs(20);
/// The kubelet opens ListAndWatch right after a registration; without an open stream for this long it has deregistered the resource.
const DEREGISTERED: Duration = Duration::from_secs(3);
/// A kubelet that is slow to open the stream is registered with again after twice the time, up to this.
const LAST_DEREGISTERED: Duration = Duration::from_mins(1);

/// Serves one pool and keeps it registered.
#[derive(Debug)]
pub(crate) struct Registrar {
    pub(crate) server: PoolServer,
    pub(crate) place: Place,
    pub(crate) name: ResourceName,
    /// Path of the pool's socket.
    pub(crate) path: PathBuf,
    /// Changes of the directory of the sockets.
    pub(crate) events: DirEvents,
    /// How the kubelet's registrations of a socket that it found by itself ended.
    pub(crate) registered: (mpsc::Sender<Registered>, mpsc::Receiver<Registered>),
}

impl Registrar {
    /// Serves the pool until `stop`: again when the socket was removed, and registers again with each new kubelet.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut backoff = FIRST_BACKOFF;
        let mut servers = JoinSet::new();
        while !*stop.borrow() {
            let tried = inode(&self.place.kubelet_socket());
            let outcome = tokio::select! {
                _ = stop.changed() => break,
                outcome = self.serve_once(&mut servers) => outcome,
            };
            // Most servers of removed sockets have ended by now.
            while servers.try_join_next().is_some() {}
            let Err(error) = outcome else {
                backoff = FIRST_BACKOFF;
                continue;
            };
            self.count_failure(&error);
            let (pool, error) = (&self.name, chain(&error));
            tracing::error!(%pool, %error, "not registered, next try in {} ms", backoff.as_millis());
            let pause = backoff + jitter(&self.name, backoff);
            tokio::select! {
                _ = stop.changed() => break,
                // A new kubelet ends the wait; other events in its directory do not, as our own sockets cause them.
                () = self.another_kubelet(tried) => backoff = FIRST_BACKOFF,
                () = tokio::time::sleep(pause) => backoff = (backoff * 2).min(LAST_BACKOFF),
            }
        }
        let _ = fs::remove_file(&self.path);
        let ended = async { while servers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
    }

    /// Returns when the kubelet has created a socket other than the one that was tried.
    async fn another_kubelet(&mut self, tried: Option<Inode>) {
        let socket = self.place.kubelet_socket();
        while inode(&socket).is_none_or(|now| Some(now) == tried) {
            self.events.changed().await;
        }
    }

    /// Listens and registers; returns when both have to be done again.
    async fn serve_once(&mut self, servers: &mut JoinSet<()>) -> Result<(), ServeError> {
        // Serve first, then register: the kubelet calls back during the registration.
        let (server, watched) = (self.server.clone(), self.watched());
        let listening = Listening::start(server, watched, &self.path, servers)?;
        let mut kubelet = inode(&self.place.kubelet_socket());
        if !self.place.is_watched {
            self.register("registered with the kubelet").await?;
        }
        let mut streams = self.server.streams.subscribe();
        let mut patience = DEREGISTERED;
        loop {
            tokio::select! {
                () = self.events.changed() => {}
                () = deregistered(&mut streams, &mut patience), if !self.place.is_watched => self.register_again().await,
                Some(outcome) = self.registered.1.recv() => match outcome {
                    Ok(()) => self.accepted("registered with the kubelet"),
                    Err(reason) => return Err(ServeError::Refused(reason)),
                },
            }
            if inode(&self.path) != listening.inode {
                tracing::warn!(pool = %self.name, "the socket was removed, serving again");
                return Ok(());
            }
            let now = inode(&self.place.kubelet_socket());
            if !self.place.is_watched && now.is_some() && now != kubelet {
                self.register("registered with the new kubelet").await?;
                kubelet = now;
            }
        }
    }

    async fn register(&self, what: &str) -> Result<(), ServeError> {
        register(&self.place.kubelet_socket(), &self.path, &self.name).await?;
        self.accepted(what);
        Ok(())
    }

    fn accepted(&self, what: &str) {
        tracing::info!(pool = %self.name, "{what}");
        let counts = &self.server.counts;
        counts.of(&self.name, |counts| counts.accepted += 1);
    }

    /// The answers to the kubelet's plugin watcher.
    fn watched(&self) -> Watched {
        Watched {
            plugin: Plugin {
                kind: "DevicePlugin",
                name: self.name.to_string(),
                endpoint: self.path.to_string_lossy().into_owned(),
                versions: &["v1beta1"],
            },
            registered: self.registered.0.clone(),
        }
    }

    fn count_failure(&self, error: &ServeError) {
        let is_refusal = error.is_refusal();
        self.server.counts.of(&self.name, |counts| {
            counts.refused += u64::from(is_refusal);
            counts.failed += u64::from(!is_refusal);
        });
    }

    /// Registers with a kubelet that has deregistered the resource. A kubelet that is not running is noticed by its next socket.
    async fn register_again(&self) {
        let registered =
            self.register("registered again, as the kubelet had deregistered the resource");
        if let Err(error) = registered.await {
            self.count_failure(&error);
            let (pool, error) = (&self.name, chain(&error));
            tracing::debug!(%pool, %error, "not registered again");
        }
    }
}

/// Returns when no ListAndWatch stream has been open for a while, each time after a longer one until a stream is open. When another plugin's socket of the same resource in `plugins_registry`
/// is removed, the kubelet deregisters the resource, whoever serves it (`pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go`,
/// `DeRegisterPlugin`).
async fn deregistered(streams: &mut watch::Receiver<usize>, patience: &mut Duration) {
    loop {
        if *streams.borrow() > 0 {
            *patience = DEREGISTERED;
        }
        if streams.wait_for(|open| *open == 0).await.is_err() {
            return std::future::pending().await;
        }
        let opened = streams.wait_for(|open| *open > 0);
        if tokio::time::timeout(*patience, opened).await.is_err() {
            *patience = (*patience * 2).min(LAST_DEREGISTERED);
            return;
        }
    }
}

async fn register(kubelet: &Path, socket: &Path, name: &ResourceName) -> Result<(), ServeError> {
    let connect = |source| ServeError::Connect {
        path: kubelet.to_owned(),
        source,
    };
    let channel = unix_channel::connect(kubelet, REGISTER_DEADLINE)
        .await
        .map_err(connect)?;
    let request = RegisterRequest {
        version: "v1beta1".to_owned(),
        endpoint: socket
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        resource_name: name.to_string(),
        options: Some(options()),
    };
    let answer = RegistrationClient::new(channel).register(request).await;
    answer.map(|_| ()).map_err(|status| failure(&status))
}

/// What happened to a Register call. The kubelet returns its own errors as UNKNOWN; without an answer, the code is the client's.
fn failure(status: &Status) -> ServeError {
    let text = status.message().to_owned();
    let code = status.code();
    if [Code::Cancelled, Code::DeadlineExceeded].contains(&code) {
        ServeError::NoAnswer {
            after: REGISTER_DEADLINE,
        }
    } else if code == Code::Unavailable || status.source().is_some() {
        ServeError::Broken(text)
    } else {
        ServeError::Refused(text)
    }
}

/// Up to a quarter of the delay, different for each resource, so that many resources do not retry at the same time.
fn jitter(name: &ResourceName, backoff: Duration) -> Duration {
    let spread = name.socket_stem().bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    }) % 256;
    backoff * spread / 1024
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn what_happened_to_a_registration_is_named() {
        for (status, words) in [
            (
                Status::unknown("invalid resource name"),
                "refused the registration: invalid",
            ),
            (
                Status::cancelled("Timeout expired"),
                "did not answer the registration within 20 s",
            ),
            (
                Status::deadline_exceeded(""),
                "did not answer the registration within 20 s",
            ),
            (
                Status::unavailable("broken pipe"),
                "broke during the registration: broken pipe",
            ),
        ] {
            let failure = failure(&status);
            let text = failure.to_string();
            assert!(text.contains(words), "{text}");
            assert_eq!(failure.is_refusal(), words.contains("refused"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_kubelet_is_registered_with_less_and_less_often() {
        let (streams, mut open) = watch::channel(0);
        let (mut patience, start) = (DEREGISTERED, Instant::now());
        let mut seconds = Vec::new();
        for _ in 0..7 {
            deregistered(&mut open, &mut patience).await;
            seconds.push(start.elapsed().as_secs());
        }
        assert_eq!(seconds, [3, 9, 21, 45, 93, 153, 213]);
        // An open stream ends the waiting.
        streams.send_replace(1);
        let closed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            streams.send_replace(0);
            Instant::now()
        };
        let ((), closed) = tokio::join!(deregistered(&mut open, &mut patience), closed);
        assert_eq!(closed.elapsed().as_secs(), 3);
    }
}
