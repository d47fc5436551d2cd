//! What happens to the file of a device, by what kubelet says and when.

use sriov_config::ResourceList;
use sriov_device_info::DeviceInfo;
use sriov_device_info::info::Pci;

use super::*;
use crate::ownership::{Holder, PodDevices};
use crate::pools::Gives;

const ID: &str = "0000:01:10.0";

fn pools() -> Pools {
    let text = r#"{"resourceList": [{"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"drivers": ["igbvf"]}}]}"#;
    let resource = ResourceList::parse(text, "").unwrap().resources.remove(0);
    let device = PoolDevice {
        id: ID.parse().unwrap(),
        driver: "igbvf".into(),
        numa_node: None,
        pf: None,
        representor: None,
        gives: Gives::default(),
    };
    Pools {
        pools: vec![Pool {
            resource,
            devices: vec![device].into(),
            unhealthy: BTreeMap::new(),
        }],
        ..Pools::default()
    }
}

fn owners(resources: Option<&[&str]>) -> Owners {
    let holder = |resource: &&str| Holder {
        resource: (*resource).to_owned(),
        namespace: "n".into(),
        pod: "p".into(),
        container: "c".into(),
    };
    Owners {
        pods: resources.map(|resources| PodDevices {
            holders: BTreeMap::from([(ID.to_owned(), resources.iter().map(holder).collect())]),
            allocatable: BTreeMap::new(),
        }),
        ..Owners::default()
    }
}

fn key() -> Key {
    (ResourceName::new("x.y", "vf").unwrap(), ID.to_owned())
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
        let mut keeper = Keeper::default();
        let now = Instant::now();
        let plan = keeper.plan(&pools(), &owners(resources), &Files::new(), now);
        assert_eq!(plan.rebuild.contains(&key()), rebuilds, "{resources:?}");
        let plan = keeper.plan(&pools(), &owners(resources), &file(), now);
        assert_eq!(plan.rebuild, BTreeSet::new(), "it is there");
    }
}

#[test]
fn a_file_goes_when_nobody_has_held_the_device_for_a_while() {
    let mut keeper = Keeper::default();
    let start = Instant::now();
    let mut removes = |owners: &Owners, after: Duration| {
        !keeper
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
    assert!(!removes(&stale, UNHELD * 4), "kubelet is silent");
    assert!(!removes(&nobody, UNHELD * 5));
    assert!(removes(&nobody, UNHELD * 6));
}

#[test]
fn a_fresh_allocation_keeps_its_file_until_it_was_seen_or_became_nothing() {
    let start = Instant::now();
    let (nobody, pod) = (owners(Some(&[])), owners(Some(&["x.y/vf"])));
    let fresh = || {
        let mut keeper = Keeper::default();
        keeper.allocated(&key().0, vec![ID.to_owned()], start);
        keeper
    };
    let removes = |keeper: &mut Keeper, owners: &Owners, after: Duration| {
        !keeper
            .plan(&pools(), owners, &file(), start + after)
            .remove
            .is_empty()
    };
    let mut never_seen = fresh();
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
fn only_files_of_known_resources_are_ours() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let info = DeviceInfo::pci(Pci {
        pci_address: ID.to_owned(),
        ..Pci::default()
    });
    for resource in ["x.y/vf", "x.y/vf-more", "other.org/vf"] {
        Store::write(&store.path_of_device(resource, ID), &info).unwrap();
    }
    let mut keeper = Keeper::default();
    keeper.known.insert(key().0);
    let found: Vec<Key> = keeper.files(dir.path(), Store::id_in).into_keys().collect();
    assert_eq!(found, [key()]);
    assert!(
        keeper
            .files(&dir.path().join("missing"), CdiDir::id_in)
            .is_empty()
    );
}
