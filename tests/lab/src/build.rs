//! Builds the programs that run on the node, all static: the binaries that ship, and the test programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::architecture::Architecture;
use crate::checkout::{cargo, target, workspace};
use crate::progress;

/// The binaries that ship, for one architecture.
#[derive(Clone, Debug)]
pub struct Dist {
    /// What they run on.
    pub architecture: Architecture,
    /// The CNI plugin.
    pub cni: PathBuf,
    /// The device plugin.
    pub device_plugin: PathBuf,
    /// The DRA driver; absent in a build for a node without it, as it takes longer than both others.
    pub dra_driver: Option<PathBuf>,
}

impl Dist {
    /// All programs.
    pub fn programs(&self) -> Vec<&Path> {
        let driver = self.dra_driver.iter();
        let all = [&self.cni, &self.device_plugin].into_iter().chain(driver);
        all.map(PathBuf::as_path).collect()
    }

    /// The same with the DRA driver, built from the checkout next to the other programs.
    ///
    /// # Errors
    /// If the build fails.
    pub fn with_driver(self, checkout: &Path, scratch: &Path) -> Result<Self> {
        let driver = self.cni.with_file_name("sriov-dra-driver");
        let step = format!("building the DRA driver for {}", self.architecture.name());
        progress::step(&step, || {
            let program = Program {
                package: "sriov-dra-driver",
                profile: "release",
            };
            build_one(self.architecture, checkout, scratch, &program, &driver)
        })?;
        Ok(Self {
            dra_driver: Some(driver),
            ..self
        })
    }
}

/// Builds the programs for an architecture: [`dist`] or [`whole_dist`].
pub(crate) type Build = fn(Architecture) -> Result<Dist>;

/// Builds all programs that ship, the DRA driver among them.
///
/// # Errors
/// As [`dist`].
pub fn whole_dist(architecture: Architecture) -> Result<Dist> {
    dist(architecture)?.with_driver(workspace(), &static_target())
}

/// Builds the static, stripped binaries of a node without the DRA driver into `target/dist/`; those of another architecture than the node's into a directory of its name below.
///
/// # Errors
/// If something for the architecture is missing on this machine, or a build fails.
pub fn dist(architecture: Architecture) -> Result<Dist> {
    architecture.prepare()?;
    let mut to = target().join("dist");
    if architecture != Architecture::Amd64 {
        to.push(architecture.name());
    }
    let step = format!(
        "building the binaries that ship for {}",
        architecture.name()
    );
    progress::step(&step, || {
        dist_of(architecture, workspace(), &static_target(), &to)
    })
}

/// Builds the binaries that ship from a checkout; the same sources give the same bytes, wherever the checkout and cargo's home are.
pub fn dist_of(
    architecture: Architecture,
    checkout: &Path,
    scratch: &Path,
    to: &Path,
) -> Result<Dist> {
    let dist = Dist {
        architecture,
        cni: to.join("sriov"),
        device_plugin: to.join("sriov-device-plugin"),
        dra_driver: None,
    };
    for (package, profile, to) in [
        ("sriov-cni", "cni", &dist.cni),
        ("sriov-device-plugin", "release", &dist.device_plugin),
    ] {
        let program = Program { package, profile };
        build_one(architecture, checkout, scratch, &program, to)?;
    }
    Ok(dist)
}

/// How a program is built.
struct Program {
    package: &'static str,
    profile: &'static str,
}

/// Relocations as bitmaps, which the C library has read since glibc 2.36: 24 bytes each otherwise.
const PACKED_RELOCATIONS: &[&str] = &["-Clink-arg=-Wl,-z,pack-relative-relocs"];

/// Builds one program, and puts it at a path.
fn build_one(
    architecture: Architecture,
    checkout: &Path,
    scratch: &Path,
    program: &Program,
    to: &Path,
) -> Result<()> {
    let Program { package, profile } = *program;
    let flags = match architecture {
        // LLD writes them; the linker of arm64 programs cannot yet.
        Architecture::Amd64 => PACKED_RELOCATIONS,
        Architecture::Arm64 => &[],
    };
    let remapped = [(checkout.to_owned(), "/virtfn"), (cargo_home()?, "/cargo")]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let name = to.file_name().context("a binary without a name")?;
    let from = scratch.join(architecture.target()).join(profile).join(name);
    let name = name.to_string_lossy();
    let mut words = vec!["rustc", "--package", package, "--profile", profile];
    words.extend(["--bin", &name, "--"]);
    words.extend(flags);
    static_cargo(architecture, checkout, scratch, &remapped, &words)?;
    install(&from, to)
}

/// The directory in which cargo keeps the sources of dependencies; panic messages contain its path.
fn cargo_home() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    home.or_else(default)
        .context("neither CARGO_HOME nor HOME is set")
}

/// Builds a program of another package of the tests for the node.
pub fn guest_binary(package: &str, name: &str) -> Result<PathBuf> {
    progress::step(&format!("building {name}"), || {
        own_cargo(&["build", "--package", package, "--bin", name])?;
        Ok(static_target()
            .join(Architecture::Amd64.target())
            .join("debug")
            .join(name))
    })
}

/// Builds the test program `name` of a package for the node.
pub fn test_program(package: &str, name: &str) -> Result<PathBuf> {
    let messages = progress::step("building the suites", || {
        own_cargo(&[
            "test",
            "--package",
            package,
            "--all-features",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "--test",
            name,
        ])
    })?;
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_wanted = message.pointer("/target/name")?.as_str()? == name;
        is_wanted.then_some(())?;
        Some(message.get("executable")?.as_str()?.into())
    };
    let program = messages.lines().find_map(program);
    program.with_context(|| format!("cargo built no test program `{name}`"))
}

/// Static builds have other flags, and a directory of their own: in a shared one, each build would discard the results of the other.
fn static_target() -> PathBuf {
    target().join("static")
}

/// cargo for a static build of our own checkout.
fn own_cargo(words: &[&str]) -> Result<String> {
    static_cargo(
        Architecture::Amd64,
        workspace(),
        &static_target(),
        &[],
        words,
    )
}

fn static_cargo(
    architecture: Architecture,
    checkout: &Path,
    scratch: &Path,
    flags: &[String],
    words: &[&str],
) -> Result<String> {
    let (command, rest) = words.split_first().context("no cargo command")?;
    let mut rustflags = "-C\u{1f}target-feature=+crt-static".to_owned();
    for flag in flags {
        rustflags += "\u{1f}";
        rustflags += flag;
    }
    let output = cargo()
        .current_dir(checkout)
        .arg(command)
        .args(["--quiet", "--target", architecture.target(), "--target-dir"])
        .arg(scratch)
        .args(rest)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags)
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .envs(architecture.environment())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` failed; its messages are above", words.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn install(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("no directory for the binary")?;
    std::fs::create_dir_all(dir)?;
    // Renamed into place: a program that is running cannot be overwritten.
    let beside = tempfile::Builder::new()
        .prefix(".dist-")
        .tempfile_in(dir)?
        .into_temp_path();
    let replace = || {
        std::fs::copy(from, &beside)?;
        std::fs::rename(&beside, to)
    };
    replace().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn running_program_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("dist/program");
        install(Path::new("/bin/sleep"), &to).unwrap();
        let mut running = Command::new(&to).arg("60").spawn().unwrap();
        let replaced = install(Path::new("/bin/true"), &to);
        running.kill().unwrap();
        running.wait().unwrap();
        replaced.unwrap();
        assert_eq!(
            std::fs::read(&to).unwrap(),
            std::fs::read("/bin/true").unwrap()
        );
        assert!(Command::new(&to).status().unwrap().success());
        assert_eq!(
            std::fs::read_dir(dir.path().join("dist")).unwrap().count(),
            1
        );
    }
}
