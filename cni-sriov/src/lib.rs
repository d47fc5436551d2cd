//! The CNI plugin `sriov`: attaches one VF to one pod as a transaction, and undoes it.
//!
//! Start at [`run`]. `request` decodes without touching the host; `attach` and `detach` are the two ends of an attachment;
//! `plan` decides without I/O; `apply` and `undo` execute; `journal` remembers what was, before anything changes.

#![forbid(unsafe_code)]

pub mod apply;
pub mod attach;
pub mod check;
pub mod detach;
pub mod device;
pub mod failure;
pub mod gc;
pub mod go_state;
pub mod install;
pub mod ipam;
pub mod journal;
pub mod log;
pub mod plan;
pub mod recover;
pub mod request;
pub mod result;
pub mod saved;
pub mod status;
pub mod undo;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sriov_config::netconf::CniVersion;
use sriov_host::HostRoot;
use sriov_host::netlink::{Netlink, OpenError};

use self::failure::Failure;
use self::journal::Journal;
use self::request::{Environment, Verb};

/// Where things are and how long they may take; made once, in `main`.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine.
    pub host: HostRoot,
    /// Directory of the journal, the allocation files and the locks.
    pub state_dir: PathBuf,
    /// Directory below which device-info files are written.
    pub device_info_dir: PathBuf,
    /// Bound of each netlink request.
    pub request_deadline: Duration,
    /// Bound of the wait for a lock.
    pub lock_deadline: Duration,
    /// Opens a netlink socket in the host's namespace.
    pub open_host: OpenHost,
}

/// Opens a netlink socket in the host's namespace, whose requests have this bound; tests have a kernel in memory.
#[derive(Clone)]
pub struct OpenHost(pub Arc<dyn Fn(Duration) -> Result<Netlink, OpenError> + Send + Sync>);

impl fmt::Debug for OpenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenHost")
    }
}

impl Setup {
    /// A socket in the host's namespace.
    pub fn host_netlink(&self) -> Result<Netlink, Failure> {
        let OpenHost(open) = &self.open_host;
        open(self.request_deadline).map_err(Failure::Open)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            host: HostRoot::default(),
            state_dir: PathBuf::from("/var/lib/cni/sriov"),
            device_info_dir: PathBuf::from("/var/run/k8s.cni.cncf.io/devinfo"),
            request_deadline: Duration::from_secs(20),
            lock_deadline: Duration::from_secs(30),
            open_host: OpenHost(Arc::new(Netlink::host)),
        }
    }
}

/// Does what is asked for; the document, if any, is for standard output.
///
/// # Errors
/// The failure, which [`Failure::document`] turns into the document that the specification asks for.
pub async fn run(
    setup: &Setup,
    verb: Verb,
    environment: &Environment,
    stdin: &str,
) -> Result<Option<Value>, Failure> {
    let journal = Journal::new(setup.state_dir.clone(), setup.lock_deadline);
    match verb {
        Verb::Version => return Ok(Some(version(stdin))),
        Verb::Add => {
            let request = environment.request(verb, stdin)?;
            return attach::add(setup, &journal, &request).await.map(Some);
        }
        Verb::Del => detach::del(setup, &journal, &environment.request(verb, stdin)?).await,
        Verb::Check => check::check(setup, &journal, &environment.request(verb, stdin)?).await,
        Verb::Status => status::status(setup, &journal, &environment.network(verb, stdin)?).await,
        Verb::Gc => gc::gc(setup, &journal, &environment.network(verb, stdin)?).await,
    }
    .map(|()| None)
}

/// The answer to VERSION; its version is that of the question, as far as there is one.
pub fn version(stdin: &str) -> Value {
    let asked = serde_json::from_str::<Value>(stdin).ok();
    let asked = asked
        .as_ref()
        .and_then(|conf| conf.get("cniVersion"))
        .and_then(Value::as_str);
    json!({
        "cniVersion": asked.unwrap_or(CniVersion::V1_1_0.as_str()),
        "supportedVersions": CniVersion::ALL.map(CniVersion::as_str),
    })
}
