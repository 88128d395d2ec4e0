//! The top: how the bridge is, in as many lines as it takes and the screen has.

use super::row::{Align, Row};
use super::theme::{Theme, Tone};
use super::words::{NOTHING, bytes, clock, count, decimal, span, until};
use crate::cli::watch::model::{ACCOUNTS_MAX, BridgeState, Heard, Link, Model};
use crate::model::{HealthReport, LinkWord, Mode, Percentiles, SenderWord, State};
use std::time::Duration;

/// From here on a difference of the clocks is worth saying.
const CLOCK_DIFFERENCE_SHOWN: Duration = Duration::from_secs(5);
/// Senders that the header names.
const SENDERS_SHOWN: usize = 8;
/// Of what is wrong, so many lines.
const WARNINGS_SHOWN: usize = 2;
/// States that are shown even when nothing is in them.
const STATES_SHOWN: [State; 4] = [State::Queued, State::Sending, State::InDoubt, State::Sent];

/// Figures that belong together: each piece is never broken, and a group begins a line unless it fits behind another.
struct Group {
    pieces: Vec<Row>,
}

/// Writes figures with their names.
struct Writer {
    theme: Theme,
    group: Group,
}

impl Writer {
    fn new(theme: Theme, heading: &str) -> Self {
        let mut row = Row::default();
        row.text(heading, theme.style(Tone::Heading));
        Self { theme, group: Group { pieces: vec![row] } }
    }

    fn piece(&mut self, name: &str, value: &str, tone: Tone) {
        let mut row = Row::default();
        if !name.is_empty() {
            row.text(name, self.theme.style(Tone::Quiet)).text(" ", self.theme.style(Tone::Plain));
        }
        row.text(value, self.theme.style(tone));
        self.group.pieces.push(row);
    }
}

/// The title, what is wrong, and at most `lines_max` lines of figures: what matters most stands first.
pub(super) fn header(model: &Model, theme: Theme, width: usize, lines_max: usize) -> Vec<Row> {
    let mut lines = vec![title(model, theme, width)];
    lines.extend(warnings(model, theme).into_iter().take(WARNINGS_SHOWN));
    let health = model.health.as_ref();
    let groups = vec![
        bridge(model, theme),
        counts(health, theme),
        states(model, theme),
        rates(health, theme),
        answers(health, theme),
        broker(health, theme),
        senders(model, theme),
        ended(health, theme),
        latency(health, theme),
        process(health, theme),
    ];
    let mut figures = Vec::new();
    flow(groups, width, &mut figures);
    figures.truncate(lines_max);
    lines.extend(figures);
    lines
}

fn title(model: &Model, theme: Theme, width: usize) -> Row {
    let (word, tone) = match &model.link {
        Link::Up => ("connected", Tone::Good),
        Link::Connecting => ("connecting", Tone::Warning),
        Link::Down { .. } => ("NO CONNECTION", Tone::Bad),
    };
    let time = clock(Some(model.now), &model.zone);
    let mut row = Row::default();
    let right = word.len() + 2 + time.len();
    let place = format!("sendbridge watch  {}  {}/", model.url, model.base());
    row.cell(&place, width.saturating_sub(right + 1), Align::Left, theme.style(Tone::Heading));
    row.text(" ", theme.style(Tone::Plain)).text(word, theme.style(tone));
    row.text("  ", theme.style(Tone::Plain)).text(&time, theme.style(Tone::Quiet));
    row
}

/// What keeps the rest from being the whole truth.
fn warnings(model: &Model, theme: Theme) -> Vec<Row> {
    let mut texts = Vec::new();
    if let Link::Down { why, retry_at } = &model.link {
        let wait = until(Some(*retry_at), model.now);
        let since = model.lost_at.map_or(String::new(), |at| format!(", lost {} ago", span(model.now.since(at))));
        texts.push((format!("no connection{since}, next attempt {wait}: {why}"), Tone::Bad));
    }
    if let Some((filter, reason)) = model.refused.first() {
        let more = model.refused.len() - 1;
        texts.push((format!("the broker refuses {filter} ({reason}) and {more} more: check its ACL"), Tone::Bad));
    }
    if model.malformed > 0 {
        let topic = model.malformed_topic.as_deref().unwrap_or_default();
        texts.push((format!("{} unreadable payloads, the last on {topic}", count(model.malformed)), Tone::Warning));
    }
    if model.accounts_dropped > 0 {
        let most = count(ACCOUNTS_MAX as u64);
        texts.push((format!("more than {most} accounts: the others are not shown"), Tone::Warning));
    }
    texts.into_iter().map(|(text, tone)| one(&format!("! {text}"), theme, tone)).collect()
}

fn one(text: &str, theme: Theme, tone: Tone) -> Row {
    let mut row = Row::default();
    row.text(text, theme.style(tone));
    row
}

fn bridge(model: &Model, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "bridge");
    let (state, tone) = match &model.bridge {
        None => (NOTHING, Tone::Plain),
        Some(BridgeState::Online) => ("online", Tone::Good),
        Some(BridgeState::Stopped) => ("STOPPED", Tone::Bad),
        Some(BridgeState::Offline) => ("OFFLINE", Tone::Bad),
        Some(BridgeState::Other(word)) => (&**word, Tone::Warning),
    };
    writer.piece("", state, tone);
    let health = model.health.as_ref().map(|health| &health.value);
    if let Some(health) = health {
        let (mode, tone) = match health.mode {
            Mode::Running => ("running", Tone::Plain),
            Mode::Draining => ("DRAINING", Tone::Warning),
            Mode::Drained => ("DRAINED", Tone::Warning),
            Mode::Stopping => ("STOPPING", Tone::Warning),
        };
        writer.piece("", mode, tone);
    }
    let version = model.info.as_ref().and_then(|info| info.version.as_deref());
    writer.piece("version", version.unwrap_or(NOTHING), Tone::Plain);
    let age = model.health_age();
    match (health, age) {
        (Some(health), Some(age)) => {
            writer.piece("up", &span(model.bridge_now().since(health.started_at)), Tone::Plain);
            let stale = model.is_stale();
            let text = format!("{} old{}", span(age), if stale { ", STALE" } else { "" });
            writer.piece("health", &text, if stale { Tone::Bad } else { Tone::Plain });
            let corps: Vec<&str> = health.unbalanced_corps.iter().take(3).map(|corp| corp.as_str()).collect();
            match (health.counts.balanced && corps.is_empty(), corps.is_empty()) {
                (true, _) => writer.piece("balanced", "yes", Tone::Good),
                (false, true) => writer.piece("balanced", "NO", Tone::Bad),
                (false, false) => writer.piece("balanced", &format!("NO: {}", corps.join(" ")), Tone::Bad),
            }
            if health.storage_low {
                writer.piece("", "DISK NEARLY FULL", Tone::Bad);
            }
        }
        (Some(_) | None, _) => writer.piece("health", NOTHING, Tone::Plain),
    }
    if let Some((difference, ahead)) = model.clock_difference().filter(|(by, _)| *by >= CLOCK_DIFFERENCE_SHOWN) {
        let side = if ahead { "ahead of" } else { "behind" };
        writer.piece("", &format!("its clock is {} {side} ours", span(difference)), Tone::Warning);
    }
    writer.group
}

fn counts(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "messages");
    let counts = health.map(|health| &health.value.counts);
    let mut piece = |name, figure: Option<u64>| {
        writer.piece(name, &figure.map_or(NOTHING.to_owned(), count), Tone::Plain);
    };
    piece("received", counts.map(|counts| counts.received));
    // Of an earlier life: without them the others do not add up.
    if let Some(restored) = counts.map(|counts| counts.restored).filter(|restored| *restored > 0) {
        piece("restored", Some(restored));
    }
    piece("rejected", counts.map(|counts| counts.rejected));
    piece("duplicate", counts.map(|counts| counts.duplicate));
    piece("accepted", counts.map(|counts| counts.accepted));
    writer.group
}

fn states(model: &Model, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "now");
    let health = model.health.as_ref().map(|health| &health.value);
    for state in STATES_SHOWN {
        state_piece(&mut writer, health, state);
    }
    let eta = health.and_then(|health| health.drain_eta);
    writer.piece("drained in", &until(eta, model.bridge_now()), Tone::Plain);
    writer.group
}

/// The states that most messages never see.
fn ended(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "ended");
    let health = health.map(|health| &health.value);
    for state in State::ALL.into_iter().filter(|state| !STATES_SHOWN.contains(state)) {
        state_piece(&mut writer, health, state);
    }
    writer.group
}

fn state_piece(writer: &mut Writer, health: Option<&HealthReport>, state: State) {
    let figure = health.and_then(|health| health.counts.states.get(state.as_str()).copied());
    let is_trouble = matches!(state, State::InDoubt | State::Unresolved) && figure.unwrap_or_default() > 0;
    let tone = if is_trouble { Tone::Warning } else { Tone::Plain };
    writer.piece(&state.as_str().replace('_', " "), &figure.map_or(NOTHING.to_owned(), count), tone);
}

fn rates(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "rate/s");
    let rates = health.map(|health| health.value.rates);
    let mut piece = |name, figure: Option<f64>| {
        writer.piece(name, &figure.map_or(NOTHING.to_owned(), decimal), Tone::Plain);
    };
    piece("in", rates.map(|rates| rates.received));
    piece("sent", rates.map(|rates| rates.sent));
    piece("answered", rates.map(|rates| rates.answered));
    writer.group
}

fn answers(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "ms p50/90/99");
    writer.piece(
        "answer",
        &percentiles(health.map(|health| health.value.process.latency.intake_to_answer)),
        Tone::Plain,
    );
    writer.group
}

fn latency(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "ms p50/90/99");
    let latency = health.map(|health| health.value.process.latency);
    writer.piece("sender", &percentiles(latency.map(|latency| latency.sender)), Tone::Plain);
    writer.piece("commit", &percentiles(latency.map(|latency| latency.commit)), Tone::Plain);
    writer.group
}

fn percentiles(percentiles: Option<Percentiles>) -> String {
    // Of nothing there is no percentile.
    percentiles.filter(|percentiles| percentiles.count > 0).map_or(NOTHING.to_owned(), |percentiles| {
        let Percentiles { p50_ms, p90_ms, p99_ms, .. } = percentiles;
        [p50_ms, p90_ms, p99_ms].map(decimal).join("/")
    })
}

fn broker(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "its broker");
    let Some(broker) = health.map(|health| &health.value.broker) else {
        writer.piece("", NOTHING, Tone::Plain);
        return writer.group;
    };
    let links = [("in", broker.incoming), ("out", broker.outgoing), ("commands", broker.commands)];
    if links.iter().all(|(_, link)| *link == LinkWord::Up) {
        writer.piece("", "up", Tone::Good);
    } else {
        for (name, link) in links {
            match link {
                LinkWord::Up => writer.piece(name, "up", Tone::Good),
                LinkWord::Down => writer.piece(name, "DOWN", Tone::Bad),
                LinkWord::Closed => writer.piece(name, "CLOSED", Tone::Warning),
            }
        }
    }
    if let Some(dropped) = broker.dropped.filter(|dropped| *dropped > 0) {
        writer.piece("dropped", &count(dropped), Tone::Warning);
    }
    writer.group
}

fn senders(model: &Model, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "senders");
    let senders = model.health.as_ref().map_or(&[][..], |health| &health.value.senders);
    for sender in senders.iter().take(SENDERS_SHOWN) {
        let busy = format!("{}/{}", sender.in_flight, sender.connections);
        let (text, tone) = match sender.state {
            SenderWord::Up => (format!("up {busy}"), Tone::Good),
            SenderWord::Down => (format!("DOWN, retry {}", until(sender.retry_at, model.bridge_now())), Tone::Bad),
            SenderWord::Unauthorized => ("REFUSES OUR KEY".to_owned(), Tone::Bad),
        };
        writer.piece(sender.name.as_str(), &text, tone);
    }
    if senders.is_empty() {
        writer.piece("", NOTHING, Tone::Plain);
    } else if senders.len() > SENDERS_SHOWN {
        writer.piece("", &format!("and {} more", senders.len() - SENDERS_SHOWN), Tone::Plain);
    }
    writer.group
}

fn process(health: Option<&Heard<HealthReport>>, theme: Theme) -> Group {
    let mut writer = Writer::new(theme, "process");
    let health = health.map(|health| &health.value);
    let process = health.map(|health| &health.process);
    let mut piece = |name, text: Option<String>| {
        writer.piece(name, &text.unwrap_or(NOTHING.to_owned()), Tone::Plain);
    };
    piece("answers open", health.map(|health| count(health.answers_open)));
    piece("memory", process.map(|process| bytes(process.resident_bytes)));
    piece("journal", process.map(|process| bytes(process.journal_bytes)));
    piece("free", process.map(|process| bytes(process.journal_free_bytes)));
    let version = health.and_then(|health| health.broker.version.as_deref());
    piece("broker", version.map(|version| version.replace(" version ", " ")));
    if let Some(dropped) = process.map(|process| process.notices_dropped).filter(|dropped| *dropped > 0) {
        writer.piece("notices dropped", &count(dropped), Tone::Warning);
    }
    writer.group
}

/// Lays groups out in lines of `width`: a group that does not fit behind another begins a line, one that is longer
/// than a line is broken between its pieces.
fn flow(groups: Vec<Group>, width: usize, lines: &mut Vec<Row>) {
    const BETWEEN_PIECES: &str = "  ";
    const BETWEEN_GROUPS: &str = "  | ";
    let plain = ratatui::style::Style::new();
    let mut line = Row::default();
    for group in groups {
        let length: usize = group.pieces.iter().map(|piece| piece.width() + BETWEEN_PIECES.len()).sum();
        let length = length - BETWEEN_PIECES.len();
        if line.width() > 0 {
            if line.width() + BETWEEN_GROUPS.len() + length <= width {
                line.text(BETWEEN_GROUPS, plain);
            } else {
                lines.push(std::mem::take(&mut line));
            }
        }
        for (index, piece) in group.pieces.into_iter().enumerate() {
            if index > 0 && line.width() + BETWEEN_PIECES.len() + piece.width() > width {
                lines.push(std::mem::take(&mut line));
            }
            if index > 0 {
                line.text(BETWEEN_PIECES, plain);
            }
            line.append(piece);
        }
    }
    if line.width() > 0 {
        lines.push(line);
    }
}
