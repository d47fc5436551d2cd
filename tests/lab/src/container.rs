//! The command that runs the lab in a container of Debian, for machines without Debian's tools.

use std::fmt;

/// The image of the container; it has Rust and Debian 12.
const IMAGE: &str = "rust:1.95-bookworm";

/// This machine lacks what the lab gets its parts with.
#[derive(Debug)]
pub(crate) struct NotDebian {
    /// One sentence about what is missing.
    pub(crate) reason: String,
}

impl fmt::Display for NotDebian {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for NotDebian {}

/// Whether a container of Debian helps against an error.
pub(crate) fn helps(error: &anyhow::Error) -> bool {
    error.downcast_ref::<NotDebian>().is_some()
}

/// The command for the words of `cargo lab`, to be run in the checkout; with `has_kvm`, the node uses KVM.
pub(crate) fn command(words: &[&str], has_kvm: bool) -> String {
    let mut all = vec!["docker run --rm --interactive --tty".to_owned()];
    if has_kvm {
        all.push("--device /dev/kvm".to_owned());
    }
    all.push("--volume \"$PWD\":/virtfn --workdir /virtfn".to_owned());
    // Downloads, and the results of the container's own Rust, stay for the next run.
    all.push("--volume virtfn-cache:/cache --env VIRTFN_CACHE=/cache".to_owned());
    all.push("--volume virtfn-target:/virtfn/target".to_owned());
    all.push(format!("{IMAGE} cargo lab"));
    all.extend(words.iter().map(|word| quoted(word)));
    all.join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,=:".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::workspace;

    #[test]
    fn command_has_the_words_of_the_lab() {
        let text = command(&["test", "it's"], false);
        assert!(
            text.ends_with("rust:1.95-bookworm cargo lab test 'it'\\''s'"),
            "{text}"
        );
        assert!(!text.contains("kvm"), "{text}");
        assert!(command(&["demo"], true).contains("--device /dev/kvm "));
    }

    #[test]
    fn image_is_that_of_the_development_container() {
        let file = workspace().join(".devcontainer/devcontainer.json");
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("\"image\": \"{IMAGE}\"")), "{text}");
    }
}
