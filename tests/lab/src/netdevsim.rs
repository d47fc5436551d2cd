//! Builds netdevsim, the kernel's simulated network device, for the node's kernel: Debian ships its source and no module.
//!
//! The cache keeps the module. The headers are Debian's, the compiler and `make` are this machine's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::debian::{self, NodeParts, finish};
use crate::image::kernel_release;
use crate::progress;
use crate::tools::has;

/// Version of the module in the cache.
const LAYOUT: &str = "netdevsim-v1";

/// File name of the module.
pub(crate) const MODULE: &str = "netdevsim.ko";

/// Unpacks the driver's directory out of the archive in the source package.
const UNPACK: &str = r#"dpkg-deb --fsys-tarfile "$0" |
	tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
	tar --extract --xz --directory "$1" --strip-components=4 --wildcards '*/drivers/net/netdevsim/*'"#;

/// The module, built if the cache does not have it for this kernel.
///
/// # Errors
/// If the source cannot be downloaded, a tool is missing, or the module does not build; the error has the compiler's messages.
pub(crate) fn module(cache: &Cache, parts: &NodeParts) -> Result<PathBuf> {
    let release = kernel_release(parts)?;
    let layout = format!("{LAYOUT}-{release}");
    let home = debian::made_of(cache, &layout, &source_package(&release)?, |deb, home| {
        let source = home.join("source");
        std::fs::create_dir(&source)?;
        progress::step("building netdevsim, once", || {
            let mut unpack = Command::new("sh");
            unpack.args(["-c", UNPACK]).args([deb, source.as_path()]);
            finish("tar", &mut unpack)?;
            build(&headers(parts, &release)?, &source)
        })?;
        std::fs::rename(source.join(MODULE), home.join(MODULE))?;
        Ok(std::fs::remove_dir_all(&source)?)
    })?;
    Ok(home.join(MODULE))
}

/// The package with the sources of a kernel, which are those of its series: `linux-source-6.12` for `6.12.95+deb12-amd64`.
fn source_package(release: &str) -> Result<String> {
    let mut numbers = release.split('.');
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("`{release}` is not the release of a kernel");
    };
    Ok(format!("linux-source-{major}.{minor}"))
}

/// The directory that modules for the kernel are built in.
fn headers(parts: &NodeParts, release: &str) -> Result<PathBuf> {
    let headers = parts
        .kernel
        .join(format!("usr/src/linux-headers-{release}"));
    let makefile = headers.join("Makefile");
    let text = std::fs::read_to_string(&makefile).context("the kernel package has no headers")?;
    // It includes the common headers by the path where the package manager installs them.
    std::fs::write(&makefile, text.replace("include /usr/src/", "include ../"))?;
    Ok(headers)
}

fn build(headers: &Path, source: &Path) -> Result<()> {
    for tool in ["make", "gcc"] {
        if !has(tool) {
            bail!(
                "`{tool}` is not on this machine: the lab builds a kernel module with it, install {tool}"
            );
        }
    }
    let mut make = Command::new("make");
    make.arg("--directory").arg(headers);
    make.arg(format!("M={}", source.display()));
    // No types for BPF and no debug information: nobody reads them.
    make.args([
        "CONFIG_NETDEVSIM=m",
        "CONFIG_DEBUG_INFO_BTF_MODULES=",
        "CONFIG_DEBUG_INFO=",
        "modules",
    ]);
    let output = make.output().context("cannot start make")?;
    if !output.status.success() {
        bail!(
            "netdevsim does not build:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_package_is_that_of_the_series() {
        assert_eq!(
            source_package("6.12.95+deb12-amd64").unwrap(),
            "linux-source-6.12"
        );
        assert!(source_package("none").is_err());
    }
}
