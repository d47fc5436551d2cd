//! The node itself: two PFs on two NUMA nodes, seven real VFs each.
#![cfg(feature = "guest")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking"
)]

use std::path::Path;

use sriov_tests::node::{Pf, netdev_of};

#[test]
fn both_pfs_make_and_lose_seven_vfs() {
    for port in [0, 1] {
        let pf = Pf::with_vfs(port, 7).unwrap();
        let device = Path::new("/sys/bus/pci/devices").join(&pf.address);
        let read = |attribute: &str| {
            std::fs::read_to_string(device.join(attribute))
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_eq!(read("numa_node"), port.to_string());
        assert_eq!(read("sriov_totalvfs"), "7");
        for index in 0..7 {
            let vf = pf.vf(index).unwrap();
            let driver =
                std::fs::read_link(Path::new("/sys/bus/pci/devices").join(&vf).join("driver"))
                    .unwrap();
            assert!(driver.ends_with("igbvf"), "{}", driver.display());
            netdev_of(&vf).unwrap();
        }
        let sysfs = device.join("sriov_numvfs");
        drop(pf);
        assert_eq!(std::fs::read_to_string(sysfs).unwrap().trim(), "0");
    }
}
