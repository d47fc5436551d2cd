//! Reads a VF and its PF by netlink: the state that the plan starts from.

use std::time::{Duration, Instant};

use sriov_config::netconf::Wanted;
use sriov_host::ethtool::EthtoolSettings;
use sriov_host::netlink::{Link, Netlink, NetlinkError};
use sriov_host::sysfs::Presence;
use sriov_host::vf::{VfLinkState, VfSettings};
use sriov_host::{PciAddress, VfIndex};

use super::error::DeviceError;
use super::find_vf::Candidate;
use super::ports::touches_pf;
use crate::model::{Driver, PfView, VfSide, VfView};

/// Time that a driver gets to describe a VF.
const BUSY: Duration = Duration::from_secs(2);
/// Time between two readings.
const BUSY_STEP: Duration = Duration::from_millis(100);

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
    let (uplink, settings) = if touches_pf(wanted) || side.is_userspace() {
        read_vf(netlink, &pf, index, vf.address).await?
    } else {
        // No setting of the PF is wanted: its list of VFs is not needed.
        let uplink = netlink.link(pf.ifindex).await;
        (uplink.map_err(|source| failed(vf.address, source))?, None)
    };
    let uplink = uplink.ok_or(DeviceError::PfWithoutNetdev(pf.address))?;
    if !uplink.is_up {
        let now = match settings {
            None => read_vf(netlink, &pf, index, vf.address).await?.1,
            settings => settings,
        };
        let now = now.and_then(|settings| settings.link_state);
        allow_down(&uplink, &pf, &side, wanted.link_state.or(now))?;
    }
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

/// Refuses a PF that is down where the VF has no link then.
///
/// A VF has a link of its own with `link_state` enable; with InfiniBand, whose port does not depend on the network device;
/// and with drivers that leave the port up. A program in user space waits for the link itself.
fn allow_down(
    uplink: &Link,
    pf: &PfView,
    side: &VfSide,
    link_state: Option<VfLinkState>,
) -> Result<(), DeviceError> {
    let depends = !side.is_userspace()
        && uplink.guid.is_none()
        && link_state != Some(VfLinkState::Enable)
        && pf.driver.vfs_follow_pf();
    let down = DeviceError::PfDown {
        pf: pf.address,
        name: pf.name.clone(),
    };
    if depends {
        return Err(down);
    }
    tracing::warn!(error = %down, "attaching all the same: the link of the VF does not depend on the PF");
    Ok(())
}

/// Reads the PF's link and the settings of a VF, and waits for a VF that its driver cannot describe now.
///
/// # Errors
/// [`DeviceError::Busy`], [`DeviceError::Netlink`].
pub(crate) async fn read_vf(
    netlink: &Netlink,
    pf: &PfView,
    index: VfIndex,
    vf: PciAddress,
) -> Result<(Option<Link>, Option<VfSettings>), DeviceError> {
    let deadline = Instant::now() + BUSY;
    loop {
        let report = netlink.vf_of_pf(pf.ifindex, index).await;
        let Some(report) = report.map_err(|source| failed(vf, source))? else {
            return Ok((None, None));
        };
        // Without other VFs in the list, most drivers just do not describe VFs.
        let is_busy = match report.listed_without {
            None => false,
            Some(0) => pf.driver.leaves_out_busy_vfs(),
            Some(_) => true,
        };
        if !is_busy {
            return Ok((Some(report.link), report.settings));
        }
        if Instant::now() > deadline {
            return Err(DeviceError::Busy { vf, pf: pf.address });
        }
        tokio::time::sleep(BUSY_STEP).await;
    }
}

fn failed(device: PciAddress, source: NetlinkError) -> DeviceError {
    DeviceError::Netlink { device, source }
}

#[cfg(test)]
mod tests {
    use sriov_host::Guid;

    use super::*;
    use crate::model::examples;

    #[test]
    fn pf_that_is_down_is_refused_only_where_its_vfs_have_no_link() {
        let netdev = || VfSide::Netdev(examples::link());
        let userspace = VfSide::Userspace(Driver::new("vfio-pci"));
        let infiniband = Link {
            guid: Some(Guid::from_number(7)),
            ..Link::default()
        };
        for (driver, uplink, side, link_state, is_refused) in [
            ("igb", Link::default(), netdev(), None, true),
            (
                "mlx5_core",
                Link::default(),
                netdev(),
                Some(VfLinkState::Auto),
                true,
            ),
            (
                "mlx5_core",
                Link::default(),
                netdev(),
                Some(VfLinkState::Disable),
                true,
            ),
            (
                "mlx5_core",
                Link::default(),
                netdev(),
                Some(VfLinkState::Enable),
                false,
            ),
            ("mlx5_core", infiniband, netdev(), None, false),
            ("i40e", Link::default(), netdev(), None, false),
            ("cxgb4", Link::default(), netdev(), None, false),
            ("igb", Link::default(), userspace, None, false),
        ] {
            let pf = examples::view(driver, side.clone()).pf;
            let refused = allow_down(&uplink, &pf, &side, link_state).is_err();
            assert_eq!(refused, is_refused, "{driver} {uplink:?} {link_state:?}");
        }
    }
}
