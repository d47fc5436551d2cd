//! Writes the node's initramfs: userland, modules and init.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cpio::Archive;
use crate::debian::{NodeParts, first_of};

/// Modules that the node loads, in this order.
const MODULES: &[&str] = &[
    "igb",
    "igbvf",
    "8021q",
    "macvlan",
    "bonding",
    "bridge",
    "sch_tbf",
    "sch_ingress",
    "cls_matchall",
    "act_gact",
    "veth",
    "dummy",
    "vfio-pci",
    "vfio_iommu_type1",
    "uio_pci_generic",
    "virtio_net",
    "overlay",
    "virtio_blk",
    // ext4 requests it by the name of an algorithm.
    "crc32c_generic",
    "ext4",
];

/// Programs with their shared libraries: path in the package root, path on the node.
const PROGRAMS: &[(&str, &str)] = &[
    ("bin/ip", "usr/sbin/ip"),
    ("sbin/tc", "usr/sbin/tc"),
    ("usr/bin/tcpdump", "usr/bin/tcpdump"),
    ("usr/bin/strace", "usr/bin/strace"),
];

/// Static programs: path in the package root, path on the node.
const STATIC: &[(&str, &str)] = &[
    ("bin/busybox", "bin/busybox"),
    ("usr/lib/cni/host-local", "opt/cni/bin/host-local"),
    ("usr/lib/cni/static", "opt/cni/bin/static"),
];

/// The kernel image.
pub fn kernel(parts: &NodeParts) -> Result<PathBuf> {
    let (image, _) = release(parts)?;
    Ok(image)
}

/// Writes the segment that is the same for every run.
pub fn write_base(parts: &NodeParts, path: &Path) -> Result<()> {
    let mut archive = Archive::create(path)?;
    for dir in [
        "dev", "proc", "sys", "run", "tmp", "root", "etc", "var/lib", "mnt",
    ] {
        archive.dir(dir)?;
    }
    archive.link("var/run", "/run")?;
    for (from, to) in STATIC {
        archive.file(to, &first_of(&parts.guest, from)?, true)?;
    }
    let mut libraries = BTreeSet::new();
    for (from, to) in PROGRAMS {
        let program = first_of(&parts.guest, from)?;
        libraries.extend(shared_libraries(&parts.guest, &program)?);
        archive.file(to, &program, true)?;
    }
    for library in libraries {
        let name = library
            .file_name()
            .context("a library without a name")?
            .to_string_lossy()
            .into_owned();
        archive.file(&format!("usr/lib/x86_64-linux-gnu/{name}"), &library, true)?;
    }
    archive.file("lib64/ld-linux-x86-64.so.2", &loader(&parts.guest)?, true)?;
    let mut order = Vec::new();
    for (name, text) in modules(parts, MODULES)? {
        archive.bytes(&format!("lib/modules/{name}"), &text, false)?;
        order.push(name);
    }
    archive.bytes(
        "lib/modules/order",
        format!("{}\n", order.join("\n")).as_bytes(),
        false,
    )?;
    // tcpdump drops its privileges, and looks up the user that it becomes.
    archive.bytes("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", false)?;
    archive.bytes("etc/group", b"root:x:0:\n", false)?;
    archive.bytes("init", include_bytes!("init.sh"), true)?;
    archive.finish()
}

/// The release of the kernel, for instance `6.12.95+deb12-amd64`.
pub(crate) fn kernel_release(parts: &NodeParts) -> Result<String> {
    let (_, modules) = release(parts)?;
    let name = modules.file_name().context("a kernel without a release")?;
    Ok(name.to_string_lossy().into_owned())
}

/// Kernel image and module directory of the only kernel in the package.
fn release(parts: &NodeParts) -> Result<(PathBuf, PathBuf)> {
    for entry in std::fs::read_dir(parts.kernel.join("boot"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(version) = name.strip_prefix("vmlinuz-") {
            let modules =
                ["lib/modules", "usr/lib/modules"].map(|dir| parts.kernel.join(dir).join(version));
            let modules = modules
                .into_iter()
                .find(|dir| dir.exists())
                .context("the kernel package has no modules")?;
            return Ok((entry.path(), modules));
        }
    }
    bail!("the kernel package has no kernel")
}

/// Unpacked modules of the kernel package by file name, each after its dependencies.
pub(crate) fn modules(parts: &NodeParts, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let (_, root) = release(parts)?;
    let unpack = |module: String| {
        let name = module.rsplit('/').next();
        let name = name.context("a module without a name")?;
        let name = name.trim_end_matches(".xz").to_owned();
        Ok((name, unpacked(&root.join(&module))?))
    };
    load_order(&root, names)?.into_iter().map(unpack).collect()
}

/// The wanted modules and their dependencies, each after its own dependencies.
///
/// The package has no `modules.dep`; the names come from each module's own `depends=`.
fn load_order(modules: &Path, names: &[&str]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    list(modules, modules, &mut all)?;
    let find = |name: &str| {
        let wanted = name.replace('-', "_");
        let has_name = |path: &&String| {
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split(".ko")
                .next()
                .unwrap_or_default()
                .replace('-', "_")
                == wanted
        };
        all.iter()
            .find(has_name)
            .with_context(|| format!("the kernel package has no module {name}"))
    };
    let mut order: Vec<String> = Vec::new();
    for module in names {
        let mut pending = vec![(*module).to_owned()];
        while let Some(name) = pending.last().cloned() {
            let path = find(&name)?;
            let missing: Vec<String> = depends(&unpacked(&modules.join(path))?)
                .into_iter()
                .filter(|needed| find(needed).is_ok_and(|path| !order.contains(path)))
                .collect();
            if missing.is_empty() {
                pending.pop();
                if !order.contains(path) {
                    order.push(path.clone());
                }
            }
            pending.extend(missing);
        }
    }
    Ok(order)
}

fn list(root: &Path, dir: &Path, all: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            list(root, &path, all)?;
        } else if path.to_string_lossy().contains(".ko") {
            all.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// The `depends=` entry of a module's `.modinfo` section.
fn depends(module: &[u8]) -> Vec<String> {
    let entry = module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="));
    let text = String::from_utf8_lossy(entry.unwrap_or_default()).into_owned();
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unpacked(module: &Path) -> Result<Vec<u8>> {
    if module
        .extension()
        .is_some_and(|extension| extension == "ko")
    {
        return Ok(std::fs::read(module)?);
    }
    let output = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(module)
        .output()
        .context("cannot start xz")?;
    if !output.status.success() {
        bail!("cannot decompress {}", module.display());
    }
    Ok(output.stdout)
}

/// The dynamic loader of a package root.
pub(crate) fn loader(root: &Path) -> Result<PathBuf> {
    first_of(root, "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
}

/// Directories with libraries below a package root, as a search path.
pub fn library_path(root: &Path) -> String {
    let dirs = [
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/pulseaudio",
    ];
    dirs.map(|dir| root.join(dir).to_string_lossy().into_owned())
        .join(":")
}

/// A command that runs a program of a package root with the libraries of that root.
pub fn command_in(root: &Path) -> Result<Vec<String>> {
    Ok(vec![
        loader(root)?.to_string_lossy().into_owned(),
        "--library-path".to_owned(),
        library_path(root),
    ])
}

/// The libraries of a program of a package root.
pub(crate) fn shared_libraries(root: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new(loader(root)?)
        .args(["--library-path", &library_path(root), "--list"])
        .arg(program)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("cannot list the libraries of {}: {text}", program.display());
    }
    let path = |line: &str| Some(PathBuf::from(line.split_once("=> ")?.1.split(" (").next()?));
    Ok(text
        .lines()
        .filter_map(path)
        .filter(|path| path.is_absolute())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_dependencies_are_read_from_modinfo() {
        assert_eq!(
            depends(b"\0license=GPL\0depends=i2c-algo-bit,dca\0retpoline=Y\0"),
            ["i2c-algo-bit", "dca"]
        );
        assert!(depends(b"\0depends=\0").is_empty());
    }
}
