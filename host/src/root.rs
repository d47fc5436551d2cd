//! The root of the machine's files: `/` in production, a captured tree in a test.

use std::path::{Path, PathBuf};

/// Directory that contains `sys`, `dev` and `proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoot(PathBuf);

impl HostRoot {
    /// Takes the directory that contains `sys`, `dev` and `proc`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether this is the machine of the process: only then the kernel can be queried, too.
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// `path` below this root; a leading `/` of `path` is ignored.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl Default for HostRoot {
    fn default() -> Self {
        Self::new("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_stay_below_the_root() {
        let root = HostRoot::new("/captured");
        assert_eq!(
            root.join("/sys/bus/pci"),
            PathBuf::from("/captured/sys/bus/pci")
        );
        assert_eq!(root.join("sys"), PathBuf::from("/captured/sys"));
        assert_eq!(HostRoot::default().join("/sys"), PathBuf::from("/sys"));
    }
}
