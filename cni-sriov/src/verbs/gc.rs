//! GC: releases the attachments of a network that the runtime does not list; goes on after a failure and reports all.

mod go;

use sriov_config::netconf::LiveAttachment;

use self::go::reap_go;
use super::release::{settle, undo};
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{Entry, Journal};
use crate::model::SavedAttachmentV1;
use crate::request::NetworkRequest;
use crate::setup::Setup;

/// Releases what is not listed; without a list it touches nothing (CNI specification 1.1.0, section 2, GC).
///
/// # Errors
/// All that could not be released, and the error of IPAM.
pub(crate) async fn gc(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    if let Some(listed) = &request.conf.attachments {
        failures.extend(reap(setup, journal, request, listed).await);
        failures.extend(reap_go(setup, journal, request, listed).await);
    }
    let ipam = Ipam::of_network(request);
    failures.extend(ipam.gc().err().map(Failure::from));
    Failure::all(failures)
}

/// Releases the attachments of the journal.
async fn reap(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    listed: &[LiveAttachment],
) -> Vec<Failure> {
    let entries = match journal.entries() {
        Ok(entries) => entries,
        Err(error) => return vec![error.into()],
    };
    let mut failures = Vec::new();
    for entry in entries {
        match &entry.saved {
            Ok(saved) if is_stale(&request.conf.name, saved, listed) => {
                let done = reap_entry(setup, journal, request, listed, (&entry, saved)).await;
                failures.extend(done.err());
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "skipping a file of the state directory");
            }
        }
    }
    failures
}

async fn reap_entry(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    listed: &[LiveAttachment],
    (entry, saved): (&Entry, &SavedAttachmentV1),
) -> Result<(), Failure> {
    let ipam = Ipam::of_saved(saved, &request.cni_path);
    if entry.is_owed {
        return settle(entry, &ipam);
    }
    let device = saved.device;
    let _lock = journal.lock(device)?;
    // Another call may have come first: the owner of the VF is certain only under the lock.
    match journal.read(device)? {
        Some(saved) if is_stale(&request.conf.name, &saved, listed) => {
            tracing::info!(%device, container = saved.container_id, "the container is gone");
            undo(setup, journal, &saved, &ipam).await
        }
        Some(_) | None => Ok(()),
    }
}

fn is_stale(network: &str, saved: &SavedAttachmentV1, listed: &[LiveAttachment]) -> bool {
    saved.network == network
        && !listed
            .iter()
            .any(|live| saved.is_of(network, &live.container_id, &live.ifname))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::examples;

    #[test]
    fn only_unlisted_attachments_of_the_network_are_stale() {
        let saved = examples::saved();
        let live = |container_id: &str, ifname: &str| LiveAttachment {
            container_id: container_id.into(),
            ifname: ifname.into(),
        };
        assert!(is_stale("n", &saved, &[]));
        assert!(!is_stale("other", &saved, &[]));
        assert!(!is_stale("n", &saved, &[live("c", "net1")]));
        assert!(is_stale(
            "n",
            &saved,
            &[live("c", "net2"), live("d", "net1")]
        ));
    }
}
