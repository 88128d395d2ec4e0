//! How the bridge is doing: the report, when it is due, and what about the books and the broker a person must know.

mod broker;

use super::Engine;
use super::ledger::name_of;
use super::tables::{CorpKey, Phase};
use crate::model::{
    Action, Corp, Counts, HealthReport, Link, LinkWord, Mode, ProcessReport, SenderReport, SenderWord, Status, Time,
};
use broker::BrokerState;
use std::collections::BTreeSet;
use std::time::Duration;

/// Between two reports, whatever changes.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Messages looked at to find one that waits: those before it are in doubt or for later, which is rare.
const OLDEST_LOOKS: usize = 10_000;

/// What the engine remembers about the health of everything.
#[derive(Debug)]
pub(super) struct Health {
    started_at: Time,
    /// When the next report is due, and which conditions the last one told, when.
    due: Time,
    told: Option<(Time, Conditions)>,
    incoming: bool,
    commands: bool,
    broker: BrokerState,
    /// Whose counts did not add up when they were last compared.
    wrong: BTreeSet<Book>,
    /// Of whom an alarm said so.
    alarmed: BTreeSet<Book>,
}

/// A part of the books that must add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Book {
    All,
    /// What belongs to no company that is known.
    Unknown,
    Corp(CorpKey),
}

/// What is told at once when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conditions {
    mode: Mode,
    storage_low: bool,
    senders: Vec<SenderWord>,
    links: [LinkWord; 3],
    is_balanced: bool,
    /// A connection's first word of the broker comes some time after it.
    knows_broker: bool,
}

/// How often something happened in the last minute.
#[derive(Debug)]
pub(super) struct Minute {
    /// By second: which one, and how often.
    buckets: [(u64, u32); MINUTE as usize],
}

const MINUTE: u64 = 60;

impl Default for Minute {
    fn default() -> Self {
        Self { buckets: [(0, 0); MINUTE as usize] }
    }
}

impl Minute {
    pub(super) fn add(&mut self, now: Time) {
        let second = now.as_millis() / 1000;
        let bucket = &mut self.buckets[(second % MINUTE) as usize];
        *bucket = if bucket.0 == second { (second, bucket.1 + 1) } else { (second, 1) };
    }

    /// Per second, over the last minute or since `since`, whichever is shorter.
    fn rate(&self, since: Time, now: Time) -> f64 {
        let second = now.as_millis() / 1000;
        let recent = self.buckets.iter().filter(|(at, _)| at + MINUTE > second);
        let count: u64 = recent.map(|(_, count)| u64::from(*count)).sum();
        let seconds = now.since(since).as_secs_f64().clamp(1.0, MINUTE as f64);
        (count as f64 / seconds * 1000.0).round() / 1000.0
    }
}

/// What the rates are made of.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) received: Minute,
    pub(super) sent: Minute,
    pub(super) answered: Minute,
}

/// What the metrics tell of one company, or of several that share a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorpGauges {
    /// `None` for all companies that have no row of their own.
    pub corp: Option<Corp>,
    pub queued: u64,
    pub sending: u64,
    pub in_doubt: u64,
    /// Places of the last hour that are taken, and that there are.
    pub hour_used: u64,
    pub hour_limit: u64,
}

impl Health {
    pub(super) fn new(now: Time) -> Self {
        Self {
            started_at: now,
            due: now,
            told: None,
            incoming: false,
            commands: false,
            broker: BrokerState::default(),
            wrong: BTreeSet::new(),
            alarmed: BTreeSet::new(),
        }
    }
}

impl Engine {
    /// How everything is, without what only the process can measure.
    pub fn health(&self) -> HealthReport {
        let health = &self.health;
        let corps = health.alarmed.iter().filter_map(|book| match book {
            Book::Corp(corp) => Some(self.corps[corp.index()].name.clone()),
            Book::All | Book::Unknown => None,
        });
        let minute = |minute: &Minute| minute.rate(health.started_at, self.now);
        HealthReport {
            at: self.now,
            started_at: health.started_at,
            mode: self.mode(),
            stopping: self.stopping,
            counts: Counts { balanced: self.is_balanced(), ..Counts::from(&self.ledger.total) },
            unbalanced_corps: corps.collect(),
            accounts: self.accounts.len() as u64,
            corps: self.corps.len() as u64,
            queued_bytes: self.live_bytes,
            oldest_queued_at: self.oldest_queued_at(),
            answers_open: self.outbox.answers() as u64,
            holds: self.holds.len() as u64,
            blocks: self.blocks.len() as u64,
            drain_eta: self.drain_eta_all(),
            storage_low: self.storage_low,
            rates: crate::model::Rates {
                received: minute(&self.rates.received),
                sent: minute(&self.rates.sent),
                answered: minute(&self.rates.answered),
            },
            senders: self.sender_reports(),
            broker: self.broker_report(),
            process: ProcessReport::default(),
        }
    }

    /// The companies for the metrics: the first `rows` of them, and the rest as one.
    pub fn corp_gauges(&mut self, rows: usize) -> Vec<CorpGauges> {
        let now = self.now;
        let mut gauges: Vec<CorpGauges> = Vec::new();
        for index in 0..self.corps.len() {
            let hour = self.hours.status(CorpKey(index as u32), now);
            let states = &self.ledger.corps[index].states;
            if index <= rows {
                let corp = (index < rows).then(|| self.corps[index].name.clone());
                gauges.push(CorpGauges { corp, ..CorpGauges::default() });
            }
            let Some(row) = gauges.last_mut() else { continue };
            row.queued += states.get(crate::model::State::Queued);
            row.sending += states.get(crate::model::State::Sending);
            row.in_doubt += states.get(crate::model::State::InDoubt);
            row.hour_used += u64::from(hour.used);
            row.hour_limit += u64::from(hour.limit);
        }
        gauges
    }

    /// Whether all counts add up, as far as was looked.
    fn is_balanced(&self) -> bool {
        self.is_total_balanced() && self.health.wrong.is_empty()
    }

    /// Numbers ascend with time, so the first that waits is the oldest.
    fn oldest_queued_at(&self) -> Option<Time> {
        let waits = |live: &&super::tables::Live| live.phase == Phase::Queued;
        self.live.values().take(OLDEST_LOOKS).find(waits).map(|live| live.received_at)
    }

    fn sender_reports(&self) -> Vec<SenderReport> {
        let report = |sender: &super::tables::SenderState| SenderReport {
            name: sender.name.clone(),
            state: word_of(sender),
            in_flight: sender.in_flight as u64,
            connections: sender.connections as u64,
            retry_at: sender.breaker.opens_at(self.now),
        };
        self.senders.iter().map(report).collect()
    }

    pub(super) fn links(&self) -> [LinkWord; 3] {
        let word = |up: bool| if up { LinkWord::Up } else { LinkWord::Down };
        let is_closed = !self.takes_messages();
        let incoming = if is_closed { LinkWord::Closed } else { word(self.health.incoming) };
        [incoming, word(self.outbox.is_connected()), word(self.health.commands)]
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            mode: self.mode(),
            storage_low: self.storage_low,
            senders: self.senders.iter().map(word_of).collect(),
            links: self.links(),
            is_balanced: self.is_balanced(),
            knows_broker: self.health.broker.is_known(),
        }
    }

    /// Looks at the books, and tells how everything is when that is due.
    pub(super) fn watch_health(&mut self) {
        self.tell_drops();
        let now = self.now;
        let Some(interval) = self.settings.health_interval.filter(|_| self.started) else {
            return self.tell_books();
        };
        let is_due = now >= self.health.due;
        if is_due {
            self.start_recount();
        }
        if let Some(different) = self.recount() {
            self.health.wrong = different.into_iter().chain(self.unbalanced()).collect();
        }
        self.tell_books();
        let conditions = self.conditions();
        let changed =
            self.health.told.as_ref().is_none_or(|(at, told)| *told != conditions && now >= *at + REPORT_PAUSE);
        if is_due || changed {
            self.health.due = now + interval;
            self.health.told = Some((now, conditions));
            let report = self.health();
            self.act(Action::Status(Status::Health(Box::new(report))));
        }
    }

    /// When there is something to look at or to tell.
    pub(super) fn health_due(&self) -> Option<Time> {
        let drops = self.health.broker.drops_due();
        if self.settings.health_interval.is_none() || !self.started {
            return drops;
        }
        let told = self.health.told.as_ref().filter(|(_, told)| *told != self.conditions());
        let changed = told.map(|(at, _)| *at + REPORT_PAUSE);
        [Some(self.health.due), changed, self.recount_due(), drops].into_iter().flatten().min()
    }

    /// One alarm for each part of the books that does not add up, and one when it does again.
    fn tell_books(&mut self) {
        let is_total_balanced = self.is_total_balanced();
        if is_total_balanced && self.health.wrong.is_empty() && self.health.alarmed.is_empty() {
            return;
        }
        let mut wrong = self.health.wrong.clone();
        if !is_total_balanced {
            wrong.insert(Book::All);
        }
        let alarmed = std::mem::replace(&mut self.health.alarmed, wrong.clone());
        for book in wrong.difference(&alarmed) {
            let message = format!(
                "the counts do not add up: received should be rejected + duplicate + accepted, and accepted the \
                 sum of all states; messages may be unaccounted for: run sendbridge audit, and report this with \
                 the health report ({})",
                self.describe_book(*book)
            );
            self.alarm_book("unbalanced", *book, message);
        }
        for book in alarmed.difference(&wrong) {
            self.alarm_book("balanced", *book, "the counts add up again".to_owned());
        }
    }

    fn alarm_book(&mut self, what: &'static str, book: Book, message: String) {
        let about: Box<str> = match book {
            Book::All => Box::from(name_of(None)),
            Book::Unknown => Box::from("unknown"),
            Book::Corp(corp) => Box::from(name_of(Some(&self.corps[corp.index()].name))),
        };
        self.alarm(what, &about, message);
    }

    fn describe_book(&self, book: Book) -> String {
        let counts = match book {
            Book::All => Counts::from(&self.ledger.total),
            Book::Unknown => Counts::from(&self.ledger.unknown),
            Book::Corp(corp) => self.corp_counts(corp),
        };
        serde_json::to_string(&counts).unwrap_or_default()
    }

    pub(super) fn handle_link(&mut self, which: Link, up: bool) {
        match which {
            Link::Incoming => self.health.incoming = up,
            Link::Commands => self.health.commands = up,
        }
    }
}

fn word_of(sender: &super::tables::SenderState) -> SenderWord {
    match (sender.unauthorized, sender.breaker.is_open()) {
        (true, _) => SenderWord::Unauthorized,
        (false, true) => SenderWord::Down,
        (false, false) => SenderWord::Up,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::wildcard_enum_match_arm, reason = "a check picks the few cases that it is about")]

    use super::*;

    /// The books are compared with what is there, so a count that was forgotten shows by itself, and names its company.
    #[test]
    fn a_count_that_an_account_left_behind_is_found() {
        use crate::engine::Sabotage;
        use crate::model::{DirectoryEntry, Input, LastNumbers, SenderName};
        let start = Time::from_millis(1_700_000_000_000);
        let mut settings = crate::golden::default_settings();
        settings.health_interval = Some(Duration::from_secs(30));
        let mut engine = Engine::new(settings, start, LastNumbers::default());
        engine.start(start);
        let located = |corp: &str| Input::Directory {
            sender: SenderName::new("main"),
            entries: vec![DirectoryEntry {
                account: crate::model::Account::new("a"),
                corp: Some(Corp::new(corp)),
                online: Some(false),
            }],
        };
        let requested =
            |id: u64| Input::Request { ticket: None, request: Box::new(crate::golden::request_of("a", id)) };
        let told = |engine: &mut Engine, seconds: u64| -> Vec<(String, String)> {
            let actions = engine.poll_ready(start + Duration::from_secs(seconds)).actions.into_iter();
            let alarms = actions.filter_map(|action| match action {
                Action::Alarm(alarm) if alarm.what.contains("balanced") => {
                    let shows_counts = alarm.message.contains("\"accepted\":");
                    assert_eq!(shows_counts, alarm.what == "unbalanced", "{}", alarm.message);
                    Some((alarm.what.to_owned(), alarm.about.to_string()))
                }
                _ => None,
            });
            alarms.collect()
        };
        engine.handle(located("corp1"), start);
        engine.handle(requested(1), start);
        assert_eq!(told(&mut engine, 0), []);
        engine.sabotage(Some(Sabotage::MoveForgetsCounts));
        engine.handle(located("corp2"), start);
        let wrong = |corp: &str| ("unbalanced".to_owned(), corp.to_owned());
        assert_eq!(told(&mut engine, 30), [wrong("corp1"), wrong("corp2")]);
        let report = engine.health();
        assert_eq!(report.unbalanced_corps, [Corp::new("corp1"), Corp::new("corp2")]);
        assert!(!report.counts.balanced);
        assert_eq!(told(&mut engine, 60), [], "once");
        // Back where it is counted, the books are right again.
        engine.handle(located("corp1"), start);
        let right = |corp: &str| ("balanced".to_owned(), corp.to_owned());
        assert_eq!(told(&mut engine, 90), [right("corp1"), right("corp2")]);
        assert!(engine.health().counts.balanced);
    }

    #[test]
    fn a_rate_is_of_the_last_minute_or_of_the_time_since_the_start() {
        let at = |seconds: u64| Time::from_millis(1_700_000_000_000 + seconds * 1000);
        let mut minute = Minute::default();
        for second in 0..30 {
            minute.add(at(second));
            minute.add(at(second));
        }
        assert_eq!(minute.rate(at(0), at(29)), 2.069);
        assert_eq!(minute.rate(at(0), at(30)), 2.0);
        assert_eq!(minute.rate(at(0), at(59)), 1.017);
        assert_eq!(minute.rate(at(0), at(74)), 0.5);
        assert_eq!(minute.rate(at(0), at(200)), 0.0);
    }
}
