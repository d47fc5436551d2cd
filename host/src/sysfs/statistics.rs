//! Counters of a VF in sysfs, by the kernel's own names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::device_path;
use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::vf::VfIndex;

/// The counters of a VF from its PF: `sriov/N/stats`, a directory of the out-of-tree i40e and ice drivers, and a file of the out-of-tree mlx5 driver.
pub fn by_pf(root: &HostRoot, pf: PciAddress, index: VfIndex) -> BTreeMap<String, u64> {
    let stats = device_path(root, pf).join(format!("sriov/{}/stats", index.get()));
    if stats.is_dir() {
        directory(&stats)
    } else {
        lines(&fs::read_to_string(&stats).unwrap_or_default())
    }
}

/// The counters of the VF's own network device, while that is on the host.
pub fn own(root: &HostRoot, vf: PciAddress) -> BTreeMap<String, u64> {
    let net = fs::read_dir(device_path(root, vf).join("net"));
    let mut own = net.into_iter().flatten().flatten();
    own.next().map_or_else(BTreeMap::new, |netdev| {
        directory(&netdev.path().join("statistics"))
    })
}

/// Reads a directory with one file for each counter.
fn directory(dir: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let counter = |entry: fs::DirEntry| {
        let value = fs::read_to_string(entry.path()).ok()?;
        Some((
            entry.file_name().into_string().ok()?,
            value.trim().parse().ok()?,
        ))
    };
    entries.filter_map(counter).collect()
}

/// Reads a file with one line for each counter: `tx_packets    : 5011`.
fn lines(text: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Counters = Vec<(String, u64)>;

    /// The counters from the PF, and the VF's own.
    fn read(files: &[(&str, &str)]) -> (Counters, Counters) {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path());
        for (path, text) in files {
            let path = root.join("sys/bus/pci/devices").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (pf, vf) = ("0000:01:00.0", "0000:01:10.0");
        let by_pf = by_pf(&root, pf.parse().unwrap(), VfIndex::new(3));
        let own = own(&root, vf.parse().unwrap());
        (by_pf.into_iter().collect(), own.into_iter().collect())
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
        let counter = |name: &str, value| (name.to_owned(), value);
        let seven = vec![counter("rx_bytes", 7)];
        assert_eq!(read(&[own]), (vec![], seven.clone()));
        let lines = vec![counter("rx_bytes", 12), counter("tx_packets", 5011)];
        assert_eq!(read(&[own, file]), (lines, seven.clone()));
        let nine = vec![counter("rx_bytes", 9)];
        assert_eq!(read(&[dir[0], dir[1], own]), (nine, seven));
        assert_eq!(read(&[]), (vec![], vec![]));
    }
}
