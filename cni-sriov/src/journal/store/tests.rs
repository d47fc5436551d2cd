//! The journal on a real directory.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::journal::go_state;
use crate::model::{Phase, examples};

fn journal(dir: &Path) -> Journal {
    Journal::new(dir.join("sriov"), Duration::from_millis(20))
}

fn state_files(dir: &Path) -> Vec<String> {
    let mut names = files::names(&dir.join("sriov")).unwrap();
    names.retain(|name| name != "pci" && name != "owed");
    names.sort();
    names
}

#[test]
fn saved_attachment_is_found_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
    assert!(journal.entries().unwrap().is_empty());
    let _lock = journal.lock(saved.device).unwrap();
    journal.write(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved.clone()));
    journal.write_go_copy(&saved, "{}").unwrap();
    assert_eq!(state_files(dir.path()), ["0000:01:10.0.json", "c-net1"]);
    assert_eq!(journal.entries().unwrap().len(), 1);
    journal.remove(&saved).unwrap();
    journal.remove(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), None);
    assert!(!dir.path().join("sriov/pci/0000:01:10.0").exists());
    assert!(state_files(dir.path()).is_empty());
}

/// A journal with an attachment that was completed, and the inode of the durable file.
fn completed(dir: &Path) -> (Journal, SavedAttachmentV1, u64) {
    let journal = journal(dir);
    let mut saved = examples::saved();
    saved.phase = Phase::Prepared;
    journal.write(&saved).unwrap();
    let durable = fs::metadata(dir.join(ENTRY)).unwrap().ino();
    saved.phase = Phase::Attached;
    journal.complete(&saved).unwrap();
    (journal, saved, durable)
}

const ENTRY: &str = "sriov/0000:01:10.0.json";
const EXCHANGED: &str = "sriov/.0000:01:10.0.json.new";

#[test]
fn durable_file_remains_until_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut saved, durable) = completed(dir.path());
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved.clone()));
    let exchanged = dir.path().join(EXCHANGED);
    assert_eq!(fs::metadata(&exchanged).unwrap().ino(), durable);
    saved.phase = Phase::Dirty;
    journal.write(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved.clone()));
    assert!(!exchanged.exists());
    journal.remove(&saved).unwrap();
    assert!(state_files(dir.path()).is_empty());
}

#[test]
fn durable_file_replaces_one_that_a_power_loss_tore() {
    for torn in ["", "{\"version\":1,", "\0\0\0\0"] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, saved, durable) = completed(dir.path());
        let entry = dir.path().join(ENTRY);
        fs::write(&entry, torn).unwrap();
        let found = journal.read(saved.device).unwrap().unwrap();
        assert_eq!(found.phase, Phase::Prepared);
        assert_eq!(
            journal.entries().unwrap()[0].saved.as_ref().unwrap(),
            &found
        );
        // A write that dies before its rename leaves the durable file under its own name.
        files::save_exchanged(&entry, &dir.path().join("sriov")).unwrap();
        assert_eq!(fs::metadata(&entry).unwrap().ino(), durable);
        journal.write(&saved).unwrap();
        assert_eq!(journal.read(saved.device).unwrap(), Some(saved));
    }
}

#[test]
fn attachment_of_a_removed_file_is_completed_durably() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, saved, _) = completed(dir.path());
    fs::remove_file(dir.path().join(ENTRY)).unwrap();
    journal.complete(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved));
    assert!(!dir.path().join(EXCHANGED).exists());
}

#[test]
fn owed_ipam_call_does_not_hold_the_vf() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
    journal.write(&saved).unwrap();
    journal.owe(&saved).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), None);
    let entries = journal.entries().unwrap();
    assert!(entries.len() == 1 && entries[0].is_owed);
    assert_eq!(entries[0].saved.as_ref().unwrap(), &saved);
    entries[0].settle().unwrap();
    assert!(journal.entries().unwrap().is_empty());
}

#[test]
fn torn_file_is_refused_by_name_and_swept() {
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
    assert!(state_files(dir.path()).is_empty());
}

#[test]
fn later_version_is_refused_by_name_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
    journal.write(&saved).unwrap();
    let path = dir.path().join("sriov/0000:01:10.0.json");
    let text = r#"{"version":2,"network":"n","container_id":"c","ifname":"net1","device":{}}"#;
    fs::write(&path, text).unwrap();
    let error = journal.read(saved.device).unwrap_err();
    assert!(error.to_string().contains("has version 2"), "{error}");
    assert_eq!(error.is_later_of(["n", "c", "net1"]), Some(true));
    assert_eq!(error.is_later_of(["n", "d", "net1"]), Some(false));
    journal.sweep(saved.device).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    fs::write(&path, r#"{"version":3}"#).unwrap();
    let error = journal.read(saved.device).unwrap_err();
    assert_eq!(error.is_later_of(["n", "c", "net1"]), None);
}

#[test]
fn pipe_is_torn_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
    journal.write(&saved).unwrap();
    journal.remove(&saved).unwrap();
    let path = dir.path().join("sriov/0000:01:10.0.json");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = journal.read(saved.device).unwrap_err();
    assert!(matches!(error, JournalError::Content { .. }));
}

#[test]
fn lock_works_where_no_file_can_be_created() {
    let dir = tempfile::tempdir().unwrap();
    let device = "0000:01:10.0".parse().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for state in [dir.path().join("file/x"), "/proc/nowhere/x".into()] {
        let journal = Journal::new(state, Duration::ZERO);
        let lock = journal.lock(device).unwrap();
        assert!(matches!(journal.lock(device), Err(JournalError::Locked(_))));
        drop(lock);
        journal.lock(device).unwrap();
    }
}

#[test]
fn files_of_other_attachments_may_be_anything() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
    journal.write(&saved).unwrap();
    fs::write(dir.path().join("sriov/other-net1"), b"\xff\xfe").unwrap();
    fs::create_dir(dir.path().join("sriov/0000:01:10.1.json")).unwrap();
    fs::write(dir.path().join("sriov/owed"), "no directory").unwrap();
    assert!(!journal.is_passed_on(&saved).unwrap());
    let entries = journal.entries().unwrap();
    let readable: Vec<bool> = entries.iter().map(|entry| entry.saved.is_ok()).collect();
    assert_eq!(readable, [true, false]);
}

#[test]
fn whole_file_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
    journal.write(&saved).unwrap();
    journal.sweep(saved.device).unwrap();
    assert_eq!(journal.read(saved.device).unwrap(), Some(saved));
}

#[test]
fn lock_that_another_call_has_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().into(), Duration::from_hours(1));
    let device = examples::saved().device;
    let lock = journal.lock(device).unwrap();
    assert!(matches!(
        journal.lock_now(device),
        Err(JournalError::Locked(_))
    ));
    drop(lock);
    journal.lock_now(device).unwrap();
}

#[test]
fn wait_for_a_lock_has_a_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let device = "0000:01:10.0".parse().unwrap();
    let lock = journal.lock(device).unwrap();
    assert!(matches!(journal.lock(device), Err(JournalError::Locked(_))));
    drop(lock);
    journal.lock(device).unwrap();
}

#[test]
fn allocation_counts_while_its_namespace_exists() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut saved = examples::saved();
    let _lock = journal.lock(saved.device).unwrap();
    saved.netns.path = "/proc/self/ns/net".into();
    journal.write_go_copy(&saved, "{}").unwrap();
    assert!(journal.allocated_to(saved.device).is_some());
    saved.netns.path = "/run/netns/nobody".into();
    journal.write_go_copy(&saved, "{}").unwrap();
    assert!(journal.allocated_to(saved.device).is_none());
}

#[test]
fn unwritable_directory_fails_the_probe() {
    let dir = tempfile::tempdir().unwrap();
    journal(dir.path()).probe().unwrap();
    assert!(state_files(dir.path()).is_empty());
    fs::write(dir.path().join("file"), "").unwrap();
    let refused = Journal::new(dir.path().join("file"), Duration::ZERO).probe();
    assert!(matches!(refused, Err(JournalError::Write { .. })));
}

#[test]
fn vf_is_passed_on_by_a_newer_state_of_another_pod() {
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
        let saved = examples::saved();
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
fn forgetting_keeps_the_allocation_of_another_pod() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let saved = examples::saved();
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
fn state_removed_while_it_is_read_is_none() {
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
            assert_eq!(go_state::read(&path), None);
        }
    });
}
