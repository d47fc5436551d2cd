//! The device that a network configuration names.

use std::path::PathBuf;

use sriov_host::PciAddress;

use crate::fields::{Fields, Findings};

/// Sources of the PCI address, which must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSource {
    /// `deviceID` or `pciBusID` of the configuration or of `runtimeConfig`.
    pub address: Option<PciAddress>,
    /// `runtimeConfig.CNIDeviceInfoFile`.
    pub info_file: Option<PathBuf>,
}

/// Reads the device; all keys that name one must agree.
pub(super) fn read(
    fields: &Fields<'_>,
    runtime: Option<&Fields<'_>>,
    findings: &mut Findings,
) -> DeviceSource {
    let mut source = DeviceSource::default();
    let places = [Some(fields), runtime]
        .into_iter()
        .flatten()
        .flat_map(|fields| [(fields, "deviceID"), (fields, "pciBusID")]);
    for (fields, key) in places {
        if fields.text(key, findings).is_none_or(str::is_empty) {
            continue;
        }
        let Some(address) = fields.parsed::<PciAddress>(key, findings) else {
            continue;
        };
        match source.address {
            Some(other) if other != address => {
                findings.mistake(&fields.path(key), format!("`{address}` is not the device `{other}` that the configuration names elsewhere"));
            }
            Some(_) | None => source.address = Some(address),
        }
    }
    source.info_file = runtime
        .and_then(|runtime| runtime.text("CNIDeviceInfoFile", findings))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    source
}
