//! Downloads QEMU, the kernel, the guest's userland and container components as Debian packages into the cache; installs nothing.
//!
//! A private apt state takes the mirror from the machine's own apt configuration; see `docs/decisions.md`.

mod sources;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::container::NotDebian;
use crate::progress;
use crate::tools::has;

/// Version of the layout in the cache; after a change, older downloads are unused.
const LAYOUT: &str = "node-v2";

const GUEST_PACKAGES: &[&str] = &[
    "busybox-static",
    "iproute2",
    "strace",
    "tcpdump",
    "containernetworking-plugins",
];

/// Directories with the components of the node.
#[derive(Clone, Debug)]
pub struct NodeParts {
    /// Root of QEMU and its libraries.
    pub qemu: PathBuf,
    /// Root of the guest's userland.
    pub guest: PathBuf,
    /// Root of the kernel package and of its headers.
    pub kernel: PathBuf,
}

/// The components of the node, downloaded if the cache does not have them.
///
/// # Errors
/// One sentence about what this machine lacks and what to do.
pub fn node_parts(cache: &Cache) -> Result<NodeParts> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the emulated node needs an x86-64 machine, this one is {}",
            std::env::consts::ARCH
        );
    }
    let home = fetch(cache, LAYOUT, |apt, release, unfinished| {
        progress::step("downloading QEMU (36 MB)", || {
            apt.closure(
                &["qemu-system-x86"],
                release.newer.as_deref(),
                &unfinished.join("qemu"),
            )
        })?;
        progress::step("downloading the guest's tools (23 MB)", || {
            apt.closure(GUEST_PACKAGES, None, &unfinished.join("guest"))
        })?;
        progress::step("downloading a kernel and its headers (122 MB)", || {
            apt.kernel(release.newer.as_deref(), &unfinished.join("kernel"))
        })
    })?;
    Ok(NodeParts {
        qemu: home.join("qemu"),
        guest: home.join("guest"),
        kernel: home.join("kernel"),
    })
}

/// Packages of the release with all their dependencies, unpacked below one root; `layout` is its name in the cache.
///
/// # Errors
/// As [`node_parts`].
pub fn packages(cache: &Cache, layout: &str, names: &[&str]) -> Result<PathBuf> {
    fetch(cache, layout, |apt, _, unfinished| {
        progress::step(&format!("downloading {}", names.join(", ")), || {
            apt.closure(names, None, unfinished)
        })
    })
}

/// A directory of the cache that `fill` makes out of one package, of the suite that the kernel is from; `layout` names it.
///
/// # Errors
/// As [`node_parts`], and what `fill` answers.
pub(crate) fn made_of(
    cache: &Cache,
    layout: &str,
    package: &str,
    fill: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    fetch(cache, layout, |apt, release, unfinished| {
        let package = release
            .newer
            .as_ref()
            .map_or_else(|| package.to_owned(), |suite| format!("{package}/{suite}"));
        let debs = progress::step(&format!("downloading {package}"), || {
            apt.download(&[&package])
        })?;
        let deb = debs_of(&debs)?.pop();
        fill(&deb.context("apt downloaded nothing")?, unfinished)
    })
}

/// A directory of the cache, filled by `fill` if it does not exist; it is never left half filled.
fn fetch(
    cache: &Cache,
    layout: &str,
    fill: impl FnOnce(&Apt, &sources::Release, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let release = sources::release()?;
    let home = cache.path(&format!("{layout}-{}", release.codename));
    let _lock = cache.lock()?;
    if home.exists() {
        return Ok(home);
    }
    cache.ensure_room()?;
    for tool in ["apt-get", "apt-cache", "dpkg", "xz", "setpriv"] {
        if !has(tool) {
            let reason = format!(
                "`{tool}` is not on this machine: the lab gets its parts from Debian packages, install apt, dpkg, xz-utils and util-linux"
            );
            return Err(NotDebian { reason }.into());
        }
    }
    let unfinished = cache.path(&format!("{layout}-unfinished"));
    let _ = std::fs::remove_dir_all(&unfinished);
    let apt = Apt::new(&unfinished.join("apt"), &release)?;
    progress::step("reading the package lists of your Debian mirror", || {
        apt.update()
    })?;
    fill(&apt, &release, &unfinished)?;
    std::fs::remove_dir_all(unfinished.join("apt"))?;
    std::fs::rename(&unfinished, &home)?;
    Ok(home)
}

/// A file of a package root, whether or not its release has merged `/bin` into `/usr/bin`.
pub(crate) fn first_of(root: &Path, path: &str) -> Result<PathBuf> {
    let candidates = [root.join(path), root.join("usr").join(path)];
    candidates
        .into_iter()
        .find(|file| file.exists())
        .with_context(|| format!("the guest's packages have no {path}"))
}

/// apt with a private state.
struct Apt {
    home: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(home: &Path, release: &sources::Release) -> Result<Self> {
        for dir in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(home.join(dir))?;
        }
        let (status, list) = (home.join("status"), home.join("sources.list"));
        std::fs::write(&status, "")?;
        std::fs::write(&list, release.sources_list())?;
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        let path = |name: &str, path: &Path| option(name, &path.to_string_lossy());
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?
            .map_or_else(|| "root".to_owned(), |user| user.name);
        let options = vec![
            path("Dir::State", &home.join("state")),
            path("Dir::State::status", &status),
            path("Dir::Cache", &home.join("cache")),
            path("Dir::Etc::sourcelist", &list),
            option("Dir::Etc::sourceparts", "/dev/null"),
            option("Dir::Etc::preferences", "/dev/null"),
            option("Dir::Etc::preferencesparts", "/dev/null"),
            option("APT::Sandbox::User", &user),
            option("APT::Install-Recommends", "false"),
            option("APT::Update::Error-Mode", "any"),
            option("APT::Architecture", "amd64"),
            option("Acquire::Languages", "none"),
            option(
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false",
            ),
            option("Acquire::Retries", "2"),
            option("Acquire::http::Timeout", "30"),
            option("Acquire::https::Timeout", "30"),
            option("Debug::NoLocking", "true"),
        ];
        Ok(Self {
            home: home.to_owned(),
            options,
        })
    }

    fn update(&self) -> Result<()> {
        self.run("apt-get", &["update"]).context("cannot read the package lists: check the network and the Debian sources of your apt configuration")?;
        Ok(())
    }

    /// Downloads packages with all their dependencies, and unpacks them below `root`.
    fn closure(&self, packages: &[&str], suite: Option<&str>, root: &Path) -> Result<()> {
        let mut words = vec!["--download-only", "--yes", "install"];
        words.extend(suite.into_iter().flat_map(|suite| ["-t", suite]));
        words.extend(packages);
        self.run("apt-get", &words).with_context(|| {
            format!(
                "cannot download {} from your Debian mirror",
                packages.join(", ")
            )
        })?;
        let archives = self.home.join("cache/archives");
        unpack_all(&archives, root)?;
        std::fs::remove_dir_all(&archives)?;
        std::fs::create_dir_all(archives.join("partial"))?;
        Ok(())
    }

    /// Downloads the newest kernel package and the headers for modules of that kernel, without their dependencies: the kernel is booted, never installed.
    fn kernel(&self, suite: Option<&str>, root: &Path) -> Result<()> {
        let meta = suite.map_or_else(
            || "linux-image-amd64".to_owned(),
            |suite| format!("linux-image-amd64/{suite}"),
        );
        let image = self
            .depends(&meta)?
            .into_iter()
            .find(|package| package.starts_with("linux-image-"))
            .context("your Debian mirror has no kernel package behind linux-image-amd64")?;
        let headers = image.replacen("linux-image-", "linux-headers-", 1);
        let mut packages = self.depends(&headers)?;
        packages
            .retain(|name| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-"));
        packages.extend([image, headers]);
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        unpack_all(&self.download(&names)?, root)
    }

    /// What a package depends on.
    fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = self.run("apt-cache", &["depends", package])?;
        let name = |line: &str| Some(line.trim().strip_prefix("Depends: ")?.to_owned());
        Ok(text.lines().filter_map(name).collect())
    }

    /// Downloads packages without what they depend on, into a directory of their own.
    fn download(&self, packages: &[&str]) -> Result<PathBuf> {
        let debs = self.home.join("debs");
        std::fs::create_dir_all(&debs)?;
        let mut command = self.command("apt-get", &["download"]);
        finish("apt-get", command.args(packages).current_dir(&debs)).with_context(|| {
            format!(
                "cannot download {} from your Debian mirror",
                packages.join(", ")
            )
        })?;
        Ok(debs)
    }

    fn command(&self, tool: &str, words: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command
            .args(&self.options)
            .args(words)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, tool: &str, words: &[&str]) -> Result<String> {
        let output = finish(tool, &mut self.command(tool, words))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn unpack_all(debs: &Path, root: &Path) -> Result<()> {
    std::fs::create_dir_all(root)?;
    for deb in debs_of(debs)? {
        finish("dpkg", Command::new("dpkg").arg("-x").args([&deb, root]))
            .context("cannot unpack: is the disk of the cache full?")?;
    }
    Ok(())
}

fn debs_of(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.flatten();
    let paths = entries.map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|name| name == "deb"))
        .collect())
}

/// Runs a command to its end; its last words when it fails.
pub(crate) fn finish(tool: &str, command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {tool}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text
            .lines()
            .find(|line| line.starts_with("E: "))
            .or_else(|| text.lines().last())
            .unwrap_or("no message");
        bail!("{tool}: {reason}");
    }
    Ok(output)
}
