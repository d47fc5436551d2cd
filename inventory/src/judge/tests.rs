//! Health on one PF with three VFs and a subfunction, some of them held by pods.

use std::fmt::Write;

use expect_test::{Expect, expect};
use sriov_config::ResourceList;
use sriov_host::snapshot::{LinkType, SriovRole, Subfunction};

use super::*;
use crate::assign::plan_pools;
use crate::owners::{ClaimHolder, Holder, PodDevices, PodHolder};

mod link;

const PF: &str = "0000:01:00.0";
const VF: [&str; 3] = ["0000:01:10.0", "0000:01:10.1", "0000:01:10.2"];
const SF: &str = "mlx5_core.sf.1";

/// A machine, and who holds its devices.
struct Case {
    snapshot: HostSnapshot,
    owners: Owners,
    held: HeldDevices,
    config: &'static str,
}

impl Case {
    fn new() -> Self {
        let mut case = Self {
            snapshot: HostSnapshot::default(),
            owners: Owners {
                pods: Some(PodDevices::default()),
                ..Owners::default()
            },
            held: HeldDevices::default(),
            config: r#"{"resourceList": [{"resourceName": "a", "resourcePrefix": "x", "selectors": {"drivers": ["igbvf"]}},
                {"resourceName": "b", "resourcePrefix": "x", "selectors": {"drivers": ["vfio-pci"]}},
                {"resourceName": "sf", "resourcePrefix": "x", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"]}}]}"#,
        };
        case.add(PF, "igb", SriovRole::None);
        let vfs = VF.iter().zip(0..).map(|(vf, index)| {
            let index = sriov_host::VfIndex::new(index);
            (index, vf.parse().unwrap())
        });
        case.pf().role = SriovRole::Pf {
            total_vfs: 7,
            vfs: vfs.collect(),
        };
        case.port("pf0", None);
        for vf in VF {
            let pf = PF.parse().unwrap();
            case.add(vf, "igbvf", SriovRole::Vf { pf, index: None });
        }
        let subfunction = Subfunction {
            name: SF.to_owned(),
            pf: PF.parse().unwrap(),
            sfnum: 1,
            driver: Some("mlx5_core.sf".to_owned()),
            netdevs: Vec::new(),
            rdma: Vec::new(),
        };
        case.snapshot
            .subfunctions
            .insert(SF.to_owned(), subfunction);
        case
    }

    fn add(&mut self, address: &str, driver: &str, role: SriovRole) {
        let function = PciFunction {
            driver: Some(driver.to_owned()),
            role,
            ..PciFunction::example(address.parse().unwrap())
        };
        self.snapshot.functions.insert(function.address, function);
    }

    fn function(&mut self, address: &str) -> &mut PciFunction {
        let address = address.parse().unwrap();
        self.snapshot.functions.get_mut(&address).unwrap()
    }

    fn pf(&mut self) -> &mut PciFunction {
        self.function(PF)
    }

    fn port(&mut self, name: &str, port: Option<&str>) {
        let port = Netdev {
            phys_switch_id: port.map(|_| "01".to_owned()),
            phys_port_name: port.map(str::to_owned),
            ..Netdev::example(name.parse().unwrap())
        };
        self.pf().netdevs.push(port);
    }

    fn hold(&mut self, id: &str, resource: &str) {
        let holder = Holder::from(PodHolder {
            resource: resource.to_owned(),
            namespace: "default".to_owned(),
            pod: "p".to_owned(),
            container: "app".to_owned(),
        });
        let pods = self.owners.pods.as_mut().unwrap();
        let holders = pods.holders.entry(id.parse().unwrap());
        holders.or_default().push(holder);
        self.held.remember(&self.snapshot, &self.owners);
    }

    fn plan(&self) -> Pools {
        let config = ResourceList::parse(self.config, "").unwrap();
        plan_pools(&self.snapshot, &config, &BTreeMap::new())
    }

    fn judged(&self) -> Pools {
        judge(&self.snapshot, &self.plan(), &self.owners, &self.held)
    }
}

/// The pools with their healthy devices, and the unhealthy ones with their reasons.
fn check(change: impl FnOnce(&mut Case), expected: &Expect) {
    let mut case = Case::new();
    change(&mut case);
    let mut text = String::new();
    for pool in case.judged().pools {
        let name = &pool.name;
        let healthy = pool.healthy().map(|device| format!(" {}", device.id));
        let _ = writeln!(text, "{name}:{}", healthy.collect::<String>());
        for (id, why) in &pool.unhealthy {
            let _ = writeln!(text, "  {id} {}: {why}", why.word());
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn all_devices_are_healthy() {
    check(
        |_| {},
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.1 0000:01:10.2
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
}

#[test]
fn a_vf_follows_its_pf() {
    check(
        |case| case.pf().netdevs[0].carrier = Some(false),
        &expect![[r"
            x/a:
              0000:01:10.0 pf_without_carrier: its PF `pf0` has no carrier
              0000:01:10.1 pf_without_carrier: its PF `pf0` has no carrier
              0000:01:10.2 pf_without_carrier: its PF `pf0` has no carrier
            x/b:
            x/sf:
              mlx5_core.sf.1 pf_without_carrier: its PF `pf0` has no carrier
        "]],
    );
    check(
        |case| {
            case.pf().netdevs[0].is_up = Some(false);
            case.pf().netdevs[0].carrier = None;
        },
        &expect![[r"
            x/a:
              0000:01:10.0 pf_down: its PF `pf0` is down
              0000:01:10.1 pf_down: its PF `pf0` is down
              0000:01:10.2 pf_down: its PF `pf0` is down
            x/b:
            x/sf:
              mlx5_core.sf.1 pf_down: its PF `pf0` is down
        "]],
    );
    check(
        |case| {
            case.snapshot.functions.remove(&PF.parse().unwrap());
        },
        &expect![[r"
            x/a:
              0000:01:10.0 pf_missing: its PF is gone
              0000:01:10.1 pf_missing: its PF is gone
              0000:01:10.2 pf_missing: its PF is gone
            x/b:
            x/sf:
        "]],
    );
    check(
        |case| case.pf().netdevs.clear(),
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.1 0000:01:10.2
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
}

#[test]
fn an_unreadable_device_is_unhealthy() {
    let problem = |device: &str| ScanProblem {
        device: device.to_owned(),
        reason: "`numa_node` holds `one`".to_owned(),
    };
    check(
        |case| case.snapshot.problems = [VF[1], SF, "0000:09:00.0", "x"].map(problem).into(),
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.2
              0000:01:10.1 unreadable: it cannot be read: `numa_node` holds `one`
            x/b:
            x/sf:
              mlx5_core.sf.1 unreadable: it cannot be read: `numa_node` holds `one`
        "]],
    );
    // A process that never saw the device reports it as unreadable, not as gone.
    check(
        |case| {
            case.hold(VF[1], "x/a");
            case.snapshot.functions.remove(&VF[1].parse().unwrap());
            case.snapshot.problems = vec![problem(VF[1])];
        },
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.2
              0000:01:10.1 unreadable: it cannot be read: `numa_node` holds `one`
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
}

#[test]
fn a_dirty_vf_is_unhealthy() {
    for (state, reason) in [
        (Attachment::Attached, None),
        (Attachment::Unfinished, None),
        (Attachment::Dirty, Some(Unhealthy::Dirty)),
    ] {
        let (mut case, vf) = (Case::new(), VF[0].parse().unwrap());
        case.owners.attachments.insert(vf, state);
        let unhealthy = &case.judged().pools[0].unhealthy;
        assert_eq!(unhealthy.get(&DeviceId::Function(vf)), reason.as_ref());
        assert_eq!(unhealthy.len(), reason.iter().len());
    }
}

#[test]
fn a_held_device_stays_until_it_is_released() {
    let gone = |case: &mut Case| {
        case.hold(VF[1], "x/a");
        case.hold(SF, "x/sf");
        case.snapshot.functions.remove(&VF[1].parse().unwrap());
        case.snapshot.functions.remove(&VF[2].parse().unwrap());
        case.snapshot.subfunctions.clear();
    };
    check(
        gone,
        &expect![[r"
            x/a: 0000:01:10.0
              0000:01:10.1 gone: it is gone
            x/b:
            x/sf:
              mlx5_core.sf.1 gone: it is gone
        "]],
    );
    check(
        |case| {
            case.hold(VF[0], "x/a");
            case.function(VF[0]).incarnation = 2;
        },
        &expect![[r"
            x/a: 0000:01:10.1 0000:01:10.2
              0000:01:10.0 remade: it was created again, and its pod has the former device
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
    check(
        |case| {
            gone(case);
            case.owners.pods = Some(PodDevices::default());
        },
        &expect![[r"
            x/a: 0000:01:10.0
            x/b:
            x/sf:
        "]],
    );
    check(
        |case| {
            case.hold(VF[1], "x/a");
            case.function(VF[1]).driver = None;
            case.function(VF[2]).driver = None;
        },
        &expect![[r"
            x/a: 0000:01:10.0
              0000:01:10.1 no_driver: no driver is bound to it
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
}

#[test]
fn a_rebound_device_stays_in_its_pool_until_it_is_released() {
    check(
        |case| {
            case.hold(VF[1], "x/a");
            case.function(VF[1]).driver = Some("vfio-pci".to_owned());
            case.function(VF[2]).driver = Some("vfio-pci".to_owned());
        },
        &expect![[r"
            x/a: 0000:01:10.0
              0000:01:10.1 driver_changed: its driver is `vfio-pci`, but was `igbvf` when its pod got it
            x/b: 0000:01:10.2
            x/sf: mlx5_core.sf.1
        "]],
    );
    // A restarted plugin does not have the driver at the allocation.
    check(
        |case| {
            case.function(VF[1]).driver = Some("vfio-pci".to_owned());
            case.hold(VF[1], "x/a");
        },
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.2
              0000:01:10.1 left_pool: no selector of its resource matches it now
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
    check(
        |case| {
            case.hold(VF[0], "x/a");
            case.function(VF[0]).driver = Some("uio".to_owned());
        },
        &expect![[r"
            x/a: 0000:01:10.1 0000:01:10.2
              0000:01:10.0 driver_changed: its driver is `uio`, but was `igbvf` when its pod got it
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
}

#[test]
fn a_device_held_through_another_resource_is_not_offered() {
    check(
        |case| case.hold(VF[0], "old/name"),
        &expect![[r"
            x/a: 0000:01:10.1 0000:01:10.2
              0000:01:10.0 held_elsewhere: a pod holds it through `old/name`
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
    // The kubelet lists other plugins' devices as well, and may list ours twice.
    check(
        |case| {
            case.hold("0000:77:00.0", "nvidia.com/gpu");
            case.hold(VF[0], "x/a");
            case.hold(VF[0], "x/b");
        },
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.1 0000:01:10.2
            x/b:
              0000:01:10.0 left_pool: no selector of its resource matches it now
            x/sf: mlx5_core.sf.1
        "]],
    );
}

/// The resource was published by the DRA driver before: the kubelet must not choose the device for a pod.
#[test]
fn the_device_plugin_does_not_offer_a_device_of_a_claim() {
    let claimed = |case: &mut Case| {
        let claim = Holder::from(ClaimHolder {
            resource: "x/a".to_owned(),
            namespace: "n".to_owned(),
            name: "c".to_owned(),
            uid: "u".to_owned(),
        });
        let id = VF[0].parse().unwrap();
        case.owners.claims.insert(id, vec![claim]);
    };
    check(
        claimed,
        &expect![[r"
            x/a: 0000:01:10.1 0000:01:10.2
              0000:01:10.0 held_elsewhere: claim n/c holds it
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
    check(
        |case| {
            claimed(case);
            case.config = r#"{"resourceList": [{"resourceName": "a", "resourcePrefix": "x", "publish": "dra", "selectors": {"drivers": ["igbvf"]}}]}"#;
        },
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.1 0000:01:10.2
        "]],
    );
}

#[test]
fn a_silent_kubelet_makes_no_device_unhealthy() {
    check(
        |case| case.owners.pods = None,
        &expect![[r"
            x/a: 0000:01:10.0 0000:01:10.1 0000:01:10.2
            x/b:
            x/sf: mlx5_core.sf.1
        "]],
    );
}
