//! CHECK: compares the kernel with the journal and with the result of the whole chain, and names what drifted.

use ipnet::IpNet;
use serde_json::Value;
use sriov_host::netlink::{Link, Netlink, NetlinkError};
use sriov_host::netns::Netns;
use sriov_host::{PciAddress, sysfs};

use crate::device::{self, DeviceError, driver_of, is_unchanged_device};
use crate::drift::{self, Drift, Drifted};
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{Journal, JournalError};
use crate::kernel::{KernelError, Target, open_netns};
use crate::model::{Driver, Phase, SavedAttachmentV1};
use crate::request::Request;
use crate::result::{Attached, Interface};
use crate::setup::Setup;

/// Where the reference plugin `tuning` saves what was before it (plugins/meta/tuning of the CNI plugins, `defaultDataDir`).
const TUNING: &str = "run/cni/tuning";

/// Compares; nothing is changed.
///
/// # Errors
/// [`Failure::Drifted`] with all differences, or the first failure that makes a comparison impossible.
pub(crate) async fn check(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
) -> Result<(), Failure> {
    let conf = request.conf();
    let result = Attached::of_chain(conf)?;
    let netns = open_netns(request.netns_path())?;
    let device = device_of(journal, request)?;
    let _lock = journal.lock(device)?;
    let saved = attached(journal, request, device)?;
    let mut drifts = identity(setup, request, &saved, &netns)?;
    if drifts.is_empty() {
        drifts = compare(setup, request, &saved, &netns, &result).await?;
    }
    let mut failures: Vec<Failure> = Vec::new();
    if !drifts.is_empty() {
        failures.push(Drifted { device, drifts }.into());
    }
    failures.extend(Ipam::of(request).check().err().map(Failure::from));
    Failure::all(failures)
}

/// The device that the configuration names, else that of the attachment: the runtime names none if the pod got it by a claim.
fn device_of(journal: &Journal, request: &Request) -> Result<PciAddress, Failure> {
    let unnamed = match device::address(&request.conf().device) {
        Err(error @ DeviceError::Unnamed) => error,
        named => return Ok(named?),
    };
    let [network, container_id, ifname] = request.key();
    let mut entries = journal.entries()?.into_iter();
    let saved = entries.find_map(|entry| {
        let saved = entry.saved.ok().filter(|_| !entry.is_owed)?;
        saved
            .is_of(network, container_id, ifname)
            .then_some(saved.device)
    });
    saved.ok_or(unnamed.into())
}

/// The complete attachment of this request.
fn attached(
    journal: &Journal,
    request: &Request,
    device: PciAddress,
) -> Result<SavedAttachmentV1, JournalError> {
    let network = &request.conf().name;
    let is_meant = |saved: &SavedAttachmentV1| {
        saved.phase == Phase::Attached
            && saved.is_of(network, &request.container_id, request.ifname.as_str())
    };
    let saved = journal.read(device)?.filter(is_meant);
    saved.ok_or(JournalError::NotAttached(device))
}

/// Whether VF and pod are still those of the attachment; if not, nothing else can be compared.
fn identity(
    setup: &Setup,
    request: &Request,
    saved: &SavedAttachmentV1,
    netns: &Netns,
) -> Result<Vec<Drift>, DeviceError> {
    let mut drifts = Vec::new();
    if !is_unchanged_device(&setup.host, saved)? {
        drifts.push(Drift::of_device(saved.device));
    }
    if !saved.netns.is(netns.id(), None) {
        drifts.push(Drift::of_netns(request.netns_path()));
    }
    Ok(drifts)
}

async fn compare(
    setup: &Setup,
    request: &Request,
    saved: &SavedAttachmentV1,
    netns: &Netns,
    result: &Attached,
) -> Result<Vec<Drift>, KernelError> {
    let ifname = &request.ifname;
    let (interface, ips) = result.of_interface(ifname.as_str(), request.netns_path());
    let Some(interface) = interface else {
        let mut drifts = settings(setup, saved, false).await?;
        drifts.push(Drift::of_result(ifname));
        return Ok(drifts);
    };
    if saved.baseline.link.is_none() {
        let mut drifts = settings(setup, saved, false).await?;
        drifts.extend(userspace_driver(setup, saved.device)?);
        return Ok(drifts);
    }
    let device = saved.device;
    let failed = |source| KernelError::Link { device, source };
    let pod = Netlink::in_netns(netns, setup.request_deadline)?;
    if !saved.netns.is(netns.id(), pod.netns_cookie()) {
        return Ok(vec![Drift::of_netns(request.netns_path())]);
    }
    let named = pod.link_named(ifname).await.map_err(failed)?;
    let Some(link) = named.filter(|link| saved.is_its_link(link)) else {
        let mut drifts = settings(setup, saved, false).await?;
        let elsewhere = pod.link_of_device(device).await.map_err(failed)?;
        drifts.push(Drift::of_place(device, ifname, elsewhere.as_ref()));
        return Ok(drifts);
    };
    let mut drifts = settings(setup, saved, drift::is_enslaved(&link)).await?;
    drifts.extend(link_and_mtu(setup, request, interface, &link));
    let addressed = addresses_and_routes(&pod, &link, &ips, result).await;
    drifts.extend(addressed.map_err(failed)?);
    Ok(drifts)
}

async fn settings(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    is_enslaved: bool,
) -> Result<Vec<Drift>, KernelError> {
    if saved.wanted.is_empty() {
        return Ok(Vec::new());
    }
    let host = setup.host_netlink()?;
    let target = Target::of_saved(&setup.host, saved)?;
    let now = target.settings(&host).await?.unwrap_or_default();
    Ok(drift::settings(saved, &now, is_enslaved))
}

fn userspace_driver(setup: &Setup, device: PciAddress) -> Result<Option<Drift>, KernelError> {
    let vf = sysfs::presence(&setup.host, device)?;
    let driver = vf.as_ref().and_then(driver_of);
    let is_userspace = driver.as_ref().is_some_and(Driver::is_userspace);
    Ok((!is_userspace).then(|| Drift::of_driver(device, driver.as_ref())))
}

fn link_and_mtu(
    setup: &Setup,
    request: &Request,
    interface: &Interface,
    link: &Link,
) -> Vec<Drift> {
    let mtu = interface.mtu.filter(|_| !tuning_sets_mtu(setup, request));
    drift::link(interface, mtu, link)
}

async fn addresses_and_routes(
    pod: &Netlink,
    link: &Link,
    ips: &[IpNet],
    result: &Attached,
) -> Result<Vec<Drift>, NetlinkError> {
    let mut drifts = Vec::new();
    if !ips.is_empty() {
        let found = pod.addresses(link.index).await?;
        drifts.extend(drift::addresses(&link.name.to_string(), ips, &found));
    }
    let wanted = result.readable_routes();
    if !wanted.is_empty() {
        let found = pod.routes().await?;
        drifts.extend(drift::routes(&wanted, &found));
    }
    Ok(drifts)
}

/// Whether the reference plugin `tuning` set an MTU after this plugin: it saves the previous MTU for its DEL, and does not report its own in the result.
fn tuning_sets_mtu(setup: &Setup, request: &Request) -> bool {
    let Request {
        container_id,
        ifname,
        ..
    } = request;
    let name = format!("{container_id}_{ifname}.json");
    let record = std::fs::read(setup.host.join(TUNING).join(name)).ok();
    let record: Option<Value> = record.and_then(|text| serde_json::from_slice(&text).ok());
    record.is_some_and(|record| record.get("mtu").is_some())
}
