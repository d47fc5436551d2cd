//! Writes archives that the kernel unpacks into its first root: cpio in the `newc` format.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// A cpio archive in the kernel's `newc` format (`Documentation/driver-api/early-userspace/buffer-format.rst`).
#[derive(Debug)]
pub struct Archive {
    out: io::BufWriter<std::fs::File>,
    inode: u32,
    dirs: BTreeSet<String>,
}

impl Archive {
    /// Creates an empty archive.
    pub fn create(path: &Path) -> Result<Self> {
        let file = std::fs::File::create(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            out: io::BufWriter::new(file),
            inode: 1,
            dirs: BTreeSet::new(),
        })
    }

    /// Adds a directory with its parents.
    pub fn dir(&mut self, name: &str) -> Result<()> {
        let ends = name
            .match_indices('/')
            .map(|(end, _)| end)
            .chain([name.len()]);
        for end in ends {
            let (part, _) = name.split_at(end);
            if self.dirs.insert(part.to_owned()) {
                self.entry(part, 0o040_755, &[])?;
            }
        }
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.parent(name)?;
        self.entry(name, 0o120_777, target.as_bytes())
    }

    /// Adds a file of this machine.
    pub fn file(&mut self, name: &str, source: &Path, executable: bool) -> Result<()> {
        let text =
            std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.bytes(name, &text, executable)
    }

    /// Adds a file.
    pub fn bytes(&mut self, name: &str, text: &[u8], executable: bool) -> Result<()> {
        self.parent(name)?;
        self.entry(name, if executable { 0o100_755 } else { 0o100_644 }, text)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out
            .flush()
            .context("cannot write the initramfs: is the disk full?")
    }

    fn parent(&mut self, name: &str) -> Result<()> {
        name.rsplit_once('/')
            .map_or(Ok(()), |(parent, _)| self.dir(parent))
    }

    fn entry(&mut self, name: &str, mode: u32, text: &[u8]) -> Result<()> {
        let size = u32::try_from(text.len()).context("a file of the node is larger than 4 GiB")?;
        let name_size = u32::try_from(name.len() + 1)?;
        let inode = self.inode;
        self.inode += 1;
        write!(
            self.out,
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:032x}{name_size:08x}{:08x}{name}\0",
            0, 0, 1, 0, 0, 0
        )?;
        self.pad(110 + name.len() + 1)?;
        self.out.write_all(text)?;
        self.pad(text.len())
    }

    fn pad(&mut self, written: usize) -> Result<()> {
        let missing = written.next_multiple_of(4) - written;
        Ok(self.out.write_all(&vec![0; missing])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_the_newc_format() {
        let path = std::env::temp_dir().join(format!("virtfn-archive-{}", std::process::id()));
        let mut archive = Archive::create(&path).unwrap();
        archive.bytes("a/b/file", b"text", true).unwrap();
        archive.link("a/link", "/run").unwrap();
        archive.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        // Header of the first entry, directory `a`: magic, inode, mode, and at offset 94 the size of its name.
        assert_eq!(bytes[..22], *b"07070100000001000041ed");
        assert_eq!(bytes[94..102], *b"00000002");
        let names: Vec<&[u8]> = vec![b"a/b/file\0", b"a/link\0", b"TRAILER!!!\0"];
        assert!(
            names
                .iter()
                .all(|name| bytes.windows(name.len()).any(|window| window == *name))
        );
    }
}
