//! Counters of a VF in sysfs, by the kernel's own names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::device_path;
use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::vf::VfIndex;

/// Counters by the kernel's names.
pub type Counters = BTreeMap<&'static str, u64>;

/// Whether a PF may have counters of its VFs: only some out-of-tree drivers make this directory.
pub fn has_pf_counters(root: &HostRoot, pf: PciAddress) -> bool {
    device_path(root, pf).join("sriov").is_dir()
}

/// Those of the named counters of a VF that its PF has: `sriov/N/stats`, a directory of the out-of-tree i40e and ice drivers, and a file of the out-of-tree mlx5 driver.
pub fn by_pf(root: &HostRoot, pf: PciAddress, index: VfIndex, names: &[&'static str]) -> Counters {
    let stats = device_path(root, pf).join(format!("sriov/{}/stats", index.get()));
    if stats.is_dir() {
        directory(&stats, names, |name| name)
    } else {
        lines(&fs::read_to_string(&stats).unwrap_or_default(), names)
    }
}

/// Reads the named counters of the VF's own network device, one file for each. There are none while the device is in a pod.
///
/// `query::link_counters` reads the counters of many devices with one request.
pub fn own(root: &HostRoot, vf: PciAddress, names: &[&'static str]) -> Counters {
    let net = fs::read_dir(device_path(root, vf).join("net"));
    let mut own = net.into_iter().flatten().flatten();
    own.next().map_or_else(Counters::new, |netdev| {
        directory(&netdev.path().join("statistics"), names, own_file)
    })
}

/// The file of a counter of a network device.
fn own_file(name: &'static str) -> &'static str {
    match name {
        "rx_multicast" => "multicast",
        other => other,
    }
}

/// Reads a directory with one file for each counter; the kernel has three times as many as the caller needs.
fn directory(
    dir: &Path,
    names: &[&'static str],
    file: fn(&'static str) -> &'static str,
) -> Counters {
    let Ok(dir) = File::open(dir) else {
        return Counters::new();
    };
    let counter = |name: &&'static str| Some((*name, number(&dir, file(name))?));
    names.iter().filter_map(counter).collect()
}

/// Reads a number. There are thousands of these files: the path to their directory is walked once, and each is read once.
fn number(dir: &File, name: &str) -> Option<u64> {
    // 20 digits and the line feed.
    let mut text = [0; 24];
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).ok()?;
    let length = File::from(file).read(&mut text).ok()?;
    std::str::from_utf8(text.get(..length)?)
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Reads a file with one line for each counter: `tx_packets    : 5011`.
fn lines(text: &str, names: &[&'static str]) -> Counters {
    let counter = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name = names.iter().find(|known| **known == name.trim())?;
        Some((*name, value.trim().parse().ok()?))
    };
    text.lines().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["rx_bytes", "tx_packets", "torn", "rx_multicast"];

    /// The counters from the PF, and the VF's own.
    fn read(files: &[(&str, &str)]) -> [Vec<(&'static str, u64)>; 2] {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path());
        for (path, text) in files {
            let path = root.join("sys/bus/pci/devices").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (pf, vf) = ("0000:01:00.0", "0000:01:10.0");
        let by_pf = by_pf(&root, pf.parse().unwrap(), VfIndex::new(3), NAMES);
        let own = own(&root, vf.parse().unwrap(), NAMES);
        [by_pf, own].map(|counters| counters.into_iter().collect())
    }

    #[test]
    fn counters_of_each_place_are_read() {
        let own = ("0000:01:10.0/net/eth3/statistics/rx_bytes", "7\n");
        let file = (
            "0000:01:00.0/sriov/3/stats",
            "tx_packets    : 5011\nrx_bytes : 12\nnonsense\n",
        );
        let dir = [
            ("0000:01:00.0/sriov/3/stats/rx_bytes", "9\n"),
            ("0000:01:00.0/sriov/3/stats/torn", "\n"),
        ];
        let largest = (
            "0000:01:10.0/net/eth3/statistics/rx_bytes",
            "18446744073709551615\n",
        );
        let unknown = ("0000:01:10.0/net/eth3/statistics/collisions", "7\n");
        let seven = vec![("rx_bytes", 7)];
        let multicast = ("0000:01:10.0/net/eth3/statistics/multicast", "8\n");
        assert_eq!(read(&[multicast]), [vec![], vec![("rx_multicast", 8)]]);
        assert_eq!(read(&[own, unknown]), [vec![], seven.clone()]);
        assert_eq!(read(&[largest]), [vec![], vec![("rx_bytes", u64::MAX)]]);
        let lines = vec![("rx_bytes", 12), ("tx_packets", 5011)];
        assert_eq!(read(&[own, file]), [lines, seven.clone()]);
        let nine = vec![("rx_bytes", 9)];
        assert_eq!(read(&[dir[0], dir[1], own]), [nine, seven]);
        assert_eq!(read(&[]), [vec![], vec![]]);
    }
}
