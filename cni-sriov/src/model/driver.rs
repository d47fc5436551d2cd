//! A kernel driver by name, and the peculiarities of some drivers.

use std::fmt;

/// PF drivers that pin an address: once the PF has set an address, the VF's driver may set none while trust is off, not even the same address.
/// Zero unpins it (`drivers/net/ethernet/intel/igb/igb_main.c`, `igb_ndo_set_vf_mac` and `igb_set_vf_mac_filter`); seen on an 82576.
const PINNING: &[&str] = &["igb"];

/// PF drivers that report for a VF only an address that the PF has set (`drivers/net/ethernet/mellanox/mlx5/core/eswitch.c`,
/// `mlx5_eswitch_get_vport_config`; `mellanox/mlx4/cmd.c`, `mlx4_get_vf_config`).
///
/// Others report one address, whoever has set it: `igb_ndo_get_vf_config` (`intel/igb/igb_main.c`, `vf_mac_addresses`),
/// `ixgbe_ndo_get_vf_config` (`intel/ixgbe/ixgbe_sriov.c`, `vf_mac_addresses`, which `ixgbe_set_vf_mac` also sets on a message of the VF),
/// `i40e_ndo_get_vf_config` (`intel/i40e/i40e_virtchnl_pf.c`, `default_lan_addr`), `ice_get_vf_cfg` (`intel/ice/ice_sriov.c`, `hw_lan_addr`);
/// `bnxt_get_vf_config` (`broadcom/bnxt/bnxt_sriov.c`) reports the VF's own address as long as the PF has set none.
const ADMIN_ONLY: &[&str] = &["mlx4_core", "mlx5_core"];

/// PF drivers that leave the port up when the PF's network device is down, so that VFs keep their link
/// (`drivers/net/ethernet/intel/i40e/i40e_main.c`, `i40e_down`, and `intel/ice/ice_main.c`, `ice_down`, unless the private flag
/// `link-down-on-close` is set, which it is not by default; the firmware of bnxt, which serves several hosts),
/// and those whose VFs use other ports than the PF's first network device (ConnectX-3; cxgb4, where VFs belong to functions without a port).
const PORT_STAYS_UP: &[&str] = &["i40e", "ice", "bnxt_en", "cxgb4", "mlx4_core"];

/// PF drivers that return EBUSY or EAGAIN for a VF that is being reset: the kernel then leaves the VF out of the list
/// (`drivers/net/ethernet/intel/ice/ice_vf_lib.c`, `ice_check_vf_ready_for_cfg`, which `ice_get_vf_cfg` calls;
/// `intel/i40e/i40e_virtchnl_pf.c`, `i40e_ndo_get_vf_config`, while `__I40E_VIRTCHNL_OP_PENDING` is set).
const BUSY: &[&str] = &["i40e", "ice"];

/// Name of a kernel driver, as sysfs has it; empty for a device without a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver(String);

impl Driver {
    /// Takes the name that sysfs has.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this driver of a PF pins the addresses that the PF sets for its VFs.
    pub(crate) fn pins_addresses(&self) -> bool {
        PINNING.contains(&self.0.as_str())
    }

    /// Whether this driver of a PF may report a VF's own address, although the PF has set none.
    pub(crate) fn reports_own_addresses(&self) -> bool {
        !ADMIN_ONLY.contains(&self.0.as_str())
    }

    /// Whether VFs have no link while the network device of the PF is down.
    pub(crate) fn vfs_follow_pf(&self) -> bool {
        !PORT_STAYS_UP.contains(&self.0.as_str())
    }

    /// Whether this driver of a PF does not describe a VF that is being reset.
    pub(crate) fn leaves_out_busy_vfs(&self) -> bool {
        BUSY.contains(&self.0.as_str())
    }

    /// Whether this is a driver of VFs only.
    pub(crate) fn is_of_vfs(&self) -> bool {
        matches!(self.0.as_str(), "igbvf" | "ixgbevf" | "i40evf" | "iavf")
    }

    /// Whether this driver gives its device to user space: vfio-pci, its vendor variants, and the drivers of UIO.
    pub(crate) fn is_userspace(&self) -> bool {
        self.0.contains("vfio") || self.is_uio()
    }

    /// Whether this is a driver of UIO, which does not reset its device; vfio does, and keeps a device while it is open.
    pub(crate) fn is_uio(&self) -> bool {
        matches!(self.0.as_str(), "uio_pci_generic" | "igb_uio")
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userspace_drivers_are_recognised() {
        for (driver, is_userspace) in [
            ("vfio-pci", true),
            ("mlx5_vfio_pci", true),
            ("uio_pci_generic", true),
            ("igbvf", false),
            ("mlx5_core", false),
            ("", false),
        ] {
            assert_eq!(Driver::new(driver).is_userspace(), is_userspace, "{driver}");
        }
    }

    #[test]
    fn only_igb_pins_addresses() {
        assert!(Driver::new("igb").pins_addresses());
        assert!(!Driver::new("igbvf").pins_addresses());
        assert!(!Driver::default().pins_addresses());
    }
}
