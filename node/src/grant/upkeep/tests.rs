//! What happens to the file of a device, by holders and time.

use std::sync::Arc;

use sriov_config::resource_list::{PfHealth, Publish};
use sriov_device_info::DeviceInfo;
use sriov_device_info::info::Pci;
use sriov_inventory::owners::{ClaimHolder, PodDevices, PodHolder};

use super::*;

const ID: &str = "0000:01:10.0";

fn pools() -> Pools {
    let device = PoolDevice::example(ID.parse().unwrap());
    Pools {
        pools: vec![Pool {
            name: key().0,
            pf_health: PfHealth::default(),
            publish: Publish::default(),
            additional_info: Arc::default(),
            devices: vec![device].into(),
            unhealthy: BTreeMap::new(),
        }],
        ..Pools::default()
    }
}

fn owners(resources: Option<&[&str]>) -> Owners {
    let holder = |resource: &&str| {
        Holder::from(PodHolder {
            resource: (*resource).to_owned(),
            namespace: "n".into(),
            pod: "p".into(),
            container: "c".into(),
        })
    };
    Owners {
        pods: resources.map(|resources| PodDevices {
            holders: BTreeMap::from([(key().1, resources.iter().map(holder).collect())]),
            allocatable: None,
        }),
        ..Owners::default()
    }
}

fn key() -> Key {
    (ResourceName::new("x.y", "vf").unwrap(), ID.parse().unwrap())
}

fn upkeep() -> FileUpkeep {
    FileUpkeep::new(|holder| holder.pod().is_some())
}

fn file() -> Files {
    Files::from([(key(), PathBuf::from("/file"))])
}

#[test]
fn a_missing_file_is_rebuilt_for_its_holder_only() {
    for (resources, rebuilds) in [
        (None, false),
        (Some([].as_slice()), false),
        (Some(&["x.y/vf"]), true),
        (Some(&["x.y/other"]), false),
    ] {
        let mut upkeep = upkeep();
        let now = Instant::now();
        let plan = upkeep.plan(&pools(), &owners(resources), &Files::new(), now);
        assert_eq!(plan.rebuild.contains(&key()), rebuilds, "{resources:?}");
        let plan = upkeep.plan(&pools(), &owners(resources), &file(), now);
        assert_eq!(plan.rebuild, BTreeSet::new(), "it is there");
    }
}

#[test]
fn a_file_is_removed_after_a_while_without_holder() {
    let mut upkeep = upkeep();
    let start = Instant::now();
    let mut removes = |owners: &Owners, after: Duration| {
        !upkeep
            .plan(&pools(), owners, &file(), start + after)
            .remove
            .is_empty()
    };
    let (nobody, pod, unknown) = (owners(Some(&[])), owners(Some(&["x.y/vf"])), owners(None));
    let stale = Owners {
        is_stale: true,
        ..nobody.clone()
    };
    assert!(!removes(&unknown, Duration::ZERO));
    assert!(!removes(&nobody, UNHELD), "at first sight");
    assert!(!removes(&pod, UNHELD * 2), "it came back");
    assert!(!removes(&nobody, UNHELD * 3));
    assert!(!removes(&stale, UNHELD * 4), "the kubelet does not answer");
    assert!(!removes(&nobody, UNHELD * 5));
    assert!(removes(&nobody, UNHELD * 6));
}

#[test]
fn a_fresh_grant_keeps_its_file_until_it_was_listed() {
    let start = Instant::now();
    let (nobody, pod) = (owners(Some(&[])), owners(Some(&["x.y/vf"])));
    let fresh = || {
        let mut upkeep = upkeep();
        upkeep.granted(&key().0, vec![key().1], start);
        upkeep
    };
    let removes = |upkeep: &mut FileUpkeep, owners: &Owners, after: Duration| {
        !upkeep
            .plan(&pools(), owners, &file(), start + after)
            .remove
            .is_empty()
    };
    let mut never_seen = fresh();
    // While the grant itself counts as owner, and after that.
    let grant = Holder::Granted("x.y/vf".into());
    let granted = Owners {
        granted: [(key().1, vec![grant])].into(),
        ..nobody.clone()
    };
    assert!(!removes(&mut never_seen, &granted, Duration::ZERO));
    assert!(!removes(&mut never_seen, &nobody, UNHELD));
    assert!(!removes(&mut never_seen, &nobody, UNHELD * 3));
    assert!(!removes(&mut never_seen, &nobody, NEVER_SEEN));
    assert!(removes(&mut never_seen, &nobody, NEVER_SEEN + UNHELD));
    let mut seen = fresh();
    assert!(!removes(&mut seen, &pod, UNHELD));
    assert!(!removes(&mut seen, &nobody, UNHELD * 2));
    assert!(removes(&mut seen, &nobody, UNHELD * 3));
}

#[test]
fn a_claims_files_are_left_to_its_front_end() {
    let claim = Holder::from(ClaimHolder {
        resource: "x.y/vf".into(),
        namespace: "n".into(),
        name: "c".into(),
        uid: "1".into(),
    });
    let owners = Owners {
        claims: BTreeMap::from([(key().1, vec![claim])]),
        ..owners(Some(&[]))
    };
    let (mut upkeep, start) = (upkeep(), Instant::now());
    for after in [Duration::ZERO, UNHELD, UNHELD * 2] {
        for files in [file(), Files::new()] {
            let plan = upkeep.plan(&pools(), &owners, &files, start + after);
            assert_eq!(plan, Plan::default(), "{files:?}");
        }
    }
}

#[test]
fn files_of_other_resources_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let info = DeviceInfo::pci(Pci {
        pci_address: ID.to_owned(),
        ..Pci::default()
    });
    for resource in ["x.y/vf", "x.y/vf-more", "other.org/vf"] {
        Store::write(&store.path_of_device(resource, ID), &info).unwrap();
    }
    let mut upkeep = upkeep();
    upkeep.served.insert(key().0);
    let found: Vec<Key> = upkeep.files(dir.path(), Store::id_in).into_keys().collect();
    assert_eq!(found, [key()]);
    assert!(
        upkeep
            .files(&dir.path().join("missing"), CdiDir::id_in)
            .is_empty()
    );
}
