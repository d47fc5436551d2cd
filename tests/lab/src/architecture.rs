//! The processor architectures that the programs ship for, and what a build for each needs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::checkout::workspace;
use crate::tools::has;

/// Runs arm64 programs on this machine; Debian's package `qemu-user-static` has it.
pub const EMULATOR: &str = "qemu-aarch64-static";

/// The linker of arm64 programs; Debian's package `gcc-aarch64-linux-gnu` has it.
const ARM64_LINKER: &str = "aarch64-linux-gnu-gcc";

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// The architecture of the emulated node.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// All architectures, the node's first.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The name in the OCI image specification, which is also Go's and Debian's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name of the target.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The architecture with this name, in the words of OCI or of Rust.
    pub fn of(word: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| [one.name(), one.target()].contains(&word))
    }

    /// Variables of the environment with which cargo builds for it.
    pub(crate) fn environment(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Amd64 => Vec::new(),
            Self::Arm64 => vec![
                (
                    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
                    ARM64_LINKER.to_owned(),
                ),
                // With the C library of Debian's cross compiler.
                (
                    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                    format!("{EMULATOR} -L /usr/aarch64-linux-gnu"),
                ),
                ("CC_aarch64_unknown_linux_gnu", ARM64_LINKER.to_owned()),
            ],
        }
    }

    /// Makes sure that this machine can build for it; Rust's library for the target is installed if it is missing.
    ///
    /// # Errors
    /// One sentence that names what is missing and how to get it.
    pub fn prepare(self) -> Result<()> {
        if self == Self::Amd64 {
            return Ok(());
        }
        if !has(ARM64_LINKER) {
            bail!(
                "`{ARM64_LINKER}` is not on this machine: programs for arm64 need Debian's packages gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
            );
        }
        if self.has_library()? {
            return Ok(());
        }
        let added = Command::new("rustup")
            .args(["target", "add", self.target()])
            .current_dir(workspace())
            .stdin(Stdio::null())
            .status();
        if !added.is_ok_and(|status| status.success()) {
            bail!(
                "Rust's library for {0} is missing, and `rustup target add {0}` could not install it",
                self.target()
            );
        }
        Ok(())
    }

    fn has_library(self) -> Result<bool> {
        let mut command = Command::new("rustc");
        command.args(["--print", "target-libdir", "--target", self.target()]);
        let output = command
            .current_dir(workspace())
            .output()
            .context("cannot start rustc")?;
        let dir = String::from_utf8_lossy(&output.stdout);
        Ok(output.status.success() && Path::new(dir.trim()).is_dir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architecture_has_a_name_for_oci_and_one_for_rust() {
        for one in Architecture::ALL {
            assert_eq!(Architecture::of(one.name()), Some(one));
            assert_eq!(Architecture::of(one.target()), Some(one));
        }
        assert_eq!(Architecture::of("riscv64"), None);
    }
}
