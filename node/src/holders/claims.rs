//! Reads the hand-over files of the DRA driver: which devices prepared claims hold.

use sriov_device_info::claims::{ClaimDevice, ClaimStore, ClaimsError};
use sriov_host::PciAddress;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{ClaimHolder, Holder, Holders};

/// The devices of all prepared claims of this node.
///
/// # Errors
/// When the directory, or one of its files, cannot be read: a device that is not listed may be held.
pub fn claims(store: &ClaimStore) -> Result<Holders, ClaimsError> {
    let mut held = Holders::new();
    for claims in store.read_all()? {
        for device in claims?.devices {
            let holders = held.entry(DeviceId::Function(device.pci_address));
            holders.or_default().push(Holder::from(holder(device)));
        }
    }
    Ok(held)
}

/// The claim that holds a device now, by a look at the files.
///
/// # Errors
/// The same as for [`claims`].
pub fn claim_of(
    store: &ClaimStore,
    address: PciAddress,
) -> Result<Option<ClaimHolder>, ClaimsError> {
    for claims in store.read_all()? {
        let mut devices = claims?.devices.into_iter();
        if let Some(device) = devices.find(|device| device.pci_address == address) {
            return Ok(Some(holder(device)));
        }
    }
    Ok(None)
}

fn holder(device: ClaimDevice) -> ClaimHolder {
    ClaimHolder {
        resource: device.resource,
        namespace: device.claim.namespace,
        name: device.claim.name,
        uid: device.claim.uid,
    }
}
