//! Companies, accounts, holds, alarms and events, each as the rows that fit its pane.

use super::row::{Align, Row};
use super::theme::{Theme, Tone};
use super::words::{NOTHING, clock, count, gauge, span, until};
use crate::cli::watch::model::{Alarm, Hold, Model, Pane, Tail, Window, state_word};
use crate::model::{AccountReport, AccountState, CorpReport, Time};

/// How a row is marked that the keys are on.
const CURSOR: &str = "> ";
const NO_CURSOR: &str = "  ";

/// What a column says of a report at that time of the bridge's clock.
type Text<T> = fn(&T, Time) -> (String, Tone);

/// A column of a table. The first one takes what the others leave.
struct Column<T> {
    title: &'static str,
    width: usize,
    align: Align,
    /// Panes narrower than that do without it.
    from_width: usize,
    text: Text<T>,
}

const fn column<T>(title: &'static str, width: usize, from_width: usize, text: Text<T>) -> Column<T> {
    Column { title, width, align: Align::Right, from_width, text }
}

fn account_columns(width: usize) -> [Column<AccountReport>; 12] {
    // An account's id of 16 digits has its room first.
    let reason_width = if width >= 76 { 15 } else { 9 };
    let left = |column: Column<AccountReport>| Column { align: Align::Left, ..column };
    [
        left(column("account", 0, 0, |report, _| plain(report.account.as_str().to_owned()))),
        left(column("company", 20, 114, |report, _| given(report.corp.as_ref().map(|corp| corp.as_str())))),
        left(column("sender", 10, 126, |report, _| given(report.sender.as_ref().map(|sender| sender.as_str())))),
        left(column("state", 7, 0, |report, _| {
            let tone = if report.state == AccountState::Held { Tone::Warning } else { Tone::Plain };
            (state_word(report.state).to_owned(), tone)
        })),
        left(column("reason", reason_width, 0, |report, _| match (&report.reason, report.hold) {
            (Some(reason), Some(hold)) => plain(format!("{reason} #{hold}")),
            (Some(reason), None) => plain(reason.replace('_', " ")),
            (None, _) => plain(NOTHING.to_owned()),
        })),
        column("until", 6, 76, |report, now| plain(until(report.until, now))),
        column("queued", 7, 0, |report, _| plain(count(report.queued))),
        column("sending", 7, 94, |report, _| plain(count(report.sending))),
        column("doubt", 5, 90, |report, _| {
            (count(report.in_doubt), if report.in_doubt > 0 { Tone::Warning } else { Tone::Plain })
        }),
        column("next", 6, 0, |report, now| plain(until(report.next_send_at, now))),
        column("drained", 7, 0, |report, now| plain(until(report.drain_eta, now))),
        column("sent/h", 6, 76, |report, _| plain(count(report.sent_last_hour))),
    ]
}

/// The gauge of the hour: its width and what fills it. A company's id of 16 digits has its room first.
fn hour_column(width: usize) -> (usize, Text<CorpReport>) {
    match width {
        0..76 => (10, |report, _| hour(report, 10)),
        76..110 => (16, |report, _| hour(report, 16)),
        110.. => (30, |report, _| hour(report, 30)),
    }
}

fn corp_columns(width: usize) -> [Column<CorpReport>; 10] {
    let left = |column: Column<CorpReport>| Column { align: Align::Left, ..column };
    let (gauge_width, bar) = hour_column(width);
    [
        left(column("company", 0, 0, |report, _| plain(report.corp.as_str().to_owned()))),
        left(column("hour", gauge_width, 0, bar)),
        column("used/limit", 13, 0, |report, _| {
            let text = format!("{}/{}", count(report.used), count(report.limit));
            (text, if report.free == 0 { Tone::Warning } else { Tone::Plain })
        }),
        column("free in", 7, 76, |report, now| {
            // None is told while a place is free, so that one is known and not guessed.
            if report.free > 0 { plain("now".to_owned()) } else { plain(until(report.next_free_at, now)) }
        }),
        column("accounts", 8, 100, |report, _| plain(count(report.accounts))),
        column("queued", 7, 0, |report, _| plain(count(report.queued))),
        column("doubt", 5, 100, |report, _| {
            (count(report.in_doubt), if report.in_doubt > 0 { Tone::Warning } else { Tone::Plain })
        }),
        column("next", 6, 100, |report, now| plain(until(report.next_send_at, now))),
        column("drained", 7, 0, |report, now| plain(until(report.drain_eta, now))),
        column("hold", 6, 76, |report, _| match report.hold {
            Some(hold) => (format!("#{hold}"), Tone::Warning),
            None => plain(NOTHING.to_owned()),
        }),
    ]
}

fn hour(report: &CorpReport, width: usize) -> (String, Tone) {
    let bar = gauge(report.used, report.limit, report.reserve, width);
    (bar, if report.free == 0 { Tone::Warning } else { Tone::Good })
}

fn plain(text: String) -> (String, Tone) {
    (text, Tone::Plain)
}

fn given(text: Option<&str>) -> (String, Tone) {
    plain(text.unwrap_or(NOTHING).to_owned())
}

/// Lines that a pane has use for, its heading included.
pub(super) fn wanted(model: &Model, pane: Pane) -> usize {
    match pane {
        Pane::Companies => model.corps.len().max(1) + 2,
        Pane::Accounts => model.accounts.len().max(1) + 2,
        Pane::Holds => model.holds().count().max(1) + 1,
        Pane::Alarms => model.alarms.len().max(1) + 1,
        // Events come.
        Pane::Events => usize::MAX,
    }
}

/// The pane in exactly as many columns, and at most as many lines, its heading included.
pub(super) fn rows(model: &Model, theme: Theme, pane: Pane, width: usize, height: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let inner = height.saturating_sub(1);
    match pane {
        Pane::Companies => companies(model, theme, width, inner, &mut rows),
        Pane::Accounts => accounts(model, theme, width, inner, &mut rows),
        Pane::Holds => {
            let holds: Vec<(&Hold, bool)> = model.holds().collect();
            let text = if model.holds.is_none() { NOTHING.to_owned() } else { count(holds.len() as u64) };
            rows.push(heading(model, theme, pane, &format!("holds {text}"), width));
            list(model, theme, pane, &holds, inner, &mut rows, |hold| hold_row(model, theme, *hold));
        }
        Pane::Alarms => {
            let text = format!("alarms {} since we watch", count(model.alarms_heard));
            rows.push(heading(model, theme, pane, &text, width));
            let alarms: Vec<&Alarm> = model.alarms.iter().collect();
            list(model, theme, pane, &alarms, inner, &mut rows, |alarm| alarm_row(model, theme, alarm));
        }
        Pane::Events => {
            let frozen = model.events_since_freeze();
            let frozen = frozen.map_or(String::new(), |more| format!("  FROZEN, {} more came", count(more)));
            let text = format!("events {}{frozen}", count(model.events_heard));
            rows.push(heading(model, theme, pane, &text, width));
            let tail: Vec<&Tail> = model.tail().collect();
            list(model, theme, pane, &tail, inner, &mut rows, |line| tail_row(model, theme, line, width));
        }
    }
    rows.truncate(height);
    rows
}

fn companies(model: &Model, theme: Theme, width: usize, inner: usize, rows: &mut Vec<Row>) {
    let window = model.corps_window(inner.saturating_sub(1));
    let known = model.health.as_ref().map(|health| health.value.corps);
    let shown = shown(model, window.total, model.corps.len(), known);
    let text = format!("companies {shown} by {}", model.sort.as_str());
    rows.push(heading(model, theme, Pane::Companies, &text, width));
    let is_focused = model.focus == Pane::Companies;
    table(theme, &corp_columns(width), &window, width, is_focused, model.bridge_now(), rows);
}

fn accounts(model: &Model, theme: Theme, width: usize, inner: usize, rows: &mut Vec<Row>) {
    let window = model.accounts_window(inner.saturating_sub(1));
    let known = model.health.as_ref().map(|health| health.value.accounts);
    let shown = shown(model, window.total, model.accounts.len(), known);
    let text = format!("accounts {shown} by {}", model.sort.as_str());
    rows.push(heading(model, theme, Pane::Accounts, &text, width));
    let is_focused = model.focus == Pane::Accounts;
    table(theme, &account_columns(width), &window, width, is_focused, model.bridge_now(), rows);
}

/// How many there are, and how many of them are shown.
fn shown(model: &Model, passed: usize, have: usize, known: Option<u64>) -> String {
    // None that arrived are not none that are.
    let mut text = if have == 0 && known != Some(0) { NOTHING.to_owned() } else { count(passed as u64) };
    if !model.filter.is_empty() {
        text.push_str(&format!(" of {} with {:?}", count(have as u64), model.filter));
    } else if known.is_some_and(|known| known > have as u64) {
        // The broker did not hand over all of them, or the bridge has not told of all yet.
        text.push_str(&format!(" of {}", count(known.unwrap_or_default())));
    }
    text
}

fn heading(model: &Model, theme: Theme, pane: Pane, text: &str, width: usize) -> Row {
    let is_focused = model.focus == pane;
    let style = theme.style(if is_focused { Tone::Focused } else { Tone::Heading });
    let mut row = Row::default();
    let mark = if is_focused { ">> " } else { "-- " };
    let stale = if model.is_stale() && pane != Pane::Alarms && pane != Pane::Events { " (stale)" } else { "" };
    row.cell(&format!("{mark}{text}{stale}"), width, Align::Left, style);
    row
}

fn table<T>(
    theme: Theme,
    columns: &[Column<T>],
    window: &Window<'_, T>,
    width: usize,
    is_focused: bool,
    now: Time,
    rows: &mut Vec<Row>,
) {
    let columns: Vec<&Column<T>> = columns.iter().filter(|column| column.from_width <= width).collect();
    let fixed: usize = columns.iter().skip(1).map(|column| column.width + 1).sum();
    let first = width.saturating_sub(fixed + CURSOR.len());
    let width_of = |index: usize| if index == 0 { first } else { columns[index].width };
    let mut titles = Row::default();
    titles.text(NO_CURSOR, theme.style(Tone::Quiet));
    for (index, column) in columns.iter().enumerate() {
        let gap = if index > 0 { " " } else { "" };
        titles.text(gap, theme.style(Tone::Quiet));
        titles.cell(column.title, width_of(index), column.align, theme.style(Tone::Quiet));
    }
    rows.push(titles);
    for (at, report) in window.rows.iter().enumerate() {
        let is_selected = is_focused && at == window.selected;
        let style = |tone| theme.style(if is_selected { Tone::Selected } else { tone });
        let mut row = Row::default();
        row.text(if is_selected { CURSOR } else { NO_CURSOR }, style(Tone::Plain));
        for (index, column) in columns.iter().enumerate() {
            let (text, tone) = (column.text)(report, now);
            row.text(if index > 0 { " " } else { "" }, style(Tone::Plain));
            row.cell(&text, width_of(index), column.align, style(tone));
        }
        rows.push(row);
    }
    if window.rows.is_empty() {
        rows.push(quiet(theme, NOTHING));
    }
}

fn quiet(theme: Theme, text: &str) -> Row {
    let mut row = Row::default();
    row.text(NO_CURSOR, theme.style(Tone::Plain)).text(text, theme.style(Tone::Quiet));
    row
}

/// The rows of a pane that is no table, from where it is scrolled to.
fn list<T>(
    model: &Model,
    theme: Theme,
    pane: Pane,
    items: &[T],
    height: usize,
    rows: &mut Vec<Row>,
    make: impl Fn(&T) -> Row,
) {
    if items.is_empty() {
        let is_unknown = pane == Pane::Holds && model.holds.is_none();
        return rows.push(quiet(theme, if is_unknown { NOTHING } else { "none" }));
    }
    let at = model.scroll(pane, items.len());
    let first = at.min(items.len().saturating_sub(height));
    for (index, item) in items.iter().enumerate().skip(first).take(height) {
        let is_selected = model.focus == pane && index == at;
        let mut row = Row::default();
        let tone = if is_selected { Tone::Selected } else { Tone::Plain };
        row.text(if is_selected { CURSOR } else { NO_CURSOR }, theme.style(tone));
        row.append(make(item));
        rows.push(row);
    }
}

fn hold_row(model: &Model, theme: Theme, (hold, is_block): (&Hold, bool)) -> Row {
    let now = model.bridge_now();
    let word = if is_block { "block" } else { "hold" };
    let ends = hold.until.map_or("until resumed".to_owned(), |at| match until(Some(at), now).as_str() {
        "now" => "over".to_owned(),
        left => format!("{left} left"),
    });
    let since = hold.since.map_or(NOTHING.to_owned(), |since| span(now.since(since)));
    let by = hold.by.as_deref().unwrap_or(NOTHING);
    let reason = hold.reason.as_deref().unwrap_or(NOTHING);
    let plain = theme.style(Tone::Plain);
    let mut row = Row::default();
    row.text(&format!("#{} {word}", hold.id), theme.style(Tone::Warning)).text("  ", plain);
    row.text(&hold.subject(), plain).text(&format!(", {ends}: {reason}  (by {by}, {since} ago)"), plain);
    row
}

fn alarm_row(model: &Model, theme: Theme, alarm: &Alarm) -> Row {
    let mut row = Row::default();
    row.text(&clock(alarm.at, &model.zone), theme.style(Tone::Quiet)).text(" ! ", theme.style(Tone::Bad));
    row.text(&alarm.what, theme.style(Tone::Bad));
    row.text(&format!(" {}: {}", alarm.about, alarm.message), theme.style(Tone::Plain));
    row
}

fn tail_row(model: &Model, theme: Theme, line: &Tail, width: usize) -> Row {
    let tone = match &*line.what {
        "sent" | "delivered" => Tone::Good,
        "failed" | "rejected" | "undelivered" => Tone::Bad,
        "in_doubt" | "unresolved" | "expired" | "cancelled" => Tone::Warning,
        _ => Tone::Plain,
    };
    let mut row = Row::default();
    row.text(&clock(line.at, &model.zone), theme.style(Tone::Quiet)).text(" ", theme.style(Tone::Plain));
    row.cell(&line.what, if width >= 100 { 20 } else { 11 }, Align::Left, theme.style(tone))
        .text(" ", theme.style(Tone::Plain));
    let account = line.account.as_deref().unwrap_or(NOTHING);
    row.cell(account, 16, Align::Left, theme.style(Tone::Plain)).text(" ", theme.style(Tone::Plain));
    row.text(&line.rest, theme.style(Tone::Plain));
    row
}

/// Every row of the tables and the holds as plain text, for those who do not stay to watch.
pub(super) fn all_rows(model: &Model, width: usize) -> impl Iterator<Item = String> {
    const PANES: [(Pane, usize); 3] = [(Pane::Companies, 2), (Pane::Accounts, 2), (Pane::Holds, 1)];
    let theme = Theme { colours: false };
    PANES.into_iter().flat_map(move |(pane, headings)| {
        let height = wanted(model, pane).saturating_add(headings);
        rows(model, theme, pane, width, height).into_iter().map(|row| row.to_text())
    })
}
