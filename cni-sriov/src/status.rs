//! STATUS: whether ADD could work here; what is dirty is tried again on the occasion.

use std::fs;

use sriov_host::netlink::Netlink;
use sriov_host::netns::Netns;

use crate::Setup;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::request::NetworkRequest;
use crate::saved::Phase;
use crate::undo;

/// Tells all reasons why an ADD would fail.
///
/// # Errors
/// [`Failure::NotReady`], or what IPAM says.
pub async fn status(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    failures.extend(journal.probe().err());
    failures.extend(privileges(setup).await.err());
    failures.extend(sysfs(setup).err());
    if failures.is_empty() {
        failures.extend(heal(setup, journal, request).await.err());
    }
    let ipam = Ipam::of_network(request);
    failures.extend(ipam.ensure_there().map_err(Failure::Ipam).err());
    let mut reasons: Vec<Failure> = Failure::all(failures)
        .map_err(|failure| Failure::NotReady(Box::new(failure)))
        .err()
        .into_iter()
        .collect();
    if reasons.is_empty() {
        // Its own code and words: the specification forwards them.
        reasons.extend(ipam.status().map_err(Failure::Ipam).err());
    }
    Failure::all(reasons)
}

/// `CAP_NET_ADMIN` by a request that changes nothing, `CAP_SYS_ADMIN` by entering the namespace that we are in.
async fn privileges(setup: &Setup) -> Result<(), Failure> {
    let own = Netns::current().map_err(Failure::Netns)?;
    let netlink = Netlink::in_netns(&own, setup.request_deadline).map_err(Failure::Open)?;
    netlink.probe().await.map_err(Failure::Privilege)
}

fn sysfs(setup: &Setup) -> Result<(), Failure> {
    let path = setup.host.join("sys/bus/pci/devices");
    fs::read_dir(&path)
        .map(|_| ())
        .map_err(|source| Failure::NoSysfs { path, source })
}

/// What could not be brought back before may be possible now.
async fn heal(setup: &Setup, journal: &Journal, request: &NetworkRequest) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for entry in journal.entries()? {
        let Ok(saved) = entry.saved else { continue };
        if entry.is_owed || saved.phase != Phase::Dirty {
            continue;
        }
        let _lock = journal.lock(saved.device)?;
        match journal.read(saved.device).map_err(Failure::Journal)? {
            Some(saved) if saved.phase == Phase::Dirty => {
                let ipam = Ipam::of_saved(&saved, &request.cni_path);
                failures.extend(undo::undo(setup, journal, &saved, &ipam).await.err());
            }
            Some(_) | None => {}
        }
    }
    Failure::all(failures)
}
