//! Devices below PCI functions on other buses: vDPA devices and subfunctions; the link of each has the path of its function.

use std::fs;
use std::path::Path;

use super::attribute::{AttributeError, Device};
use super::netdevs::netdevs;
use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::snapshot::{HostSnapshot, ScanProblem, Subfunction, VdpaDevice};

/// Adds the vDPA devices to their functions.
pub(super) fn vdpa(root: &HostRoot, snapshot: &mut HostSnapshot) {
    each(root, "vdpa", snapshot, |snapshot, name, parent, device| {
        if let Some(function) = snapshot.functions.get_mut(&parent) {
            function.vdpa.push(VdpaDevice {
                name: name.to_owned(),
                driver: device.link("driver")?,
            });
        }
        Ok(())
    });
}

/// Finds the subfunctions: `<driver>.sf.<id>`.
pub(super) fn subfunctions(root: &HostRoot, snapshot: &mut HostSnapshot) {
    each(root, "auxiliary", snapshot, |snapshot, name, pf, device| {
        if name.rsplit('.').nth(1) != Some("sf") {
            return Ok(());
        }
        // A subfunction that is being created has no number yet.
        let Some(sfnum) = device.decimal("sfnum")? else {
            return Ok(());
        };
        let subfunction = Subfunction {
            name: name.to_owned(),
            pf,
            sfnum,
            driver: device.link("driver")?,
            netdevs: netdevs(device, true)?,
            rdma: device.sorted("infiniband")?,
        };
        snapshot.subfunctions.insert(name.to_owned(), subfunction);
        Ok(())
    });
}

fn each(
    root: &HostRoot,
    bus: &str,
    snapshot: &mut HostSnapshot,
    mut read: impl FnMut(&mut HostSnapshot, &str, PciAddress, &Device) -> Result<(), AttributeError>,
) {
    let dir = root.join("sys/bus").join(bus).join("devices");
    // A kernel without this bus has no such devices.
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        let device = Device::new(dir.join(&name));
        snapshot.lookups += 1;
        let target = fs::read_link(dir.join(&name)).unwrap_or_default();
        if let Some(parent) = parent(&target)
            && let Err(error) = read(snapshot, &name, parent, &device)
            && device.exists()
        {
            snapshot.problems.push(ScanProblem {
                device: name,
                reason: super::chain(&error.into()),
            });
        }
        snapshot.lookups += device.lookups();
    }
}

/// The nearest PCI function above a device.
pub(super) fn parent(target: &Path) -> Option<PciAddress> {
    let mut above = target.ancestors().skip(1);
    above.find_map(|path| path.file_name()?.to_str()?.parse().ok())
}
