//! Lines of the log that cannot be anything but one line each, whatever is in them.
//!
//! The formats escape what strangers chose, but not all of it: JSON lets through what some terminals obey (controls of
//! eight bits) and what makes a line look like another one (text direction, invisible characters), and the text format
//! prints as it is whatever is passed with `%`. So the last word is here.

use std::io::{self, Write};
use tracing_subscriber::fmt::MakeWriter;

/// Standard error, behind the rule of this file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Lines {
    /// Takes one event whole, as the subscriber hands it over.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(harmless(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line with every character that is not simply shown as JSON escapes it, except the line break at its
/// end.
pub fn harmless(event: &str) -> String {
    let (text, end) = match event.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (event, ""),
    };
    let mut line = String::with_capacity(event.len());
    for character in text.chars() {
        if is_shown(character) {
            line.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            line.push_str(&format!("\\u{unit:04x}"));
        }
    }
    line + end
}

/// Controls, line and paragraph separators, marks of text direction, characters without width, and tags are not.
fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What forges lines, colours terminals, or turns text around.
    const HARMFUL: [&str; 8] = ["\n", "\r", "\u{1b}[31m", "\u{9b}31m", "\u{7f}", "\u{202e}", "\u{2028}", "\u{e0041}"];

    #[test]
    fn nothing_that_a_terminal_or_a_reader_obeys_is_left() {
        for harmful in HARMFUL {
            let line = harmless(&format!("a{harmful}b\n"));
            assert_eq!(line.lines().count(), 1, "{line:?}");
            assert!(line.ends_with("b\n") && line.trim_end().chars().all(is_shown), "{line:?}");
        }
        assert_eq!(harmless("你好 \u{1f600} é\n"), "你好 \u{1f600} é\n");
        assert_eq!(harmless("\u{e0041}"), "\\udb40\\udc41");
    }

    proptest! {
        #[test]
        fn json_says_the_same_afterwards(text in any::<String>()) {
            let event = serde_json::to_string(&text).expect("JSON") + "\n";
            let line = harmless(&event);
            prop_assert_eq!(serde_json::from_str::<String>(&line).expect("JSON"), text);
            prop_assert!(line.trim_end_matches('\n').chars().all(is_shown));
        }
    }
}
