//! ADD: observe, plan, save, apply, addresses, save again, answer; any failure undoes all of it.

use std::path::Path;

use serde_json::Value;
use sriov_host::netlink::{Link, LinkChange, Netlink};
use sriov_host::netns::Netns;
use sriov_host::sysfs;

use crate::Setup;
use crate::apply::{Pod, Target};
use crate::detach;
use crate::device::{self, VfSide, VfView};
use crate::failure::Failure;
use crate::ipam::{self, Ipam};
use crate::journal::Journal;
use crate::plan::{self, Step};
use crate::request::Request;
use crate::result::{Attached, Interface};
use crate::saved::{Baseline, Phase, SavedAttachmentV1, SavedIpam, SavedLink, SavedNetns};

/// Attaches the VF and gives the result in the version of the configuration.
///
/// # Errors
/// Nothing of the attachment is left then, or [`Failure::Several`] says what is.
pub async fn add(setup: &Setup, journal: &Journal, request: &Request) -> Result<Value, Failure> {
    let previous = Attached::previous(&request.conf)?;
    previous.ensure_expressible(&request.conf)?;
    Ipam::of(request).ensure_there().map_err(Failure::Ipam)?;
    let netns_path = request.netns.clone().unwrap_or_default();
    let netns = pod_netns(request, &netns_path)?;
    let address = device::address(&request.conf.device)?;
    let _lock = journal.lock(address)?;
    let host = Netlink::host(setup.request_deadline).map_err(Failure::Open)?;
    release_leftovers(setup, journal, request, address).await?;
    let view = device::observe(&setup.host, &host, address).await?;
    let id = netns.id();
    let pod = Pod::enter(setup, netns)?;
    if matches!(view.side, VfSide::Netdev(_)) {
        let taken = pod
            .netlink
            .link_named(&request.ifname)
            .await
            .map_err(|source| Failure::Link {
                device: address,
                source,
            })?;
        if taken.is_some() {
            return Err(Failure::NameTaken(request.ifname.to_string()));
        }
    }
    let steps = plan::plan_attach(&request.conf.wanted, &view);
    let mut saved = SavedAttachmentV1 {
        version: 1,
        phase: Phase::Prepared,
        boot_id: sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)?,
        network: request.conf.name.clone(),
        container_id: request.container_id.clone(),
        ifname: request.ifname.to_string(),
        netns: SavedNetns {
            path: netns_path.to_string_lossy().into_owned(),
            id,
        },
        device: address,
        pf: view.pf.address,
        vf: view.index,
        baseline: baseline(&view),
        wanted: plan::lasting(&steps),
        ipam: request.conf.ipam.as_ref().map(|plugin| SavedIpam {
            plugin: plugin.clone(),
            stdin: request.stdin.clone(),
        }),
        result: None,
    };
    journal.write(&saved)?;
    match change(request, &host, &view, &steps, &pod, previous).await {
        Ok(result) => {
            saved.phase = Phase::Attached;
            saved.result = Some(result.clone());
            journal.write_allocation(address, &saved.netns.path)?;
            journal.write(&saved)?;
            Ok(result)
        }
        Err(failure) => {
            let ipam = Ipam::of(request);
            let undone = detach::undo(setup, journal, &saved, &ipam).await;
            Err(match undone {
                Ok(()) => failure,
                Err(left) => Failure::Several(vec![failure, left]),
            })
        }
    }
}

/// Everything between the first save and the last.
async fn change(
    request: &Request,
    host: &Netlink,
    view: &VfView,
    steps: &[Step],
    pod: &Pod,
    mut attached: Attached,
) -> Result<Value, Failure> {
    let target = Target {
        device: view.address,
        pf: view.pf.clone(),
        vf: view.index,
    };
    let link = match &view.side {
        VfSide::Netdev(link) => Some(link),
        VfSide::Userspace(_) => None,
    };
    let in_pod = target
        .apply(steps, host, link, pod, &request.ifname)
        .await?;
    target.verify(host, &plan::lasting(steps)).await?;
    let position = attached.add_interface(interface(request, view, in_pod.as_ref()));
    let addresses = match Ipam::of(request).add().map_err(Failure::Ipam)? {
        Some(result) => attached
            .add_addresses(&result, position)
            .map_err(Failure::Ipam)?,
        None => ipam::Addresses::default(),
    };
    if let Some(link) = in_pod {
        configure(&target, pod, &link, &addresses).await?;
    }
    Ok(attached.document(&request.conf))
}

/// Addresses first, then up: the kernel announces the addresses of a link that comes up (`arp_notify`, `ndisc_notify`).
async fn configure(
    target: &Target,
    pod: &Pod,
    link: &Link,
    addresses: &ipam::Addresses,
) -> Result<(), Failure> {
    let mut sysctls = vec![(format!("net/ipv4/conf/{}/arp_notify", link.name), "1")];
    if Path::new("/proc/sys/net/ipv6").exists() {
        sysctls.push((format!("net/ipv6/conf/{}/ndisc_notify", link.name), "1"));
        if addresses.ips.iter().any(|ip| ip.addr().is_ipv6()) {
            sysctls.push((format!("net/ipv6/conf/{}/disable_ipv6", link.name), "0"));
            sysctls.push((
                format!("net/ipv6/conf/{}/keep_addr_on_down", link.name),
                "1",
            ));
        }
    }
    pod.netns.write_sysctls(&sysctls).map_err(Failure::Netns)?;
    let failed = |source| target.link_failure(source);
    for address in &addresses.ips {
        pod.netlink
            .add_address(link.index, *address)
            .await
            .map_err(failed)?;
    }
    pod.netlink
        .set_link(link.index, &LinkChange::Up)
        .await
        .map_err(failed)?;
    for route in &addresses.routes {
        pod.netlink
            .add_route(link.index, route)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

fn pod_netns(request: &Request, path: &Path) -> Result<Netns, Failure> {
    let netns = Netns::open(path).map_err(Failure::Netns)?;
    let own = Netns::current().map_err(Failure::Netns)?;
    if netns.id() == own.id() && !request.netns_override {
        return Err(Failure::HostNetns(path.to_owned()));
    }
    Ok(netns)
}

/// A living attachment is in the way; one that died, in the middle or with its pod, is undone now.
async fn release_leftovers(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: sriov_host::PciAddress,
) -> Result<(), Failure> {
    let Some(saved) = journal.read(device)? else {
        // Only the Go plugin leaves an allocation without an entry in the journal.
        return match journal.is_allocated_elsewhere(device) {
            Some(netns) => Err(Failure::Busy {
                device,
                container_id: format!("of the namespace {netns}"),
                ifname: "unknown".to_owned(),
            }),
            None => Ok(()),
        };
    };
    let lives = saved.phase == Phase::Attached
        && sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)? == saved.boot_id
        && Netns::open(Path::new(&saved.netns.path))
            .is_ok_and(|netns| netns.id() == saved.netns.id);
    if lives {
        return Err(Failure::Busy {
            device,
            container_id: saved.container_id,
            ifname: saved.ifname,
        });
    }
    tracing::warn!(
        "VF {device}: undoing what container `{}` left",
        saved.container_id
    );
    let ipam = Ipam::of_saved(&saved, &request.cni_path);
    match detach::undo(setup, journal, &saved, &ipam).await {
        // The VF is what it was; addresses that cannot be given back are no reason to keep it.
        Err(Failure::Ipam(error)) => {
            tracing::warn!("VF {device}: {error}");
            journal.remove(device)
        }
        done => done,
    }
}

fn baseline(view: &VfView) -> Baseline {
    let link = match &view.side {
        VfSide::Userspace(_) => None,
        VfSide::Netdev(Link {
            index: _,
            name,
            altnames,
            mac,
            mtu,
            is_up,
            device: _,
        }) => Some(SavedLink {
            name: name.clone(),
            altnames: altnames.clone(),
            mac: *mac,
            mtu: *mtu,
            is_up: *is_up,
        }),
    };
    Baseline {
        settings: view.settings,
        link,
    }
}

fn interface(request: &Request, view: &VfView, link: Option<&Link>) -> Interface {
    let admin = view
        .settings
        .and_then(|settings| settings.mac)
        .filter(|mac| !mac.is_zero());
    let mac = request
        .conf
        .wanted
        .mac
        .or(link.map_or(admin, |link| link.mac));
    Interface {
        name: request.ifname.to_string(),
        mac: mac.map(|mac| mac.to_string()),
        mtu: link.map(|link| link.mtu),
        sandbox: request
            .netns
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned()),
        pci_id: Some(view.address.to_string()),
        rest: serde_json::Map::new(),
    }
}
