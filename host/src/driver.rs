//! Binds and unbinds the driver of a PCI function.
//!
//! After a restart of its driver a function is as if it had just been probed: it has a new network device on the host,
//! and all devices that were stacked on the old one are removed, in every namespace.
//! This works for drivers for user space as well, if nobody has the vfio device open.

mod users;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub use self::users::DeviceUser;
use sysfs_class::{PciDriver, SysClass};

use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::sysfs::device_path;

/// A driver could not be bound or unbound.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The function has no driver to start again.
    #[error("{device} has no driver")]
    NoDriver {
        /// The function.
        device: PciAddress,
    },
    /// A process has the vfio device open, and the kernel would wait for it without end; the function still has its driver.
    #[error("cannot unbind {device} from driver `{driver}`: {user}")]
    InUse {
        /// The function.
        device: PciAddress,
        /// The driver.
        driver: String,
        /// The process.
        user: DeviceUser,
    },
    /// The kernel refused to unbind the driver; the function still has it.
    #[error("cannot unbind {device} from driver `{driver}`")]
    Unbind {
        /// The function.
        device: PciAddress,
        /// The driver.
        driver: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The kernel refused to bind the driver; the function has none now.
    #[error("cannot bind {device} to driver `{driver}`")]
    Bind {
        /// The function.
        device: PciAddress,
        /// The driver.
        driver: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// `driver_override` could not be read or written.
    #[error("cannot use `{}`", path.display())]
    Override {
        /// `driver_override` of the function.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Name of the driver that a function has.
pub fn name(root: &HostRoot, device: PciAddress) -> Option<String> {
    let target = fs::read_link(device_path(root, device).join("driver")).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Unbinds and binds the driver of a function; returns the driver's name.
///
/// The network device may appear a moment after this has returned: the caller waits for it.
///
/// # Errors
/// [`DriverError::NoDriver`], [`DriverError::InUse`] and [`DriverError::Unbind`], after which nothing has changed;
/// [`DriverError::Bind`], after which the function has no driver: [`bind`] may succeed later.
pub fn restart(root: &HostRoot, device: PciAddress) -> Result<String, DriverError> {
    let driver = unbind(root, device)?.ok_or(DriverError::NoDriver { device })?;
    bind(root, device, &driver)?;
    Ok(driver)
}

/// Time in which a process that ends closes its vfio device.
const CLOSING: Duration = Duration::from_secs(2);
/// Time between two looks at the processes.
const CLOSING_STEP: Duration = Duration::from_millis(50);

/// Unbinds the driver of a function; returns its name, or `None` if the function has none.
///
/// # Errors
/// [`DriverError::InUse`] and [`DriverError::Unbind`], after which nothing has changed.
pub fn unbind(root: &HostRoot, device: PciAddress) -> Result<Option<String>, DriverError> {
    let Some(driver) = name(root, device) else {
        return Ok(None);
    };
    let refused = |source| DriverError::Unbind {
        device,
        driver: driver.clone(),
        source,
    };
    if driver.contains("vfio") {
        ensure_unused(root, device, &driver)?;
    }
    of_name(root, &driver)
        .write_file("unbind", device.to_string())
        .map_err(refused)?;
    Ok(Some(driver))
}

fn ensure_unused(root: &HostRoot, device: PciAddress, driver: &str) -> Result<(), DriverError> {
    let deadline = Instant::now() + CLOSING;
    while let Some(user) = users::user(root, device) {
        if Instant::now() > deadline {
            return Err(DriverError::InUse {
                device,
                driver: driver.to_owned(),
                user,
            });
        }
        thread::sleep(CLOSING_STEP);
    }
    Ok(())
}

/// Binds a driver to a function, also one that does not support its ids, as vfio-pci without `driver_override`.
///
/// The function keeps its `driver_override`.
pub fn bind(root: &HostRoot, device: PciAddress, driver: &str) -> Result<(), DriverError> {
    let give = || of_name(root, driver).write_file("bind", device.to_string());
    let refused = |source| DriverError::Bind {
        device,
        driver: driver.to_owned(),
        source,
    };
    match give() {
        // The driver does not match: another override, or none for a driver that matches only by override
        // (`pci_match_device`, drivers/pci/pci-driver.c).
        Err(error) if error.raw_os_error() == Some(ENODEV) => {
            let path = device_path(root, device).join("driver_override");
            let before = write_override(&path, driver)?;
            let given = give();
            write_override(&path, &before)?;
            given.map_err(refused)
        }
        done => done.map_err(refused),
    }
}

/// Clears the `driver_override` of a function if it names this driver; returns whether it did.
///
/// # Errors
/// [`DriverError::Override`]: the file could not be written.
pub fn clear_override(
    root: &HostRoot,
    device: PciAddress,
    driver: &str,
) -> Result<bool, DriverError> {
    let path = device_path(root, device).join("driver_override");
    let is_named = fs::read_to_string(&path).is_ok_and(|text| text.trim() == driver);
    if is_named {
        write_override(&path, "")?;
    }
    Ok(is_named)
}

const ENODEV: i32 = 19;

/// Writes an override and returns the one before; the kernel shows none as `(null)`.
///
/// None is written as an empty line: a write of nothing does not reach the driver core (`sysfs_kf_write`, fs/sysfs/file.c).
fn write_override(path: &Path, driver: &str) -> Result<String, DriverError> {
    let failed = |source| DriverError::Override {
        path: path.to_owned(),
        source,
    };
    let before = fs::read_to_string(path).map_err(failed)?;
    fs::write(path, format!("{driver}\n")).map_err(failed)?;
    let before = before.trim();
    Ok(if before == "(null)" { "" } else { before }.to_owned())
}

fn of_name(root: &HostRoot, driver: &str) -> PciDriver {
    let path = root.join("sys/bus/pci/drivers").join(driver);
    #[expect(
        unsafe_code,
        reason = "the checked constructor accepts paths below /sys only, and tests have another root"
    )]
    // SAFETY: the constructor keeps the path and does nothing else; what it leaves unchecked is that the path is a driver's.
    unsafe {
        PciDriver::from_path_unchecked(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree with one driver and one function, which the driver has.
    fn tree(driver: &str) -> (tempfile::TempDir, HostRoot, PciAddress) {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path());
        let device: PciAddress = "0000:01:10.0".parse().unwrap();
        let drivers = root.join("sys/bus/pci/drivers").join(driver);
        fs::create_dir_all(&drivers).unwrap();
        for verb in ["bind", "unbind"] {
            fs::write(drivers.join(verb), "").unwrap();
        }
        let path = device_path(&root, device);
        fs::create_dir_all(&path).unwrap();
        symlink(format!("../../drivers/{driver}"), path.join("driver")).unwrap();
        (dir, root, device)
    }

    #[test]
    fn restart_writes_the_address_to_both_files_of_the_driver() {
        for driver in ["igbvf", "vfio-pci", "uio_pci_generic"] {
            let (_dir, root, device) = tree(driver);
            assert_eq!(restart(&root, device).unwrap(), driver);
            for verb in ["bind", "unbind"] {
                let path = root.join("sys/bus/pci/drivers").join(driver).join(verb);
                assert_eq!(fs::read_to_string(path).unwrap(), "0000:01:10.0");
            }
        }
    }

    #[test]
    fn function_without_driver_is_named() {
        let (_dir, root, device) = tree("igbvf");
        fs::remove_file(device_path(&root, device).join("driver")).unwrap();
        let error = restart(&root, device).unwrap_err();
        assert_eq!(error.to_string(), "0000:01:10.0 has no driver");
        assert_eq!(unbind(&root, device).unwrap(), None);
    }

    #[test]
    fn refusal_names_function_and_driver() {
        let (_dir, root, device) = tree("igbvf");
        fs::remove_file(root.join("sys/bus/pci/drivers/igbvf/bind")).unwrap();
        let error = restart(&root, device).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot bind 0000:01:10.0 to driver `igbvf`"
        );
        let error = bind(&root, device, "no-such-driver").unwrap_err();
        assert!(matches!(error, DriverError::Bind { .. }));
    }

    #[test]
    fn override_is_replaced_and_returned() {
        let (_dir, root, device) = tree("igbvf");
        let path = device_path(&root, device).join("driver_override");
        for (shown, before) in [("(null)\n", ""), ("\n", ""), ("vfio-pci\n", "vfio-pci")] {
            fs::write(&path, shown).unwrap();
            assert_eq!(write_override(&path, "igbvf").unwrap(), before);
            assert_eq!(fs::read_to_string(&path).unwrap(), "igbvf\n");
        }
    }
}
