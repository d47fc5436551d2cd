//! An attachment put together without the journal, so that the one undo can release it.

use sriov_host::netns::{Netns, NetnsId};
use sriov_host::vf::VfChange;
use sriov_host::{PciAddress, sysfs};

use crate::device::{self, DeviceError};
use crate::ipam::Ipam;
use crate::model::{Baseline, FORMAT, Phase, SavedAttachmentV1, SavedNetns};
use crate::request::Request;
use crate::setup::Setup;

/// An attachment of this request's, with a baseline that is not from the journal; `None` when the VF is gone.
///
/// # Errors
/// When the device is not a VF, or sysfs cannot be read.
pub(super) fn reconstruct(
    setup: &Setup,
    request: &Request,
    device: PciAddress,
    wanted: Vec<VfChange>,
    baseline: Baseline,
) -> Result<Option<SavedAttachmentV1>, DeviceError> {
    let Some(incarnation) = sysfs::incarnation(&setup.host, device) else {
        return Ok(None);
    };
    let (pf, vf) = device::pf_and_index(&setup.host, device)?;
    let path = request.netns_path();
    let id = Netns::open(path).map_or(NetnsId { dev: 0, ino: 0 }, |netns| netns.id());
    Ok(Some(SavedAttachmentV1 {
        version: FORMAT,
        phase: Phase::Prepared,
        boot_id: device::boot_id(&setup.host)?,
        network: request.conf().name.clone(),
        container_id: request.container_id.clone(),
        ifname: request.ifname.clone(),
        netns: SavedNetns {
            path: path.to_string_lossy().into_owned(),
            id,
            cookie: None,
        },
        device,
        incarnation,
        pf,
        vf,
        claim: None,
        baseline,
        wanted,
        ipam: Ipam::of(request).to_saved(),
        result: None,
        postponed: Vec::new(),
        rest: serde_json::Map::new(),
    }))
}
