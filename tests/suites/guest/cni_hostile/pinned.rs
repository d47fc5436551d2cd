//! The CNI plugin uses the file of its BPF program only if no other user than root can replace the file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use sriov_host::uppers;

use super::calls;

const MOUNT: &str = "/sys/fs/bpf";
const DIR: &str = "/sys/fs/bpf/sriov-cni";
/// Result of the program for a device with an upper device.
const SOME: u8 = 2;
/// The loopback device, which has none.
const LO: u32 = 1;

/// Who may write to a directory, a change that lets them, and the way back.
type Shared = (&'static str, fn(), fn());

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(DIR).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn set_mode(dir: &str, mode: u32) {
    fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap();
}

fn forget() {
    let _ = fs::remove_dir_all(DIR);
}

#[test]
fn program_is_kept_in_a_file_that_only_root_can_replace() {
    forget();
    assert!(!uppers::exist(LO).unwrap());
    let kept = files();
    let [file] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    let dir = fs::metadata(DIR).unwrap().permissions();
    assert_eq!(dir.mode() & 0o7777, 0o700);
    assert!(!uppers::exist(LO).unwrap());

    calls::forge(file, SOME);
    assert!(uppers::exist(LO).unwrap(), "the file is not used");
    let shared: [Shared; 5] = [
        ("group", || set_mode(DIR, 0o720), || set_mode(DIR, 0o700)),
        ("all", || set_mode(DIR, 0o1777), || set_mode(DIR, 0o700)),
        ("owner", || own(DIR, 1000), || own(DIR, 0)),
        (
            "above",
            || set_mode(MOUNT, 0o777),
            || set_mode(MOUNT, 0o700),
        ),
        ("owner above", || own(MOUNT, 1000), || own(MOUNT, 0)),
    ];
    for (what, share, unshare) in shared {
        share();
        assert!(!uppers::exist(LO).unwrap(), "{what}");
        assert_eq!(&files(), std::slice::from_ref(file), "{what}");
        unshare();
        assert!(uppers::exist(LO).unwrap(), "{what}");
    }
    // As it is mounted without options: what root has there, only root can rename.
    set_mode(MOUNT, 0o1777);
    assert!(uppers::exist(LO).unwrap());
    set_mode(MOUNT, 0o700);
    forget();
}

fn own(dir: &str, user: u32) {
    chown(dir, Some(user), None).unwrap();
}

#[test]
fn file_of_another_version_is_replaced() {
    forget();
    uppers::exist(LO).unwrap();
    let file = files().remove(0);
    fs::rename(&file, Path::new(DIR).join("uppers-0")).unwrap();
    assert!(!uppers::exist(LO).unwrap());
    assert_eq!(files(), [file]);
    forget();
}

#[test]
fn program_is_loaded_where_no_file_can_be_made() {
    forget();
    let run = |words: &[&str]| {
        let done = Command::new("/bin/busybox").args(words).status();
        assert!(done.unwrap().success(), "{words:?}");
    };
    run(&["umount", MOUNT]);
    let without = uppers::exist(LO);
    run(&["mount", "-t", "tmpfs", "tmpfs", MOUNT]);
    let other = uppers::exist(LO);
    let is_made = Path::new(DIR).exists();
    run(&["umount", MOUNT]);
    run(&["mount", "-t", "bpf", "-o", "mode=0700", "bpf", MOUNT]);
    assert!(!without.unwrap() && !other.unwrap());
    assert!(!is_made, "a file system of another kind has the directory");
}
