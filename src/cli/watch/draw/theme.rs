//! What stands out, and how. Every tone goes with a word or a mark of its own, so that colour only repeats it.

use ratatui::style::{Color, Modifier, Style};

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Names of figures, and what is over.
    Quiet,
    Heading,
    /// The heading of the pane that the keys go to.
    Focused,
    Good,
    Warning,
    Bad,
    /// The row that the keys are on.
    Selected,
}

/// How tones look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Without it there are only weights.
    pub colours: bool,
}

impl Theme {
    pub(super) fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let coloured = |style: Style, colour| if self.colours { style.fg(colour) } else { style };
        match tone {
            Tone::Plain => style,
            Tone::Quiet => style.add_modifier(Modifier::DIM),
            Tone::Heading => coloured(style.add_modifier(Modifier::BOLD), Color::Cyan),
            Tone::Focused => coloured(style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED), Color::Cyan),
            Tone::Good => coloured(style, Color::Green),
            Tone::Warning => coloured(style.add_modifier(Modifier::BOLD), Color::Yellow),
            Tone::Bad => coloured(style.add_modifier(Modifier::BOLD), Color::Red),
            Tone::Selected => style.add_modifier(Modifier::REVERSED),
        }
    }
}
