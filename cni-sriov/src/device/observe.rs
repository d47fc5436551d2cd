//! Reads a VF and its PF by netlink: the state that the plan starts from.

use sriov_config::netconf::Wanted;
use sriov_host::PciAddress;
use sriov_host::ethtool::EthtoolSettings;
use sriov_host::netlink::{Link, Netlink, NetlinkError};
use sriov_host::sysfs::Presence;

use super::error::DeviceError;
use super::identify::Candidate;
use crate::model::{Driver, VfSide, VfView};

/// The VF as it is now; `candidate` must have been read from sysfs since the lock was taken.
///
/// # Errors
/// When the PF is down or the network device is not on the host.
pub(crate) async fn observe(
    netlink: &Netlink,
    candidate: Candidate,
    wanted: &Wanted,
) -> Result<VfView, DeviceError> {
    let Candidate {
        vf,
        incarnation,
        pf,
        index,
        driver,
    } = candidate;
    let side = observe_side(netlink, &vf, driver.clone()).await?;
    let failed = |source| failed(vf.address, source);
    let (uplink, settings) = if touches_pf(wanted) || side.is_userspace() {
        let read = netlink.vf_of_pf(pf.ifindex, index).await.map_err(failed)?;
        read.map_or((None, None), |(uplink, settings)| (Some(uplink), settings))
    } else {
        // No setting of the PF is wanted: its list of VFs is not needed.
        (netlink.link(pf.ifindex).await.map_err(failed)?, None)
    };
    ensure_up(uplink, &pf.name, pf.address)?;
    Ok(VfView {
        address: vf.address,
        incarnation,
        pf,
        index,
        settings,
        driver,
        ethtool: observe_ethtool(netlink, &side),
        side,
    })
}

/// Whether a setting of the PF is wanted.
fn touches_pf(wanted: &Wanted) -> bool {
    let link_only = Wanted {
        mtu: wanted.mtu,
        ..Wanted::default()
    };
    *wanted != link_only
}

async fn observe_side(
    netlink: &Netlink,
    vf: &Presence,
    driver: Driver,
) -> Result<VfSide, DeviceError> {
    let Some(netdev) = vf.netdevs.first() else {
        return if driver.is_userspace() {
            Ok(VfSide::Userspace(driver))
        } else {
            Err(DeviceError::Away(vf.address, driver))
        };
    };
    let link = netlink
        .link(netdev.ifindex)
        .await
        .map_err(|source| failed(vf.address, source))?;
    // Another call may have moved the device since sysfs was read.
    let is_of_vf = |link: &Link| link.device.is_none_or(|device| device == vf.address);
    link.filter(is_of_vf)
        .map(VfSide::Netdev)
        .ok_or(DeviceError::Away(vf.address, driver))
}

/// What cannot be read is not compared later.
fn observe_ethtool(netlink: &Netlink, side: &VfSide) -> Option<EthtoolSettings> {
    match side {
        VfSide::Netdev(link) => netlink.ethtool_settings(link.index).ok(),
        VfSide::Userspace(_) => None,
    }
}

fn ensure_up(uplink: Option<Link>, name: &str, pf: PciAddress) -> Result<(), DeviceError> {
    match uplink {
        None => Err(DeviceError::PfWithoutNetdev(pf)),
        Some(uplink) if uplink.is_up => Ok(()),
        Some(_) => Err(DeviceError::PfDown {
            pf,
            name: name.to_owned(),
        }),
    }
}

fn failed(device: PciAddress, source: NetlinkError) -> DeviceError {
    DeviceError::Netlink { device, source }
}
