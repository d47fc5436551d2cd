//! DEL, and the one undo that DEL, a failing ADD and the next ADD share: it works from the journal alone.

use std::path::Path;
use std::time::{Duration, Instant};

use sriov_host::netlink::{Link, LinkChange, Netlink};
use sriov_host::netns::Netns;
use sriov_host::snapshot::PciFunction;
use sriov_host::vf::VfChange;
use sriov_host::{IfName, sysfs};

use crate::Setup;
use crate::apply::Target;
use crate::device;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::plan;
use crate::request::Request;
use crate::saved::{Phase, SavedAttachmentV1, SavedLink};

/// Time that the kernel gets to give the network device of a deleted namespace back.
const RETURN: Duration = Duration::from_secs(10);

/// Detaches what the container has under this name; what is gone already is success.
pub async fn del(setup: &Setup, journal: &Journal, request: &Request) -> Result<(), Failure> {
    let owner = |saved: &SavedAttachmentV1| {
        saved.network == request.conf.name
            && saved.container_id == request.container_id
            && saved.ifname == request.ifname.as_str()
    };
    let devices = journal.devices_of(
        &request.conf.name,
        &request.container_id,
        request.ifname.as_str(),
    )?;
    if devices.is_empty() {
        // Nothing is known of it: give back the addresses that a lost ADD may have taken (specification, section 2, DEL).
        return Ipam::of(request).del().map_err(Failure::Ipam);
    }
    let mut failures = Vec::new();
    for address in devices {
        let lock = journal.lock(address);
        let undone = match lock {
            Err(failure) => Err(failure),
            // Only now is it certain whose it is: another DEL and ADD may have come first.
            Ok(_lock) => match journal.read(address) {
                Ok(Some(saved)) if owner(&saved) => {
                    undo(setup, journal, &saved, &Ipam::of(request)).await
                }
                Ok(_) => Ok(()),
                Err(failure) => Err(failure),
            },
        };
        failures.extend(undone.err());
    }
    Failure::all(failures)
}

/// Brings a VF back to what it was and forgets the attachment; does all it can and tells what it could not.
///
/// # Errors
/// The attachment stays in the journal, as dirty when the VF is not what it was.
pub async fn undo(
    setup: &Setup,
    journal: &Journal,
    saved: &SavedAttachmentV1,
    ipam: &Ipam,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let restored = restore(setup, saved).await;
    let is_dirty = restored.is_err();
    failures.extend(restored.err());
    failures.extend(ipam.del().map_err(Failure::Ipam).err());
    if failures.is_empty() {
        return journal.remove(saved.device);
    }
    if is_dirty {
        failures.extend(
            journal
                .write(&SavedAttachmentV1 {
                    phase: Phase::Dirty,
                    ..saved.clone()
                })
                .err(),
        );
    }
    Failure::all(failures)
}

async fn restore(setup: &Setup, saved: &SavedAttachmentV1) -> Result<(), Failure> {
    let host = Netlink::host(setup.request_deadline).map_err(Failure::Open)?;
    if sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)? != saved.boot_id {
        // A reboot brought the VF back to its defaults; what was before it is not to be set on it.
        return Ok(());
    }
    let function = || sysfs::function(&setup.host, saved.device).map_err(Failure::Sysfs);
    // A VF that is gone has no settings.
    let Some(present) = function()? else {
        return Ok(());
    };
    let pf = device::pf_view(&setup.host, saved.pf)?;
    let target = Target {
        device: saved.device,
        pf,
        vf: saved.vf,
    };
    let mut failures = Vec::new();
    let now = host.vf_settings(target.pf.ifindex, target.vf).await;
    let now = now
        .map_err(|source| target.link_failure(source))?
        .unwrap_or_default();
    let undo = plan::plan_undo(&saved.wanted, &saved.baseline, &now, &target.pf.driver);
    for change in undo.before_link {
        failures.extend(target.set(&host, &change).await.err());
    }
    if let (Some(was), false) = (&saved.baseline.link, is_userspace_now(&present)) {
        failures.extend(return_link(setup, saved, &target, &host, was).await.err());
    }
    for change in undo.after_link {
        failures.extend(target.set(&host, &change).await.err());
    }
    if failures.is_empty() {
        failures.extend(verify(&target, &host, saved).await.err());
    }
    Failure::all(failures)
}

/// Finds the network device wherever it is, brings it home, and makes it what it was.
async fn return_link(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    target: &Target,
    host: &Netlink,
    was: &SavedLink,
) -> Result<(), Failure> {
    let failed = |source| target.link_failure(source);
    let name: IfName = was
        .name
        .parse()
        .map_err(|error: sriov_host::ifname::InvalidIfName| Failure::Config(error.to_string()))?;
    let mut link = host.link_of_device(saved.device).await.map_err(failed)?;
    let netns = Netns::open(Path::new(&saved.netns.path))
        .ok()
        .filter(|netns| netns.id() == saved.netns.id);
    if let (None, Some(netns)) = (&link, &netns) {
        let pod = Netlink::in_netns(netns, setup.request_deadline).map_err(Failure::Open)?;
        if let Some(found) = pod.link_of_device(saved.device).await.map_err(failed)? {
            let own = Netns::current().map_err(Failure::Netns)?;
            move_home(&pod, &found, &own, &name).await.map_err(failed)?;
            link = host.link_of_device(saved.device).await.map_err(failed)?;
        }
    }
    let deadline = Instant::now() + RETURN;
    while link.is_none() && Instant::now() < deadline {
        // The namespace is going: the kernel gives the device back when it is gone.
        tokio::time::sleep(Duration::from_millis(20)).await;
        link = host.link_of_device(saved.device).await.map_err(failed)?;
    }
    let link = link.ok_or(Failure::NoLink(saved.device))?;
    let unpinned = saved
        .wanted
        .iter()
        .any(|change| matches!(change, VfChange::Mac(_)));
    for change in changes_home(&link, was, &name, unpinned) {
        let done = host.set_link(link.index, &change).await;
        match (&change, done) {
            // The name is another's now: the VF stays under the one it has.
            (LinkChange::Name(_), Err(error)) => tracing::warn!("VF {}: {error}", saved.device),
            (_, done) => done.map_err(failed)?,
        }
    }
    Ok(())
}

/// The name may be taken on the host: the device leaves the pod in any case.
async fn move_home(
    pod: &Netlink,
    link: &Link,
    host: &Netns,
    name: &IfName,
) -> Result<(), sriov_host::netlink::NetlinkError> {
    match pod.move_link(link.index, host, name).await {
        Err(error) if error.errno() == Some(nix::errno::Errno::EEXIST) => {
            let Ok(other) = format!("vf{}", link.index).parse() else {
                return Err(error);
            };
            pod.move_link(link.index, host, &other).await
        }
        done => done,
    }
}

/// What makes a device on the host what it was: down for the changes, up again only if it was.
fn changes_home(link: &Link, was: &SavedLink, name: &IfName, unpinned: bool) -> Vec<LinkChange> {
    let mut changes = Vec::new();
    if link.is_up {
        changes.push(LinkChange::Down);
    }
    if link.name != was.name {
        changes.push(LinkChange::Name(name.clone()));
    }
    changes.extend(
        link.altnames
            .iter()
            .filter(|name| !was.altnames.contains(name))
            .map(|name| LinkChange::DropAltName(name.clone())),
    );
    if link.mtu != was.mtu {
        changes.push(LinkChange::Mtu(was.mtu));
    }
    if let Some(mac) = was.mac {
        if unpinned && link.mac == was.mac {
            // The PF forgot the address when it was unpinned, and the kernel does not pass on one that is there already:
            // the driver hears of it again only by way of another (net/core/dev.c, `netif_set_mac_address`).
            changes.push(LinkChange::Mac(mac.neighbour()));
        }
        if unpinned || link.mac != was.mac {
            changes.push(LinkChange::Mac(mac));
        }
    }
    if was.is_up {
        changes.push(LinkChange::Up);
    }
    changes
}

/// A VF is free again only when it was read back and is what it was.
async fn verify(target: &Target, host: &Netlink, saved: &SavedAttachmentV1) -> Result<(), Failure> {
    let Some(was) = saved.baseline.settings else {
        return Ok(());
    };
    let now = host
        .vf_settings(target.pf.ifindex, target.vf)
        .await
        .map_err(|source| target.link_failure(source))?;
    let mut touched = was;
    let now = now.unwrap_or_default();
    if !saved
        .wanted
        .iter()
        .any(|change| matches!(change, VfChange::Mac(_)))
    {
        // What was not touched is not ours to judge.
        touched.mac = now.mac;
    }
    if now == touched {
        return Ok(());
    }
    Err(Failure::Dirty {
        device: saved.device,
        what: format!("it was {was:?}, it is {now:?}"),
    })
}

fn is_userspace_now(function: &PciFunction) -> bool {
    function.netdevs.is_empty()
        && function
            .driver
            .as_deref()
            .is_some_and(|driver| driver.contains("vfio") || driver.contains("uio"))
}

#[cfg(test)]
mod tests {
    use sriov_host::MacAddr;

    use super::*;

    #[test]
    fn only_what_differs_is_changed_but_the_address() {
        let own: MacAddr = "02:00:00:00:00:07".parse().unwrap();
        let mac = Some(own);
        let was = SavedLink {
            name: "eth2".into(),
            altnames: vec!["a".into()],
            mac,
            mtu: 1500,
            is_up: false,
        };
        let name: IfName = "eth2".parse().unwrap();
        let mut link = Link {
            index: 5,
            name: "eth2".into(),
            altnames: vec!["a".into()],
            mac,
            mtu: 1500,
            is_up: false,
            device: None,
        };
        assert_eq!(
            changes_home(&link, &was, &name, true),
            [LinkChange::Mac(own.neighbour()), LinkChange::Mac(own)]
        );
        link = Link {
            name: "net1".into(),
            altnames: vec!["a".into(), "b".into()],
            mtu: 9000,
            is_up: true,
            ..link
        };
        assert_eq!(
            changes_home(&link, &SavedLink { is_up: true, ..was }, &name, true),
            [
                LinkChange::Down,
                LinkChange::Name(name.clone()),
                LinkChange::DropAltName("b".into()),
                LinkChange::Mtu(1500),
                LinkChange::Mac(own.neighbour()),
                LinkChange::Mac(own),
                LinkChange::Up
            ]
        );
    }
}
