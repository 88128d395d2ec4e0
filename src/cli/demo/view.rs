//! What the demo shows while it runs: a table that is drawn again on a terminal, lines elsewhere.

use super::plan::MEMBERS;
use crate::cli;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

/// Events that stay on the screen, in lines: with the table they fill 24 lines.
const EVENT_LINES: usize = 7;
/// Columns that every line fits in: a line that wraps would put the table in the wrong place.
const COLUMNS: usize = 79;

/// The figures of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub published: usize,
    pub sent: usize,
    /// Answered with anything but sent.
    pub other: usize,
    /// As the pretend sender saw it.
    pub smallest_gap: Option<Duration>,
}

/// All figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    pub elapsed: Duration,
    pub rows: BTreeMap<&'static str, Row>,
}

impl Board {
    /// The sum of all rows, and the smallest of their gaps.
    pub fn total(&self) -> Row {
        self.rows.values().fold(Row::default(), |total, row| Row {
            published: total.published + row.published,
            sent: total.sent + row.sent,
            other: total.other + row.other,
            smallest_gap: [total.smallest_gap, row.smallest_gap].into_iter().flatten().min(),
        })
    }
}

/// Where the demo is seen.
pub struct Screen {
    is_terminal: bool,
    events: VecDeque<String>,
    /// Lines of the last drawing, which the next one replaces.
    drawn: usize,
}

impl Screen {
    pub fn new(is_terminal: bool) -> Self {
        Self { is_terminal, events: VecDeque::new(), drawn: 0 }
    }

    /// How often [`Screen::draw`] is worth calling.
    pub fn interval(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(250) } else { Duration::from_secs(2) }
    }

    /// Something happened.
    pub fn tell(&mut self, elapsed: Duration, what: &str) {
        let text = format!("{:5.1} s  {what}", elapsed.as_secs_f64());
        if !self.is_terminal {
            return cli::print(&format!("{text}\n"));
        }
        self.events.extend(wrapped(&text));
        while self.events.len() > EVENT_LINES {
            self.events.pop_front();
        }
    }

    pub fn draw(&mut self, board: &Board) {
        if !self.is_terminal {
            return cli::print(&format!("{}\n", progress(board)));
        }
        let lines = table(board, &self.events);
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to where the last drawing began, and clear from there.
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        for line in &lines {
            text.extend(line.chars().take(COLUMNS));
            text.push('\n');
        }
        self.drawn = lines.len();
        cli::print(&text);
    }
}

fn progress(board: &Board) -> String {
    let total = board.total();
    let elapsed = board.elapsed.as_secs_f64();
    let waiting = total.published.saturating_sub(total.sent + total.other);
    let gap = gap(total.smallest_gap);
    let Row { published, sent, other, .. } = total;
    format!(
        "{elapsed:5.1} s  published {published}, sent {sent}, other answers {other}, waiting {waiting}, smallest gap {gap}"
    )
}

fn table(board: &Board, events: &VecDeque<String>) -> Vec<String> {
    let line = |corp: &str, account: &str, row: &Row| {
        let waiting = row.published.saturating_sub(row.sent + row.other);
        let gap = gap(row.smallest_gap);
        let Row { published, sent, other, .. } = row;
        let bar = "#".repeat(waiting.min(13));
        format!("{corp:<11} {account:<8} {published:>9} {sent:>5} {other:>6} {waiting:>8} {gap:>11}  {bar}")
    };
    let heading = format!(
        "{:<11} {:<8} {:>9} {:>5} {:>6} {:>8} {:>11}",
        "company", "account", "published", "sent", "other", "waiting", "least gap"
    );
    let mut lines = vec![format!("sendbridge demo {:>5.1} s", board.elapsed.as_secs_f64()), heading];
    for member in &MEMBERS {
        let row = board.rows.get(member.account).copied().unwrap_or_default();
        lines.push(line(member.corp, member.account, &row));
    }
    lines.push(line("all", "", &board.total()));
    lines.extend(events.iter().cloned());
    lines
}

fn gap(gap: Option<Duration>) -> String {
    gap.map_or("-".to_owned(), |gap| format!("{:.1} ms", gap.as_secs_f64() * 1000.0))
}

/// The text in lines that fit, broken between words; what follows the first is indented.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for (index, word) in text.split(' ').enumerate() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(std::mem::replace(&mut line, " ".repeat(8)));
        }
        if index > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::story::STEPS;
    use super::*;

    fn board() -> Board {
        let row = Row { published: 34, sent: 20, other: 2, smallest_gap: Some(Duration::from_micros(501_234)) };
        let rows = MEMBERS.iter().map(|member| (member.account, row)).collect();
        Board { elapsed: Duration::from_millis(12_345), rows }
    }

    #[test]
    fn the_table_fits_a_terminal_of_80_by_24() {
        let mut screen = Screen::new(true);
        for (at, step) in STEPS {
            screen.tell(at, step.says());
        }
        assert!(screen.events.iter().any(|line| line.starts_with(" 12.5 s  sender: is back")), "{:?}", screen.events);
        let lines = table(&board(), &screen.events);
        assert!(lines.len() <= 23, "{}", lines.len());
        for line in &lines {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        assert!(
            lines[2].starts_with("north-star  anna            34    20      2       12    501.2 ms  ####"),
            "{}",
            lines[2]
        );
    }

    #[test]
    fn a_line_of_progress_has_the_sums() {
        let expected = " 12.3 s  published 408, sent 240, other answers 24, waiting 144, smallest gap 501.2 ms";
        assert_eq!(progress(&board()), expected);
    }
}
