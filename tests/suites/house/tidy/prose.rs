//! The sentences of a file: what people read in Markdown, in YAML, and in the comments and texts of Rust.
//!
//! Code is left out: fenced blocks and backticks of Markdown and comments, and texts of fewer than three words.

/// One word of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without the punctuation around it.
    pub(super) text: String,
    /// Line in the file, from 1.
    pub(super) line: usize,
    /// Whether a sentence, a cell or an item begins here.
    pub(super) is_first: bool,
    /// Whether punctuation follows.
    pub(super) is_before_break: bool,
}

/// A piece of text that is read as a whole, with the line where it begins.
type Passage = (usize, String);

/// Fewer words than that are a name or a key, not a sentence.
const SENTENCE: usize = 3;

/// The words of a file in order, one list for each passage.
pub(super) fn passages(name: &str, text: &str) -> Vec<Vec<Word>> {
    let passages = match name.rsplit('.').next() {
        Some("rs") => of_rust(text),
        Some("md") => of_markdown(text),
        Some(_) | None => of_lines(text),
    };
    passages
        .iter()
        .map(words)
        .filter(|words| words.len() >= SENTENCE)
        .collect()
}

/// Paragraphs outside of fenced blocks; each row of a table is one.
fn of_markdown(text: &str) -> Vec<Passage> {
    let mut passages: Vec<Passage> = Vec::new();
    let mut is_code = false;
    let mut is_open = false;
    for (line, text) in numbered(text) {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
            is_open = false;
        } else if !is_code {
            // A heading is a title, not a part of the sentence below it.
            is_open &= !text.starts_with('#');
            append(&mut passages, &mut is_open, line, text);
            is_open &= !text.starts_with('#');
        }
    }
    passages
}

/// Each line by itself.
fn of_lines(text: &str) -> Vec<Passage> {
    numbered(text)
        .map(|(line, text)| (line, text.to_owned()))
        .collect()
}

/// Adds a line to the passage before it, or begins one after an empty line.
fn append(passages: &mut Vec<Passage>, is_open: &mut bool, line: usize, text: &str) {
    if text.trim().is_empty() {
        *is_open = false;
        return;
    }
    match passages.last_mut() {
        Some((_, passage)) if *is_open => {
            passage.push('\n');
            passage.push_str(text);
        }
        Some(_) | None => passages.push((line, text.to_owned())),
    }
    *is_open = true;
}

/// Comments, of which neighbouring lines are one passage, and texts in quotes.
fn of_rust(text: &str) -> Vec<Passage> {
    let mut comments: Vec<Passage> = Vec::new();
    let mut texts: Vec<Passage> = Vec::new();
    let mut is_open = false;
    let mut last = 0;
    let mut rest = text;
    let mut line = 1;
    while let Some(one) = rest.chars().next() {
        let length = if let Some(comment) = rest.strip_prefix("//") {
            let comment = comment.lines().next().unwrap_or_default();
            is_open &= last + 1 == line;
            last = line;
            append(
                &mut comments,
                &mut is_open,
                line,
                comment.trim_start_matches(['/', '!']),
            );
            comment.len() + 2
        } else if let Some((quoted, length)) = quoted(rest) {
            texts.push((line, quoted));
            length
        } else {
            char_literal(rest).unwrap_or(one.len_utf8())
        };
        let (passed, after) = rest.split_at(length);
        line += passed.matches('\n').count();
        rest = after;
    }
    comments.append(&mut texts);
    comments
}

/// A text in quotes at the start, plain or raw, and the length of it all.
fn quoted(rest: &str) -> Option<(String, usize)> {
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = body.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some((body[..end].to_owned(), 1 + hashes + 1 + end + 1 + hashes));
    }
    let body = rest.strip_prefix('"')?;
    let mut text = String::new();
    let mut chars = body.char_indices();
    while let Some((at, one)) = chars.next() {
        match one {
            '"' => return Some((text, at + 2)),
            '\\' => match chars.next()?.1 {
                '\n' => text.push('\n'),
                '"' => text.push('"'),
                _ => text.push(' '),
            },
            _ => text.push(one),
        }
    }
    None
}

/// Length of a character in quotes, which may be a quote itself; a lifetime is none.
fn char_literal(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let mut chars = body.char_indices();
    if chars.next()?.1 == '\\' {
        chars.next();
    }
    let (at, _) = chars.find(|(_, one)| !one.is_alphanumeric() && !"{}".contains(*one))?;
    (at <= 12 && body[at..].starts_with('\'')).then_some(at + 2)
}

/// The words of a passage without what is in backticks.
fn words((start, text): &Passage) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut is_first = !text.starts_with('#');
    let mut is_code = false;
    for (offset, line) in text.lines().enumerate() {
        for token in line.split_whitespace() {
            let was_code = is_code;
            is_code ^= token.matches('`').count() % 2 == 1;
            let text = token.trim_matches(|one: char| !one.is_alphanumeric() && one != '\'');
            if was_code || token.contains('`') || text.is_empty() {
                is_first = !was_code && !token.contains('`') && is_boundary(token);
                continue;
            }
            let end = token.trim_end_matches(['"', '\'', ')', '*', '_']);
            words.push(Word {
                text: text.to_owned(),
                line: start + offset,
                is_first,
                is_before_break: end.ends_with([',', '.', ';', ':', '?', '!']),
            });
            is_first = end.ends_with(['.', '?', '!']);
        }
    }
    words
}

/// Whether a sentence may begin after this: a cell or an item.
fn is_boundary(token: &str) -> bool {
    token.chars().all(|one| "|-*>".contains(one))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(line, text)| (line + 1, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and words of each passage.
    fn read(name: &str, text: &str) -> Vec<(usize, String)> {
        let passages = passages(name, text);
        let of = |words: &Vec<Word>| {
            let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            (words[0].line, texts.join(" "))
        };
        passages.iter().map(of).collect()
    }

    #[test]
    fn code_and_backticks_of_markdown_are_left_out() {
        let text = "# A head\n\nOne `is no` two\nand three.\n\n```console\n$ not this one\n```\n| a | b c |\n";
        let expected = [(3, "One two and three"), (9, "a b c")];
        assert_eq!(
            read("a.md", text),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn comments_and_texts_of_rust_are_read() {
        let text = concat!(
            "//! A file\n//! of two lines.\n\nlet quote = '\"'; let life: &'static str = r#\"raw \"text\" here\"#;\n",
            "// Another one here.\nlet key = \"key\"; let text = \"cannot \\\n    read it\"; // The end of it.\n",
        );
        let expected = [
            (1, "A file of two lines"),
            (5, "Another one here"),
            (7, "The end of it"),
            (4, "raw text here"),
            (6, "cannot read it"),
        ];
        assert_eq!(
            read("a.rs", text),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn sentences_begin_after_stops_cells_and_bullets() {
        let passages = passages(
            "a.md",
            "Two words. Then more, and | this cell |\n- an item\n",
        );
        let first: Vec<&str> = passages[0]
            .iter()
            .filter(|word| word.is_first)
            .map(|word| word.text.as_str())
            .collect();
        assert_eq!(first, ["Two", "Then", "this", "an"]);
        assert!(passages[0][3].is_before_break);
    }
}
