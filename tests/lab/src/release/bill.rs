//! The bill of materials of each program, in the format `CycloneDX`, by cargo-cyclonedx.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::VERSION;
use crate::cache::Cache;
use crate::checkout::{cargo, copy_sources, target};
use crate::tools;

/// Packages with a program that ships, and the name of the program.
const PROGRAMS: [(&str, &str); 3] = [
    ("cni-sriov", "sriov"),
    ("dra-driver", "sriov-dra-driver"),
    ("device-plugin", "sriov-device-plugin"),
];

/// Writes `PROGRAM-VERSION.cdx.json` for each program.
///
/// # Errors
/// If cargo-cyclonedx cannot be had or fails.
pub(super) fn write(to: &Path) -> Result<()> {
    let tool = tools::cargo_tool(&Cache::open()?, "cargo-cyclonedx")?;
    // The tool writes next to each manifest, so it works on a copy.
    let copy = tempfile::Builder::new()
        .prefix("bill-")
        .tempdir_in(target())?;
    copy_sources(copy.path())?;
    let output = cargo()
        .current_dir(copy.path())
        .env("PATH", tools::path_with(&tool)?)
        // The time of the bill; any other would differ between two releases.
        .env("SOURCE_DATE_EPOCH", "0")
        .args(["cyclonedx", "--format", "json", "--spec-version", "1.5"])
        .args(["--override-filename", "bill", "--quiet"])
        .output()
        .context("cannot start cargo-cyclonedx")?;
    if !output.status.success() {
        bail!(
            "cargo-cyclonedx: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    for (package, program) in PROGRAMS {
        let text = std::fs::read_to_string(copy.path().join(package).join("bill.json"))?;
        let bill = stable(&text, copy.path())?;
        std::fs::write(to.join(format!("{program}-{VERSION}.cdx.json")), bill)?;
    }
    Ok(())
}

/// The bill without what differs between two runs: the random serial number, and the directory of the copy.
fn stable(text: &str, copy: &Path) -> Result<String> {
    let text = text.replace(&copy.display().to_string(), "/virtfn");
    let mut bill: Value = serde_json::from_str(&text)?;
    let fields = bill
        .as_object_mut()
        .context("a bill that is not an object")?;
    fields.remove("serialNumber");
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bill_has_neither_serial_number_nor_local_path() {
        let text = r#"{"serialNumber": "urn:uuid:1", "metadata": {"component": {"bom-ref": "path+file:///a/b#x@1"}}}"#;
        let bill = stable(text, Path::new("/a/b")).unwrap();
        assert!(bill.contains("path+file:///virtfn#x@1"), "{bill}");
        assert!(!bill.contains("serialNumber"), "{bill}");
    }
}
