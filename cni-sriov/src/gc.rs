//! GC: releases what the runtime no longer knows of this network; goes on after a failure and tells all.

use sriov_config::netconf::LiveAttachment;
use sriov_host::IfName;

use crate::Setup;
use crate::detach;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::recover;
use crate::request::{NetworkRequest, Request};
use crate::saved::SavedAttachmentV1;
use crate::undo;

/// Releases what is not listed; without a list it touches nothing (CNI specification 1.1.0, section 2, GC).
///
/// # Errors
/// All that could not be released, and what IPAM says.
pub async fn gc(setup: &Setup, journal: &Journal, request: &NetworkRequest) -> Result<(), Failure> {
    let mut failures = Vec::new();
    if let Some(listed) = &request.conf.attachments {
        match reap(setup, journal, request, listed).await {
            Ok(left) => failures.extend(left),
            Err(failure) => failures.push(failure),
        }
    }
    let ipam = Ipam::of_network(request);
    failures.extend(ipam.gc().map_err(Failure::Ipam).err());
    Failure::all(failures)
}

async fn reap(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    listed: &[LiveAttachment],
) -> Result<Vec<Failure>, Failure> {
    let mut failures = Vec::new();
    let is_stale = |saved: &SavedAttachmentV1| is_stale(&request.conf.name, saved, listed);
    for entry in journal.entries()? {
        let saved = match &entry.saved {
            Ok(saved) if is_stale(saved) => saved,
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!("{error}: DEL of its attachment releases it");
                continue;
            }
        };
        let ipam = Ipam::of_saved(saved, &request.cni_path);
        if entry.is_owed {
            failures.extend(detach::settle(journal, &entry, &ipam).err());
            continue;
        }
        let lock = match journal.lock(saved.device) {
            Ok(lock) => lock,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        match journal.read(saved.device) {
            // Under the lock it is certain.
            Ok(Some(saved)) if is_stale(&saved) => {
                tracing::info!(
                    "VF {}: container `{}` is gone",
                    saved.device,
                    saved.container_id
                );
                failures.extend(undo::undo(setup, journal, &saved, &ipam).await.err());
            }
            Ok(_) => {}
            Err(error) => failures.push(Failure::Journal(error)),
        }
        drop(lock);
    }
    failures.extend(reap_go(setup, journal, request, listed).await?);
    Ok(failures)
}

/// The Go plugin's states of this network; both parts of their names may hold a `-`, so the listed ones are put together the same way.
async fn reap_go(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    listed: &[LiveAttachment],
) -> Result<Vec<Failure>, Failure> {
    let mut states = Vec::new();
    for name in journal.go_states()? {
        // The interface's name is the last part: one with a `-` is as rare as it is ambiguous, and then left alone.
        let Some((container_id, ifname)) = name.rsplit_once('-') else {
            continue;
        };
        let Ok(ifname) = ifname.parse::<IfName>() else {
            continue;
        };
        let found = journal.read_go_state(container_id, ifname.as_str());
        if let Some(found) = found.map_err(Failure::Journal)? {
            states.push((container_id.to_owned(), ifname, found));
        }
    }
    let mut failures = Vec::new();
    for (container_id, ifname, found) in &states {
        let is_listed = listed.iter().any(|live| {
            format!("{}-{}", live.container_id, live.ifname) == format!("{container_id}-{ifname}")
        });
        let held = journal.read(found.device).map_err(Failure::Journal)?;
        // Our own copy for the Go plugin goes with its attachment.
        let is_copy =
            held.is_some_and(|held| held.is_of(&held.network, container_id, ifname.as_str()));
        if is_listed || is_copy || found.network != request.conf.name {
            continue;
        }
        let is_alone = states
            .iter()
            .filter(|(_, _, other)| other.device == found.device)
            .count()
            == 1;
        let stale = Request {
            network: request.clone(),
            container_id: container_id.clone(),
            ifname: ifname.clone(),
            args: None,
            // The hold on the VF is this attachment's when no other says that it has the VF.
            netns: journal.allocation_path(found.device).filter(|_| is_alone),
            netns_override: false,
        };
        let ipam = Ipam::of_request_or(&stale, found.ipam.as_ref());
        let released = recover::of_go(setup, journal, &stale, found, &ipam).await;
        failures.extend(released.err());
    }
    Ok(failures)
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
    use crate::saved::tests::GOLDEN;

    #[test]
    fn only_what_is_of_this_network_and_not_listed_is_stale() {
        let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
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
