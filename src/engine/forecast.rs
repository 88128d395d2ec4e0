//! When what waits is expected to leave.
//!
//! A forecast plays the schedule on a light copy of one company, over virtual time, by the rules that the engine
//! itself decides by: the same order, the same limiters, the same places. Companies whose accounts share a server that
//! cannot keep up are played together. It assumes that nothing new arrives, that every request works, and that every
//! answer takes as long as that server's answers take on average.
//!
//! # How far it sees
//!
//! - The first [`EXACT_MAX`] sends are played exactly: within one slot (spacing plus answer) of what happens when
//!   nothing changes.
//! - The next ones ([`LIGHT_MAX`] for each exact one) are played without priorities and waits for a retry, but with
//!   spacing, the company's hour and the server's speed: within one slot where all have the same priority.
//! - Beyond that it calculates: accounts take turns, and the hour repeats itself. For a company that is within a
//!   percent of the wait, plus the time that one account takes to use up an hour's places alone. Which of its accounts
//!   goes when is a matter of who gets a place first; it evens out over time.
//!
//! A message has no time where nobody can know one: a hold without an end, an account that is offline or whose company
//! is unknown, a server that does not take the key, a stop, a lifetime that ends before its turn, or a limit that was
//! set for a while and ends before. A message in doubt is not expected to be sent again.

mod beyond;
mod play;
mod scene;

#[cfg(test)]
pub(super) mod tests;

use super::Engine;
use super::tables::{AccountKey, CorpKey, Phase};
use crate::model::{LimitScope, SenderName, Seq, Time};
use scene::{Scene, Stops};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sends that one forecast plays exactly, at most.
const EXACT_MAX: usize = 4_000;
/// Sends that it plays on with less detail, for each that it may play exactly.
const LIGHT_MAX: usize = 5;
/// Exact sends that all forecasts of one second may play: status topics and commands each have as many.
const STEPS_PER_SECOND: usize = 16_000;
/// So many accounts with work are played together wherever they may be in each other's way.
const FEW: usize = 1000;
/// Messages of which every one is noted when one is asked about.
const WATCHED_MAX: usize = 200_000;
/// How long a forecast serves status topics.
const FRESH: Duration = Duration::from_secs(1);
/// How long it still serves while there is no time to make another.
const STALE: Duration = Duration::from_secs(60);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) next: Option<Time>,
    /// The last of those that have a time.
    pub(super) last: Option<Time>,
    /// Whether there are messages without one.
    pub(super) unknown: bool,
}

impl Expected {
    fn at(&mut self, time: Time) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
        self.last = self.last.max(Some(time));
    }

    /// Without what lies behind a moment at which the limits become others.
    fn until(self, end: Option<Time>) -> Self {
        let Some(end) = end else { return self };
        let known = |at: Option<Time>| at.filter(|at| *at <= end);
        let (next, last) = (known(self.next), known(self.last));
        Self { next, last, unknown: self.unknown || last != self.last }
    }

    fn merge(&mut self, other: Self) {
        self.next = [self.next, other.next].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.unknown |= other.unknown;
    }
}

/// What one run told about a group of companies.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    made_at: Time,
    /// [`Engine::changes`] when it was made.
    changes: u64,
    accounts: BTreeMap<AccountKey, Expected>,
    corps: BTreeMap<CorpKey, Expected>,
}

/// How new a forecast has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// As new as the last change: for whoever asks.
    Now,
    /// A second old at most, unless there is too much to do: for status topics.
    Second,
}

/// The forecasts at hand, and what may still be spent on others.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    kept: Mutex<Kept>,
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
    /// Accounts take turns whatever their priority.
    NoHeadStart,
    /// Holds with an end are over at once.
    NoHolds,
    /// What is urgent has no reserve.
    NoReserve,
    /// Each company has each server to itself.
    OwnServer,
}

#[derive(Debug, Default)]
struct Kept {
    by_corp: BTreeMap<CorpKey, Arc<Forecast>>,
    /// The messages that were asked about last.
    watched: Option<Watched>,
    census: Option<Arc<Census>>,
    /// Since when, and how many exact sends were played: for commands, and for status topics.
    second: Time,
    spent: [usize; 2],
}

/// Whose messages a forecast notes one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Nobody,
    One(AccountKey),
    Everybody,
}

#[derive(Debug)]
struct Watched {
    by: Watch,
    corps: Vec<CorpKey>,
    made_at: Time,
    changes: u64,
    /// By number.
    sends: Vec<(Seq, Time)>,
}

impl Watched {
    fn covers(&self, account: AccountKey, corp: CorpKey) -> bool {
        match self.by {
            Watch::Nobody => false,
            Watch::One(one) => one == account,
            Watch::Everybody => self.corps.contains(&corp),
        }
    }

    fn at(&self, seq: Seq) -> Option<Time> {
        let index = self.sends.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(self.sends[index].1)
    }
}

/// Who waits for which server.
#[derive(Debug, Default)]
struct Census {
    made_at: Time,
    changes: u64,
    corps: BTreeSet<CorpKey>,
    by_server: Vec<BTreeSet<CorpKey>>,
    accounts: Vec<usize>,
}

impl Forecasts {
    #[cfg(test)]
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "asked like its counterpart in unit tests")]
    const fn has(&self, _: Flaw) -> bool {
        false
    }

    fn with<T>(&self, f: impl FnOnce(&mut Kept) -> T) -> T {
        // One thread uses it, and a panic in it ends the process anyway.
        f(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    /// How many sends a forecast may play exactly now.
    fn allowance(&mut self, freshness: Freshness, now: Time) -> usize {
        if now.since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.spent = [0; 2];
        }
        STEPS_PER_SECOND.saturating_sub(self.spent[freshness as usize]).min(EXACT_MAX)
    }

    fn remember(&mut self, forecast: &Arc<Forecast>) {
        for corp in forecast.corps.keys() {
            self.by_corp.insert(*corp, Arc::clone(forecast));
        }
        if self.by_corp.len() > 4 * forecast.corps.len().max(KEPT_MAX) {
            self.by_corp.retain(|_, kept| forecast.made_at.since(kept.made_at) < STALE);
        }
    }
}

/// Companies whose forecasts are kept before old ones are looked for.
const KEPT_MAX: usize = 256;

impl Engine {
    /// When a queued message is expected to leave. `None` where nobody can know, and for one that is not queued.
    pub fn expected_at(&self, seq: Seq) -> Option<Time> {
        let live = self.live.get(&seq)?;
        match live.phase {
            Phase::Queued | Phase::Scheduled => {}
            Phase::Sending | Phase::InDoubt(_) => return None,
        }
        let (account, corp) = (live.account, self.account(live.account).corp?);
        let limits_until = self.limits_until(Some(account), corp);
        let is_known = |at: &Time| limits_until.is_none_or(|end| *at <= end);
        let known = self.forecasts.with(|kept| {
            let watched = kept.watched.as_ref().filter(|watched| watched.covers(account, corp))?;
            (watched.changes == self.changes && self.now.since(watched.made_at) < FRESH).then(|| watched.at(seq))
        });
        if let Some(known) = known {
            return known.filter(is_known);
        }
        let steps_max = self.forecasts.with(|kept| kept.allowance(Freshness::Now, self.now));
        // Whoever asks about one message of a list will ask about the next.
        let by = if self.live.len() <= WATCHED_MAX { Watch::Everybody } else { Watch::One(account) };
        let (forecast, mut sends) = self.run_forecast(corp, Freshness::Now, steps_max, by);
        sends.sort_unstable();
        let corps = forecast.corps.keys().copied().collect();
        let watched = Watched { by, corps, made_at: self.now, changes: self.changes, sends };
        let at = watched.at(seq).filter(is_known);
        self.forecasts.with(|kept| kept.watched = Some(watched));
        at
    }

    /// When everything queued is expected to have left, as far as anybody can know; `None` when nothing is queued, or
    /// nothing of it has a time.
    pub fn drain_eta_all(&self) -> Option<Time> {
        let census = self.census(Freshness::Now);
        let etas = census.corps.iter().map(|corp| self.corp_expected(*corp, Freshness::Second).last);
        etas.max().flatten()
    }

    /// How long a server's answers take, as far as they were seen. `None` for a name that no server has.
    pub fn answer_estimate(&self, sender: &SenderName) -> Option<Duration> {
        self.sender_key(sender).map(|key| self.senders[key.index()].answers.mean())
    }

    pub(super) fn account_expected(&self, key: AccountKey, freshness: Freshness) -> Expected {
        let account = self.account(key);
        if account.queue.is_empty() && account.scheduled.is_empty() {
            return Expected::default();
        }
        let Some(corp) = account.corp else { return Expected { unknown: true, ..Expected::default() } };
        let expected = self.forecast(corp, freshness).accounts.get(&key).copied().unwrap_or_default();
        expected.until(self.limits_until(Some(key), corp))
    }

    pub(super) fn corp_expected(&self, corp: CorpKey, freshness: Freshness) -> Expected {
        let expected = self.forecast(corp, freshness).corps.get(&corp).copied().unwrap_or_default();
        expected.until(self.limits_until(None, corp))
    }

    /// Until when the limits are what a forecast plays with, where somebody set them for a while.
    fn limits_until(&self, account: Option<AccountKey>, corp: CorpKey) -> Option<Time> {
        let of = |scope: LimitScope| self.overrides.get(&scope).and_then(|set| set.until);
        let account = account.and_then(|key| of(LimitScope::Account(self.account(key).name.clone())));
        [account, of(LimitScope::Corp(self.corps[corp.index()].name.clone()))].into_iter().flatten().min()
    }

    fn forecast(&self, corp: CorpKey, freshness: Freshness) -> Arc<Forecast> {
        let now = self.now;
        let (kept, steps_max) =
            self.forecasts.with(|kept| (kept.by_corp.get(&corp).cloned(), kept.allowance(freshness, now)));
        if let Some(kept) = kept {
            let age = now.since(kept.made_at);
            let is_current = kept.changes == self.changes && age < FRESH;
            let is_new_enough = freshness == Freshness::Second && age < FRESH;
            let must_do = steps_max == 0 && age < STALE;
            if is_current || is_new_enough || must_do {
                return kept;
            }
        }
        let (forecast, _) = self.run_forecast(corp, freshness, steps_max, Watch::Nobody);
        self.forecasts.with(|kept| kept.remember(&forecast));
        forecast
    }

    /// Plays the company and all that share a server with it that cannot keep up.
    fn run_forecast(
        &self,
        corp: CorpKey,
        freshness: Freshness,
        steps_max: usize,
        watch: Watch,
    ) -> (Arc<Forecast>, Vec<(Seq, Time)>) {
        let census = self.census(freshness);
        let mut contended = self.contended(&census);
        if self.forecasts.has(Flaw::OwnServer) {
            contended.fill(false);
        }
        let group = group_of(corp, &census, &contended);
        let mut scene = Scene::new(self, &group, &Stops::new(self), contended, watch);
        let steps = scene.play(steps_max);
        scene.go_on(LIGHT_MAX * steps_max);
        // A group costs something before its first send, too.
        let cost = steps + scene.accounts.len() / 4 + 1;
        self.forecasts.with(|kept| kept.spent[freshness as usize] += cost);
        let mut forecast = Forecast { made_at: self.now, changes: self.changes, ..Forecast::default() };
        forecast.corps = group.iter().map(|corp| (*corp, Expected::default())).collect();
        for waiting in &scene.accounts {
            forecast.accounts.insert(waiting.key, waiting.expected);
            forecast.corps.entry(group[waiting.corp.index()]).or_default().merge(waiting.expected);
        }
        (Arc::new(forecast), scene.watched)
    }

    /// Whom each server has to serve, counted at most once a second unless something changed since.
    fn census(&self, freshness: Freshness) -> Arc<Census> {
        let (now, changes) = (self.now, self.changes);
        let kept = self.forecasts.with(|kept| kept.census.clone());
        if let Some(kept) = kept {
            // Looking at every account is quick where there are few.
            let is_cheap = freshness == Freshness::Now && self.accounts.len() <= EXACT_MAX;
            if kept.changes == changes || (!is_cheap && now.since(kept.made_at) < FRESH) {
                return kept;
            }
        }
        let mut census = Census { made_at: now, changes, ..Census::default() };
        census.by_server = vec![BTreeSet::new(); self.senders.len()];
        census.accounts = vec![0; self.senders.len()];
        for account in &self.accounts {
            let Some(corp) = account.corp else { continue };
            if account.queue.is_empty() && account.scheduled.is_empty() {
                continue;
            }
            census.corps.insert(corp);
            if let Some(server) = account.sender {
                census.by_server[server.index()].insert(corp);
                census.accounts[server.index()] += 1;
            }
        }
        let census = Arc::new(census);
        self.forecasts.with(|kept| kept.census = Some(Arc::clone(&census)));
        census
    }

    /// Which servers may be too slow for all that wait for them: there one company's messages delay another's.
    fn contended(&self, census: &Census) -> Vec<bool> {
        let shortest = self.settings.limits.account.interval;
        let servers = self.senders.iter().zip(&census.accounts);
        servers
            .map(|(server, accounts)| {
                let answer = server.answers.mean();
                let round = answer.as_nanos() * *accounts as u128 * 2;
                // It keeps up if it serves all once within half a slot. Where there are few, that is played too.
                let keeps_up = round <= (shortest + answer).as_nanos() * server.connections as u128;
                let must_queue = *accounts > server.connections && (*accounts <= FEW || !keeps_up);
                server.breaker.is_open() || must_queue
            })
            .collect()
    }
}

/// The company and all that are tied to it by a server that cannot keep up, in the order of their keys.
fn group_of(corp: CorpKey, census: &Census, contended: &[bool]) -> Vec<CorpKey> {
    let mut group = BTreeSet::from([corp]);
    let mut servers: BTreeSet<usize> = BTreeSet::new();
    loop {
        let tied = |index: &usize| contended[*index] && !census.by_server[*index].is_disjoint(&group);
        let Some(server) = (0..contended.len()).find(|index| !servers.contains(index) && tied(index)) else {
            return group.into_iter().collect();
        };
        servers.insert(server);
        group.extend(&census.by_server[server]);
    }
}
