//! Serves one pool on a unix socket and keeps it registered with kubelet, in either registration mode, across kubelet's restarts.

mod watch_dir;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sriov_config::resources::ResourceName;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};

pub use self::watch_dir::DirEvents;
use crate::args::Registration;
use crate::grpc::PoolServer;
use crate::proto::pluginregistration::registration_server::RegistrationServer;
use crate::proto::v1beta1::device_plugin_server::DevicePluginServer;
use crate::proto::v1beta1::registration_client::RegistrationClient;
use crate::proto::v1beta1::{DevicePluginOptions, RegisterRequest};

/// Longest path of a unix socket: `sun_path` holds 108 bytes with the terminating zero (unix(7)).
const SOCKET_PATH: usize = 107;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// A call that kubelet waits for when the plugin stops is answered within this time, or not.
const GRACE: Duration = Duration::from_millis(300);
const REGISTER_DEADLINE: Duration = Duration::from_secs(20);
/// kubelet asks for the lists as soon as it knows the pool; one that has asked for none for so long has let it go.
const LET_GO: Duration = Duration::from_secs(3);

/// The directory of kubelet that is used, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the sockets are.
    pub dir: PathBuf,
    /// Whether kubelet finds sockets by itself; else it is called.
    pub is_watched: bool,
}

/// A pool could not be served or registered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be made.
    #[error("cannot listen on `{}`", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// kubelet could not be reached.
    #[error("cannot reach kubelet on `{}`", path.display())]
    Connect {
        /// kubelet's socket.
        path: PathBuf,
        /// Why.
        source: tonic::transport::Error,
    },
    /// kubelet refused.
    #[error("kubelet refuses the registration: {0}")]
    Refused(String),
}

impl Place {
    /// Chooses between the modes.
    pub fn choose(kubelet_dir: &Path, registration: Registration) -> Self {
        let watched = kubelet_dir.join("plugins_registry");
        let legacy = kubelet_dir.join("device-plugins");
        let is_watched = match registration {
            // Both directories are there on a node; kubelet's plugin watcher sends the socket's path as
            // `:authority` (`pkg/kubelet/pluginmanager/operationexecutor`), which h2 refuses as no authority.
            Registration::Auto => watched.is_dir() && !legacy.is_dir(),
            Registration::Watcher => true,
            Registration::Legacy => false,
        };
        let dir = if is_watched { watched } else { legacy };
        Self { dir, is_watched }
    }

    /// The socket of a resource; a path that would be too long is shortened, always in the same way.
    pub fn socket(&self, resource: &ResourceName) -> PathBuf {
        let path = self.dir.join(format!("{}.sock", resource.socket_stem()));
        if path.as_os_str().len() <= SOCKET_PATH {
            return path;
        }
        // FNV-1a: stable over builds and machines.
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = resource
            .socket_stem()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, fnv);
        self.dir.join(format!("sriov-{hash:016x}.sock"))
    }

    fn kubelet_socket(&self) -> PathBuf {
        self.dir.join("kubelet.sock")
    }
}

/// Serves the pool until `stop`; serves anew when the socket was removed, registers anew when kubelet's socket is another.
pub async fn keep_served(
    server: PoolServer,
    place: Place,
    mut events: DirEvents,
    mut refused: mpsc::Receiver<ResourceName>,
    mut stop: watch::Receiver<bool>,
) {
    let name = server.pool.borrow().resource.name.clone();
    let path = place.socket(&name);
    let mut backoff = FIRST_BACKOFF;
    let mut servers = JoinSet::new();
    while !*stop.borrow() {
        let tried = inode(&place.kubelet_socket());
        let outcome = tokio::select! {
            _ = stop.changed() => break,
            outcome = serve_once(&server, &place, &path, &name, &mut events, &mut refused, &mut servers) => outcome,
        };
        // Those that had to end have done so by now, mostly.
        while servers.try_join_next().is_some() {}
        if let Err(error) = outcome {
            server.means.metrics.of(&name, |counts| counts.refused += 1);
            tracing::error!(
                "{name}: {}; next try in {} ms",
                crate::plugin::chain(&error),
                backoff.as_millis()
            );
            tokio::select! {
                _ = stop.changed() => break,
                // A new kubelet is no reason to wait, anything else in its directory is: we make sockets there ourselves.
                () = another_kubelet(&mut events, &place, tried) => backoff = FIRST_BACKOFF,
                () = tokio::time::sleep(backoff + jitter(&name, backoff)) => backoff = (backoff * 2).min(LAST_BACKOFF),
            }
        } else {
            backoff = FIRST_BACKOFF;
        }
    }
    let _ = fs::remove_file(&path);
    let ended = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, ended).await;
}

/// Returns when kubelet has made a socket that is not the one that was tried.
async fn another_kubelet(events: &mut DirEvents, place: &Place, tried: Option<(u64, i64)>) {
    let is_another = || inode(&place.kubelet_socket()).is_some_and(|now| Some(now) != tried);
    while !is_another() {
        events.changed().await;
    }
}

/// Listens, registers, and returns when it has to be done again.
async fn serve_once(
    server: &PoolServer,
    place: &Place,
    path: &Path,
    name: &ResourceName,
    events: &mut DirEvents,
    refused: &mut mpsc::Receiver<ResourceName>,
    servers: &mut JoinSet<()>,
) -> Result<(), ServeError> {
    // Serve first, then register: kubelet calls back inside the registration.
    let listening = Listening::start(server.clone(), path, servers)?;
    let mut kubelet = inode(&place.kubelet_socket());
    let register = async |what: &str| {
        register(&place.kubelet_socket(), path, name).await?;
        tracing::info!("{name}: {what}");
        server.means.metrics.of(name, |counts| counts.accepted += 1);
        Ok::<_, ServeError>(())
    };
    if !place.is_watched {
        register("registered with kubelet").await?;
    }
    let mut streams = server.streams.subscribe();
    loop {
        tokio::select! {
            () = events.changed() => {}
            () = let_go(&mut streams), if !place.is_watched => {
                // One that is away is heard of when its new socket comes.
                if let Err(error) = register("registered again with a kubelet that had let it go").await {
                    tracing::debug!("{name}: {}", crate::plugin::chain(&error));
                }
            }
            _ = refused.recv() => return Err(ServeError::Refused("it found the socket and took it not".to_owned())),
        }
        if inode(path) != listening.inode {
            tracing::warn!("{name}: the socket was removed, serving anew");
            return Ok(());
        }
        let now = inode(&place.kubelet_socket());
        if !place.is_watched && now.is_some() && now != kubelet {
            register("registered with the new kubelet").await?;
            kubelet = now;
        }
    }
}

/// Returns when nobody has had the lists for a while: of a resource whose former plugin had a socket in `plugins_registry`,
/// kubelet lets go of whoever has it when that socket goes (`pkg/kubelet/cm/devicemanager/plugin/v1beta1/handler.go`, `DeRegisterPlugin`).
async fn let_go(streams: &mut watch::Receiver<usize>) {
    loop {
        let _ = streams.wait_for(|open| *open == 0).await;
        let asked = streams.wait_for(|open| *open > 0);
        if tokio::time::timeout(LET_GO, asked).await.is_err() {
            return;
        }
    }
}

/// A socket that is served while this lives; its connections end with it, streams of lists included.
#[derive(Debug)]
struct Listening {
    inode: Option<(u64, i64)>,
    is_over: watch::Sender<bool>,
}

impl Listening {
    fn start(
        mut server: PoolServer,
        path: &Path,
        servers: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            path: path.to_owned(),
            source,
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let inode = inode(path);
        let incoming = UnixListenerStream::new(listener).then(async |accepted| {
            // While there are no descriptors the next error comes at once.
            if accepted.is_err() {
                tokio::time::sleep(FIRST_BACKOFF).await;
            }
            accepted
        });
        let (is_over, mut over) = watch::channel(false);
        server.is_over = over.clone();
        servers.spawn(async move {
            let end = async move {
                let _ = over.wait_for(|is_over| *is_over).await;
            };
            let router = Server::builder()
                .add_service(DevicePluginServer::new(server.clone()))
                .add_service(RegistrationServer::new(server));
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, end).await {
                tracing::error!("{}", crate::plugin::chain(&error));
            }
        });
        Ok(Self { inode, is_over })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.is_over.send_replace(true);
    }
}

async fn register(kubelet: &Path, socket: &Path, name: &ResourceName) -> Result<(), ServeError> {
    let connect = |source| ServeError::Connect {
        path: kubelet.to_owned(),
        source,
    };
    let endpoint =
        Endpoint::from_shared(format!("unix://{}", kubelet.display())).map_err(connect)?;
    let channel = endpoint
        .connect_timeout(REGISTER_DEADLINE)
        .timeout(REGISTER_DEADLINE)
        .connect()
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
        options: Some(DevicePluginOptions {
            pre_start_required: true,
            get_preferred_allocation_available: true,
        }),
    };
    let answer = RegistrationClient::new(channel).register(request).await;
    answer
        .map(|_| ())
        .map_err(|status| ServeError::Refused(status.message().to_owned()))
}

/// A socket by identity: inode numbers are used again at once, so the time of creation counts as well.
fn inode(path: &Path) -> Option<(u64, i64)> {
    let stat = fs::symlink_metadata(path).ok()?;
    Some((
        stat.ino(),
        stat.ctime()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(stat.ctime_nsec()),
    ))
}

/// Up to a quarter more, other for each resource, so that the tries of many do not fall together.
fn jitter(name: &ResourceName, backoff: Duration) -> Duration {
    let spread = name.socket_stem().bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    }) % 256;
    backoff * spread / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_would_be_too_long_is_shortened_always_alike() {
        let place = Place {
            dir: "/var/lib/kubelet/plugins_registry".into(),
            is_watched: true,
        };
        let short = ResourceName::new("intel.com", "vf").unwrap();
        assert!(place.socket(&short).ends_with("intel.com_vf.sock"));
        let long = ResourceName::new(&format!("{}.com", "a".repeat(60)), &"b".repeat(60)).unwrap();
        let path = place.socket(&long);
        assert!(path.as_os_str().len() <= SOCKET_PATH);
        assert_eq!(path, place.socket(&long));
    }

    #[test]
    fn a_kubelet_with_both_directories_is_called() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Place::choose(dir.path(), Registration::Auto).is_watched);
        fs::create_dir(dir.path().join("plugins_registry")).unwrap();
        assert!(Place::choose(dir.path(), Registration::Auto).is_watched);
        fs::create_dir(dir.path().join("device-plugins")).unwrap();
        assert!(!Place::choose(dir.path(), Registration::Auto).is_watched);
        assert!(Place::choose(dir.path(), Registration::Watcher).is_watched);
    }
}
