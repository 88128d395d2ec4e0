//! What the retained topics of accounts and companies say, and when they say something else.
//!
//! A change only marks its topic; no report is made before the topic's turn comes. Then the report is published if it
//! says something new.
//!
//! ```text
//! not shown --changed--> due --its turn--> shown --changed, a second later--> due
//!     ^                   | no room           | no work for a while
//!     |                   v                   |
//!     |              waiting for room         |
//!     '----------------- cleared -------------'
//! ```
//!
//! # Invariants
//!
//! - A topic is published at most once a second, and all together at most [`StatusSettings::per_second`] times in any
//!   second. The topic that is due the longest goes first; where there is more than a
//!   second takes, accounts without work that are not shown yet come last.
//! - At most [`StatusSettings::accounts_max`] accounts are shown; one without work makes room for one with work.
//! - Where nothing changes nothing is published.

mod differ;

#[cfg(test)]
mod tests;

use super::Engine;
use super::forecast::Freshness;
use super::settings::StatusSettings;
use super::tables::{AccountKey, CorpKey, SenderKey};
use crate::model::{AccountReport, Action, CorpReport, Status, StatusTopic, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The least time between two publishes of one topic.
const INTERVAL: Duration = Duration::from_secs(1);
/// A report can become another one because time passes. Looked at again after a second, then less and less often.
const LOOK_MAX: Duration = Duration::from_secs(30);
const LOOK_IDLE: Duration = Duration::from_secs(120);
/// For how long a topic of an account without work is put off while there is too much to publish.
const PUT_OFF: Duration = Duration::from_secs(10);
/// Reports that may be made in a second for each that may be published: most of them say nothing new.
const LOOKS_PER_PUBLISH: usize = 10;
/// Publishes a second where status is turned off and only what is left of an earlier life has to go.
const CLEARING_PER_SECOND: usize = 100;
/// Topics of an earlier life that are remembered; the next connection tells of the others again.
const LEFT_OVER_MAX: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Corp(CorpKey),
    Account(AccountKey),
}

#[derive(Debug, Default)]
struct Entry {
    due: Option<Time>,
    shown: Option<Shown>,
    /// In how long it is looked at again if nothing happens.
    look_in: Duration,
    /// Whether it is published again although it says nothing new.
    again: bool,
    /// Since when it waits for room.
    waits_since: Option<Time>,
}

#[derive(Debug)]
struct Shown {
    at: Time,
    said: Said,
    idle_since: Option<Time>,
}

#[derive(Debug)]
enum Said {
    Account(Box<AccountReport>),
    Corp(Box<CorpReport>),
}

impl Said {
    fn has_work(&self) -> bool {
        match self {
            Self::Account(report) => report.queued + report.sending + report.in_doubt > 0,
            Self::Corp(report) => report.queued + report.sending + report.in_doubt > 0,
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Account(report) => Status::Account(report.account.clone(), Some(report.clone())),
            Self::Corp(report) => Status::Corp(report.corp.clone(), Some(report.clone())),
        }
    }

    fn cleared(&self) -> Status {
        match self {
            Self::Account(report) => Status::Account(report.account.clone(), None),
            Self::Corp(report) => Status::Corp(report.corp.clone(), None),
        }
    }
}

/// Which topics are shown, and which are due.
#[derive(Debug)]
pub(super) struct Board {
    settings: StatusSettings,
    entries: BTreeMap<Topic, Entry>,
    due: BTreeSet<(Time, Topic)>,
    accounts_shown: usize,
    /// Shown accounts without work, and since when: they make room.
    idle: BTreeSet<(Time, AccountKey)>,
    /// Accounts with work that wait for room.
    waiting: BTreeSet<(Time, AccountKey)>,
    /// What the broker still has from an earlier life.
    left_over: BTreeSet<StatusTopic>,
    left_over_next: bool,
    /// When the last publishes were: as many as may be in a second.
    published: VecDeque<Time>,
    /// Since when, and how many reports were made.
    looked_since: Time,
    looked: usize,
}

impl Board {
    pub(super) fn new(settings: StatusSettings) -> Self {
        Self {
            settings,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            accounts_shown: 0,
            idle: BTreeSet::new(),
            waiting: BTreeSet::new(),
            left_over: BTreeSet::new(),
            left_over_next: false,
            published: VecDeque::new(),
            looked_since: Time::default(),
            looked: 0,
        }
    }

    fn is_on(&self) -> bool {
        self.settings.per_second > 0
    }

    /// Something changed about it. Called for every step of every message.
    fn mark(&mut self, topic: Topic, now: Time) {
        if !self.is_on() {
            return;
        }
        let entry = self.entries.entry(topic).or_default();
        if entry.waits_since.is_some() {
            return;
        }
        entry.look_in = INTERVAL;
        let at = entry.shown.as_ref().map_or(now, |shown| now.max(shown.at + INTERVAL));
        if entry.due.is_none_or(|due| at < due) {
            self.set_due(topic, at);
        }
    }

    fn set_due(&mut self, topic: Topic, at: Time) {
        let Some(entry) = self.entries.get_mut(&topic) else { return };
        if let Some(old) = entry.due.replace(at) {
            self.due.remove(&(old, topic));
        }
        self.due.insert((at, topic));
    }

    /// When the next publish is within the budget.
    fn publish_at(&self, now: Time) -> Time {
        let most = if self.is_on() { self.settings.per_second } else { CLEARING_PER_SECOND };
        match self.published.len().checked_sub(most) {
            Some(index) => self.published.get(index).map_or(now, |at| now.max(*at + INTERVAL)),
            None => now,
        }
    }

    /// Whether more is due than a second takes.
    fn is_behind(&self, now: Time) -> bool {
        self.due.iter().take_while(|(at, _)| *at <= now).nth(self.settings.per_second).is_some()
    }

    fn look_at(&self, now: Time) -> Time {
        let most = LOOKS_PER_PUBLISH * self.settings.per_second.max(1);
        if self.looked < most { now } else { now.max(self.looked_since + INTERVAL) }
    }

    fn note_look(&mut self, now: Time) {
        if now.since(self.looked_since) >= INTERVAL {
            self.looked_since = now;
            self.looked = 0;
        }
        self.looked += 1;
    }

    fn note_publish(&mut self, now: Time) {
        self.published.push_back(now);
        while self.published.len() > self.settings.per_second.max(CLEARING_PER_SECOND) {
            self.published.pop_front();
        }
    }

    /// When it has something to do.
    fn timeout(&self, now: Time) -> Option<Time> {
        let due = self.due.first().map(|(at, _)| (*at).max(self.look_at(now)));
        let left_over = (!self.left_over.is_empty()).then_some(now);
        [due, left_over].into_iter().flatten().min().map(|at| at.max(self.publish_at(now)))
    }

    fn shows(&self, topic: Topic) -> bool {
        self.entries.get(&topic).is_some_and(|entry| entry.shown.is_some())
    }

    /// Forgets a topic that is not shown any more, and returns what it said. What waits for room has it now.
    fn forget(&mut self, topic: Topic, now: Time) -> Option<Said> {
        let entry = self.entries.remove(&topic)?;
        if let Some(due) = entry.due {
            self.due.remove(&(due, topic));
        }
        let shown = entry.shown?;
        if let Topic::Account(key) = topic {
            self.accounts_shown -= 1;
            if let Some(since) = shown.idle_since {
                self.idle.remove(&(since, key));
            }
            if let Some((since, next)) = self.waiting.pop_first() {
                if let Some(entry) = self.entries.get_mut(&Topic::Account(next)) {
                    entry.waits_since = None;
                }
                // It goes where it would have been had there been room.
                self.set_due(Topic::Account(next), since.min(now));
            }
        }
        Some(shown.said)
    }

    /// Notes what was said last, and since when there was no work behind it.
    fn note_shown(&mut self, topic: Topic, now: Time, said: Option<Said>, has_work: bool) {
        let Some(entry) = self.entries.get_mut(&topic) else { return };
        entry.again = false;
        let old_idle = entry.shown.as_ref().and_then(|shown| shown.idle_since);
        let idle_since = (!has_work).then(|| old_idle.unwrap_or(now));
        match (&mut entry.shown, said) {
            (Some(shown), Some(said)) => *shown = Shown { at: now, said, idle_since },
            (Some(shown), None) => shown.idle_since = idle_since,
            (None, Some(said)) => {
                entry.shown = Some(Shown { at: now, said, idle_since });
                self.accounts_shown += usize::from(matches!(topic, Topic::Account(_)));
            }
            (None, None) => {}
        }
        if let (Topic::Account(key), true) = (topic, old_idle != idle_since) {
            if let Some(since) = old_idle {
                self.idle.remove(&(since, key));
            }
            if let Some(since) = idle_since {
                self.idle.insert((since, key));
            }
        }
        let look_max = if has_work { LOOK_MAX } else { LOOK_IDLE };
        let look_at = now + entry.look_in.max(INTERVAL);
        entry.look_in = (entry.look_in.max(INTERVAL) * 2).min(look_max);
        let ends_at = idle_since.map(|since| since + self.settings.idle);
        self.set_due(topic, ends_at.map_or(look_at, |ends_at| look_at.min(ends_at)));
    }
}

impl Engine {
    /// Notes that something changed about an account, and so about its company.
    pub(super) fn touch(&mut self, key: AccountKey) {
        self.changes += 1;
        self.board.mark(Topic::Account(key), self.now);
        if let Some(corp) = self.account(key).corp {
            self.board.mark(Topic::Corp(corp), self.now);
        }
    }

    pub(super) fn touch_corp(&mut self, key: CorpKey) {
        self.changes += 1;
        self.board.mark(Topic::Corp(key), self.now);
    }

    /// Notes that something changed about a server, and so about all accounts that are shown and sent through it.
    pub(super) fn touch_server(&mut self, sender: SenderKey) {
        self.changes += 1;
        let accounts = self.board.entries.range(Topic::Account(AccountKey(0))..).filter_map(|(topic, _)| match topic {
            Topic::Account(key) => Some(*key),
            Topic::Corp(_) => None,
        });
        let keys: Vec<AccountKey> = accounts.collect();
        for key in keys {
            if self.account(key).sender == Some(sender) {
                self.board.mark(Topic::Account(key), self.now);
            }
        }
    }

    /// A broker without persistence has lost what it was told: after a reconnect all is said again.
    pub(super) fn board_connected(&mut self, connected: bool) {
        let now = self.now;
        if !connected {
            return;
        }
        let shown = self.board.entries.iter_mut().filter(|(_, entry)| entry.shown.is_some());
        let topics: Vec<Topic> = shown
            .map(|(topic, entry)| {
                entry.again = true;
                *topic
            })
            .collect();
        for topic in topics {
            self.board.mark(topic, now);
        }
    }

    /// The broker has this topic. If it is none of ours, it goes.
    pub(super) fn status_seen(&mut self, topic: StatusTopic) {
        if !self.is_shown(&topic) && self.board.left_over.len() < LEFT_OVER_MAX {
            self.board.left_over.insert(topic);
        }
    }

    fn is_shown(&self, topic: &StatusTopic) -> bool {
        let topic = match topic {
            StatusTopic::Account(name) => self.account_keys.get(name).map(|key| Topic::Account(*key)),
            StatusTopic::Corp(name) => self.corp_keys.get(name).map(|key| Topic::Corp(*key)),
        };
        topic.is_some_and(|topic| self.board.shows(topic))
    }

    /// Whether anything is to be shown.
    pub(super) fn board_is_on(&self) -> bool {
        self.board.is_on()
    }

    pub(super) fn board_timeout(&self) -> Option<Time> {
        if self.stopping || !self.outbox.is_connected() { None } else { self.board.timeout(self.now) }
    }

    /// Publishes what is due, within the budget.
    pub(super) fn publish_board(&mut self) {
        let now = self.now;
        if self.stopping || !self.outbox.is_connected() {
            return;
        }
        while self.board.publish_at(now) <= now {
            self.board.left_over_next = !self.board.left_over_next;
            if self.board.left_over_next && self.clear_left_over() {
                continue;
            }
            let due = self.board.due.first().copied().filter(|(at, _)| *at <= now);
            let Some((at, topic)) = due.filter(|_| self.board.look_at(now) <= now) else {
                if self.clear_left_over() {
                    continue;
                }
                return;
            };
            self.look(at, topic);
        }
    }

    fn clear_left_over(&mut self) -> bool {
        while let Some(topic) = self.board.left_over.pop_first() {
            if self.is_shown(&topic) {
                continue;
            }
            self.show(match topic {
                StatusTopic::Account(name) => Status::Account(name, None),
                StatusTopic::Corp(name) => Status::Corp(name, None),
            });
            return true;
        }
        false
    }

    fn show(&mut self, status: Status) {
        self.board.note_publish(self.now);
        self.act(Action::Status(status));
    }

    /// A topic's turn, which publishes at most once. Where it has to make room first, it has its turn again.
    fn look(&mut self, at: Time, topic: Topic) {
        let now = self.now;
        if !self.find_room(at, topic) {
            return;
        }
        self.board.note_look(now);
        let said = match topic {
            Topic::Account(key) => Said::Account(Box::new(self.account_report_of(key, Freshness::Second))),
            Topic::Corp(key) => Said::Corp(Box::new(self.corp_report_of(key, Freshness::Second))),
        };
        let has_work = said.has_work();
        let Some(entry) = self.board.entries.get_mut(&topic) else { return };
        if !has_work && let Some(shown) = &entry.shown {
            let is_over = shown.idle_since.is_some_and(|since| now.since(since) >= self.board.settings.idle);
            let is_in_the_way = matches!(topic, Topic::Account(_)) && !self.board.waiting.is_empty();
            if is_over || is_in_the_way {
                return self.clear(topic);
            }
        }
        if !has_work && entry.shown.is_none() && self.board.is_behind(now) {
            // Those with work go first: an account that is done already can be shown when there is time.
            return self.board.set_due(topic, now + PUT_OFF);
        }
        let Some(entry) = self.board.entries.get_mut(&topic) else { return };
        let says_something = entry.again || entry.shown.as_ref().is_none_or(|shown| shown.said.differs(&said));
        if !says_something {
            return self.board.note_shown(topic, now, None, has_work);
        }
        entry.look_in = INTERVAL;
        self.show(said.status());
        self.board.note_shown(topic, now, Some(said), has_work);
    }

    /// Whether the topic may be shown now. If not it waits for room, is not worth any, or something else went for it.
    fn find_room(&mut self, at: Time, topic: Topic) -> bool {
        let Topic::Account(key) = topic else { return true };
        if self.board.shows(topic) || self.board.accounts_shown < self.board.settings.accounts_max {
            return true;
        }
        let account = self.account(key);
        let has_work =
            account.in_flight > 0 || account.in_doubt > 0 || !account.queue.is_empty() || !account.scheduled.is_empty();
        if !has_work {
            self.board.forget(topic, self.now);
        } else if let Some((_, idle)) = self.board.idle.first().copied() {
            self.clear(Topic::Account(idle));
        } else {
            self.board.due.remove(&(at, topic));
            self.board.waiting.insert((at, key));
            if let Some(entry) = self.board.entries.get_mut(&topic) {
                entry.due = None;
                entry.waits_since = Some(at);
            }
        }
        false
    }

    fn clear(&mut self, topic: Topic) {
        if let Some(said) = self.board.forget(topic, self.now) {
            self.show(said.cleared());
        }
    }
}
