//! Prints an error with its causes.

use std::error::Error;

/// The error and its causes in one line, separated by colons.
pub fn chain(error: &dyn Error) -> String {
    join(error.to_string(), &causes(error))
}

/// The causes of an error, separated by colons; a cause with which the text before it ends already is left out.
pub fn causes(error: &dyn Error) -> String {
    let mut previous = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !previous.ends_with(&text) {
            causes.push(text.clone());
            previous = text;
        }
        source = cause.source();
    }
    causes.join(": ")
}

/// A message with the causes behind it, if there are any.
pub fn join(message: String, causes: &str) -> String {
    if causes.is_empty() {
        message
    } else {
        format!("{message}: {causes}")
    }
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

    fn layers(texts: &[&'static str]) -> Layer {
        let [text, rest @ ..] = texts else {
            panic!("an error has a text")
        };
        let source = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text, source }
    }

    #[test]
    fn repeated_text_is_printed_once() {
        for (texts, printed) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a", "a", "b"], "a: b"),
            (
                &["cannot start", "cannot read: no file", "no file"],
                "cannot start: cannot read: no file",
            ),
        ] {
            assert_eq!(chain(&layers(texts)), printed);
        }
    }
}
