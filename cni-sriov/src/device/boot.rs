//! Whether a device is still the one that was attached: the same boot, and the same VF at the address.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sriov_host::netns::Netns;
use sriov_host::{HostRoot, sysfs};

use super::error::DeviceError;
use crate::model::{SavedAttachmentV1, SavedNetns};

/// Identity of this boot.
///
/// # Errors
/// [`DeviceError::Sysfs`].
pub(crate) fn boot_id(host: &HostRoot) -> Result<String, DeviceError> {
    Ok(sysfs::boot_id(host)?)
}

/// Whether the VF of an attachment is still the device that was attached.
///
/// After a reboot, and after the VF was destroyed and created again, it has its driver's settings and nothing is restored onto it.
///
/// # Errors
/// [`DeviceError::Sysfs`].
pub(crate) fn is_unchanged_device(
    host: &HostRoot,
    saved: &SavedAttachmentV1,
) -> Result<bool, DeviceError> {
    Ok(boot_id(host)? == saved.boot_id
        && sysfs::incarnation(host, saved.device) == Some(saved.incarnation))
}

/// The network namespace of an attachment, if it still exists at its path.
///
/// Its number cannot be read without privileges, and then the inode decides.
pub(crate) fn unchanged_netns(saved: &SavedNetns) -> Option<Netns> {
    let netns = Netns::open(Path::new(&saved.path)).ok()?;
    let cookie = saved.cookie.and_then(|_| netns.cookie().ok().flatten());
    saved.is(netns.id(), cookie).then_some(netns)
}

/// Whether `modified` is before this boot (`btime` of proc(5), `/proc/stat`); false when the time of the boot cannot be read.
pub(crate) fn is_before_boot(host: &HostRoot, modified: SystemTime) -> bool {
    let stat = fs::read_to_string(host.join("proc/stat")).unwrap_or_default();
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    boot.is_some_and(|boot| modified < boot)
}

/// Fails when the list of PCI devices cannot be read.
///
/// # Errors
/// [`DeviceError::NoSysfs`].
pub(crate) fn ensure_sysfs(host: &HostRoot) -> Result<(), DeviceError> {
    let path = host.join("sys/bus/pci/devices");
    match fs::read_dir(&path) {
        Ok(_) => Ok(()),
        Err(source) => Err(DeviceError::NoSysfs { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_a_namespace_decides_whether_it_is_the_same() {
        let path = Path::new("/proc/self/ns/net");
        let netns = Netns::open(path).unwrap();
        let cookie = netns.cookie().ok().flatten();
        let mut saved = SavedNetns {
            path: path.to_str().unwrap().to_owned(),
            id: netns.id(),
            cookie,
        };
        assert!(unchanged_netns(&saved).is_some());
        // Only root may enter a namespace, and older kernels have no number.
        if let Some(cookie) = cookie {
            saved.cookie = Some(cookie + 1);
            assert!(unchanged_netns(&saved).is_none());
        }
        saved.cookie = None;
        saved.id.ino += 1;
        assert!(unchanged_netns(&saved).is_none());
    }

    #[test]
    fn time_before_the_boot_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("proc")).unwrap();
        fs::write(
            dir.path().join("proc/stat"),
            "cpu 1\nbtime 1000\nprocesses 7\n",
        )
        .unwrap();
        let host = HostRoot::new(dir.path());
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(is_before_boot(&host, at(999)));
        assert!(!is_before_boot(&host, at(1000)));
        assert!(!is_before_boot(&HostRoot::new("/nowhere"), at(0)));
    }
}
