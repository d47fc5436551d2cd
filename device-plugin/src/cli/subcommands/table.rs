//! Text for people: aligned columns, and colours on a terminal.

use std::ffi::OsStr;

/// Whether colours are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// On a terminal (ECMA-48, "Select graphic rendition").
    Colours,
    /// In a file or a pipe.
    Plain,
}

/// A colour by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing special.
    Normal,
    /// A headline.
    Head,
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// Wrong.
    Bad,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>).
    pub(crate) fn of(is_terminal: bool, no_color: Option<&OsStr>) -> Self {
        if is_terminal && no_color.is_none_or(OsStr::is_empty) {
            Self::Colours
        } else {
            Self::Plain
        }
    }

    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) | (Self::Colours, Tone::Normal) => return text.to_owned(),
            (Self::Colours, Tone::Head) => "1",
            (Self::Colours, Tone::Good) => "32",
            (Self::Colours, Tone::Odd) => "33",
            (Self::Colours, Tone::Bad) => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Lines with aligned cells; no line ends with blanks.
pub(super) fn table(rows: &[Vec<(Tone, String)>], paint: Paint) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, (_, text)) in row.iter().enumerate() {
            let width = text.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        let mut blanks = 0;
        for ((tone, cell), width) in row.iter().zip(&widths) {
            line.extend(std::iter::repeat_n(' ', blanks));
            line += &paint.tone(*tone, cell);
            blanks = width - cell.chars().count() + 2;
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_no_no_color() {
        for (is_terminal, no_color, expected) in [
            (true, None, Paint::Colours),
            (true, Some(""), Paint::Colours),
            (true, Some("1"), Paint::Plain),
            (false, None, Paint::Plain),
        ] {
            let paint = Paint::of(is_terminal, no_color.map(OsStr::new));
            assert_eq!(paint, expected);
        }
    }

    #[test]
    fn cells_are_aligned_with_and_without_colours() {
        let row = |a: &str, b: &str| vec![(Tone::Head, a.to_owned()), (Tone::Bad, b.to_owned())];
        let rows = [row("a", "bb"), row("ääää", "b"), row("c", "")];
        assert_eq!(table(&rows, Paint::Plain), "a     bb\nääää  b\nc\n");
        let painted = table(&rows, Paint::Colours);
        assert!(painted.contains("\u{1b}[1ma\u{1b}[0m     \u{1b}[31mbb\u{1b}[0m\n"));
    }
}
