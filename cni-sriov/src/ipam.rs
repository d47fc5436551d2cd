//! Delegation to an IPAM plugin, by the protocol of the CNI specification, section 4: same environment, whole standard input.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;
use sriov_host::netlink::Route;

use crate::request::{NetworkRequest, Request};
use crate::saved::{SavedAttachmentV1, SavedIpam};

/// Tries of a plugin that is being replaced (ETXTBSY), as the CNI library does.
const TRIES: u32 = 6;

/// A call that can be made; nothing is called when the configuration has no IPAM.
#[derive(Clone, Debug)]
pub struct Ipam {
    call: Option<Call>,
}

#[derive(Clone, Debug)]
struct Call {
    ipam: SavedIpam,
    cni_path: Vec<PathBuf>,
    attachment: Option<CallOf>,
}

/// The attachment that a call is about.
#[derive(Clone, Debug)]
struct CallOf {
    container_id: String,
    ifname: String,
    netns: String,
}

/// Addresses and routes for the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Addresses with prefix length.
    pub ips: Vec<IpNet>,
    /// Routes.
    pub routes: Vec<Route>,
}

/// The IPAM plugin did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// It is not in `CNI_PATH`.
    #[error("the IPAM plugin `{plugin}` is not in CNI_PATH {path:?}")]
    NotFound {
        /// Its name.
        plugin: String,
        /// Where it was looked for.
        path: Vec<PathBuf>,
    },
    /// It could not be run.
    #[error("cannot run the IPAM plugin `{plugin}`")]
    Run {
        /// Its name.
        plugin: String,
        /// Why.
        source: io::Error,
    },
    /// It refused; code and message are its own.
    #[error("{msg}")]
    Refused {
        /// Its code.
        code: Option<u32>,
        /// Its message.
        msg: String,
    },
    /// Its result cannot be used.
    #[error("the result of the IPAM plugin `{plugin}` has {what}")]
    Result {
        /// Its name.
        plugin: String,
        /// What is wrong.
        what: String,
    },
}

impl IpamError {
    /// The plugin's own code.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => *code,
            Self::NotFound { .. } => Some(7),
            Self::Run { .. } | Self::Result { .. } => None,
        }
    }
}

impl Ipam {
    /// The call for a request.
    pub fn of(request: &Request) -> Self {
        Self::of_request_or(request, None)
    }

    /// The call for a request, or for what was saved when the request says nothing of IPAM.
    pub fn of_request_or(request: &Request, saved: Option<&SavedIpam>) -> Self {
        let asked = request.conf().ipam.clone().map(|plugin| SavedIpam {
            plugin,
            stdin: request.network.stdin.clone(),
            args: request.args.clone(),
        });
        let netns = request.netns.as_ref();
        let call = asked.or(saved.cloned()).map(|ipam| Call {
            ipam,
            cni_path: request.network.cni_path.clone(),
            attachment: Some(CallOf {
                container_id: request.container_id.clone(),
                ifname: request.ifname.to_string(),
                netns: netns.map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
            }),
        });
        Self { call }
    }

    /// The call for a network as a whole.
    pub fn of_network(request: &NetworkRequest) -> Self {
        let call = request.conf.ipam.clone().map(|plugin| Call {
            ipam: SavedIpam {
                plugin,
                stdin: request.stdin.clone(),
                args: None,
            },
            cni_path: request.cni_path.clone(),
            attachment: None,
        });
        Self { call }
    }

    /// The call for an attachment of the journal.
    pub fn of_saved(saved: &SavedAttachmentV1, cni_path: &[PathBuf]) -> Self {
        let call = saved.ipam.clone().map(|ipam| Call {
            ipam,
            cni_path: cni_path.to_vec(),
            attachment: Some(CallOf {
                container_id: saved.container_id.clone(),
                ifname: saved.ifname.clone(),
                netns: saved.netns.path.clone(),
            }),
        });
        Self { call }
    }

    /// What is needed to repeat the call.
    pub fn to_saved(&self) -> Option<SavedIpam> {
        self.call.as_ref().map(|call| call.ipam.clone())
    }

    /// Fails when the plugin is not there, before anything is changed.
    pub fn ensure_there(&self) -> Result<(), IpamError> {
        self.call
            .as_ref()
            .map_or(Ok(()), |call| call.program().map(|_| ()))
    }

    /// Asks for addresses; nothing without IPAM.
    pub fn add(&self) -> Result<Option<Value>, IpamError> {
        let Some(call) = &self.call else {
            return Ok(None);
        };
        let output = call.run("ADD")?;
        let result = serde_json::from_slice(&output.stdout)
            .map_err(|error| call.unusable(format!("no JSON: {error}")))?;
        Ok(Some(result))
    }

    /// Gives the addresses back.
    pub fn del(&self) -> Result<(), IpamError> {
        self.run("DEL")
    }

    /// Asks whether the addresses are still the attachment's.
    pub fn check(&self) -> Result<(), IpamError> {
        self.run("CHECK")
    }

    /// Asks whether addresses could be had.
    pub fn status(&self) -> Result<(), IpamError> {
        self.run("STATUS")
    }

    /// Tells which attachments still live.
    pub fn gc(&self) -> Result<(), IpamError> {
        self.run("GC")
    }

    fn run(&self, verb: &str) -> Result<(), IpamError> {
        self.call
            .as_ref()
            .map_or(Ok(()), |call| call.run(verb).map(|_| ()))
    }
}

impl Call {
    fn program(&self) -> Result<PathBuf, IpamError> {
        let (plugin, cni_path) = (&self.ipam.plugin, &self.cni_path);
        // A name, never a path (specification, section 4).
        let found = if plugin.contains('/') {
            None
        } else {
            cni_path
                .iter()
                .map(|dir| dir.join(plugin))
                .find(|path| path.is_file())
        };
        found.ok_or_else(|| IpamError::NotFound {
            plugin: plugin.clone(),
            path: cni_path.clone(),
        })
    }

    fn run(&self, verb: &str) -> Result<Output, IpamError> {
        let plugin = &self.ipam.plugin;
        let program = self.program()?;
        let failed = |source| IpamError::Run {
            plugin: plugin.clone(),
            source,
        };
        let mut tries = 1;
        let output = loop {
            match self.execute(&program, verb) {
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < TRIES =>
                {
                    tries += 1;
                    std::thread::sleep(Duration::from_secs(1));
                }
                done => break done.map_err(failed)?,
            }
        };
        if output.status.success() {
            Ok(output)
        } else {
            Err(self.refusal(&output))
        }
    }

    /// The environment is ours, but for what a DEL after a failed ADD, or of another attachment, must say otherwise.
    fn execute(&self, program: &std::path::Path, verb: &str) -> io::Result<Output> {
        let mut command = Command::new(program);
        command.env("CNI_COMMAND", verb);
        if let Some(CallOf {
            container_id,
            ifname,
            netns,
        }) = &self.attachment
        {
            command
                .env("CNI_CONTAINERID", container_id)
                .env("CNI_IFNAME", ifname)
                .env("CNI_NETNS", netns);
            match &self.ipam.args {
                Some(args) => command.env("CNI_ARGS", args),
                None => command.env_remove("CNI_ARGS"),
            };
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that does not read all of it is not at fault.
            let _ = stdin.write_all(self.ipam.stdin.as_bytes());
        }
        child.wait_with_output()
    }

    fn refusal(&self, output: &Output) -> IpamError {
        let document = serde_json::from_slice::<Value>(&output.stdout).unwrap_or(Value::Null);
        let msg = document.get("msg").and_then(Value::as_str).map_or_else(
            || {
                format!(
                    "the IPAM plugin `{}` failed: {}",
                    self.ipam.plugin, output.status
                )
            },
            str::to_owned,
        );
        let details = document
            .get("details")
            .and_then(Value::as_str)
            .filter(|details| !details.is_empty());
        let code = document
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u32::try_from(code).ok());
        IpamError::Refused {
            code,
            msg: details.map_or(msg.clone(), |details| format!("{msg}; {details}")),
        }
    }

    fn unusable(&self, what: String) -> IpamError {
        IpamError::Result {
            plugin: self.ipam.plugin.clone(),
            what,
        }
    }
}
