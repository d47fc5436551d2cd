//! The program as a file of the kernel's file system for BPF: it stays loaded until the machine stops, so that the next process need not load it.
//!
//! A process uses the file only if the directory belongs to root and no other user may write to it.
//! Where the file system is not mounted (systemd mounts it), each process loads the program itself.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::sys::statfs::{self, BPF_FS_MAGIC};

use crate::bpf::{self, Program};
use crate::stable_hash::stable_hash;

/// Where systemd mounts the file system.
const MOUNT: &str = "/sys/fs/bpf";
/// Our directory below it.
const DIR: &str = "/sys/fs/bpf/sriov-cni";

/// The program, from its file if that can be trusted; otherwise it is loaded, and the file is made.
///
/// # Errors
/// When the kernel refuses the program. A file that cannot be made does not matter.
pub(super) fn program(program: &Program) -> io::Result<OwnedFd> {
    let file = Path::new(DIR).join(name(program));
    if is_kept()
        && let Ok(pinned) = bpf::pinned(&file)
    {
        return Ok(pinned);
    }
    let loaded = bpf::load(program)?;
    let _ = pin(&loaded, &file);
    Ok(loaded)
}

/// Creates the file, and removes the files of other versions.
fn pin(program: &OwnedFd, file: &Path) -> io::Result<()> {
    if statfs::statfs(MOUNT)?.filesystem_type() != BPF_FS_MAGIC {
        return Ok(());
    }
    let made = DirBuilder::new().mode(0o700).create(DIR);
    if !is_kept() {
        return made;
    }
    for other in fs::read_dir(DIR)? {
        let other = other?.path();
        if other != file {
            fs::remove_file(other)?;
        }
    }
    bpf::pin(program, file)
}

/// Whether only root can change the entries of our directory, or replace the directory.
fn is_kept() -> bool {
    // In a sticky directory that everybody may write to, entries of root are root's.
    is_roots(MOUNT, |mode| mode & 0o022 == 0 || mode & 0o1000 != 0)
        && is_roots(DIR, |mode| mode & 0o022 == 0)
}

fn is_roots(dir: &str, is_closed: impl Fn(u32) -> bool) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|dir| dir.is_dir() && dir.uid() == 0 && is_closed(dir.mode()))
}

/// A name that changes with the program.
fn name(program: &Program) -> String {
    let Program {
        instructions,
        types,
        functions,
        relocations,
    } = program;
    let parts = [instructions, types, functions, relocations].map(Vec::as_slice);
    format!("uppers-{:016x}", stable_hash(&parts.concat()))
}
