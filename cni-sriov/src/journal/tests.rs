//! The journal on a real directory.

use super::*;
use crate::saved::tests::GOLDEN;

fn journal(dir: &Path) -> Journal {
    Journal::new(dir.join("sriov"), Duration::from_millis(20))
}

fn files(dir: &Path) -> Vec<String> {
    let mut names = names(&dir.join("sriov")).unwrap();
    names.retain(|name| name != "pci" && name != OWED);
    names.sort();
    names
}

#[test]
fn what_is_saved_is_found_and_gone_after_removal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
    assert!(journal.entries().unwrap().is_empty());
    let _lock = journal.lock(saved.device).unwrap();
    journal.write(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved.clone()));
    journal.tell_go(&saved, "{}").unwrap();
    assert_eq!(files(dir.path()), ["0000:01:10.0.json", "c-net1"]);
    assert_eq!(journal.entries().unwrap().len(), 1);
    journal.remove(&saved).unwrap();
    journal.remove(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), None);
    assert!(!dir.path().join("sriov/pci/0000:01:10.0").exists());
    assert!(files(dir.path()).is_empty());
}

#[test]
fn what_is_owed_does_not_hold_the_vf() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
    journal.write(&saved).unwrap();
    journal.owe(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), None);
    let entries = journal.entries().unwrap();
    assert!(entries.len() == 1 && entries[0].is_owed);
    assert_eq!(entries[0].saved.as_ref().unwrap(), &saved);
    journal.settle(&entries[0]).unwrap();
    assert!(journal.entries().unwrap().is_empty());
}

#[test]
fn a_torn_file_is_refused_by_name_and_swept_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let device = "0000:01:10.0".parse().unwrap();
    let _lock = journal.lock(device).unwrap();
    fs::write(dir.path().join("sriov/0000:01:10.0.json"), "{").unwrap();
    fs::write(dir.path().join("sriov/.0000:01:10.0.json.new"), "{").unwrap();
    let error = journal.read(device).unwrap_err();
    assert!(error.to_string().contains("0000:01:10.0.json"));
    assert!(journal.entries().unwrap()[0].saved.is_err());
    journal.sweep(device).unwrap();
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_whole_file_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
    journal.write(&saved).unwrap();
    journal.sweep(saved.device).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved));
}

#[test]
fn a_lock_is_not_waited_for_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let device = "0000:01:10.0".parse().unwrap();
    let lock = journal.lock(device).unwrap();
    assert_eq!(journal.lock(device).unwrap_err().code(), 11);
    drop(lock);
    journal.lock(device).unwrap();
}

#[test]
fn an_allocation_counts_while_its_namespace_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
    let _lock = journal.lock(saved.device).unwrap();
    saved.netns.path = "/proc/self/ns/net".into();
    journal.tell_go(&saved, "{}").unwrap();
    assert!(journal.allocated_to(saved.device).is_some());
    saved.netns.path = "/run/netns/nobody".into();
    journal.tell_go(&saved, "{}").unwrap();
    assert!(journal.allocated_to(saved.device).is_none());
}

#[test]
fn a_directory_that_cannot_be_written_fails_the_probe() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path()).probe().unwrap();
    assert!(files(dir.path()).is_empty());
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Journal::new(dir.path().join("file"), Duration::ZERO)
        .probe()
        .unwrap_err();
    assert_eq!(error.code(), 102);
}

#[test]
fn a_vf_is_passed_on_by_a_newer_state_of_another_where_the_own_is_gone() {
    let now = SystemTime::now();
    let (before, after) = (now - Duration::from_secs(9), now + Duration::from_secs(9));
    let own = ("c-net1", "0000:01:10.0", after);
    for (states, is_passed_on) in [
        (vec![], false),
        (vec![own], false),
        (vec![("d-net1", "0000:01:10.0", after)], true),
        (vec![("d-net1", "0000:01:10.0", after), own], false),
        (vec![("d-net1", "0000:01:10.0", before)], false),
        (vec![("d-net1", "0000:01:10.2", after)], false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
        journal.write(&saved).unwrap();
        for (name, device, modified) in &states {
            let text = format!(
                r#"{{"cniVersion":"0.3.1","name":"n","type":"sriov","deviceID":"{device}","VFID":0,"HostIFNames":"eth2"}}"#
            );
            let path = dir.path().join("sriov").join(name);
            fs::write(&path, text).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(*modified).unwrap();
        }
        assert_eq!(
            journal.is_passed_on(&saved).unwrap(),
            is_passed_on,
            "{states:?}"
        );
    }
}

#[test]
fn what_is_forgotten_takes_no_hold_of_another_along() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
    let _lock = journal.lock(saved.device).unwrap();
    let hold = dir.path().join("sriov/pci/0000:01:10.0");
    for (netns, is_kept) in [("/run/netns/p", false), ("/run/netns/q", true)] {
        journal.write(&saved).unwrap();
        fs::write(&hold, netns).unwrap();
        journal.forget(&saved).unwrap();
        journal.forget(&saved).unwrap();
        assert_eq!(journal.read(saved.device).unwrap(), None);
        assert_eq!(hold.exists(), is_kept, "{netns}");
    }
}

#[test]
fn a_state_that_goes_while_it_is_read_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c-net1");
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            for _ in 0..5000 {
                fs::write(&path, "{}").unwrap();
                fs::remove_file(&path).unwrap();
            }
        });
        while !others.is_finished() {
            assert_eq!(go_state::read(&path).unwrap(), None);
        }
    });
}
