//! One run of an IPAM plugin: environment, standard input, result.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sriov_config::NetConf;
use sriov_host::IfName;

use super::error::IpamError;
use super::process::{self, OUTPUT, Output, RunError, Running};
use crate::model::SavedIpam;

/// Attempts to run a plugin that is being replaced (ETXTBSY), as many as the CNI library makes.
const TRIES: u32 = 6;
/// Time between two attempts.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Time that a plugin gets when the configuration has no `ipamTimeout`.
const LIMIT: Duration = Duration::from_mins(1);

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
    /// [`IpamError::NotFound`], [`IpamError::IsSelf`].
    pub(super) fn program(&self) -> Result<PathBuf, IpamError> {
        let program = self.find()?;
        let plugin = &self.ipam.plugin;
        if is_this_program(&program) {
            return Err(IpamError::IsSelf {
                plugin: plugin.clone(),
            });
        }
        Ok(program)
    }

    fn find(&self) -> Result<PathBuf, IpamError> {
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

    /// Starts the plugin with a verb, without its input.
    ///
    /// # Errors
    /// When the plugin cannot be run.
    pub(super) fn start(&self, verb: &'static str) -> Result<Started<'_>, IpamError> {
        let program = self.program()?;
        let limit = self.limit();
        let mut started = Started {
            call: self,
            verb,
            program,
            limit,
            deadline: None,
            running: None,
        };
        match started.execute() {
            Err(error) if !is_busy(&error) => Err(self.failed(error.into(), verb, limit)),
            Ok(()) | Err(_) => Ok(started),
        }
    }

    /// Runs the plugin with a verb.
    ///
    /// # Errors
    /// When the plugin cannot be run, or reports an error.
    pub(super) fn run(&self, verb: &'static str) -> Result<Output, IpamError> {
        self.start(verb)?.finish()
    }

    /// A result that cannot be used.
    pub(super) fn unusable(&self, what: String) -> IpamError {
        IpamError::Result {
            plugin: self.ipam.plugin.clone(),
            what,
        }
    }

    /// The plugin inherits the environment; verb and attachment are set, because a DEL may follow a failed ADD or be about another attachment.
    fn command(&self, program: &Path, verb: &str) -> Command {
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
        command
    }

    /// Time that the plugin gets, from its configuration.
    fn limit(&self) -> Duration {
        let conf = NetConf::parse_for_release(&self.ipam.stdin);
        let limit = conf.ok().and_then(|(conf, _)| conf.ipam_timeout);
        limit.unwrap_or(LIMIT)
    }

    fn failed(&self, error: RunError, verb: &str, limit: Duration) -> IpamError {
        let plugin = self.ipam.plugin.clone();
        match error {
            RunError::Io(source) => IpamError::Run { plugin, source },
            RunError::Deadline => IpamError::Deadline {
                plugin,
                verb: verb.to_owned(),
                seconds: limit.as_secs(),
            },
            RunError::TooLong => self.unusable(format!("more than {OUTPUT} bytes")),
        }
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

/// A call of a plugin that was started, or will be when the plugin is no longer being replaced.
#[derive(Debug)]
pub(super) struct Started<'a> {
    call: &'a Call,
    verb: &'static str,
    program: PathBuf,
    limit: Duration,
    /// Absent until a plugin that runs gets its input.
    deadline: Option<Instant>,
    running: Option<Running<'a>>,
}

impl Started<'_> {
    fn execute(&mut self) -> io::Result<()> {
        let mut command = self.call.command(&self.program, self.verb);
        let input = self.call.ipam.stdin.as_bytes();
        self.running = Some(process::start(&mut command, input)?);
        Ok(())
    }

    /// Gives the plugin its input and returns at once.
    pub(super) fn give_input(mut self) -> Self {
        if let Some(running) = &mut self.running {
            self.deadline = Some(Instant::now() + self.limit);
            running.give_input();
        }
        self
    }

    /// Gives the plugin its input, if it has none yet, and waits until it ends.
    ///
    /// # Errors
    /// When the plugin cannot be run, or reports an error.
    pub(super) fn finish(mut self) -> Result<Output, IpamError> {
        let Self {
            call, verb, limit, ..
        } = self;
        let failed = |error: RunError| call.failed(error, verb, limit);
        let mut tries = 1;
        let running = loop {
            if let Some(running) = self.running.take() {
                break running;
            }
            std::thread::sleep(BETWEEN_TRIES);
            tries += 1;
            match self.execute() {
                Err(error) if is_busy(&error) && tries < TRIES => {}
                done => done.map_err(|error| failed(error.into()))?,
            }
        };
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + limit);
        let output = running.finish(deadline).map_err(failed)?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(call.refusal(&output))
        }
    }
}

/// Whether a program is being written (ETXTBSY).
fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ExecutableFileBusy
}

/// Whether a file is the program of this process: as its own IPAM plugin it would call itself without end.
fn is_this_program(file: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let own = std::env::current_exe().and_then(|path| identity(&path));
    own.is_ok_and(|own| identity(file).is_ok_and(|other| other == own))
}
