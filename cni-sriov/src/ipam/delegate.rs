//! The IPAM call of a request, of a network, or of a saved attachment.

use std::path::PathBuf;

use serde_json::Value;

use super::call::{Call, CallSubject, Started};
use super::error::IpamError;
use crate::model::{SavedAttachmentV1, SavedIpam};
use crate::request::{NetworkRequest, Request};

/// Plugins that read their whole input before they do anything else. They fail if the input is empty.
const READING_FIRST: [&str; 5] = ["dhcp", "host-local", "nv-ipam", "static", "whereabouts"];

/// A call that can be made; nothing is called when the configuration has no IPAM.
#[derive(Clone, Debug)]
pub(crate) struct Ipam {
    call: Option<Call>,
}

impl Ipam {
    /// The call for a request.
    pub(crate) fn of(request: &Request) -> Self {
        Self::of_request_or(request, None)
    }

    /// The call for a request; a request without IPAM repeats the saved call.
    pub(crate) fn of_request_or(request: &Request, saved: Option<&SavedIpam>) -> Self {
        let named = request.conf().ipam.clone().map(|plugin| SavedIpam {
            plugin,
            stdin: request.network.stdin.clone(),
            args: request.args.clone(),
        });
        let call = named.or(saved.cloned()).map(|ipam| Call {
            ipam,
            cni_path: request.network.cni_path.clone(),
            subject: Some(CallSubject {
                container_id: request.container_id.clone(),
                ifname: request.ifname.clone(),
                netns: request.netns_path().to_string_lossy().into_owned(),
            }),
        });
        Self { call }
    }

    /// The call for a network as a whole.
    pub(crate) fn of_network(request: &NetworkRequest) -> Self {
        let call = request.conf.ipam.clone().map(|plugin| Call {
            ipam: SavedIpam {
                plugin,
                stdin: request.stdin.clone(),
                args: None,
            },
            cni_path: request.cni_path.clone(),
            subject: None,
        });
        Self { call }
    }

    /// The call for a saved attachment.
    pub(crate) fn of_saved(saved: &SavedAttachmentV1, cni_path: &[PathBuf]) -> Self {
        let call = saved.ipam.clone().map(|ipam| Call {
            ipam,
            cni_path: cni_path.to_vec(),
            subject: Some(CallSubject {
                container_id: saved.container_id.clone(),
                ifname: saved.ifname.clone(),
                netns: saved.netns.path.clone(),
            }),
        });
        Self { call }
    }

    /// The call in the form in which it is saved and repeated.
    pub(crate) fn to_saved(&self) -> Option<SavedIpam> {
        self.call.as_ref().map(|call| call.ipam.clone())
    }

    /// Fails when the plugin is not in `CNI_PATH`.
    pub(crate) fn ensure_there(&self) -> Result<(), IpamError> {
        self.call
            .as_ref()
            .map_or(Ok(()), |call| call.program().map(|_| ()))
    }

    /// Starts the request for addresses and returns at once; `None` without IPAM.
    pub(crate) fn start_add(&self) -> Result<Option<Adding<'_>>, IpamError> {
        let started = self.call.as_ref().map(|call| {
            let started = call.start("ADD")?.give_input();
            Ok(Adding { call, started })
        });
        started.transpose()
    }

    /// Whether the plugin uses the interface, which must be up then: `dhcp` sends through it.
    pub(crate) fn uses_link(&self) -> bool {
        let plugin = self.call.as_ref().map(|call| call.ipam.plugin.as_str());
        plugin == Some("dhcp")
    }

    /// Prepares the release of the addresses, which begins with [`Deleting::finish`].
    ///
    /// A plugin that reads its input first starts now, without its input. The start of its program takes most of the time of a release.
    pub(crate) fn prepare_del(&self) -> Deleting<'_> {
        let call = self.call.as_ref();
        let reads_first = |call: &&Call| READING_FIRST.contains(&call.ipam.plugin.as_str());
        Deleting {
            call,
            started: call.filter(reads_first).map(|call| call.start("DEL")),
        }
    }

    /// Releases the addresses.
    pub(crate) fn del(&self) -> Result<(), IpamError> {
        self.prepare_del().finish()
    }

    /// Checks that the addresses still belong to the attachment.
    pub(crate) fn check(&self) -> Result<(), IpamError> {
        self.run("CHECK")
    }

    /// Checks that addresses are available.
    pub(crate) fn status(&self) -> Result<(), IpamError> {
        self.run("STATUS")
    }

    /// Reports the attachments that still exist.
    pub(crate) fn gc(&self) -> Result<(), IpamError> {
        self.run("GC")
    }

    fn run(&self, verb: &'static str) -> Result<(), IpamError> {
        self.call
            .as_ref()
            .map_or(Ok(()), |call| call.run(verb).map(|_| ()))
    }
}

/// A request for addresses that the plugin works on.
#[derive(Debug)]
pub(crate) struct Adding<'a> {
    call: &'a Call,
    started: Started<'a>,
}

impl Adding<'_> {
    /// Waits for the result of the plugin.
    pub(crate) fn finish(self) -> Result<Value, IpamError> {
        let output = self.started.finish()?;
        let result = serde_json::from_slice(&output.stdout);
        result.map_err(|error| self.call.unusable(format!("no JSON: {error}")))
    }
}

/// A release of addresses that has not begun.
#[derive(Debug)]
pub(crate) struct Deleting<'a> {
    call: Option<&'a Call>,
    /// The plugin, if it waits for its input.
    started: Option<Result<Started<'a>, IpamError>>,
}

impl Deleting<'_> {
    /// Gives the plugin its input, and waits until the addresses are released.
    pub(crate) fn finish(self) -> Result<(), IpamError> {
        let Some(call) = self.call else {
            return Ok(());
        };
        let started = self.started.unwrap_or_else(|| call.start("DEL"));
        match started.and_then(Started::finish) {
            // ADD refuses such a configuration, so that there are no addresses.
            Err(error @ IpamError::IsSelf { .. }) => {
                tracing::warn!(%error, "there are no addresses to release");
                Ok(())
            }
            done => done.map(|_| ()),
        }
    }
}
