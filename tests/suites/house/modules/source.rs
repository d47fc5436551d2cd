//! Reads one source file: its modules, the items that it defines, and the names and paths that it uses.
//!
//! Code that is compiled only for tests is left out.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A name that a `use` brings into a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// The path of the name, as written.
    pub(super) path: Vec<String>,
    /// The name in this module, `*` for everything below the path.
    pub(super) name: String,
    /// Whether other modules can import it from this module.
    pub(super) is_reexport: bool,
    pub(super) line: usize,
}

/// A path in code, with two segments or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodePath {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// One module as written in its file, or in its block of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// Modules with their own files.
    pub(super) files: Vec<String>,
    /// Modules with a block in this file.
    pub(super) blocks: Vec<(String, Source)>,
    /// Names of items that are defined here.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    pub(super) paths: Vec<CodePath>,
}

const ITEMS: [&str; 8] = [
    "struct", "enum", "union", "trait", "fn", "type", "const", "static",
];

/// Items that end with a semicolon, even after braces.
const STATEMENTS: [&str; 4] = ["use", "type", "const", "static"];

/// Reads the text of a file.
///
/// # Panics
/// If the text is not Rust.
pub(super) fn read(text: &str) -> Source {
    let tokens: TokenStream = text.parse().unwrap();
    let mut source = Source::default();
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    // Attributes of the file itself have a `!`.
    let own = tokens.chunks(3).take_while(|chunk| is_inner(chunk));
    let own = own.count() * 3;
    let is_for_tests = tokens[..own].chunks(3).any(|chunk| needs_test(&chunk[2]));
    if !is_for_tests {
        source.walk(&tokens[own..], true);
    }
    source
}

impl Source {
    /// `is_module` is true for the items of the module itself and false inside of them.
    fn walk(&mut self, tokens: &[TokenTree], is_module: bool) {
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += if let Some(skipped) = test_item(rest) {
                skipped
            } else if let Some(read) = self.module(rest) {
                read
            } else if is_word(&rest[0], "use") {
                let is_reexport = is_visible(&tokens[..at]);
                self.import(&rest[1..], is_reexport)
            } else if let Some(read) = self.path(rest) {
                read
            } else {
                if is_module && ITEMS.iter().any(|item| is_word(&rest[0], item)) {
                    self.items.extend(word(&rest[1..]));
                }
                if let TokenTree::Group(group) = &rest[0] {
                    self.walk(&inside(group), false);
                }
                1
            };
        }
    }

    /// `mod name;` or `mod name { .. }`; returns its number of tokens.
    fn module(&mut self, tokens: &[TokenTree]) -> Option<usize> {
        (word(tokens)? == "mod").then_some(())?;
        let name = word(tokens.get(1..)?)?;
        match tokens.get(2)? {
            TokenTree::Group(block) => {
                let mut inner = Self::default();
                inner.walk(&inside(block), true);
                self.blocks.push((name, inner));
            }
            TokenTree::Punct(_) => self.files.push(name),
            TokenTree::Ident(_) | TokenTree::Literal(_) => return None,
        }
        Some(3)
    }

    /// The tree of a `use` up to its semicolon; returns its number of tokens with the `use`.
    fn import(&mut self, tokens: &[TokenTree], is_reexport: bool) -> usize {
        let end = tokens.iter().position(|token| is_punct(token, ';'));
        let end = end.unwrap_or(tokens.len());
        let mut found = Vec::new();
        tree(&tokens[..end], &[], &mut found);
        self.imports
            .extend(found.into_iter().map(|(path, name, line)| Import {
                path,
                name,
                is_reexport,
                line,
            }));
        end + 2
    }

    /// `a::b::c`; returns its number of tokens.
    fn path(&mut self, tokens: &[TokenTree]) -> Option<usize> {
        let line = tokens.first()?.span().start().line;
        let mut segments = vec![word(tokens)?];
        let mut length = 1;
        while is_separator(&tokens[length..]) {
            let Some(next) = word(&tokens[length + 2..]) else {
                break;
            };
            segments.push(next);
            length += 3;
        }
        (segments.len() > 1).then_some(())?;
        self.paths.push(CodePath { segments, line });
        Some(length)
    }
}

/// The imports of a `use` tree: path, name and line.
fn tree(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<(Vec<String>, String, usize)>) {
    let mut path = prefix.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                for part in split(group) {
                    tree(&part, &path, found);
                }
                return;
            }
            token if is_punct(token, '*') => {
                found.push((path, "*".to_owned(), line));
                return;
            }
            TokenTree::Ident(ident) if ident == "as" => {
                let name = word(&tokens[at + 1..]).unwrap_or_default();
                found.push((path, name, line));
                return;
            }
            TokenTree::Ident(ident) => {
                // `self` in a list stands for the path before the list.
                if ident != "self" || path.is_empty() {
                    path.push(ident.to_string());
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
    let line = tokens.first().map_or(0, |token| token.span().start().line);
    let name = path.last().cloned().unwrap_or_default();
    found.push((path, name, line));
}

/// The parts of a group between commas, without empty ones.
fn split(group: &Group) -> Vec<Vec<TokenTree>> {
    inside(group)
        .split(|token| is_punct(token, ','))
        .filter(|part| !part.is_empty())
        .map(<[TokenTree]>::to_vec)
        .collect()
}

/// The number of tokens of an item that is compiled only for tests, with its attributes.
fn test_item(tokens: &[TokenTree]) -> Option<usize> {
    is_for_tests(tokens).then_some(())?;
    let mut at = 0;
    while tokens.get(at).is_some_and(|token| is_punct(token, '#')) {
        at += 2;
    }
    let kind = tokens[at..].iter().position(|token| {
        let kinds = ITEMS.iter().chain(&["use", "mod", "impl"]);
        kinds.copied().any(|kind| is_word(token, kind))
    });
    let kind = &tokens[at + kind.unwrap_or_default()..];
    let is_function = kind.get(1).is_some_and(|token| is_word(token, "fn"));
    let is_statement = !is_function && STATEMENTS.iter().any(|word| is_word(&kind[0], word));
    while let Some(token) = tokens.get(at) {
        at += 1;
        let is_block =
            matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        if is_punct(token, ';') || (is_block && !is_statement) {
            break;
        }
    }
    Some(at)
}

/// Whether one of the leading attributes restricts the item to tests.
fn is_for_tests(tokens: &[TokenTree]) -> bool {
    tokens
        .chunks(2)
        .take_while(|chunk| is_punct(&chunk[0], '#'))
        .any(|chunk| chunk.get(1).is_some_and(needs_test))
}

/// Whether the brackets of an attribute hold a `cfg` that needs `test`, alone or with more.
fn needs_test(brackets: &TokenTree) -> bool {
    let text = brackets.to_string().replace(char::is_whitespace, "");
    text.starts_with("[cfg(test)") || text.starts_with("[cfg(all(test,")
}

fn is_inner(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [mark, bang, TokenTree::Group(_)] if is_punct(mark, '#') && is_punct(bang, '!'))
}

/// Whether the item that follows has `pub` or `pub(..)`.
fn is_visible(before: &[TokenTree]) -> bool {
    match before {
        [.., last] if is_word(last, "pub") => true,
        [.., last, TokenTree::Group(_)] => is_word(last, "pub"),
        _ => false,
    }
}

fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn word(tokens: &[TokenTree]) -> Option<String> {
    match tokens.first()? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [first, second, ..] if is_punct(first, ':') && is_punct(second, ':'))
}
