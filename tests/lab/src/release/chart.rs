//! The packaged chart. helm's own `package` writes the time into the archive, so that two packages differ.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::VERSION;
use crate::cache::Cache;
use crate::checkout::workspace;
use crate::go;
use crate::kubernetes::render::KUBERNETES;
use crate::kubernetes::tools::said;
use crate::manifests::files;

/// The directory of the chart that the package leaves out, as `.helmignore` does.
const LEFT_OUT: &str = "ci/";

/// Writes `virtfn-VERSION.tgz`.
pub(super) fn package(to: &Path) -> Result<()> {
    let root = workspace().join(super::CHART);
    let mut archive = tar::Builder::new(Vec::new());
    for path in files(super::CHART)? {
        let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        if name.starts_with(LEFT_OUT) {
            continue;
        }
        let text = std::fs::read(&path)?;
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(u64::try_from(text.len())?);
        archive.append_data(&mut header, format!("virtfn/{name}"), text.as_slice())?;
    }
    let unpacked = to.join(".chart.tar");
    std::fs::write(&unpacked, archive.into_inner()?)?;
    // -n leaves name and time out of the result.
    let packed = Command::new("gzip")
        .args(["-n", "-9", "--stdout"])
        .arg(&unpacked)
        .stdin(Stdio::null())
        .output()
        .context("cannot start gzip")?;
    std::fs::remove_file(&unpacked)?;
    if !packed.status.success() {
        bail!("gzip: {}", String::from_utf8_lossy(&packed.stderr).trim());
    }
    std::fs::write(to.join(name()), packed.stdout)?;
    Ok(())
}

/// Whether helm renders the package as it renders the chart.
pub(super) fn check(release: &Path) -> Result<bool> {
    let helm = go::module(&Cache::open()?, "helm", "helm")?.join("helm");
    let render = |chart: &Path| {
        let mut command = Command::new(&helm);
        command.args(["template", "virtfn"]).arg(chart);
        command.args(["--kube-version", KUBERNETES, "--values"]);
        said(command.arg(workspace().join(super::CHART).join(super::MINIMAL)))
    };
    let packed = release.join(name());
    let is_same = render(&packed)? == render(&workspace().join(super::CHART))?;
    if !is_same {
        println!(
            "helm renders {} and the chart differently",
            packed.display()
        );
    }
    Ok(is_same)
}

fn name() -> String {
    format!("virtfn-{VERSION}.tgz")
}
