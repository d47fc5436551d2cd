//! One device directory of sysfs and its attribute files: three system calls for an attribute, one for a link.

use std::cell::{Cell, RefCell, RefMut};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::pci::PcieRoot;

/// An attribute is at most a page long, and the first read returns it whole (Documentation/filesystems/sysfs.rst).
const PAGE: usize = 4096;
/// Most names of attributes below a device, with those of a network device, are shorter.
const NAME: usize = 64;

/// A device directory.
#[derive(Debug)]
pub(super) struct Device {
    path: PathBuf,
    /// The path of the present attribute: a new path for each would be a third of a scan's allocations.
    scratch: RefCell<PathBuf>,
    lookups: Cell<usize>,
}

/// An attribute could not be read.
#[derive(Debug)]
pub(super) enum AttributeError {
    Read { path: PathBuf, source: io::Error },
    Torn { path: PathBuf, text: String },
}

impl Device {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            scratch: RefCell::new(PathBuf::with_capacity(path.as_os_str().len() + NAME)),
            path,
            lookups: Cell::new(0),
        }
    }

    /// Number of lookups.
    pub(super) fn lookups(&self) -> usize {
        self.lookups.get()
    }

    pub(super) fn exists(&self) -> bool {
        self.inode().is_some()
    }

    /// Inode of its directory; `None` if there is no directory.
    pub(super) fn inode(&self) -> Option<u64> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some(metadata.ino())
    }

    pub(super) fn path(&self, attribute: impl AsRef<Path>) -> PathBuf {
        self.path.join(attribute)
    }

    /// The text of an attribute without white space at its ends; `None` if the kernel has no such attribute or no value for it now.
    pub(super) fn text(
        &self,
        attribute: impl AsRef<Path>,
    ) -> Result<Option<String>, AttributeError> {
        let attribute = attribute.as_ref();
        self.optional(attribute, self.read(attribute, str::to_owned))
    }

    /// A decimal number.
    pub(super) fn decimal<T: FromStr>(
        &self,
        attribute: impl AsRef<Path>,
    ) -> Result<Option<T>, AttributeError> {
        let attribute = attribute.as_ref();
        let number = self.read(attribute, |text| {
            text.parse().map_err(|_not_a_number| text.to_owned())
        });
        let number = self.optional(attribute, number)?.transpose();
        number.map_err(|text| self.torn(attribute, text))
    }

    /// A hexadecimal number with `0x`, which every function has.
    pub(super) fn hexadecimal<T: TryFrom<u32>>(
        &self,
        attribute: &str,
    ) -> Result<T, AttributeError> {
        self.lookups.update(|lookups| lookups + 1);
        let attribute = Path::new(attribute);
        let number = self.read(attribute, |text| {
            let digits = text.strip_prefix("0x");
            let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            let number = number.and_then(|number| T::try_from(number).ok());
            number.ok_or_else(|| text.to_owned())
        });
        number
            .map_err(|source| AttributeError::Read {
                path: self.path(attribute),
                source,
            })?
            .map_err(|text| self.torn(attribute, text))
    }

    /// The last part of a link's target.
    pub(super) fn link(&self, name: &str) -> Result<Option<String>, AttributeError> {
        let name = Path::new(name);
        let target = self.optional(name, fs::read_link(&*self.at(name)))?;
        Ok(target.and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned())))
    }

    /// The root complex in the path of the device below `/sys/devices`; absent where another device is above it, as on some ARM machines.
    pub(super) fn pcie_root(&self) -> Result<Option<PcieRoot>, AttributeError> {
        let target = self.optional(&self.path, fs::read_link(&self.path))?;
        let target = target.unwrap_or_default();
        let mut names = target.iter().skip_while(|name| *name != "devices");
        let root = names.nth(1).and_then(|name| name.to_str()?.parse().ok());
        Ok(root)
    }

    /// The names in a directory that are text, in any order; none if there is no such directory.
    pub(super) fn names(&self, dir: &str) -> Result<Vec<String>, AttributeError> {
        let entries = self.entries(Path::new(dir))?;
        let texts = entries.filter_map(|entry| entry.file_name().into_string().ok());
        Ok(texts.collect())
    }

    /// All names in a directory, sorted; those of network devices may be any bytes.
    pub(super) fn raw_names(&self, dir: impl AsRef<Path>) -> Result<Vec<OsString>, AttributeError> {
        let mut names: Vec<OsString> = self
            .entries(dir.as_ref())?
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        Ok(names)
    }

    fn entries(
        &self,
        dir: &Path,
    ) -> Result<impl Iterator<Item = fs::DirEntry> + use<>, AttributeError> {
        let entries = self.optional(dir, fs::read_dir(&*self.at(dir)))?;
        Ok(entries.into_iter().flatten().flatten())
    }

    /// The names in a directory that are text, sorted.
    pub(super) fn sorted(&self, dir: &str) -> Result<Vec<String>, AttributeError> {
        let mut names = self.names(dir)?;
        names.sort();
        Ok(names)
    }

    fn torn(&self, attribute: &Path, text: String) -> AttributeError {
        AttributeError::Torn {
            path: self.path(attribute),
            text,
        }
    }

    /// The path of an attribute, valid until the next call.
    fn at(&self, attribute: &Path) -> RefMut<'_, PathBuf> {
        let mut path = self.scratch.borrow_mut();
        path.clear();
        path.push(&self.path);
        path.push(attribute);
        path
    }

    /// Reads an attribute and converts its text.
    fn read<T>(&self, attribute: &Path, make: impl FnOnce(&str) -> T) -> io::Result<T> {
        let mut page = [0; PAGE];
        let length = File::open(&*self.at(attribute))?.read(&mut page)?;
        let text = page.get(..length).unwrap_or_default();
        Ok(make(String::from_utf8_lossy(text).trim()))
    }

    fn optional<T>(&self, name: &Path, read: io::Result<T>) -> Result<Option<T>, AttributeError> {
        self.lookups.update(|lookups| lookups + 1);
        match read {
            Ok(value) => Ok(Some(value)),
            // EOPNOTSUPP and EINVAL: a netdev without switch id, or a driver or state without a value.
            Err(error) if matches!(error.raw_os_error(), Some(95 | 22)) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(AttributeError::Read {
                path: self.path(name),
                source,
            }),
        }
    }
}
