//! An error with its causes, in one line.

use std::error::Error;

/// The error and all its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    join(error.to_string(), &causes(error))
}

/// The causes of an error; a cause whose text is the error's own is left out.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut previous = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if text != previous {
            causes.push(text.clone());
        }
        previous = text;
        source = cause.source();
    }
    causes.join(": ")
}

/// A message with the causes behind it, if there are any.
pub(crate) fn join(message: String, causes: &str) -> String {
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
        source: Option<Box<Layer>>,
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
        assert_eq!(chain(&layers(&["a"])), "a");
        assert_eq!(chain(&layers(&["a", "b", "c"])), "a: b: c");
        assert_eq!(chain(&layers(&["a", "a", "b"])), "a: b");
    }
}
