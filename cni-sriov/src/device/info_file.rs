//! The device-info file of an attachment: names the VF, and gets the PF added.

use std::fs;
use std::path::{Component, Path, PathBuf};

use sriov_config::netconf::DeviceSource;
use sriov_device_info::Store;
use sriov_device_info::info::{DeviceInfo, Pci};
use sriov_host::PciAddress;

use super::error::DeviceError;
use crate::model::VfView;
use crate::setup::Setup;

/// PCI address of the device that the configuration and its device-info file name.
///
/// # Errors
/// When no source names a device, or two sources name different devices.
pub(crate) fn address(source: &DeviceSource) -> Result<PciAddress, DeviceError> {
    let path = source.info_file.as_deref();
    let file = path.map(sriov_device_info::store::read).transpose()?;
    // A missing file is normal: this plugin may be the one that creates it (device-info specification, section 5.1).
    let Some(info) = file.flatten() else {
        return source.address.ok_or(DeviceError::Unnamed);
    };
    let in_file = info
        .pci_address()
        .and_then(|text| text.parse::<PciAddress>().ok())
        .ok_or(DeviceError::NotPci)?;
    match source.address {
        Some(named) if named != in_file => Err(DeviceError::Disagree { named, in_file }),
        Some(_) | None => Ok(in_file),
    }
}

/// Adds the PF to the attachment's device-info file, and creates the file if the device plugin did not (device information specification, section 5.1.2).
///
/// Only a file below the specification's directory is written: its path comes with the configuration, whose author may not be root.
///
/// # Errors
/// [`DeviceError::InfoFile`].
pub(crate) fn complete_info_file(
    setup: &Setup,
    source: &DeviceSource,
    view: &VfView,
) -> Result<(), DeviceError> {
    let path = source.info_file.as_deref();
    let Some(path) = path.filter(|path| is_plain_path_below(path, &setup.device_info_dir)) else {
        return Ok(());
    };
    let known = sriov_device_info::store::read(path)?;
    let mut pci = match &known {
        None => Pci {
            pci_address: view.address.to_string(),
            ..Pci::default()
        },
        Some(DeviceInfo::Pci { pci, .. }) if pci.pf_pci_address.is_none() => pci.clone(),
        Some(_) => return Ok(()),
    };
    pci.pf_pci_address = Some(view.pf.address.to_string());
    Ok(Store::write(path, &DeviceInfo::pci(pci))?)
}

fn is_plain_path_below(path: &Path, dir: &Path) -> bool {
    let mut parts = path.components();
    parts.all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && resolved(path).starts_with(resolved(dir))
}

/// The path without symbolic links, as far as it exists: `/var/run` is a link to `/run` on most machines.
fn resolved(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|existing| {
        let rest = path.strip_prefix(existing).ok()?;
        Some(fs::canonicalize(existing).ok()?.join(rest))
    });
    real.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_and_file_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("info");
        let text = r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0"}}"#;
        fs::write(&file, text).unwrap();
        let none = dir.path().join("none");
        let found = |named: Option<&str>, file: Option<&Path>| {
            address(&DeviceSource {
                address: named.map(|text| text.parse().unwrap()),
                info_file: file.map(Into::into),
            })
        };
        let (vf, other) = (Some("0000:01:10.0"), Some("0000:01:10.2"));
        for (named, file, expected) in [
            (None, Some(file.as_path()), vf),
            (vf, Some(&file), vf),
            (other, Some(&none), other),
        ] {
            let address = found(named, file).unwrap().to_string();
            assert_eq!(Some(address.as_str()), expected);
        }
        assert!(matches!(
            found(other, Some(&file)),
            Err(DeviceError::Disagree { .. })
        ));
        assert!(matches!(found(None, None), Err(DeviceError::Unnamed)));
    }
}
