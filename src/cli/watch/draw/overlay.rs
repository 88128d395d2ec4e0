//! What lies over the panes, and the line below them.

use super::row::{Align, Row, clean, columns};
use super::theme::{Theme, Tone};
use crate::cli::watch::model::{Asking, Details, Model};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const HINTS: &str =
    "Tab pane  arrows row  p pause  r resume  c details  s sort  / filter  space freeze  ? help  q quit";
/// Where HINTS does not fit.
const HINTS_SHORT: &str = "p pause  r resume  c info  s sort  / filter  ? help  q quit";

const HELP: &[(&str, &str)] = &[
    ("Tab, left, right", "go to another pane (>> marks it)"),
    ("up, down, j, k", "another row; PageUp, PageDown, Home, End go further"),
    ("s", "sort: queue, name, state, next send, drain eta, sent"),
    ("/", "show only what has a text in it; Esc shows everything again"),
    ("p", "pause account or company; asks for a reason and how long"),
    ("r", "resume account, company or hold; asks first"),
    ("c, Enter", "what the bridge says now of the account or company"),
    ("space", "freeze the events, or let them run again"),
    ("q, Ctrl-C", "quit; the bridge does not notice"),
    ("", ""),
    ("", "Nothing is changed unless p or r is pressed and confirmed."),
    ("\u{2013}", "the bridge did not say it, or the broker did not hand it over"),
    ("STALE, (stale)", "nothing new came for longer than it should"),
    ("hour", "# used, - free, = kept for priority 8 and 9"),
];

pub(super) fn footer(model: &Model, theme: Theme, width: usize) -> Row {
    let mut row = Row::default();
    let line = |label: String, text: &str, after: &str| (label, text.to_owned(), after.to_owned());
    let (label, text, after) = match &model.asking {
        Some(Asking::Filter { text }) => line("filter: ".to_owned(), text, "  (Enter keeps it, Esc leaves)"),
        Some(Asking::Reason { target, text }) => {
            line(format!("pause {}, reason: ", target.subject()), text, "  (Esc leaves)")
        }
        Some(Asking::Duration { target, text, .. }) => {
            line(format!("pause {}, for how long: ", target.subject()), text, "  (10m, 2h; empty until resumed)")
        }
        Some(Asking::Resume { target }) => line(format!("resume {}? y or n ", target.subject()), "", ""),
        None => {
            let (text, tone) = match &model.notice {
                Some(notice) if notice.is_bad => (format!("! {}", notice.text), Tone::Bad),
                Some(notice) => (notice.text.clone(), Tone::Good),
                None if HINTS.len() <= width => (HINTS.to_owned(), Tone::Quiet),
                None => (HINTS_SHORT.to_owned(), Tone::Quiet),
            };
            row.cell(&text, width, Align::Left, theme.style(tone));
            return row;
        }
    };
    let notice = model.notice.as_ref().map_or(String::new(), |notice| format!("  ! {}", notice.text));
    row.text(&label, theme.style(Tone::Heading));
    // What was typed last stays in sight.
    let room = width.saturating_sub(row.width() + 1);
    row.text(&end_of(&clean(&text), room), theme.style(Tone::Plain)).text("_", theme.style(Tone::Selected));
    row.text(&notice, theme.style(Tone::Bad)).text(&after, theme.style(Tone::Quiet));
    row
}

/// As much of the end of a text as fits.
fn end_of(text: &str, width: usize) -> String {
    let mut end = text;
    while columns(end) > width {
        let mut characters = end.chars();
        characters.next();
        end = characters.as_str();
    }
    end.to_owned()
}

pub(super) fn help(theme: Theme, area: Rect, buffer: &mut Buffer) {
    let rows = HELP.iter().map(|(key, what)| {
        let mut row = Row::default();
        row.text("  ", theme.style(Tone::Plain)).cell(key, 17, Align::Left, theme.style(Tone::Heading));
        row.text(what, theme.style(Tone::Plain));
        row
    });
    sheet("help: any key closes it", rows.collect(), theme, area, buffer);
}

pub(super) fn details(details: &Details, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let title = format!("{} (Esc closes, up and down scroll)", details.subject);
    let Some(lines) = &details.lines else {
        let mut row = Row::default();
        row.text("  asked, waiting for the reply", theme.style(Tone::Quiet));
        return sheet(&title, vec![row], theme, area, buffer);
    };
    let rows = lines.iter().skip(details.scroll).take(area.height.into()).map(|(name, value)| {
        let mut row = Row::default();
        row.text("  ", theme.style(Tone::Plain)).cell(name, 24, Align::Left, theme.style(Tone::Quiet));
        row.text(" ", theme.style(Tone::Plain)).text(value, theme.style(Tone::Plain));
        row
    });
    sheet(&title, rows.collect(), theme, area, buffer);
}

/// Whole lines over the top of the area: half a line could cut a wide character.
fn sheet(title: &str, rows: Vec<Row>, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let mut all = vec![Row::default()];
    all[0].cell(&format!("== {title} "), width, Align::Left, theme.style(Tone::Focused));
    all.extend(rows);
    all.truncate(usize::from(area.height).saturating_sub(1));
    let mut last = Row::default();
    last.text(&"=".repeat(width), theme.style(Tone::Heading));
    all.push(last);
    for (row, y) in all.into_iter().zip(area.y..area.bottom()) {
        for x in area.x..area.right() {
            buffer[(x, y)].reset();
        }
        row.draw(buffer, area.x, y, area.width);
    }
}
