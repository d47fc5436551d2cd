//! Devices to which a prepared claim has bound another driver: they count as having their own, which they get back with the claim's end.
//!
//! Without this, the device would leave its pool or be unhealthy for what its own claim asked for.

use sriov_device_info::claims::{ClaimStore, Rebound};
use sriov_host::PciAddress;
use sriov_host::snapshot::HostSnapshot;

/// Shows each function under the driver that it had before its claim, as long as the claim's driver is bound.
///
/// A hand-over that cannot be read is logged where the holders are read.
pub(super) fn show_own_drivers(snapshot: &mut HostSnapshot, claims: &ClaimStore) {
    for (address, rebound) in rebound(claims) {
        let Some(function) = snapshot.functions.get_mut(&address) else {
            continue;
        };
        if function.driver.as_ref() == Some(&rebound.bound) && rebound.own.is_some() {
            function.driver = rebound.own;
        }
    }
}

fn rebound(claims: &ClaimStore) -> Vec<(PciAddress, Rebound)> {
    let files = claims.read_all().unwrap_or_default();
    let devices = files.into_iter().flatten().flat_map(|pod| pod.devices);
    devices
        .filter_map(|device| Some((device.pci_address, device.rebound?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use sriov_device_info::claims::{ClaimDevice, ClaimRef, PodClaims, PodRef};
    use sriov_host::snapshot::PciFunction;

    use super::*;

    const VF: &str = "0000:01:10.0";

    /// A store with one claim that has bound `vfio-pci` to the VF.
    fn store(own: Option<&str>) -> (tempfile::TempDir, ClaimStore) {
        let dir = tempfile::tempdir().unwrap();
        let claims = ClaimStore::below(dir.path());
        let name = |text: &str| text.to_owned();
        let device = ClaimDevice {
            claim: ClaimRef {
                namespace: name("trading"),
                name: name("feed"),
                uid: name("c1"),
            },
            request: name("vf"),
            pool: name("node"),
            device: name("0000-01-10-0"),
            pci_address: VF.parse().unwrap(),
            resource: name("x/a"),
            network: None,
            ifname: None,
            rebound: Some(Rebound {
                own: own.map(str::to_owned),
                bound: name("vfio-pci"),
            }),
            metadata: None,
        };
        let pod = PodRef {
            namespace: name("trading"),
            name: name("feed-0"),
            uid: "11111111-2222-3333-4444-555555555555".parse().unwrap(),
        };
        let driver = name("sriov.virtfn.dev");
        let devices = vec![device];
        let written = claims.write(&PodClaims {
            driver,
            pod,
            devices,
        });
        written.unwrap();
        (dir, claims)
    }

    #[test]
    fn device_of_a_claim_shows_its_own_driver() {
        for (own, now, shown) in [
            (Some("igbvf"), Some("vfio-pci"), Some("igbvf")),
            // Not bound yet, or bound back already.
            (Some("igbvf"), Some("igbvf"), Some("igbvf")),
            (Some("igbvf"), None, None),
            // Somebody else has bound a third driver.
            (Some("igbvf"), Some("uio"), Some("uio")),
            (None, Some("vfio-pci"), Some("vfio-pci")),
        ] {
            let (_dir, claims) = store(own);
            let address = VF.parse().unwrap();
            let function = PciFunction {
                driver: now.map(str::to_owned),
                ..PciFunction::example(address)
            };
            let mut snapshot = HostSnapshot {
                functions: [(address, function)].into(),
                ..HostSnapshot::default()
            };
            show_own_drivers(&mut snapshot, &claims);
            let driver = &snapshot.functions[&address].driver;
            assert_eq!(driver.as_deref(), shown, "{own:?}, {now:?}");
        }
    }

    #[test]
    fn unreadable_hand_over_leaves_the_snapshot() {
        let (dir, claims) = store(Some("igbvf"));
        let files = std::fs::read_dir(claims.path()).unwrap();
        for file in files {
            std::fs::write(file.unwrap().path(), "{").unwrap();
        }
        let address = VF.parse().unwrap();
        let function = PciFunction {
            driver: Some("vfio-pci".to_owned()),
            ..PciFunction::example(address)
        };
        let mut snapshot = HostSnapshot {
            functions: [(address, function)].into(),
            ..HostSnapshot::default()
        };
        let before = snapshot.clone();
        show_own_drivers(&mut snapshot, &claims);
        assert_eq!(snapshot, before);
        drop(dir);
    }
}
