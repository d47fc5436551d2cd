//! The node itself: two PFs on two NUMA nodes, seven real VFs each.

use std::path::Path;

use serde_json::json;
use sriov_testkit::node::{Pf, monitor, netdev_of};

#[test]
fn both_pfs_create_and_remove_seven_vfs() {
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
        pf.set_vfs(0).unwrap();
        assert_eq!(read("sriov_numvfs"), "0");
    }
}

#[test]
fn pulled_cable_affects_the_carrier_of_one_pf() {
    let (pf, other) = (Pf::with_vfs(0, 1).unwrap(), Pf::with_vfs(1, 0).unwrap());
    let before = (pf.baseline().unwrap(), other.baseline().unwrap());
    pf.set_carrier(false).unwrap();
    let carrier = |pf: &Pf| {
        let path = format!("/sys/class/net/{}/carrier", pf.netdev);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    assert_eq!((carrier(&pf), carrier(&other)), ("0".into(), "1".into()));
    pf.set_carrier(true).unwrap();
    assert_eq!((pf.baseline().unwrap(), other.baseline().unwrap()), before);
}

#[test]
fn pulled_card_is_removed_with_its_vfs_and_returns() {
    let pf = Pf::with_vfs(1, 0).unwrap();
    let before = pf.baseline().unwrap();
    pf.set_vfs(2).unwrap();
    let vf = Path::new("/sys/bus/pci/devices").join(pf.vf(1).unwrap());
    pf.unplug().unwrap();
    assert!(!vf.exists());
    pf.plug().unwrap();
    pf.set_vfs(0).unwrap();
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn refused_monitor_command_is_named() {
    let error = monitor::command("set_link", &json!({ "name": "nobody", "up": true })).unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}
