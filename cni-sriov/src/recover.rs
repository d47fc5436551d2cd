//! DEL of an attachment that the journal does not know: the Go plugin's, or one whose file is lost or torn.
//!
//! What is not proven to be this attachment's is not touched: a late DEL must do nothing to the VF of the next pod.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sriov_host::netlink::{Link, Netlink};
use sriov_host::netns::{Netns, NetnsId};
use sriov_host::vf::VfSettings;
use sriov_host::{HostRoot, PciAddress, sysfs};

use crate::Setup;
use crate::device;
use crate::failure::Failure;
use crate::go_state::{self, Found};
use crate::ipam::Ipam;
use crate::journal::{Journal, JournalError};
use crate::plan;
use crate::request::Request;
use crate::result::Attached;
use crate::saved::{Baseline, Phase, SavedAttachmentV1, SavedLink, SavedNetns};
use crate::undo;

/// Undoes what can be proven to be this attachment's, and tells IPAM in any case (CNI specification, section 2, DEL).
pub async fn del(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    named: Option<PciAddress>,
) -> Result<(), Failure> {
    let ipam = Ipam::of(request);
    let state = journal
        .read_go_state(&request.container_id, request.ifname.as_str())
        .map_err(Failure::Journal)?;
    if let Some(found) = state.filter(|found| found.network == request.conf().name) {
        return of_go(setup, journal, request, &found, &ipam).await;
    }
    let device = named.or_else(|| of_result(request));
    let Some(device) = device else {
        return ipam.del().map_err(Failure::Ipam);
    };
    let _lock = journal.lock(device)?;
    let is_torn = match journal.read(device) {
        Ok(Some(_)) => {
            // It is another's by now.
            return ipam.del().map_err(Failure::Ipam);
        }
        Ok(None) => false,
        Err(JournalError::Content { .. }) => true,
        Err(error) => return Err(Failure::Journal(error)),
    };
    let guessed = guess(setup, journal, request, device, is_torn).await;
    let undone = match guessed {
        Ok(Some(saved)) => {
            tracing::warn!("VF {device}: nothing is saved of it, it goes back to its defaults");
            journal.write(&saved)?;
            undo::undo(setup, journal, &saved, &ipam).await
        }
        Ok(None) => ipam.del().map_err(Failure::Ipam),
        Err(failure) => Failure::all(
            [Some(failure), ipam.del().map_err(Failure::Ipam).err()]
                .into_iter()
                .flatten()
                .collect(),
        ),
    };
    if undone.is_ok() {
        journal.sweep(device)?;
    }
    undone
}

/// An attachment that the Go plugin made and this one releases.
pub async fn of_go(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    found: &Found,
    ipam: &Ipam,
) -> Result<(), Failure> {
    let device = found.device;
    let ifname = request.ifname.as_str();
    let _lock = journal.lock(device)?;
    let own = request
        .netns
        .as_deref()
        .and_then(|path| Netns::open(path).ok());
    let holder = journal.allocated_to(device);
    // The Go plugin gives a VF back without our journal; what is older than its state is of an attachment that it released.
    let is_saved = journal.read(device).is_ok_and(|saved| saved.is_some());
    let is_others = (is_saved && journal.is_newer(device, found.modified))
        || holder
            .as_ref()
            .is_some_and(|holder| own.as_ref().map(Netns::id) != Some(holder.id()));
    if is_others {
        // The next pod has it: only the state is this attachment's.
        ipam.del().map_err(Failure::Ipam)?;
        return journal.remove_go_state(&request.container_id, ifname, None);
    }
    let saved = match sysfs::presence(&setup.host, device).map_err(Failure::Sysfs)? {
        // A reboot, or the VF is gone: nothing is restored onto a fresh one.
        _ if is_before_boot(&setup.host, found.modified) => None,
        None => None,
        Some(_) => attachment(
            setup,
            request,
            device,
            found.wanted.clone(),
            found.baseline.clone(),
        )?,
    };
    if let Some(saved) = saved {
        journal.write(&saved)?;
        undo::undo(setup, journal, &saved, ipam).await?;
    } else {
        ipam.del().map_err(Failure::Ipam)?;
    }
    journal.remove_go_state(&request.container_id, ifname, Some(device))
}

/// The VF that the result of ADD names.
fn of_result(request: &Request) -> Option<PciAddress> {
    let previous = Attached::previous(request.conf()).ok()?;
    let interface = previous.interface(request.ifname.as_str())?;
    interface.pci_id.as_deref()?.parse().ok()
}

/// What this attachment must have been, if the VF shows that it was: its network device is in the pod,
/// or on the host under the pod's name, where the kernel leaves that of a namespace which died,
/// or there is a torn file and nobody else has the VF.
async fn guess(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
    is_torn: bool,
) -> Result<Option<SavedAttachmentV1>, Failure> {
    let Some(vf) = sysfs::presence(&setup.host, device).map_err(Failure::Sysfs)? else {
        return Ok(None);
    };
    let own = request
        .netns
        .as_deref()
        .and_then(|path| Netns::open(path).ok())
        .filter(|netns| Netns::current().is_ok_and(|host| host.id() != netns.id()));
    let holder = journal.allocated_to(device).map(|holder| holder.id());
    if holder.is_some() && holder != own.as_ref().map(Netns::id) {
        return Ok(None);
    }
    let in_pod = match (&own, vf.netdevs.first()) {
        (Some(netns), None) => Netlink::in_netns(netns, setup.request_deadline)
            .map_err(Failure::Open)?
            .link_of_device(device)
            .await
            .map_err(|source| Failure::Link { device, source })?,
        (Some(_) | None, _) => None,
    };
    let left_behind = vf
        .netdevs
        .iter()
        .any(|netdev| netdev.name == request.ifname);
    let is_free_and_torn = is_torn
        && (!vf.netdevs.is_empty() || vf.driver.as_deref().is_some_and(device::is_userspace));
    if in_pod.is_none() && !left_behind && !is_free_and_torn {
        return Ok(None);
    }
    let name = in_pod.as_ref().map_or_else(
        || vf.netdevs.first().map(|netdev| netdev.name.to_string()),
        |link: &Link| Some(link.name.clone()),
    );
    let link = name.map(|name| SavedLink {
        name: host_name(name, request, device),
        altnames: None,
        // The address that it was made with; what the pod gave it is nobody else's.
        mac: in_pod.as_ref().and_then(|link| link.permanent_mac),
        mtu: None,
        is_up: false,
    });
    let wanted = go_state::named(&request.conf().wanted, &VfSettings::default());
    let baseline = Baseline {
        settings: Some(plan::defaults()),
        link,
    };
    attachment(setup, request, device, wanted, baseline)
}

/// Its own name is lost; the pod's would be in the way of the next pod.
fn host_name(name: String, request: &Request, device: PciAddress) -> String {
    if name == request.ifname.as_str() {
        undo::spare_name(device)
    } else {
        name
    }
}

fn attachment(
    setup: &Setup,
    request: &Request,
    device: PciAddress,
    wanted: Vec<sriov_host::vf::VfChange>,
    baseline: Baseline,
) -> Result<Option<SavedAttachmentV1>, Failure> {
    let conf = request.conf();
    let Some(incarnation) = sysfs::incarnation(&setup.host, device) else {
        return Ok(None);
    };
    let candidate = device::place(&setup.host, device)?;
    let path = request.netns.clone().unwrap_or_default();
    let id = Netns::open(Path::new(&path)).map_or(NetnsId { dev: 0, ino: 0 }, |netns| netns.id());
    Ok(Some(SavedAttachmentV1 {
        version: 1,
        phase: Phase::Prepared,
        boot_id: sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)?,
        network: conf.name.clone(),
        container_id: request.container_id.clone(),
        ifname: request.ifname.to_string(),
        netns: SavedNetns {
            path: path.to_string_lossy().into_owned(),
            id,
        },
        device,
        incarnation,
        pf: candidate.0,
        vf: candidate.1,
        baseline,
        wanted,
        ipam: Ipam::of(request).to_saved(),
        result: None,
    }))
}

/// Whether something was written before this boot (`btime` of proc(5), `/proc/stat`); what cannot be told is not.
fn is_before_boot(host: &HostRoot, modified: SystemTime) -> bool {
    let stat = fs::read_to_string(host.join("proc/stat")).unwrap_or_default();
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    boot.is_some_and(|boot| modified < boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_the_boot_is_old() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("proc")).unwrap();
        fs::write(
            dir.path().join("proc/stat"),
            "cpu 1\nbtime 1000\nprocesses 7\n",
        )
        .unwrap();
        let host = HostRoot::new(dir.path());
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(is_before_boot(&host, at(999)));
        assert!(!is_before_boot(&host, at(1000)));
        assert!(!is_before_boot(&HostRoot::new("/nowhere"), at(0)));
    }
}
