//! `cargo lab release`: everything that a release consists of, in one directory; the same sources give the same bytes.

mod bill;
mod chart;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::architecture::Architecture;
use crate::build::{self, Build, Dist};
use crate::cache::Cache;
use crate::checkout::{VERSION, target, workspace};
use crate::digest::sha256;
use crate::kubernetes::NEWEST;
use crate::kubernetes::tools::said;
use crate::manifests::{BASE, CHART, MINIMAL};
use crate::{go, oci, progress, ship};

/// The file with the digests of the others, in the format of `sha256sum --check`.
const SUMS: &str = "SHA256SUMS";

/// Writes a release into the directory that the words name, or into `target/release-VERSION`, and prints its files.
///
/// # Errors
/// If the directory is not empty, or a part cannot be made.
pub fn run(words: &[&str]) -> Result<bool> {
    let to = match words {
        [] => target().join(format!("release-{VERSION}")),
        [dir] if !dir.starts_with('-') => PathBuf::from(dir),
        other => bail!("unknown words `{}`: `cargo lab help`", other.join(" ")),
    };
    let is_default = words.is_empty();
    if is_default && to.exists() {
        std::fs::remove_dir_all(&to)?;
    }
    let sums = write(&to, build::whole_dist)?;
    print!("{sums}");
    println!("{}", to.display());
    Ok(true)
}

/// Whether a release of what `make` builds can be written twice with the same bytes, and helm and kubectl take what it contains.
pub(crate) fn check(make: Build) -> Result<bool> {
    let dir = tempfile::Builder::new()
        .prefix("release-")
        .tempdir_in(target())?;
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let sums = write(&first, make)?;
    let again = write(&second, make)?;
    if sums != again {
        println!("two releases of the same sources differ:\n{sums}\n{again}");
        return Ok(false);
    }
    let status = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", SUMS])
        .current_dir(&first)
        .status();
    let is_intact = status.context("cannot start sha256sum")?.success();
    Ok(is_intact & chart::check(&first)?)
}

/// Writes a release, and gives the digests of its files.
fn write(to: &Path, make: Build) -> Result<String> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    if std::fs::read_dir(to)?.next().is_some() {
        bail!("{} is not empty", to.display());
    }
    let built = Architecture::ALL.into_iter().map(make);
    let built = built.collect::<Result<Vec<Dist>>>()?;
    progress::step("writing the release", || {
        binaries(&built, to)?;
        oci::write(
            &ship::images(&built),
            &to.join(format!("virtfn-{VERSION}-images.tar")),
        )?;
        chart::package(to)?;
        std::fs::write(
            to.join(format!("virtfn-{VERSION}-kustomize.yaml")),
            kustomized()?,
        )?;
        bill::write(to)?;
        let changes = changelog_entry(&std::fs::read_to_string(
            workspace().join("docs/changelog.md"),
        )?)?;
        std::fs::write(to.join("CHANGELOG.md"), changes)?;
        let sums = sums(to)?;
        std::fs::write(to.join(SUMS), &sums)?;
        Ok(sums)
    })
}

/// Copies the programs, with version and architecture in their names.
fn binaries(built: &[Dist], to: &Path) -> Result<()> {
    for dist in built {
        for program in dist.programs() {
            let name = program.file_name().and_then(OsStr::to_str);
            let name = name.context("a program without a name")?;
            let name = format!("{name}-{VERSION}-linux-{}", dist.architecture.name());
            std::fs::copy(program, to.join(name))?;
        }
    }
    Ok(())
}

/// The kustomize base as one file.
fn kustomized() -> Result<String> {
    let kubectl = go::kubernetes(&Cache::open()?, NEWEST)?.join("kubectl");
    said(Command::new(kubectl).args(["kustomize", BASE]))
}

/// The entry of this version; before the version has a heading of its own, what is unreleased.
fn changelog_entry(text: &str) -> Result<String> {
    let of = |heading: &str| {
        let start = text.find(heading)?;
        let entry = text.get(start..)?;
        let body = entry.get(heading.len()..)?;
        let end = body
            .find("\n## ")
            .map_or(entry.len(), |at| heading.len() + at + 1);
        entry
            .get(..end)
            .map(|entry| entry.trim_end().to_owned() + "\n")
    };
    of(&format!("## {VERSION}"))
        .or_else(|| of("## Unreleased"))
        .with_context(|| format!("docs/changelog.md has no entry for {VERSION}"))
}

/// The digests of all files, in the order of their names.
fn sums(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let line = |name: &String| {
        Ok(format!(
            "{}  {name}\n",
            sha256(&std::fs::read(dir.join(name))?)
        ))
    };
    names.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changelog_entry_ends_before_the_next_version() {
        let text =
            format!("# Changelog\n\n## {VERSION} - 2026-01-01\n\n- new\n\n## 0.0.1\n\n- old\n");
        let entry = changelog_entry(&text).unwrap();
        assert_eq!(entry, format!("## {VERSION} - 2026-01-01\n\n- new\n"));
        let unreleased = changelog_entry("# Changelog\n\n## Unreleased\n\n- new\n").unwrap();
        assert_eq!(unreleased, "## Unreleased\n\n- new\n");
        assert!(changelog_entry("# Changelog\n").is_err());
    }
}
