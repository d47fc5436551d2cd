//! ADD: observe, plan, save, apply, addresses, save again, answer; any failure undoes all of it.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sriov_host::netlink::{Link, Netlink};
use sriov_host::netns::Netns;
use sriov_host::vf::VfSettings;
use sriov_host::{PciAddress, sysfs};

use crate::Setup;
use crate::apply::{Pod, Target};
use crate::device::{self, VfSide, VfView};
use crate::failure::Failure;
use crate::go_state;
use crate::ipam::{Addresses, Ipam};
use crate::journal::Journal;
use crate::plan::{self, Step};
use crate::request::Request;
use crate::result::{Attached, Interface};
use crate::saved::{Baseline, Phase, SavedAttachmentV1, SavedLink, SavedNetns};
use crate::undo;

/// Time that the link gets to find its carrier before its addresses are announced.
const CARRIER: Duration = Duration::from_millis(200);

/// Attaches the VF and gives the result in the version of the configuration.
///
/// # Errors
/// Nothing of the attachment is left then, or [`Failure::Several`] says what is.
pub async fn add(setup: &Setup, journal: &Journal, request: &Request) -> Result<Value, Failure> {
    let conf = request.conf();
    let previous = Attached::previous(conf)?;
    previous.ensure_expressible(conf)?;
    let ipam = Ipam::of(request);
    ipam.ensure_there().map_err(Failure::Ipam)?;
    let netns_path = request.netns.clone().unwrap_or_default();
    let netns = pod_netns(request, &netns_path)?;
    let address = device::address(&conf.device)?;
    let mut candidate = device::identify(&setup.host, address, &conf.wanted)?;

    let lock = journal.lock(address)?;
    let was_released = release_leftovers(setup, journal, request, address).await?;
    if lock.was_contended || was_released {
        candidate = device::identify(&setup.host, address, &conf.wanted)?;
    }
    let host = setup.host_netlink()?;
    let view = device::observe(&host, candidate, &conf.wanted).await?;
    let link = netdev(&view);
    let id = netns.id();
    let pod = link
        .map(|link| Pod::enter(setup, netns, &request.ifname, link))
        .transpose()?;
    if pod.as_ref().is_some_and(|pod| pod.has_name) {
        return Err(Failure::NameTaken(request.ifname.to_string()));
    }
    let steps = plan::plan_attach(&conf.wanted, &view);
    let mut saved = SavedAttachmentV1 {
        version: 1,
        phase: Phase::Prepared,
        boot_id: sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)?,
        network: conf.name.clone(),
        container_id: request.container_id.clone(),
        ifname: request.ifname.to_string(),
        netns: SavedNetns {
            path: netns_path.to_string_lossy().into_owned(),
            id,
        },
        device: address,
        incarnation: view.incarnation,
        pf: view.pf.address,
        vf: view.index,
        baseline: baseline(&view),
        wanted: plan::lasting(&steps),
        ipam: ipam.to_saved(),
        result: None,
    };
    journal.write(&saved)?;
    let done = async {
        journal.tell_go(
            &saved,
            &go_state::encode(&request.network.stdin, conf, &view, &request.ifname),
        )?;
        change(
            setup,
            request,
            &host,
            &view,
            &steps,
            link.zip(pod.as_ref()),
            previous,
        )
        .await
    };
    let finished = match done.await {
        Ok(result) => {
            let attached = SavedAttachmentV1 {
                phase: Phase::Attached,
                result: Some(result.clone()),
                ..saved.clone()
            };
            journal.write(&attached).map(|()| result)
        }
        Err(failure) => Err(failure),
    };
    match finished {
        Ok(result) => {
            if let Err(error) = device::tell(setup, &conf.device, &view) {
                tracing::warn!("{error}: what the runtime tells of the device lacks its PF");
            }
            Ok(result)
        }
        Err(failure) => {
            saved.phase = Phase::Prepared;
            let undone = undo::undo(setup, journal, &saved, &ipam).await;
            Err(match undone {
                Ok(()) => failure,
                Err(left) => Failure::Several(vec![failure, left]),
            })
        }
    }
}

/// Everything between the first save and the last.
async fn change(
    setup: &Setup,
    request: &Request,
    host: &Netlink,
    view: &VfView,
    steps: &[Step],
    netdev: Option<(&Link, &Pod)>,
    mut attached: Attached,
) -> Result<Value, Failure> {
    let target = Target {
        device: view.address,
        pf: view.pf.clone(),
        vf: view.index,
    };
    let in_pod = target
        .apply(steps, &setup.host, host, netdev, &request.ifname)
        .await?;
    target.verify(host, &plan::lasting(steps)).await?;
    let position = attached.add_interface(interface(request, view, in_pod.as_ref()));
    let given = Ipam::of(request).add().map_err(Failure::Ipam)?;
    if let Some(result) = given {
        let addresses = attached
            .add_addresses(&result, position)
            .map_err(Failure::Ipam)?;
        if let (Some(link), Some((_, pod))) = (&in_pod, netdev) {
            configure(&target, pod, link, &addresses).await?;
        }
    }
    Ok(attached.document(request.conf()))
}

/// Gives the network device its addresses, and tells the segment of them.
async fn configure(
    target: &Target,
    pod: &Pod,
    link: &Link,
    addresses: &Addresses,
) -> Result<(), Failure> {
    let name = &link.name;
    if addresses.ips.iter().any(|ip| ip.addr().is_ipv6()) {
        pod.write_sysctls(&[
            (format!("net/ipv6/conf/{name}/disable_ipv6"), "0"),
            (format!("net/ipv6/conf/{name}/keep_addr_on_down"), "1"),
        ])?;
    }
    let failed = |source| target.link_failure(source);
    for address in &addresses.ips {
        pod.netlink
            .add_address(link.index, *address)
            .await
            .map_err(failed)?;
    }
    for route in &addresses.routes {
        pod.netlink
            .add_route(link.index, route)
            .await
            .map_err(failed)?;
    }
    // Nobody is told by force: a segment that did not hear it learns the address when it asks.
    if let Err(error) = announce(pod, link, addresses).await {
        tracing::warn!("cannot announce the addresses of `{name}`: {error}");
    }
    Ok(())
}

async fn announce(pod: &Pod, link: &Link, addresses: &Addresses) -> io::Result<()> {
    let v4 = addresses.ips.iter().filter_map(|ip| match ip.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let mut v4 = v4.peekable();
    let (Some(_), Some(mac)) = (v4.peek(), link.mac) else {
        return Ok(());
    };
    let announcer = pod
        .announcer
        .as_ref()
        .map_err(|error| io::Error::from(error.kind()))?;
    let deadline = Instant::now() + CARRIER;
    let mut now = link.clone();
    while !now.has_carrier && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let read = pod.netlink.link(link.index).await;
        now = read.map_err(io::Error::other)?.unwrap_or(now);
    }
    v4.try_for_each(|address| announcer.arp(link.index, mac, address))
}

fn pod_netns(request: &Request, path: &Path) -> Result<Netns, Failure> {
    let netns = Netns::open(path).map_err(Failure::Netns)?;
    let own = Netns::current().map_err(Failure::Netns)?;
    if netns.id() == own.id() && !request.netns_override {
        return Err(Failure::HostNetns(path.to_owned()));
    }
    Ok(netns)
}

/// A living attachment is in the way; one that died, in the middle or with its pod, is undone now. Tells whether there was one.
async fn release_leftovers(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
) -> Result<bool, Failure> {
    let Some(saved) = journal.read(device).map_err(Failure::Journal)? else {
        return ensure_not_of_go(journal, device).map(|()| false);
    };
    let lives = saved.phase == Phase::Attached
        && sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)? == saved.boot_id
        && sysfs::incarnation(&setup.host, device) == Some(saved.incarnation)
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
    let ipam = Ipam::of_saved(&saved, &request.network.cni_path);
    match undo::undo(setup, journal, &saved, &ipam).await {
        // What was undone may have been old: the Go plugin gave the VF to another pod since.
        Ok(()) => ensure_not_of_go(journal, device).map(|()| true),
        Err(failure) => match journal.read(device).map_err(Failure::Journal)? {
            // The VF is what it was; addresses that cannot be given back now are no reason to keep it.
            Some(saved) if saved.phase == Phase::Released => {
                tracing::warn!("VF {device}: {}", failure.chain());
                journal.owe(&saved).map(|()| true)
            }
            Some(_) | None => Err(failure),
        },
    }
}

/// Only the Go plugin leaves an allocation without an entry in the journal.
fn ensure_not_of_go(journal: &Journal, device: PciAddress) -> Result<(), Failure> {
    match journal.allocated_to(device) {
        Some(_) => Err(Failure::BusyElsewhere(device)),
        None => Ok(()),
    }
}

fn netdev(view: &VfView) -> Option<&Link> {
    match &view.side {
        VfSide::Netdev(link) => Some(link),
        VfSide::Userspace(_) => None,
    }
}

fn baseline(view: &VfView) -> Baseline {
    let link = netdev(view).map(|link| {
        let (name, altnames) = undo::rightful_name(link);
        SavedLink {
            name,
            altnames: Some(altnames),
            mac: link.mac,
            mtu: Some(link.mtu),
            is_up: link.is_up,
        }
    });
    // Kernels before Linux 5.12 tell GUIDs only by the address of the network device.
    let guid = netdev(view).and_then(|link| link.guid);
    let settings = view.settings.map(|settings| VfSettings {
        node_guid: settings.node_guid.or(guid),
        port_guid: settings.port_guid.or(guid),
        ..settings
    });
    Baseline { settings, link }
}

fn interface(request: &Request, view: &VfView, link: Option<&Link>) -> Interface {
    let admin = view
        .settings
        .and_then(|settings| settings.mac)
        .filter(|mac| !mac.is_zero());
    let mac = match link {
        Some(link) => link.mac,
        None => request.conf().wanted.mac.or(admin),
    };
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
