//! Snapshots that take PFs and unreadable devices from the one before.

use super::*;

fn function(address: &str, role: SriovRole) -> (PciAddress, PciFunction) {
    let address = address.parse().unwrap();
    let function = PciFunction {
        role,
        ..PciFunction::example(address)
    };
    (address, function)
}

fn machine(pfs: &[(&str, &[&str])]) -> HostSnapshot {
    let mut snapshot = HostSnapshot::default();
    for (pf, vfs) in pfs {
        let role = SriovRole::Pf {
            total_vfs: 7,
            vfs: BTreeMap::new(),
        };
        snapshot.functions.extend([function(pf, role)]);
        for vf in *vfs {
            let pf = pf.parse().unwrap();
            let role = SriovRole::Vf { pf, index: None };
            snapshot.functions.extend([function(vf, role)]);
        }
    }
    snapshot
}

#[test]
fn pfs_are_taken_with_all_of_their_vfs_or_with_none() {
    let before = machine(&[
        ("0000:01:00.0", &["0000:01:10.0", "0000:01:10.2"]),
        ("0000:02:00.0", &["0000:02:10.0"]),
    ]);
    let mut now = machine(&[
        ("0000:01:00.0", &["0000:01:10.2", "0000:01:10.4"]),
        ("0000:02:00.0", &[]),
        ("0000:03:00.0", &["0000:03:10.0"]),
    ]);
    let pfs = ["0000:01:00.0", "0000:03:00.0"].map(|pf| pf.parse().unwrap());
    now.take_pfs(&pfs.into(), &before);
    let expected = machine(&[
        ("0000:01:00.0", &["0000:01:10.0", "0000:01:10.2"]),
        ("0000:02:00.0", &[]),
    ]);
    assert_eq!(now, expected);
}

#[test]
fn what_could_not_be_read_is_what_it_was_and_all_else_is_new() {
    let before = machine(&[("0000:01:00.0", &["0000:01:10.0", "0000:01:10.2"])]);
    let mut now = machine(&[("0000:01:00.0", &["0000:01:10.2"])]);
    let read = now.functions.values_mut().last().unwrap();
    read.driver = Some("vfio-pci".to_owned());
    let problem = |device: &str| ScanProblem {
        device: device.to_owned(),
        reason: "torn".to_owned(),
    };
    // The second was not there before, the third is nothing that was known.
    now.problems = ["0000:01:10.0", "0000:09:10.0", "x"].map(problem).into();
    let mut expected = before.clone();
    expected.problems.clone_from(&now.problems);
    let read = expected.functions.values_mut().last().unwrap();
    read.driver = Some("vfio-pci".to_owned());
    now.keep_unreadable(&before);
    assert_eq!(now, expected);
}

#[test]
fn the_vfs_of_a_pf_that_could_not_be_read_keep_their_index() {
    let mut before = machine(&[("0000:01:00.0", &["0000:01:10.0"])]);
    let (pf, vf) = (
        "0000:01:00.0".parse().unwrap(),
        "0000:01:10.0".parse().unwrap(),
    );
    let linked = BTreeMap::from([(VfIndex::new(3), vf)]);
    if let Some(SriovRole::Pf { vfs, .. }) = before.functions.get_mut(&pf).map(|pf| &mut pf.role) {
        *vfs = linked;
    }
    before.index_vfs();
    let mut now = before.clone();
    now.functions.remove(&pf);
    now.index_vfs();
    assert_ne!(now.functions.get(&vf), before.functions.get(&vf));
    now.problems.push(ScanProblem {
        device: pf.to_string(),
        reason: "torn".to_owned(),
    });
    now.keep_unreadable(&before);
    assert_eq!(now.functions, before.functions);
}

#[test]
fn capabilities_are_kept_while_the_netdev_is_in_a_pod() {
    const VF: &str = "0000:01:10.0";
    let mut here = machine(&[("0000:01:00.0", &[VF])]);
    let vf = |snapshot: &mut HostSnapshot, change: fn(&mut PciFunction)| {
        change(snapshot.functions.get_mut(&VF.parse().unwrap()).unwrap());
    };
    vf(&mut here, |vf| {
        vf.netdevs = vec![Netdev {
            link_type: LinkType::Infiniband,
            ..Netdev::example("ib0".parse().unwrap())
        }];
        vf.rdma = vec!["mlx5_0".to_owned()];
    });
    let expected = BeforePod {
        has_rdma: true,
        link_type: LinkType::Infiniband,
    };
    let none: fn(&mut PciFunction) = |_| {};
    for (change, expected) in [
        (none, Some(expected)),
        (|vf| vf.incarnation += 1, None),
        (|vf| vf.driver = Some("vfio-pci".to_owned()), None),
        (
            |vf| vf.netdevs = vec![Netdev::example("ib0".parse().unwrap())],
            None,
        ),
    ] {
        let (mut away, mut later) = (machine(&[("0000:01:00.0", &[VF])]), here.clone());
        vf(&mut away, change);
        away.keep_capabilities(&here);
        // And from one scan to the next.
        vf(&mut later, |vf| {
            (vf.netdevs, vf.rdma) = (Vec::new(), Vec::new());
        });
        vf(&mut later, change);
        later.keep_capabilities(&away);
        for snapshot in [&away, &later] {
            let found = snapshot.function(VF.parse().unwrap()).unwrap();
            assert_eq!(found.before_pod, expected);
        }
    }
}
