//! Running kubectl and helm in the checkout.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::checkout::workspace;
use crate::manifests::{CHART, MINIMAL};

/// helm's words for the values without which the chart cannot be rendered.
pub(super) fn required_values() -> [String; 2] {
    ["--values".to_owned(), format!("{CHART}/{MINIMAL}")]
}

/// What a program prints in the checkout.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = command
        .current_dir(workspace())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
