//! The device of an attachment: named by the configuration or its device-info file, else one of the pod's prepared claims.

use std::path::PathBuf;

use sriov_device_info::claims::{ClaimDevice, ClaimStore, PodClaims, PodUid};
use sriov_host::PciAddress;

use super::claims::Wish;
use super::error::DeviceError;
use super::info_file::address;
use crate::model::SavedClaim;
use crate::request::Request;
use crate::setup::Setup;

/// The device of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Its PCI address.
    pub(crate) address: PciAddress,
    /// The claim that it belongs to, if it does.
    pub(crate) claim: Option<SavedClaim>,
    /// The metadata file of the request, which gets the network data.
    pub(crate) metadata: Option<PathBuf>,
}

/// Finds the device of a request; a device that somebody names must agree with the pod's claims.
///
/// # Errors
/// When there is no device in the configuration or the claims, when both name different ones, or when the claims cannot be read.
pub(crate) fn select(
    setup: &Setup,
    request: &Request,
    is_free: impl Fn(PciAddress) -> bool,
) -> Result<Selected, DeviceError> {
    let conf = request.conf();
    let named = match address(&conf.device) {
        Err(DeviceError::Unnamed) => None,
        named => Some(named?),
    };
    let Some(claims) = claims(setup, request)? else {
        let address = named.ok_or(DeviceError::Unnamed)?;
        return Ok(Selected {
            address,
            claim: None,
            metadata: None,
        });
    };
    let wish = Wish {
        source: &conf.claim,
        ifname: &request.ifname,
        network: &conf.name,
    };
    let Some(named) = named else {
        return Ok(of_entry(&claims, wish.pick(&claims, is_free)?));
    };
    let entry = wish.confirm(&claims, named)?;
    Ok(entry.map_or(
        Selected {
            address: named,
            claim: None,
            metadata: None,
        },
        |entry| of_entry(&claims, entry),
    ))
}

/// The devices that may be those of an attachment whose journal is lost; none if the pod's claims are not known.
pub(crate) fn claimed(setup: &Setup, request: &Request) -> Vec<PciAddress> {
    let claims = claims(setup, request).ok().flatten();
    let devices = claims.into_iter().flat_map(|claims| claims.devices);
    devices.map(|device| device.pci_address).collect()
}

/// The prepared claims of the pod; none if the runtime passes no pod, or the pod has no claim.
fn claims(setup: &Setup, request: &Request) -> Result<Option<PodClaims>, DeviceError> {
    let args = request.args.as_deref().unwrap_or_default();
    let mut pairs = args.split(';').filter_map(|pair| pair.split_once('='));
    let uid = pairs.find(|(key, _)| *key == "K8S_POD_UID");
    // Without a usable UID there is no file of that pod.
    let Some(uid) = uid.and_then(|(_, uid)| uid.parse::<PodUid>().ok()) else {
        return Ok(None);
    };
    Ok(ClaimStore::below(&setup.state_dir).read(&uid)?)
}

fn of_entry(claims: &PodClaims, entry: &ClaimDevice) -> Selected {
    let ClaimDevice {
        claim,
        request,
        pool,
        device,
        pci_address,
        metadata,
        ..
    } = entry;
    Selected {
        address: *pci_address,
        claim: Some(SavedClaim {
            driver: claims.driver.clone(),
            namespace: claim.namespace.clone(),
            name: claim.name.clone(),
            uid: claim.uid.clone(),
            request: request.clone(),
            pool: pool.clone(),
            device: device.clone(),
        }),
        metadata: metadata.clone(),
    }
}
