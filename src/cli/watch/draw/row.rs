//! One line of the screen. Every text from outside goes through here, and leaves what a terminal would obey behind.

use ratatui::buffer::{Buffer, CellWidth};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// What stands for a character that must not reach the terminal.
const REPLACEMENT: char = '\u{FFFD}';
/// Says that a text goes on. ASCII, because terminals differ on the width of the ellipsis.
const MORE: &str = "~";
/// Marks on one character: more of them are no writing, and fill other cells on some terminals.
const MARKS_MAX: usize = 4;
/// Characters of one text that are looked at: more than the widest screen shows.
const TEXT_CHARS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A line that is being written from left to right.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    spans: Vec<Span<'static>>,
    width: usize,
}

impl Row {
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Adds a text as long as it is.
    pub(super) fn text(&mut self, text: &str, style: Style) -> &mut Self {
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        self.push(clean(&text), style)
    }

    /// Adds a text that takes exactly `width` columns.
    pub(super) fn cell(&mut self, text: &str, width: usize, align: Align, style: Style) -> &mut Self {
        let text = fitted(text, width);
        let padding = " ".repeat(width.saturating_sub(columns(&text)));
        match align {
            Align::Left => self.push(text + &padding, style),
            Align::Right => self.push(padding + &text, style),
        }
    }

    /// Adds the rest of another line.
    pub(super) fn append(&mut self, other: Self) {
        self.width += other.width;
        self.spans.extend(other.spans);
    }

    fn push(&mut self, text: String, style: Style) -> &mut Self {
        self.width += columns(&text);
        self.spans.push(Span::styled(text, style));
        self
    }

    /// Writes the line, cut to `width`.
    pub(super) fn draw(self, buffer: &mut Buffer, x: u16, y: u16, width: u16) {
        if buffer.area.contains((x, y).into()) {
            buffer.set_line(x, y, &Line::from(self.spans), width);
        }
    }

    /// The line without its styles and the blanks at its end.
    pub(super) fn to_text(&self) -> String {
        let text: String = self.spans.iter().map(|span| span.content.as_ref()).collect();
        text.trim_end().to_owned()
    }
}

/// The text without control characters, and without those that turn the writing around or have no width.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut marks = 0;
    for character in text.chars() {
        if character.is_control() || is_direction(character) {
            cleaned.push(REPLACEMENT);
            marks = 0;
            continue;
        }
        if !is_wide_of_nothing(character) {
            cleaned.push(character);
            marks = 0;
            continue;
        }
        // Joiners and variations make terminals and us count differently; marks belong to their letter.
        if !is_joiner(character) && marks < MARKS_MAX {
            cleaned.push(character);
            marks += 1;
        }
    }
    cleaned
}

/// How many columns a cleaned text takes: by its characters as they are drawn, which is not the sum for all texts.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).styled_graphemes(Style::new()).map(|grapheme| usize::from(grapheme.symbol.cell_width())).sum()
}

/// The cleaned text, cut to `width` columns; a cut is marked.
pub(super) fn fitted(text: &str, width: usize) -> String {
    // No text is looked at beyond what could fit, however long it is.
    let head: String = text.chars().take(width.saturating_add(1).saturating_mul(4)).collect();
    let is_whole = head.len() == text.len();
    let text = clean(&head);
    if is_whole && columns(&text) <= width {
        return text;
    }
    let room = width.saturating_sub(MORE.len());
    let mut cut = String::new();
    let mut taken = 0;
    for grapheme in Span::raw(text.as_str()).styled_graphemes(Style::new()) {
        taken += usize::from(grapheme.symbol.cell_width());
        if taken > room {
            break;
        }
        cut.push_str(grapheme.symbol);
    }
    if width > 0 {
        cut.push_str(MORE);
    }
    cut
}

/// Characters by which a text could show itself in another order than it is.
const fn is_direction(character: char) -> bool {
    matches!(character, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        | '\u{2028}' | '\u{2029}')
}

const fn is_joiner(character: char) -> bool {
    matches!(character, '\u{00AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2065}' | '\u{206A}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

fn is_wide_of_nothing(character: char) -> bool {
    is_joiner(character) || character.encode_utf8(&mut [0; 4]).cell_width() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(
            clean("a\x1b[31mb\u{9b}2Jc\r\n\td\u{7f}"),
            "a\u{FFFD}[31mb\u{FFFD}2Jc\u{FFFD}\u{FFFD}\u{FFFD}d\u{FFFD}"
        );
        assert_eq!(clean("a\u{202E}b\u{2066}c"), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(clean("e\u{301}"), "e\u{301}");
        assert_eq!(clean(&format!("e{}", "\u{301}".repeat(500))).chars().count(), 1 + MARKS_MAX);
        assert_eq!(clean("👨\u{200D}👩"), "👨👩");
    }

    #[test]
    fn wide_characters_take_two_columns_and_are_never_halved() {
        assert_eq!(columns("企业微信"), 8);
        assert_eq!(fitted("企业微信", 8), "企业微信");
        assert_eq!(fitted("企业微信", 7), "企业微~");
        assert_eq!(fitted("企业微信", 6), "企业~");
        assert_eq!(fitted("企业微信", 1), "~");
        assert_eq!(fitted("企业微信", 0), "");
        let mut row = Row::default();
        row.cell("企业", 5, Align::Left, Style::new()).cell("7", 3, Align::Right, Style::new());
        assert_eq!((row.width(), row.to_text()), (8, "企业   7".to_owned()));
    }

    proptest! {
        #[test]
        fn a_cell_takes_its_width_whatever_is_in_it(text in any::<String>(), width in 0_usize..40) {
            let mut row = Row::default();
            row.cell(&text, width, Align::Left, Style::new());
            prop_assert_eq!(row.width(), width);
            prop_assert!(!row.to_text().contains(char::is_control));
        }
    }
}
