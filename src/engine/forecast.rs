//! When what waits is expected to leave.
//!
//! A forecast plays the schedule on a copy of all that waits, over virtual time and to its end, by the rules that the
//! engine itself decides by: the same order, the same limiters, the same places. It assumes that nothing new arrives,
//! that every request works, and that every answer takes as long as that server's answers take on average; where that
//! comes true each message leaves within one slot (spacing plus answer) of its time, however long the queues are.
//!
//! A message has no time where nobody can know one: a hold without an end, an account that is offline or whose company
//! is unknown, a server that does not take the key, a stop, a lifetime that ends before its turn, or a limit that was
//! set for a while and ends before. A message in doubt is not expected to be sent again.
//!
//! # Who plays
//!
//! ```text
//! few wait:   a question --> play --> its answer
//! many wait:  a question --> poll_play --> [ another thread: Play::run ] --> handle_forecast --> its answer
//!             status topics --> the last forecast, of which there is a new one every few seconds
//! ```
//!
//! Taking the copy costs as much as there are accounts, playing it as much as there are messages. A million messages
//! take seconds, so whoever has the engine in a loop plays somewhere else, one play at a time.

mod ask;
mod play;
mod scene;

#[cfg(test)]
pub(super) mod tests;

pub(super) use ask::Ask;
pub use scene::Play;

use super::Engine;
use super::tables::{AccountKey, CorpKey, Phase};
use crate::model::{LimitScope, SenderName, Seq, Time};
use scene::Watch;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many live messages are played at once, without another thread: that takes a few milliseconds at most.
const AT_ONCE_MAX: usize = if cfg!(test) { 20 } else { 500 };
/// How long a forecast serves status topics at least.
const FRESH: Duration = Duration::from_secs(1);
/// The same where no status topic needs it.
const STALE: Duration = Duration::from_secs(30);
/// Times of each account and company that are kept, so that an older forecast still knows what is next, and the least
/// time between two of them.
const SOON_MAX: usize = 32;
const SOON_STEP: Duration = Duration::from_millis(500);

/// How long the answers of a server take: an exponentially weighted mean, one eighth of it the newest.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerTime {
    mean: Duration,
    seen: bool,
}

impl Default for AnswerTime {
    /// A guess, until the first answer.
    fn default() -> Self {
        Self { mean: Duration::from_millis(100), seen: false }
    }
}

impl AnswerTime {
    pub(super) fn observe(&mut self, span: Duration) {
        self.mean = if self.seen { self.mean - self.mean / 8 + span / 8 } else { span };
        self.seen = true;
    }

    pub(super) fn mean(&self) -> Duration {
        self.mean
    }
}

/// When the messages of an account or a company are expected to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// The first times, ascending.
    soon: Vec<Time>,
    /// The last time.
    last: Option<Time>,
    /// Whether there are messages without one.
    unknown: bool,
}

impl Expected {
    fn at(&mut self, time: Time) {
        self.last = Some(time);
        if self.soon.len() < SOON_MAX && self.soon.last().is_none_or(|last| time >= *last + SOON_STEP) {
            self.soon.push(time);
        }
    }

    /// The first time from now on, as far as that is known.
    fn next(&self, now: Time) -> Option<Time> {
        let soon = self.soon.iter().copied().find(|at| *at >= now);
        soon.or_else(|| self.last.filter(|at| *at >= now && self.soon.len() < SOON_MAX))
    }
}

/// What is said about an account or a company.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expectation {
    pub(super) next: Option<Time>,
    /// The last of those that have a time.
    pub(super) last: Option<Time>,
    /// Whether there are messages without one.
    pub(super) unknown: bool,
}

/// What a play told.
#[derive(Debug, Default)]
pub struct Forecast {
    /// When the copy was taken, and [`Engine::changes`] then.
    made_at: Time,
    changes: u64,
    /// Each by its key, ascending.
    accounts: Vec<(AccountKey, Expected)>,
    corps: Vec<(CorpKey, Expected)>,
    messages: Vec<(Seq, Time)>,
}

fn of<K: Ord + Copy, V>(list: &[(K, V)], key: K) -> Option<&V> {
    list.binary_search_by_key(&key, |(key, _)| *key).ok().map(|index| &list[index].1)
}

/// How new a forecast has to be where it is made at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// As new as the last change: for whoever asks.
    Now,
    /// A second old at most: for status topics.
    Second,
}

/// The forecast at hand, and who waits for the next one.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    kept: Mutex<Arc<Forecast>>,
    /// Who asked since the last copy was taken.
    asks: Vec<Ask>,
    /// Who waits for the play that is under way, and since when it is.
    playing: Option<(Time, Vec<Ask>)>,
    /// When the next play may be made for status topics.
    again_at: Time,
    #[cfg(test)]
    flaw: Option<Flaw>,
}

/// A deliberate mistake of a forecast, by which its test proves that it would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Answers take no time.
    AnswersAtOnce,
    /// The company's hour is looked at as if it were empty.
    EmptyHour,
    /// A server takes whatever comes.
    EndlessServer,
    /// Accounts take turns whatever their priority.
    NoHeadStart,
    /// Holds with an end are over at once.
    NoHolds,
    /// What is urgent has no reserve.
    NoReserve,
}

impl Forecasts {
    #[cfg(test)]
    fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "asked like its counterpart in unit tests")]
    const fn flaw(&self) -> Option<Flaw> {
        None
    }

    fn kept(&self) -> Arc<Forecast> {
        // One thread uses it, and a panic in it ends the process anyway.
        Arc::clone(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, forecast: Forecast) -> Arc<Forecast> {
        let forecast = Arc::new(forecast);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&forecast);
        forecast
    }
}

impl Engine {
    /// When a queued message is expected to leave, by the forecast at hand: where many wait it is to be asked for.
    /// `None` where nobody can know, and for one that is not queued.
    pub(super) fn expected_at(&self, seq: Seq) -> Option<Time> {
        let live = self.live.get(&seq)?;
        match live.phase {
            Phase::Queued | Phase::Scheduled => {}
            Phase::Sending | Phase::InDoubt => return None,
        }
        let corp = self.account(live.account).corp?;
        let limits_until = self.limits_until(Some(live.account), corp);
        let at = of(&self.forecast(Freshness::Now).messages, seq).copied();
        at.filter(|at| limits_until.is_none_or(|end| *at <= end))
    }

    /// When everything queued is expected to have left, as far as anybody can know; `None` when nothing is queued, or
    /// nothing of it has a time.
    pub(super) fn drain_eta_all(&self) -> Option<Time> {
        let forecast = self.forecast(Freshness::Second);
        forecast.corps.iter().filter_map(|(corp, _)| self.corp_expected(*corp, Freshness::Second).last).max()
    }

    /// How long a server's answers take, as far as they were seen. `None` for a name that no server has.
    pub fn answer_estimate(&self, sender: &SenderName) -> Option<Duration> {
        self.sender_key(sender).map(|key| self.senders[key.index()].answers.mean())
    }

    pub(super) fn account_expected(&self, key: AccountKey, freshness: Freshness) -> Expectation {
        let account = self.account(key);
        if account.queue.is_empty() && account.scheduled.is_empty() {
            return Expectation::default();
        }
        let Some(corp) = account.corp else { return Expectation::default() };
        self.expectation(of(&self.forecast(freshness).accounts, key), self.limits_until(Some(key), corp))
    }

    pub(super) fn corp_expected(&self, corp: CorpKey, freshness: Freshness) -> Expectation {
        self.expectation(of(&self.forecast(freshness).corps, corp), self.limits_until(None, corp))
    }

    /// Without what is over, and without what lies behind a moment at which the limits become others.
    fn expectation(&self, expected: Option<&Expected>, limits_until: Option<Time>) -> Expectation {
        let Some(expected) = expected else { return Expectation::default() };
        let known = |at: &Time| limits_until.is_none_or(|end| *at <= end);
        let last = expected.last.filter(known);
        Expectation {
            next: expected.next(self.now).filter(known),
            last: last.filter(|at| *at >= self.now),
            unknown: expected.unknown || last != expected.last,
        }
    }

    /// Until when the limits are what a forecast plays with, where somebody set them for a while.
    fn limits_until(&self, account: Option<AccountKey>, corp: CorpKey) -> Option<Time> {
        let of = |scope: LimitScope| self.overrides.get(&scope).and_then(|set| set.until);
        let account = account.and_then(|key| of(LimitScope::Account(self.account(key).name.clone())));
        [account, of(LimitScope::Corp(self.corps[corp.index()].name.clone()))].into_iter().flatten().min()
    }

    /// Where few wait it is made now, unless the one at hand is new enough; where many do the one at hand has to do.
    fn forecast(&self, freshness: Freshness) -> Arc<Forecast> {
        let kept = self.forecasts.kept();
        let age = self.now.since(kept.made_at);
        let is_new_enough = age < FRESH && (freshness == Freshness::Second || kept.changes == self.changes);
        if self.many_wait() || (is_new_enough && kept.made_at > Time::default()) {
            return kept;
        }
        self.forecasts.keep(Play::new(self, Watch::Everybody).run())
    }

    /// Whether a play takes longer than the loop may stand still.
    fn many_wait(&self) -> bool {
        self.live.len() > AT_ONCE_MAX
    }
}
