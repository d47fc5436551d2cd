//! Prints an error with its causes.

use std::error::Error;

/// The error and its causes in one line, separated by colons; a cause that its effect already ends with is not repeated.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let layer = cause.to_string();
        if !text.ends_with(&layer) {
            text = format!("{text}: {layer}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn causes_follow_and_repetitions_are_left_out() {
        let layer = |text, source: Option<Layer>| Layer {
            text,
            source: source.map(Box::new),
        };
        let cause = layer("no such file", None);
        let repeated = layer("cannot read: no such file", Some(cause));
        let error = layer("cannot start", Some(repeated));
        assert_eq!(chain(&error), "cannot start: cannot read: no such file");
    }
}
