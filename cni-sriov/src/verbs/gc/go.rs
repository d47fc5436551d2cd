//! Releases the attachments of the Go plugin that the runtime does not list.

use sriov_config::netconf::LiveAttachment;
use sriov_host::IfName;

use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{GoState, Journal, JournalError};
use crate::request::{NetworkRequest, Request};
use crate::setup::Setup;
use crate::verbs::release::release_go;

/// A state of the Go plugin, with the attachment that its file name gives.
struct GoAttachment {
    container_id: String,
    ifname: IfName,
    state: GoState,
}

/// Releases the attachments of the Go plugin.
pub(super) async fn reap_go(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    listed: &[LiveAttachment],
) -> Vec<Failure> {
    let attachments = match go_attachments(journal) {
        Ok(attachments) => attachments,
        Err(error) => return vec![error.into()],
    };
    let mut failures = Vec::new();
    for attachment in &attachments {
        if !is_stale_go(journal, request, attachment, listed) {
            continue;
        }
        let others = attachments.iter().map(|other| other.state.device);
        let is_alone = others
            .filter(|device| *device == attachment.state.device)
            .count()
            == 1;
        let released = release_stale_go(setup, journal, request, attachment, is_alone);
        failures.extend(released.await.err());
    }
    failures
}

fn go_attachments(journal: &Journal) -> Result<Vec<GoAttachment>, JournalError> {
    let mut attachments = Vec::new();
    for name in journal.go_states()? {
        let Some((container_id, ifname)) = split_name(&name) else {
            continue;
        };
        if let Some(state) = journal.read_go_state(container_id, &ifname) {
            attachments.push(GoAttachment {
                container_id: container_id.to_owned(),
                ifname,
                state,
            });
        }
    }
    Ok(attachments)
}

/// The interface's name is the last part: a name with a `-` is ambiguous, and its attachment is left alone.
fn split_name(name: &str) -> Option<(&str, IfName)> {
    let (container_id, ifname) = name.rsplit_once('-')?;
    Some((container_id, ifname.parse().ok()?))
}

fn is_stale_go(
    journal: &Journal,
    request: &NetworkRequest,
    attachment: &GoAttachment,
    listed: &[LiveAttachment],
) -> bool {
    let GoAttachment {
        container_id,
        ifname,
        state,
    } = attachment;
    // Both parts of a name may have a `-`: the listed names are joined in the same way.
    let name = format!("{container_id}-{ifname}");
    let mut names = listed
        .iter()
        .map(|live| format!("{}-{}", live.container_id, live.ifname));
    let is_listed = names.any(|live| live == name);
    // The copy of an attachment of ours goes with that attachment.
    let is_copy = match journal.read(state.device) {
        Ok(held) => {
            held.is_some_and(|held| held.is_of(&held.network, container_id, ifname.as_str()))
        }
        Err(JournalError::Content { .. }) => false,
        Err(error) => {
            tracing::warn!(%error, "the attachment of the VF is left alone");
            true
        }
    };
    !is_listed && !is_copy && state.network == request.conf.name
}

/// `is_alone` is true if no other state names the VF, so that the allocation of the VF belongs to this attachment.
async fn release_stale_go(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    attachment: &GoAttachment,
    is_alone: bool,
) -> Result<(), Failure> {
    let state = &attachment.state;
    let netns = journal.allocation_path(state.device);
    let request = Request {
        network: request.clone(),
        container_id: attachment.container_id.clone(),
        ifname: attachment.ifname.clone(),
        args: None,
        netns: netns.filter(|_| is_alone),
        netns_override: false,
    };
    let ipam = Ipam::of_request_or(&request, state.ipam.as_ref());
    release_go(setup, journal, &request, state, &ipam).await
}
