//! One run of an IPAM plugin: environment, standard input, result.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use sriov_host::IfName;

use super::error::IpamError;
use crate::model::SavedIpam;

/// Attempts to run a plugin that is being replaced (ETXTBSY), as many as the CNI library makes.
const TRIES: u32 = 6;
/// Time between two attempts.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// A plugin with its input.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Plugin, standard input and `CNI_ARGS`.
    pub(super) ipam: SavedIpam,
    /// Directories in which the plugin is looked up.
    pub(super) cni_path: Vec<PathBuf>,
    /// The attachment that the call is about; absent for a network as a whole.
    pub(super) subject: Option<CallSubject>,
}

/// The attachment that a call is about.
#[derive(Clone, Debug)]
pub(super) struct CallSubject {
    /// Id of the container.
    pub(super) container_id: String,
    /// Name of the interface in the pod.
    pub(super) ifname: IfName,
    /// Path of the pod's network namespace; empty when there is none.
    pub(super) netns: String,
}

impl Call {
    /// The plugin's program.
    ///
    /// # Errors
    /// [`IpamError::NotFound`].
    pub(super) fn program(&self) -> Result<PathBuf, IpamError> {
        let (plugin, cni_path) = (&self.ipam.plugin, &self.cni_path);
        // A name, never a path (specification, section 4).
        let is_name = !plugin.contains('/');
        let mut paths = cni_path.iter().map(|dir| dir.join(plugin));
        paths
            .find(|path| is_name && path.is_file())
            .ok_or_else(|| IpamError::NotFound {
                plugin: plugin.clone(),
                path: cni_path.clone(),
            })
    }

    /// Runs the plugin with a verb.
    ///
    /// # Errors
    /// When the plugin cannot be run, or reports an error.
    pub(super) fn run(&self, verb: &str) -> Result<Output, IpamError> {
        let program = self.program()?;
        let mut tries = 1;
        let output = loop {
            match self.execute(&program, verb) {
                Ok(output) => break output,
                Err(error)
                    if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < TRIES =>
                {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(source) => {
                    return Err(IpamError::Run {
                        plugin: self.ipam.plugin.clone(),
                        source,
                    });
                }
            }
        };
        if output.status.success() {
            Ok(output)
        } else {
            Err(self.refusal(&output))
        }
    }

    /// A result that cannot be used.
    pub(super) fn unusable(&self, what: String) -> IpamError {
        IpamError::Result {
            plugin: self.ipam.plugin.clone(),
            what,
        }
    }

    /// The plugin inherits the environment; verb and attachment are set, because a DEL may follow a failed ADD or be about another attachment.
    fn execute(&self, program: &Path, verb: &str) -> io::Result<Output> {
        let mut command = Command::new(program);
        command.env("CNI_COMMAND", verb);
        if let Some(CallSubject {
            container_id,
            ifname,
            netns,
        }) = &self.subject
        {
            command
                .env("CNI_CONTAINERID", container_id)
                .env("CNI_IFNAME", ifname.as_str())
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
            // A plugin may leave part of its input unread.
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
}
