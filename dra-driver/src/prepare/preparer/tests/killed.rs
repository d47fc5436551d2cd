//! What a killed call left, and the next call removes.

use sriov_device_info::claims::Rebound;

use super::*;

/// A call that is killed between the creation of a file and its rename leaves the file under a name that no other process uses.
#[tokio::test]
async fn temporary_files_of_a_killed_call_are_removed() {
    let (complete, claim) = Machine::with_claim(&json!({}));
    complete.preparer.prepare(&claim).await.unwrap();
    let hidden = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        file.with_file_name(format!(".{name}.17-4"))
    };
    let is_durable = |file: &&PathBuf| file.parent().unwrap().ends_with("claims");
    let files = complete.files();
    let replaced: Vec<PathBuf> = files
        .iter()
        .filter(|f| !is_durable(f))
        .map(hidden)
        .collect();
    assert_eq!(replaced.len(), 5, "{replaced:?}");
    for is_continued in [true, false] {
        for file in &replaced {
            fs::write(complete.dir.path().join(file), "half of").unwrap();
        }
        if is_continued {
            complete.preparer.prepare(&claim).await.unwrap();
            assert_eq!(complete.files(), files);
        } else {
            complete.preparer.unprepare(&claim).await.unwrap();
            assert_eq!(complete.files(), BTreeSet::new());
        }
    }
}

#[tokio::test]
async fn unprepare_removes_what_a_killed_prepare_began() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    let begun = [
        (
            format!("plugins/sriov.virtfn.dev/claims/.{UID}.json.new"),
            false,
        ),
        (format!("cni/claims/.{POD}.json.new"), true),
    ];
    for (file, is_recorded) in begun {
        let path = machine.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "half of").unwrap();
        if is_recorded {
            machine
                .preparer
                .paths
                .state()
                .write(&state(&machine))
                .unwrap();
        }
        machine.preparer.unprepare(&claim).await.unwrap();
        assert_eq!(machine.files(), BTreeSet::new());
    }
}

/// A Prepare that is killed after it unbound a driver leaves a device that is in no pool.
#[tokio::test]
async fn continued_prepare_waits_for_the_scan_of_its_device() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    let complete = machine.preparer.pools.borrow().clone();
    let state = state(&machine);
    machine.preparer.paths.state().write(&state).unwrap();
    let send = &machine.send_pools;
    send.send_modify(|pools| Arc::make_mut(&mut Arc::make_mut(pools).pools[0].devices).clear());
    let scan = async {
        send.send_replace(complete);
    };
    let (prepared, ()) = tokio::join!(machine.preparer.prepare(&claim), scan);
    assert_eq!(prepared.unwrap(), answer(&machine.preparer.paths, &state));
}

#[tokio::test]
async fn override_of_a_killed_prepare_is_cleared() {
    let (machine, claim) = Machine::with_claim(&json!({}));
    let mut state = state(&machine);
    state.devices[0].rebound = Some(Rebound {
        own: Some("igbvf".into()),
        bound: "vfio-pci".into(),
    });
    let host = &machine.preparer.paths.host;
    let drivers = host.join("sys/bus/pci/drivers");
    let wish = sysfs::device_path(host, VFS[0].parse().unwrap()).join("driver_override");
    for (is_prepared, left, expected) in [
        (false, "vfio-pci\n", "\n"),
        // Somebody else has written these.
        (false, "uio_pci_generic\n", "uio_pci_generic\n"),
        (true, "vfio-pci\n", "vfio-pci\n"),
    ] {
        state.is_prepared = is_prepared;
        machine.preparer.paths.state().write(&state).unwrap();
        fs::create_dir_all(&drivers).unwrap();
        fs::write(&wish, left).unwrap();
        machine.preparer.unprepare(&claim).await.unwrap();
        assert_eq!(fs::read_to_string(&wish).unwrap(), expected);
    }
}
