//! ADD: judge, lock, observe, plan, save, change, save again. A failure undoes all of it.

use std::path::Path;

use serde_json::Value;
use sriov_host::PciAddress;
use sriov_host::link::CleanLink;
use sriov_host::netlink::{Link, Netlink};
use sriov_host::netns::NetnsId;

use super::release::{exists, release_leftovers, undo};
use crate::device::{self, Candidate, DeviceError, Selected};
use crate::failure::Failure;
use crate::ipam::{Adding, Ipam};
use crate::journal::{Journal, VfLock, encode_go_state};
use crate::kernel::{self, Attachment, KernelError, Target};
use crate::model::{Baseline, FORMAT, Phase, SavedAttachmentV1, SavedNetns, VfView};
use crate::plan::plan_attach;
use crate::request::Request;
use crate::result::{Attached, Interface};
use crate::setup::Setup;

/// Attaches the VF and returns the result in the version of the configuration.
///
/// # Errors
/// Nothing of the attachment remains then, or [`Failure::Several`] lists what remains.
pub(crate) async fn add(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
) -> Result<Value, Failure> {
    let conf = request.conf();
    let previous = Attached::previous(conf)?;
    previous.ensure_expressible(conf)?;
    let ipam = Ipam::of(request);
    ipam.ensure_there()?;
    let netns = kernel::open_pod_netns(request.netns_path(), request.netns_override)?;
    let is_free = |device| is_free(setup, journal, device);
    let Selected {
        address,
        claim,
        metadata,
    } = device::select(setup, request, is_free)?;
    let (candidate, _lock) = lock_free_vf(setup, journal, request, address).await?;

    let host = setup.host_netlink().map_err(KernelError::from)?;
    let view = device::observe(&host, candidate, &conf.wanted).await?;
    log_changes(&view);
    let plan = plan_attach(&conf.wanted, &view);
    let mut saved = prepared(setup, request, &view, netns.id())?;
    saved.wanted = plan.lasting();
    saved.ipam = ipam.to_saved();
    saved.claim = claim;
    let attachment = Attachment::prepare(setup, plan, netns, &request.ifname).await?;
    saved.netns.cookie = attachment.netns_cookie();

    journal.write(&saved)?;
    let call = Call {
        setup,
        request,
        host: &host,
        view: &view,
        ipam: &ipam,
        metadata: metadata.as_deref(),
    };
    match attach_and_save(&call, journal, &attachment, &saved, previous).await {
        Ok(result) => {
            complete_info_file(&call);
            Ok(result)
        }
        Err(failure) => {
            let mut remains = take_back_replaced(&call, &saved).await;
            remains.extend(undo(setup, journal, &saved, &ipam).await.err());
            Err(failure.and(remains))
        }
    }
}

/// Logs what somebody changed on the free VF: the pod gets it, and DEL restores it.
fn log_changes(view: &VfView) {
    let Some(link) = view.link() else { return };
    for difference in CleanLink::probed(link).differences(link) {
        tracing::info!(device = %view.address, %difference, "the VF is not as its driver makes it");
    }
}

/// What all steps of the change share.
struct Call<'a> {
    setup: &'a Setup,
    request: &'a Request,
    host: &'a Netlink,
    view: &'a VfView,
    ipam: &'a Ipam,
    metadata: Option<&'a Path>,
}

/// Whether a device of a claim can be chosen; under its lock it is judged again.
fn is_free(setup: &Setup, journal: &Journal, device: PciAddress) -> bool {
    let saved = journal.read(device).ok().flatten();
    saved.is_none_or(|saved| exists(setup, &saved).is_ok_and(|exists| !exists))
}

/// Takes the lock of the VF and releases a dead attachment; all that is judged was read under the lock.
async fn lock_free_vf(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    address: PciAddress,
) -> Result<(Candidate, VfLock), Failure> {
    let conf = request.conf();
    // No lock file remains for an address without a device.
    device::ensure_present(&setup.host, address)?;
    let lock = journal.lock(address)?;
    release_leftovers(setup, journal, request, address).await?;
    let candidate = device::find_vf(&setup.host, address, &conf.wanted)?;
    Ok((candidate, lock))
}

/// The attachment as it is saved before the first change.
fn prepared(
    setup: &Setup,
    request: &Request,
    view: &VfView,
    netns: NetnsId,
) -> Result<SavedAttachmentV1, DeviceError> {
    let baseline = Baseline::of(view).map_err(|source| DeviceError::Name {
        device: view.address,
        source,
    })?;
    Ok(SavedAttachmentV1 {
        version: FORMAT,
        phase: Phase::Prepared,
        boot_id: device::boot_id(&setup.host)?,
        network: request.conf().name.clone(),
        container_id: request.container_id.clone(),
        ifname: request.ifname.clone(),
        netns: SavedNetns {
            path: request.netns_path().to_string_lossy().into_owned(),
            id: netns,
            cookie: None,
        },
        device: view.address,
        incarnation: view.incarnation,
        pf: view.pf.address,
        vf: view.index,
        claim: None,
        baseline,
        wanted: Vec::new(),
        ipam: None,
        result: None,
        postponed: Vec::new(),
        rest: serde_json::Map::new(),
    })
}

/// Everything between the first save and the last.
async fn attach_and_save(
    call: &Call<'_>,
    journal: &Journal,
    attachment: &Attachment,
    saved: &SavedAttachmentV1,
    previous: Attached,
) -> Result<Value, Failure> {
    let Call { request, view, .. } = call;
    let go_state = encode_go_state(
        &request.network.stdin,
        request.conf(),
        view,
        &request.ifname,
    );
    journal.write_go_copy(saved, &go_state)?;
    let (result, index) = attach(call, attachment, saved, previous).await?;
    let mut attached = SavedAttachmentV1 {
        phase: Phase::Attached,
        result: Some(result.clone()),
        ..saved.clone()
    };
    if let Some(link) = &mut attached.baseline.link {
        link.index = index;
    }
    journal.complete(&attached)?;
    Ok(result)
}

/// Changes the VF, gets addresses from IPAM, and configures the interface; returns the result, and the index of the interface in the pod.
async fn attach(
    call: &Call<'_>,
    attachment: &Attachment,
    saved: &SavedAttachmentV1,
    mut result: Attached,
) -> Result<(Value, Option<u32>), Failure> {
    let Call {
        setup,
        request,
        host,
        view,
        ipam,
        metadata,
    } = call;
    let target = Target::of_view(view);
    // At the PF a VF has only an index, which may belong to another VF by now.
    device::ensure_same(&setup.host, view)?;
    let index = kernel::attach(&target, &setup.host, host, attachment, &request.ifname).await?;
    let set_up = set_up(call, &target, attachment, index, saved);
    let (link, document) = if ipam.uses_link() {
        let link = set_up.await?;
        (link, ipam.start_add()?.map(Adding::finish).transpose()?)
    } else {
        both(ipam.start_add()?, set_up.await)?
    };
    let position = result.add_interface(interface(request, view, link.as_ref()));
    if let Some(document) = document {
        let addresses = result.add_addresses(&document, position)?;
        if let (Some(link), Some(pod)) = (&link, attachment.pod()) {
            kernel::configure(&target, pod, link, &addresses).await?;
        }
    }
    let index = link.map(|link| link.index);
    if let (Some(path), Some(claim)) = (metadata, &saved.claim) {
        device::write_network_data(path, claim, &result.newest(), request.ifname.as_str())?;
    }
    Ok((result.document(request.conf()), index))
}

/// Sets the network device up, and checks that VF and PF have kept what was set.
async fn set_up(
    call: &Call<'_>,
    target: &Target,
    attachment: &Attachment,
    index: Option<u32>,
    saved: &SavedAttachmentV1,
) -> Result<Option<Link>, Failure> {
    let link = kernel::set_up(target, attachment, index, &call.request.ifname).await?;
    target.verify(call.host, &saved.wanted).await?;
    device::ensure_same(&call.setup.host, call.view)?;
    Ok(link)
}

/// The network device, and the result of the IPAM plugin that ran meanwhile.
///
/// The plugin is waited for in any case: it may have the addresses already, and the undo must come after it.
fn both(
    adding: Option<Adding<'_>>,
    link: Result<Option<Link>, Failure>,
) -> Result<(Option<Link>, Option<Value>), Failure> {
    let document = adding.map(Adding::finish).transpose();
    match (link, document) {
        (Ok(link), Ok(document)) => Ok((link, document)),
        (Err(failure), Ok(_)) => Err(failure),
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(failure), Err(error)) => Err(failure.and(vec![error.into()])),
    }
}

/// Takes back what was set at a VF that was created again during the call: the journal is about its predecessor.
async fn take_back_replaced(call: &Call<'_>, saved: &SavedAttachmentV1) -> Vec<Failure> {
    if device::ensure_same(&call.setup.host, call.view).is_ok() {
        return Vec::new();
    }
    let target = Target::of_view(call.view);
    let errors = kernel::take_back(&target, call.host, &saved.wanted).await;
    errors.into_iter().map(Failure::from).collect()
}

/// The interface of the result; `link` is the network device in the pod.
fn interface(request: &Request, view: &VfView, link: Option<&Link>) -> Interface {
    let admin = view.settings.and_then(|settings| settings.mac);
    let mac = match link {
        Some(link) => link.mac,
        None => request
            .conf()
            .wanted
            .mac
            .or(admin.filter(|mac| !mac.is_zero())),
    };
    let sandbox = request.netns.as_ref();
    Interface {
        name: request.ifname.to_string(),
        mac: mac.map(|mac| mac.to_string()),
        mtu: link.map(|link| link.mtu),
        sandbox: sandbox.map(|path| path.to_string_lossy().into_owned()),
        pci_id: Some(view.address.to_string()),
        rest: serde_json::Map::new(),
    }
}

/// The attachment is complete without the file: a failure is only logged.
fn complete_info_file(call: &Call<'_>) {
    let source = &call.request.conf().device;
    if let Err(error) = device::complete_info_file(call.setup, source, call.view) {
        tracing::warn!(%error, "the device-info file does not name the PF");
    }
}
