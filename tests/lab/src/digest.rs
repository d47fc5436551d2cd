//! SHA-256, by which images and what is kept in the cache are called.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The digest of a text, by the program of that name.
///
/// # Errors
/// When that cannot be run.
pub fn sha256(bytes: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sha256sum")?;
    let mut stdin = child.stdin.take().context("sha256sum has no input")?;
    stdin.write_all(bytes)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    match text.get(..64) {
        Some(digest) if output.status.success() => Ok(digest.to_owned()),
        _ => bail!("sha256sum failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_digests() {
        assert_eq!(
            sha256(b"").unwrap(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
