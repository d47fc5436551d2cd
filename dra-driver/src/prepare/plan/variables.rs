//! The variables of `dra-driver-sriov` (`pkg/devicestate`, `pkg/cdi` at commit cd9404f) that are known before drivers are bound.

use sriov_host::PciAddress;

use crate::state::DeviceState;

/// The PCI address of the device whose name follows.
const DEVICE: &str = "SRIOVNETWORK_VF_DEVICE_";
/// The PCI addresses of all devices.
const ADDRESSES: &str = "SRIOVNETWORK_PCI_ADDRESSES";
/// The network that the device is for; empty when the parameters name none.
const NETWORK: &str = "SRIOVNETWORK_NET_ATTACH_DEF_NAME";

/// Adds them to the devices of a claim, unless the parameters have a variable of the same name.
pub(super) fn add(devices: &mut [DeviceState]) {
    let is_function = |device: &&DeviceState| device.id.parse::<PciAddress>().is_ok();
    let functions = devices.iter().filter(is_function);
    let ids: Vec<&str> = functions.map(|device| device.id.as_str()).collect();
    let ids = ids.join(",");
    // A subfunction has no PCI address, and that driver has none.
    for device in devices
        .iter_mut()
        .filter(|device| device.id.parse::<PciAddress>().is_ok())
    {
        let network = device.network.as_ref().map(|network| network.name.clone());
        let of_device = format!("{DEVICE}{}", device.name.replace('-', "_"));
        for (name, value) in [
            (of_device, device.id.clone()),
            (ADDRESSES.to_owned(), ids.clone()),
            (NETWORK.to_owned(), network.unwrap_or_default()),
        ] {
            device.env.entry(name).or_insert(value);
        }
    }
}
