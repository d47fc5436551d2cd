//! Finds the Debian release and the mirror in the machine's own configuration; only [`release`] reads files.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::container::NotDebian;

/// The Debian release of this machine and its mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// For instance `bookworm`.
    pub(crate) codename: String,
    /// The suite that has a QEMU with `igb` and a 6.12 kernel, if the release itself does not.
    pub(crate) newer: Option<String>,
    mirror: Mirror,
}

/// One Debian archive of the apt configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

impl Release {
    /// The lines for a private `sources.list`.
    pub(crate) fn sources_list(&self) -> String {
        let Self {
            codename,
            newer,
            mirror: Mirror { uri, signed_by },
        } = self;
        let options = signed_by
            .as_ref()
            .map_or_else(String::new, |key| format!(" [signed-by={key}]"));
        let suites = std::iter::once(codename).chain(newer);
        let lines: Vec<String> = suites
            .map(|suite| format!("deb{options} {uri} {suite} main\n"))
            .collect();
        lines.concat()
    }
}

/// Reads `/etc/os-release` and the apt configuration.
///
/// # Errors
/// One sentence, if the lab does not support this release or the configuration has no mirror.
pub(crate) fn release() -> Result<Release> {
    let os_release =
        std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = codename(&os_release);
    let newer = match codename {
        "bookworm" => Some(format!("{codename}-backports")),
        "trixie" => None,
        other => {
            let reason = format!(
                "the lab gets QEMU and a kernel from Debian 12 or 13, this machine is `{other}`: run the lab in a Debian container or VM"
            );
            return Err(NotDebian { reason }.into());
        }
    };
    let mut texts = configuration().into_iter().filter_map(|path| {
        Some((
            path.extension()?.to_owned(),
            std::fs::read_to_string(&path).ok()?,
        ))
    });
    let mirror = texts
        .find_map(|(extension, text)| if extension == "sources" { from_stanzas(&text, codename) } else { from_lines(&text, codename) })
        .with_context(|| format!("no Debian mirror for `{codename}` in /etc/apt/sources.list or /etc/apt/sources.list.d: add one"))?;
    Ok(Release {
        codename: codename.to_owned(),
        newer,
        mirror,
    })
}

fn configuration() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    files.extend(more);
    files.sort();
    files
}

/// The codename of the release; the name of the distribution, if its releases have no codename.
fn codename(os_release: &str) -> &str {
    let value = |key: &str| {
        let mut lines = os_release.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_matches('"')).filter(|value| !value.is_empty())
    };
    value("VERSION_CODENAME")
        .or_else(|| value("ID"))
        .unwrap_or("unknown")
}

/// One-line format: `deb [signed-by=KEY] URI SUITE COMPONENT...` (sources.list(5)).
fn from_lines(text: &str, codename: &str) -> Option<Mirror> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        (suite == codename && words.any(|component| component == "main")).then(|| Mirror {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        })
    })
}

/// deb822 format: stanzas of `Types`, `URIs`, `Suites`, `Components`, `Signed-By` (sources.list(5)).
fn from_stanzas(text: &str, codename: &str) -> Option<Mirror> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        };
        let has = |name: &str, word: &str| {
            field(name).is_some_and(|value| value.split_whitespace().any(|found| found == word))
        };
        let wanted = has("Types", "deb")
            && has("Suites", codename)
            && has("Components", "main")
            && field("Enabled") != Some("no");
        let uri = field("URIs")?.split_whitespace().next()?;
        let signed_by = field("Signed-By").filter(|key| key.starts_with('/'));
        wanted.then(|| Mirror {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_is_found_in_both_formats_of_apt() {
        let debian = Mirror {
            uri: "http://mirror.example/debian".into(),
            signed_by: Some("/k.gpg".into()),
        };
        let stanzas = "Types: deb\nURIs: https://other.example\nSuites: nodistro\nComponents: main\n\nTypes: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: /k.gpg\n";
        assert_eq!(from_stanzas(stanzas, "bookworm"), Some(debian.clone()));
        assert_eq!(from_stanzas(stanzas, "trixie"), None);
        let lines = "# deb http://no.example bookworm main\ndeb https://other.example stable main\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n";
        assert_eq!(from_lines(lines, "bookworm"), Some(debian));
        assert_eq!(from_lines(lines, "trixie"), None);
    }

    #[test]
    fn codename_is_read_from_os_release() {
        let debian = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(codename(debian), "bookworm");
        assert_eq!(codename("ID=fedora\nVERSION_CODENAME=\"\"\n"), "fedora");
        assert_eq!(codename(""), "unknown");
    }

    #[test]
    fn release_with_a_newer_suite_lists_both() {
        let mirror = Mirror {
            uri: "http://mirror.example/debian".into(),
            signed_by: None,
        };
        let release = Release {
            codename: "bookworm".into(),
            newer: Some("bookworm-backports".into()),
            mirror,
        };
        assert_eq!(
            release.sources_list(),
            "deb http://mirror.example/debian bookworm main\ndeb http://mirror.example/debian bookworm-backports main\n"
        );
    }
}
