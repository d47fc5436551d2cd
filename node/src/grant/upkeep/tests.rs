//! What happens to the file of a device, by holders and time.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use sriov_config::resource_list::{PfHealth, Publish};
use sriov_device_info::DeviceInfo;
use sriov_device_info::claims::{ClaimDevice, ClaimRef, PodClaims, PodRef};
use sriov_device_info::info::Pci;
use sriov_host::sysfs;
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
    FileUpkeep::new(OwnFiles {
        is_own: |holder| holder.pod().is_some(),
        claims: None,
    })
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

/// The owners while a claim has the device.
fn claimed() -> Owners {
    let claim = Holder::from(ClaimHolder {
        resource: "x.y/vf".into(),
        namespace: "n".into(),
        name: "c".into(),
        uid: "1".into(),
    });
    Owners {
        claims: BTreeMap::from([(key().1, vec![claim])]),
        ..owners(Some(&[]))
    }
}

#[test]
fn a_claims_files_are_left_to_its_front_end() {
    let owners = claimed();
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

const POD: &str = "5b1f4a52-7c0e-4a3f-9a60-0d3c1b7d2f11";

/// The hand-over of a pod whose claim has the device.
fn hand_over() -> PodClaims {
    let device = ClaimDevice {
        claim: ClaimRef {
            namespace: "n".into(),
            name: "c".into(),
            uid: "1".into(),
        },
        request: "vf".into(),
        pool: "node-1".into(),
        device: "0000-01-10-0".into(),
        pci_address: ID.parse().unwrap(),
        resource: "x.y/vf".into(),
        network: None,
        ifname: None,
        rebound: None,
        metadata: None,
    };
    PodClaims {
        driver: "d.x".into(),
        pod: PodRef {
            namespace: "n".into(),
            name: "p".into(),
            uid: POD.parse().unwrap(),
        },
        devices: vec![device],
    }
}

/// The lock, the files and the upkeep of a front end for claims, below a directory.
fn of_claims(dir: &Path) -> (ClaimLock, DeviceFiles, FileUpkeep) {
    let lock = ClaimLock {
        path: dir.join("serialize.lock"),
        claims: ClaimStore::below(&dir.join("cni")),
    };
    let files = DeviceFiles {
        store: Store::new(dir.join("dp")),
        cdi: None,
    };
    let upkeep = FileUpkeep::new(OwnFiles {
        is_own: |holder| holder.pod().is_none(),
        claims: Some(lock.clone()),
    });
    (lock, files, upkeep)
}

/// An Unprepare removes the file under the lock, and the claim before it releases the lock. The owners of the round are from before.
#[test]
fn a_file_is_not_rebuilt_during_or_after_unprepare() {
    let dir = tempfile::tempdir().unwrap();
    let host = HostRoot::new(dir.path().join("host"));
    let device = sysfs::device_path(&host, ID.parse().unwrap());
    let driver = &pools().pools[0].devices[0].driver.clone();
    fs::create_dir_all(&device).unwrap();
    symlink(format!("../../drivers/{driver}"), device.join("driver")).unwrap();
    let (lock, files, mut upkeep) = of_claims(dir.path());
    let file = files.store.path_of_device("x.y/vf", ID);
    let mut is_rebuilt = || {
        upkeep.reconcile(&host, &files, &pools(), &claimed(), Instant::now());
        let is_there = file.exists();
        atomic::remove(&file).unwrap();
        is_there
    };
    lock.claims.write(&hand_over()).unwrap();
    assert!(is_rebuilt(), "while the claim is prepared");
    let call = FileLock::try_take(&lock.path).unwrap();
    assert!(!is_rebuilt(), "during the call");
    lock.claims.remove(&POD.parse().unwrap()).unwrap();
    drop(call);
    assert!(!is_rebuilt(), "after the call");
    // The holder of the device is unknown then.
    fs::write(lock.claims.path_of(&POD.parse().unwrap()), "{").unwrap();
    assert!(!is_rebuilt(), "while the claims cannot be read");
}

/// A Prepare writes the claim before the file. The owners of the round are from before.
#[test]
fn a_file_of_a_new_claim_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, files, mut upkeep) = of_claims(dir.path());
    let file = files.store.path_of_device("x.y/vf", ID);
    let info = DeviceInfo::pci(Pci::default());
    Store::write(&file, &info).unwrap();
    let host = HostRoot::new(dir.path().join("host"));
    let start = Instant::now();
    let mut stays = |after: Duration| {
        upkeep.reconcile(&host, &files, &pools(), &owners(Some(&[])), start + after);
        file.exists()
    };
    assert!(stays(Duration::ZERO));
    lock.claims.write(&hand_over()).unwrap();
    assert!(stays(UNHELD));
    lock.claims.remove(&POD.parse().unwrap()).unwrap();
    assert!(stays(UNHELD * 2), "at first sight");
    assert!(!stays(UNHELD * 3));
}
