//! The directory outside the checkout in which the lab keeps what it downloaded and built.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

/// The space that the downloads and their unpacking need at most, in bytes.
const ROOM: u64 = 1 << 30;

/// Number of nodes that this process has described.
static NODES: AtomicU32 = AtomicU32::new(0);

/// The opened cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache, and creates it if it does not exist.
    pub fn open() -> Result<Self> {
        let of = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = of("VIRTFN_CACHE")
            .or_else(|| of("XDG_CACHE_HOME").map(|dir| dir.join("virtfn")))
            .or_else(|| of("HOME").map(|dir| dir.join(".cache/virtfn")))
            .context(
                "set VIRTFN_CACHE to a directory: VIRTFN_CACHE, XDG_CACHE_HOME and HOME are all unset",
            )?;
        std::fs::create_dir_all(&root).with_context(|| {
            format!(
                "cannot create the cache {}: set VIRTFN_CACHE to a writable directory",
                root.display()
            )
        })?;
        // QEMU is started in another directory and gets these paths too.
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot open the cache {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path in the cache.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Fails when the disk has no room for a download.
    pub fn ensure_room(&self) -> Result<()> {
        let disk = nix::sys::statvfs::statvfs(&self.root)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free < ROOM {
            bail!(
                "{} has {} MiB free, the lab needs {}: free some space, or set VIRTFN_CACHE to a larger disk",
                self.root.display(),
                free >> 20,
                ROOM >> 20
            );
        }
        Ok(())
    }

    /// Waits for other runs that fill the cache, and keeps them waiting until the returned file is dropped.
    pub fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// A directory for one node; it is removed when the result is dropped, or by a later run if this process is killed.
    pub fn run_dir(&self) -> Result<RunDir> {
        let runs = self.path("run");
        std::fs::create_dir_all(&runs)?;
        for entry in std::fs::read_dir(&runs)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.split('.').next().unwrap_or_default();
            if !Path::new("/proc").join(owner).exists() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let count = NODES.fetch_add(1, Ordering::Relaxed);
        let path = runs.join(format!("{}.{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path)?;
        Ok(RunDir { path })
    }
}

/// A directory that is removed when its owner is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
