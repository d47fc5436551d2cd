//! Devices that are not one VF with one network device at one port of a PF on this machine.

use std::collections::BTreeSet;
use std::fs;

use sriov_config::netconf::Wanted;
use sriov_host::snapshot::Netdev;
use sriov_host::sysfs::Presence;
use sriov_host::{HostRoot, PciAddress};

use super::error::DeviceError;
use super::uplink::is_representor;
use crate::model::Driver;

/// Vendor and device ids of VFs (pci.ids), for VFs whose driver does not show what they are, for instance `vfio-pci` or `mlx5_core`.
const VFS: &[(&str, &[&str])] = &[
    (
        "0x8086",
        &[
            "0x10ca", "0x1520", "0x10ed", "0x1515", "0x1565", "0x15a8", "0x15c5", "0x154c",
            "0x1571", "0x37cd", "0x1889",
        ],
    ),
    (
        "0x15b3",
        &[
            "0x1002", "0x1004", "0x1012", "0x1014", "0x1016", "0x1018", "0x101a", "0x101c",
            "0x101e",
        ],
    ),
];

/// Whether a device without a PF is a VF all the same: the PF of a VF in a virtual machine is outside.
pub(super) fn is_lone_vf(host: &HostRoot, device: &Presence) -> bool {
    if driver(device).is_of_vfs() {
        return true;
    }
    let read = |name: &str| {
        let path = of_device(host, device.address).join(name);
        fs::read_to_string(path).unwrap_or_default()
    };
    let (vendor, id) = (read("vendor"), read("device"));
    let mut known = VFS.iter().filter(|(known, _)| *known == vendor.trim());
    known.any(|(_, ids)| ids.contains(&id.trim()))
}

/// Fails when a VF has several network devices: one would move, and the others stay.
pub(super) fn ensure_one_netdev(vf: &Presence) -> Result<(), DeviceError> {
    if vf.netdevs.len() < 2 {
        return Ok(());
    }
    Err(DeviceError::SeveralNetdevs {
        vf: vf.address,
        names: names(vf.netdevs.iter()),
    })
}

/// Fails when settings of the PF are wanted and it has several ports in one function, as ConnectX-3 has: each port has its own list of VFs.
pub(super) fn ensure_one_port(
    host: &HostRoot,
    wanted: &Wanted,
    vf: &Presence,
    pf: &Presence,
) -> Result<(), DeviceError> {
    let uplinks: Vec<&Netdev> = pf
        .netdevs
        .iter()
        .filter(|netdev| !is_representor(netdev))
        .collect();
    if uplinks.len() < 2 || !(touches_pf(wanted) || driver(vf).is_userspace()) {
        return Ok(());
    }
    let port = |netdev: &&Netdev| {
        let path = of_device(host, pf.address).join("net");
        let path = path.join(netdev.name.as_str()).join("dev_port");
        fs::read_to_string(path).unwrap_or_default()
    };
    let ports: BTreeSet<String> = uplinks.iter().map(port).collect();
    if ports.len() < 2 {
        return Ok(());
    }
    Err(DeviceError::SeveralPorts {
        pf: pf.address,
        vf: vf.address,
        names: names(uplinks.into_iter()),
    })
}

/// Whether a setting of the PF is wanted.
pub(super) fn touches_pf(wanted: &Wanted) -> bool {
    let link_only = Wanted {
        mtu: wanted.mtu,
        ..Wanted::default()
    };
    *wanted != link_only
}

fn driver(device: &Presence) -> Driver {
    Driver::new(device.driver.as_deref().unwrap_or_default())
}

fn of_device(host: &HostRoot, address: PciAddress) -> std::path::PathBuf {
    host.join("sys/bus/pci/devices").join(address.to_string())
}

fn names<'a>(netdevs: impl Iterator<Item = &'a Netdev>) -> String {
    let names: Vec<String> = netdevs.map(|netdev| format!("`{}`", netdev.name)).collect();
    names.join(", ")
}
