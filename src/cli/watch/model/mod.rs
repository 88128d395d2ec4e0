//! What the watcher knows and what it shows: pure, so that every screen can be made in a test.
//!
//! # Invariants
//!
//! - Nothing is invented: what did not arrive is `None`, and what arrived is kept as it was said.
//! - Everything is bounded: accounts, companies, alarms, events, and each text among them.
//! - A payload that cannot be read is counted, and changes nothing else.

mod ask;
mod keys;
mod order;
mod payload;
#[cfg(test)]
mod tests;

pub use ask::{Asking, Details, Effect};
pub use keys::Key;
pub use order::{Sort, Window, state_word};
pub use payload::{Alarm, Hold, Holds, Info, Tail};

use crate::model::{AccountReport, CorpReport, HealthReport, Time};
use crate::mqtt::topics::{Said, StatusTopics};
use ask::Pending;
use payload::{ReplyPayload, StatePayload, clipped};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Accounts that are kept; those beyond are counted.
pub const ACCOUNTS_MAX: usize = 100_000;
const CORPS_MAX: usize = 10_000;
const ALARMS_MAX: usize = 100;
const TAIL_MAX: usize = 1_000;
/// The longest status of one account or company that is believed, in bytes.
const STATUS_BYTES_MAX: usize = 16 * 1024;
/// The bridge says how it is every 30 s.
const HEALTH_FRESH: Duration = Duration::from_secs(75);

/// Whether there is a connection to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    Connecting,
    Up,
    Down { why: String, retry_at: Time },
}

/// What the bridge last said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeState {
    Online,
    /// Ended in order.
    Stopped,
    /// The broker said so for it.
    Offline,
    /// A word of another version.
    Other(Box<str>),
}

/// Something heard, and when by our clock.
#[derive(Clone, Debug)]
pub struct Heard<T> {
    pub value: T,
    pub at: Time,
    /// The broker had stored it, so it may be much older.
    pub stored: bool,
}

/// What the keys go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pane {
    Companies,
    Accounts,
    Holds,
    Alarms,
    Events,
}

impl Pane {
    pub const ALL: [Self; 5] = [Self::Companies, Self::Accounts, Self::Holds, Self::Alarms, Self::Events];

    const fn index(self) -> usize {
        match self {
            Self::Companies => 0,
            Self::Accounts => 1,
            Self::Holds => 2,
            Self::Alarms => 3,
            Self::Events => 4,
        }
    }
}

/// What was said to the person at the keys last, until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub text: String,
    pub is_bad: bool,
}

/// Everything known. Reads are direct; changes go through [`Model::hear`], [`Model::press`] and the like.
#[derive(Debug)]
pub struct Model {
    pub now: Time,
    /// Where times of day are shown.
    pub zone: jiff::tz::TimeZone,
    /// The broker's address, for the title.
    pub url: String,
    topics: StatusTopics,
    pub link: Link,
    /// Since when the link has been down, once it was up.
    pub lost_at: Option<Time>,
    /// Filters that the broker refused, each with its reason.
    pub refused: Vec<(String, String)>,
    pub bridge: Option<BridgeState>,
    pub info: Option<Info>,
    pub health: Option<Heard<HealthReport>>,
    /// By the level of their topic, so that a cleared topic takes away what it said.
    pub accounts: BTreeMap<Box<str>, AccountReport>,
    /// Statuses of accounts that found no room.
    pub accounts_dropped: u64,
    pub corps: BTreeMap<Box<str>, CorpReport>,
    pub holds: Option<Holds>,
    /// The latest first.
    pub alarms: VecDeque<Alarm>,
    pub alarms_heard: u64,
    /// The latest first.
    tail: VecDeque<Tail>,
    pub events_heard: u64,
    /// The tail as it was when it was frozen, and how many events had been heard.
    frozen: Option<(VecDeque<Tail>, u64)>,
    /// Payloads that could not be read, and the topic of the last one.
    pub malformed: u64,
    pub malformed_topic: Option<Box<str>>,
    /// How far the bridge's clock is ahead of ours, in nanoseconds, once it said something live.
    ahead_nanos: Option<i128>,

    pub focus: Pane,
    pub sort: Sort,
    /// In lower case; empty for everything.
    pub filter: String,
    pub(super) selected_account: Option<Box<str>>,
    pub(super) selected_corp: Option<Box<str>>,
    /// Rows from the top.
    pub(super) scroll: [usize; 5],
    pub asking: Option<Asking>,
    pub details: Option<Details>,
    pub help: bool,
    pub notice: Option<Notice>,
    /// Who we are to the bridge.
    by: String,
    session: String,
    next_transaction: u64,
    pending: BTreeMap<String, Pending>,
    /// The transaction of the last reply to a command of ours.
    answered: Option<String>,
}

/// Who watches what.
#[derive(Clone, Debug)]
pub struct Watching {
    pub url: String,
    pub topics: StatusTopics,
    /// What commands say in `by`.
    pub by: String,
    /// Begins every transaction of ours, and none of anybody else.
    pub session: String,
    pub zone: jiff::tz::TimeZone,
}

impl Model {
    pub fn new(watching: Watching, now: Time) -> Self {
        let Watching { url, topics, by, session, zone } = watching;
        Self {
            now,
            zone,
            url,
            topics,
            link: Link::Connecting,
            lost_at: None,
            refused: Vec::new(),
            bridge: None,
            info: None,
            health: None,
            accounts: BTreeMap::new(),
            accounts_dropped: 0,
            corps: BTreeMap::new(),
            holds: None,
            alarms: VecDeque::new(),
            alarms_heard: 0,
            tail: VecDeque::new(),
            events_heard: 0,
            frozen: None,
            malformed: 0,
            malformed_topic: None,
            ahead_nanos: None,
            focus: Pane::Accounts,
            sort: Sort::Queue,
            filter: String::new(),
            selected_account: None,
            selected_corp: None,
            scroll: [0; 5],
            asking: None,
            details: None,
            help: false,
            notice: None,
            by,
            session,
            next_transaction: 1,
            pending: BTreeMap::new(),
            answered: None,
        }
    }

    /// What the bridge's topics begin with.
    pub fn base(&self) -> &str {
        self.topics.base()
    }

    /// Time passed: replies that did not come are given up.
    pub fn tick(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.give_up_overdue();
    }

    pub fn connected(&mut self, now: Time) {
        self.tick(now);
        self.link = Link::Up;
        self.lost_at = None;
        // What went away while we were away is told by no message: the broker now says all there is.
        self.bridge = None;
        self.info = None;
        self.accounts.clear();
        self.accounts_dropped = 0;
        self.corps.clear();
        self.holds = None;
        self.refused.clear();
    }

    pub fn subscribed(&mut self, refused: Vec<(String, String)>) {
        self.refused = refused;
    }

    /// There is no connection; the next attempt is made at `retry_at`.
    pub fn disconnected(&mut self, why: String, retry_at: Time, now: Time) {
        self.tick(now);
        if self.link == Link::Up {
            self.lost_at = Some(now);
        }
        self.link = Link::Down { why, retry_at };
    }

    /// Takes in what was said on a topic. `stored`: the broker had kept it.
    pub fn hear(&mut self, topic: &str, payload: &[u8], stored: bool, now: Time) {
        self.tick(now);
        let topics = self.topics.clone();
        let understood = match topics.classify(topic) {
            Said::State => self.hear_state(payload),
            Said::Info => self.hear_info(payload),
            Said::Health => self.hear_health(payload, stored),
            Said::Account(level) => self.hear_account(level, payload, stored),
            Said::Corp(level) => self.hear_corp(level, payload, stored),
            Said::Hold => self.hear_holds(payload),
            Said::Alarm => self.hear_alarm(payload),
            Said::Event(event) => self.hear_event(event, payload),
            Said::Response(_) => self.hear_reply(payload),
            // A subscription wider than ours, made by somebody else with our name: not ours to judge.
            Said::Other => Some(()),
        };
        if understood.is_none() {
            self.malformed += 1;
            self.malformed_topic = Some(clipped(topic, 128));
        }
    }

    fn hear_state(&mut self, payload: &[u8]) -> Option<()> {
        if payload.is_empty() {
            self.bridge = None;
            return Some(());
        }
        let StatePayload { state } = read(payload)?;
        self.bridge = Some(match state.as_str() {
            "online" => BridgeState::Online,
            "stopped" => BridgeState::Stopped,
            "offline" => BridgeState::Offline,
            other => BridgeState::Other(clipped(other, 32)),
        });
        Some(())
    }

    fn hear_info(&mut self, payload: &[u8]) -> Option<()> {
        self.info = if payload.is_empty() { None } else { Some(read(payload)?) };
        Some(())
    }

    fn hear_health(&mut self, payload: &[u8], stored: bool) -> Option<()> {
        if payload.is_empty() {
            self.health = None;
            return Some(());
        }
        let value: HealthReport = read(payload)?;
        self.note_clock(value.at, stored);
        self.health = Some(Heard { value, at: self.now, stored });
        Some(())
    }

    fn hear_account(&mut self, level: &str, payload: &[u8], stored: bool) -> Option<()> {
        if payload.is_empty() {
            self.accounts.remove(level);
            return Some(());
        }
        let report: AccountReport = read_status(payload)?;
        self.note_clock(report.at, stored);
        if !keep(&mut self.accounts, level, report, ACCOUNTS_MAX) {
            self.accounts_dropped += 1;
        }
        Some(())
    }

    fn hear_corp(&mut self, level: &str, payload: &[u8], stored: bool) -> Option<()> {
        if payload.is_empty() {
            self.corps.remove(level);
            return Some(());
        }
        let report: CorpReport = read_status(payload)?;
        self.note_clock(report.at, stored);
        keep(&mut self.corps, level, report, CORPS_MAX);
        Some(())
    }

    fn hear_holds(&mut self, payload: &[u8]) -> Option<()> {
        self.holds = if payload.is_empty() { None } else { Some(read(payload)?) };
        Some(())
    }

    fn hear_alarm(&mut self, payload: &[u8]) -> Option<()> {
        let mut alarm: Alarm = read(payload)?;
        for text in [&mut alarm.what, &mut alarm.about, &mut alarm.message] {
            *text = clipped(text, 1024).into_string();
        }
        self.alarms.push_front(alarm);
        self.alarms.truncate(ALARMS_MAX);
        self.alarms_heard += 1;
        Some(())
    }

    fn hear_event(&mut self, event: &str, payload: &[u8]) -> Option<()> {
        self.tail.push_front(Tail::read(event, payload)?);
        self.tail.truncate(TAIL_MAX);
        self.events_heard += 1;
        Some(())
    }

    fn hear_reply(&mut self, payload: &[u8]) -> Option<()> {
        let reply: ReplyPayload = read(payload)?;
        self.take_reply(reply);
        Some(())
    }

    fn note_clock(&mut self, at: Time, stored: bool) {
        if !stored {
            self.ahead_nanos = Some(i128::from(at.as_nanos()) - i128::from(self.now.as_nanos()));
        }
    }

    /// How far the bridge's clock is from ours, and whether it is ahead.
    pub fn clock_difference(&self) -> Option<(Duration, bool)> {
        let nanos = self.ahead_nanos?;
        Some((Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX)), nanos > 0))
    }

    /// What the bridge's clock shows now, as far as it said anything live; ours until then.
    pub fn bridge_now(&self) -> Time {
        match self.clock_difference() {
            None => self.now,
            Some((by, true)) => self.now + by,
            Some((by, false)) => self.now - by,
        }
    }

    /// How old the last health report is.
    pub fn health_age(&self) -> Option<Duration> {
        let health = self.health.as_ref()?;
        Some(if health.stored { self.bridge_now().since(health.value.at) } else { self.now.since(health.at) })
    }

    /// Whether what is shown may be long past.
    pub fn is_stale(&self) -> bool {
        matches!(self.link, Link::Down { .. })
            || matches!(self.bridge, Some(BridgeState::Stopped | BridgeState::Offline))
            || self.health_age().is_some_and(|age| age > HEALTH_FRESH)
    }

    /// The tail as it is shown, the latest first, without what the filter hides.
    pub fn tail(&self) -> impl Iterator<Item = &Tail> {
        let lines = self.frozen.as_ref().map_or(&self.tail, |(lines, _)| lines);
        lines.iter().filter(|line| self.passes(&[&line.what, line.account.as_deref().unwrap_or_default(), &line.rest]))
    }

    /// While the tail is frozen: how many events came since.
    pub fn events_since_freeze(&self) -> Option<u64> {
        self.frozen.as_ref().map(|(_, heard)| self.events_heard - heard)
    }

    /// Holds, then blocks, each with whether it is a block.
    pub fn holds(&self) -> impl Iterator<Item = (&Hold, bool)> {
        let holds = self.holds.iter().flat_map(|holds| holds.holds.iter().map(|hold| (hold, false)));
        holds.chain(self.holds.iter().flat_map(|holds| holds.blocks.iter().map(|block| (block, true))))
    }

    /// How far down a pane that is no table is scrolled, when it has that many rows.
    pub fn scroll(&self, pane: Pane, rows: usize) -> usize {
        self.scroll[pane.index()].min(rows.saturating_sub(1))
    }

    /// Whether any of the texts has the filter in it.
    fn passes(&self, texts: &[&str]) -> bool {
        self.filter.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&self.filter))
    }
}

/// False when there is no room for one more.
fn keep<T>(reports: &mut BTreeMap<Box<str>, T>, level: &str, report: T, reports_max: usize) -> bool {
    if let Some(known) = reports.get_mut(level) {
        *known = report;
        return true;
    }
    let has_room = reports.len() < reports_max;
    if has_room {
        reports.insert(Box::from(level), report);
    }
    has_room
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    serde_json::from_slice(payload).ok()
}

fn read_status<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    if payload.len() > STATUS_BYTES_MAX { None } else { read(payload) }
}
