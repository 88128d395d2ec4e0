//! What a run shows of itself on standard error: a bar on a terminal, a line every few seconds elsewhere.

use super::forecast::Expected;
use super::results::SENT;
use crate::cli;
use crate::model::Time;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;

/// All figures at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) done: usize,
    pub(super) total: usize,
    pub(super) outcomes: BTreeMap<String, usize>,
    pub(super) under_way: usize,
    pub(super) rate: f64,
    pub(super) expected: Option<Expected>,
    /// Why nothing moves, if something is known to be in the way.
    pub(super) trouble: Option<String>,
}

/// Where a run is seen.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { shown_at: Option<Time> },
}

/// Between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(3);
const DRAWS_PER_SECOND: u8 = 10;

impl Progress {
    pub(super) fn new(is_terminal: bool, total: usize) -> Self {
        if !is_terminal {
            return Self::Lines { shown_at: None };
        }
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {percent}%\n{msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self::Bar(bar)
    }

    pub(super) fn show(&mut self, figures: &Figures, now: Time) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(figures.done as u64);
                bar.set_message(words(figures, now));
            }
            Self::Lines { shown_at } => {
                if shown_at.is_none_or(|at| now.since(at) >= LINE_INTERVAL) {
                    *shown_at = Some(now);
                    cli::print_error(&format!("{}/{}  {}\n", figures.done, figures.total, words(figures, now)));
                }
            }
        }
    }

    /// Something to read that stays.
    pub(super) fn tell(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| cli::print_error(&format!("{text}\n"))),
            Self::Lines { .. } => cli::print_error(&format!("{text}\n")),
        }
    }

    /// The last drawing, which stays.
    pub(super) fn end(&mut self, figures: &Figures, now: Time) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(figures.done as u64);
                bar.abandon_with_message(words(figures, now));
            }
            Self::Lines { .. } => {
                cli::print_error(&format!("{}/{}  {}\n", figures.done, figures.total, words(figures, now)));
            }
        }
    }
}

fn words(figures: &Figures, now: Time) -> String {
    let mut parts = vec![format!("{:.1}/s", figures.rate)];
    parts.push(outcomes(&figures.outcomes));
    if figures.under_way > 0 {
        parts.push(format!("under way {}", figures.under_way));
    }
    match (&figures.trouble, figures.expected) {
        (Some(trouble), _) => parts.push(trouble.clone()),
        (None, Some(Expected { at, by_bridge })) => {
            let left = Duration::from_secs(at.since(now).as_secs());
            let by = if by_bridge { "" } else { ", by the rate so far" };
            parts.push(format!("expected end {} (in {}{by})", clock_face(at, now), humantime::format_duration(left)));
        }
        (None, None) => {}
    }
    parts.join("  ")
}

/// `sent 12, REFUSED 3`, the good news first.
pub(super) fn outcomes(outcomes: &BTreeMap<String, usize>) -> String {
    let sent = outcomes.get(SENT).copied().unwrap_or_default();
    let others = outcomes.iter().filter(|(word, _)| *word != SENT);
    let words = [format!("sent {sent}")].into_iter().chain(others.map(|(word, count)| format!("{word} {count}")));
    words.collect::<Vec<_>>().join(", ")
}

/// A moment as the clock on the wall shows it, with the day if that is not today.
fn clock_face(at: Time, now: Time) -> String {
    let zoned = |time: Time| {
        let nanos = i128::from(time.as_nanos());
        jiff::Timestamp::from_nanosecond(nanos).ok().map(|time| time.to_zoned(jiff::tz::TimeZone::system()))
    };
    match (zoned(at), zoned(now)) {
        (Some(at), Some(now)) if at.date() == now.date() => at.strftime("%H:%M:%S").to_string(),
        (Some(at), _) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (None, _) => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_outcomes_and_end() {
        let now = Time::from_millis(1_700_000_000_000);
        let mut figures = Figures {
            done: 10,
            total: 20,
            outcomes: BTreeMap::from([("REFUSED".to_owned(), 3), (SENT.to_owned(), 7)]),
            under_way: 5,
            rate: 1.96,
            expected: Some(Expected { at: now + Duration::from_millis(65_500), by_bridge: true }),
            trouble: None,
        };
        let line = words(&figures, now);
        assert!(line.starts_with("2.0/s  sent 7, REFUSED 3  under way 5  expected end "), "{line}");
        assert!(line.ends_with(" (in 1m 5s)"), "{line}");
        figures.expected = Some(Expected { at: now + Duration::from_secs(3 * 24 * 3600), by_bridge: false });
        let line = words(&figures, now);
        assert!(line.contains("expected end 2023-11-1") && line.ends_with("(in 3days, by the rate so far)"), "{line}");
        figures.trouble = Some("no broker".to_owned());
        assert!(words(&figures, now).ends_with("no broker"));
    }
}
