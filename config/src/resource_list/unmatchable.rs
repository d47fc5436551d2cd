//! Warnings for conditions that no device can meet: a misspelt driver, a pattern in place of a name.

/// Length of an alternative name with its zero (`ALTIFNAMSIZ`, `include/uapi/linux/if.h`).
const ALTIFNAMSIZ: usize = 128;
/// PCI drivers with names that are mistaken for them: the kernel module, or a related driver.
const DRIVERS: [(&str, &[&str]); 15] = [
    ("vfio-pci", &["vfio"]),
    ("uio_pci_generic", &["uio"]),
    ("igb_uio", &[]),
    ("virtio-pci", &["virtio_net", "virtio-net", "virtio"]),
    ("mlx5_core", &["mlx5", "mlx5_ib", "mlx5_en", "mlx5e"]),
    ("mlx4_core", &["mlx4", "mlx4_ib", "mlx4_en"]),
    ("iavf", &["i40evf"]),
    ("igbvf", &[]),
    ("ixgbevf", &[]),
    ("bnxt_en", &["bnxt", "bnxt_re"]),
    ("cxgb4vf", &[]),
    ("nfp", &[]),
    ("nfp_netvf", &[]),
    ("hns3", &["hns3vf", "hclgevf"]),
    ("mlx5_vfio_pci", &["mlx5-vfio"]),
];
/// Drivers of the vDPA bus.
const VDPA: [&str; 2] = ["vhost_vdpa", "virtio_vdpa"];

/// Explains why no PF can have this name, or why the name is probably a mistake; `pf` is the part in front of `#`.
pub(super) fn pf_name(pf: &str) -> Option<String> {
    let none = |why: &str| Some(format!("no PF has the name `{pf}`: {why}"));
    if pf.parse::<sriov_host::PciAddress>().is_ok() {
        return none("a PF is chosen by its address with `rootDevices`");
    }
    if pf.contains(['*', '?', '[', ']', '^', '$', '|', '(', '\\']) || pf.contains('/') {
        return none("names are compared as they are, without patterns");
    }
    if pf.contains([',', ';']) || pf.contains(char::is_whitespace) {
        return none("each PF is an entry of its own");
    }
    if pf.contains([':', '%']) || pf.len() >= ALTIFNAMSIZ || pf == "." || pf == ".." {
        return none("expected a name or alternative name of a network device");
    }
    let (name, last) = pf.rsplit_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    // `ens1f0-3`, but not `pf-0`.
    (is_number(last) && letters.len() < name.len()).then(|| {
        format!("`{pf}` is taken as the whole name of a PF: its VFs follow a `#`, as in `{name}#0-{last}`")
    })
}

/// Explains why no PCI device can have this driver; `all` are the drivers of the condition.
pub(super) fn driver(driver: &str, all: &[&str]) -> Option<String> {
    let none = |what: String| Some(format!("no PCI device has the driver `{driver}`: {what}"));
    if VDPA.contains(&driver) {
        return none("vDPA devices are chosen with `vdpaType`".to_owned());
    }
    if DRIVERS.iter().any(|(right, _)| *right == driver) {
        return None;
    }
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let is = |other: &str| plain(other) == plain(driver);
    let (right, _) = DRIVERS
        .iter()
        .find(|(right, others)| is(right) || others.iter().any(|other| is(other)))?;
    // The list covers kernels with the old name, too.
    if all.contains(right) {
        return None;
    }
    none(format!("did you mean `{right}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_pf_that_no_device_can_have_is_a_warning() {
        for (name, message) in [
            (
                "mlx-*",
                "no PF has the name `mlx-*`: names are compared as they are, without patterns",
            ),
            (
                "ens1f[01]",
                "no PF has the name `ens1f[01]`: names are compared as they are, without patterns",
            ),
            (
                "/ens.*/",
                "no PF has the name `/ens.*/`: names are compared as they are, without patterns",
            ),
            (
                "a,b",
                "no PF has the name `a,b`: each PF is an entry of its own",
            ),
            (
                "a b",
                "no PF has the name `a b`: each PF is an entry of its own",
            ),
            (
                "ens1f0-3",
                "`ens1f0-3` is taken as the whole name of a PF: its VFs follow a `#`, as in `ens1f0#0-3`",
            ),
            (
                "0000:3b:00.0",
                "no PF has the name `0000:3b:00.0`: a PF is chosen by its address with `rootDevices`",
            ),
            (
                "eth%d",
                "no PF has the name `eth%d`: expected a name or alternative name of a network device",
            ),
        ] {
            assert_eq!(pf_name(name).as_deref(), Some(message));
        }
        for name in [
            "ens1f0",
            "enp59s0f0np0",
            "pf-0",
            "eth0.1",
            "enxaabbccddeeff",
            "ens-a1",
        ] {
            assert_eq!(pf_name(name), None);
        }
        let long = "x".repeat(127);
        assert_eq!(pf_name(&long), None);
        assert!(pf_name(&format!("{long}x")).is_some());
    }

    #[test]
    fn driver_of_another_spelling_is_a_warning() {
        for (driver, right) in [
            ("vfio_pci", "vfio-pci"),
            ("VFIO-PCI", "vfio-pci"),
            ("uio-pci-generic", "uio_pci_generic"),
            ("igb-uio", "igb_uio"),
            ("mlx5_ib", "mlx5_core"),
            ("mlx5-core", "mlx5_core"),
            ("mlx4_en", "mlx4_core"),
            ("i40evf", "iavf"),
            ("virtio_net", "virtio-pci"),
            ("bnxt_re", "bnxt_en"),
        ] {
            let warning =
                format!("no PCI device has the driver `{driver}`: did you mean `{right}`?");
            assert_eq!(super::driver(driver, &[driver]), Some(warning));
        }
        assert_eq!(driver("i40evf", &["i40evf", "iavf"]), None);
        for driver in ["vhost_vdpa", "virtio_vdpa"] {
            let warning = super::driver(driver, &[driver]).unwrap();
            assert!(
                warning.ends_with("vDPA devices are chosen with `vdpaType`"),
                "{warning}"
            );
        }
        for driver in [
            "vfio-pci",
            "mlx5_core",
            "mlx5_vfio_pci",
            "igbvf",
            "nfp_netvf",
            "my_driver",
            "ice",
        ] {
            assert_eq!(super::driver(driver, &[driver]), None, "{driver}");
        }
    }
}
