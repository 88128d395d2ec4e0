//! What the pretend sender saw, and its own judgement of both limits. Pure: the time of an arrival is an argument.
//!
//! - Every request to send that could be understood is an arrival, whatever is answered: a limit is about what reaches
//!   the receiver, and a receiver cannot know which of its answers will be believed.
//! - The window of a company is exact: it holds the time of each arrival, and one that is as old as the window is out.

use super::callback::{CallbackLedger, Delivery, Made};
use crate::model::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How much is remembered. Both limits are enforced in all but [`LedgerMode::Off`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LedgerMode {
    /// Each message and each arrival, for tests.
    #[default]
    Full,
    /// Counts, gaps and windows, for long runs.
    Light,
    /// Two counters, for measuring something else.
    Off,
}

/// The limits that are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The shortest time between two arrivals of one account.
    pub account_interval: Duration,
    /// The most arrivals of one company in any `corp_window`.
    pub corp_limit: u64,
    /// An hour at the real platform.
    pub corp_window: Duration,
}

/// Everything seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub arrivals: u64,
    /// Messages that a receiver would have on the screen.
    pub effects: u64,
    /// Requests with a wrong key, which are no arrivals.
    pub unauthorized: u64,
    /// Calls that send nothing, by method and path, the list of accounts apart.
    pub calls: BTreeMap<Box<str>, u64>,
    /// Requests to send between arrival and answer, now.
    pub in_flight: u64,
    /// Most of them at once.
    pub in_flight_max: u64,
    /// By the message's token. Only in [`LedgerMode::Full`].
    pub messages: BTreeMap<Box<str>, MessageEntry>,
    /// By `X-Request-Id`, where there is one. Only in [`LedgerMode::Full`].
    pub requests: BTreeMap<Box<str>, MessageEntry>,
    pub accounts: BTreeMap<Box<str>, AccountEntry>,
    pub corps: BTreeMap<Box<str>, CorpEntry>,
    pub callbacks: CallbackLedger,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageEntry {
    pub arrivals: u32,
    pub effects: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountEntry {
    pub arrivals: u64,
    pub smallest_gap: Option<Duration>,
    /// Arrivals sooner than the interval after the one before.
    pub violations: u64,
    /// In order. Only in [`LedgerMode::Full`].
    pub history: Vec<Arrived>,
    last_at: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorpEntry {
    pub arrivals: u64,
    /// Most arrivals in any window.
    pub largest_window: u64,
    /// Arrivals beyond the limit.
    pub violations: u64,
    window: VecDeque<Time>,
}

/// One arrival in an account's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub at: Time,
    /// The message's token.
    pub message: Box<str>,
    /// `X-Request-Id` as it came.
    pub request_id: Option<Box<str>>,
}

impl Ledger {
    /// Arrivals that broke a limit. One that broke both counts twice.
    pub fn violations(&self) -> u64 {
        let accounts: u64 = self.accounts.values().map(|entry| entry.violations).sum();
        let corps: u64 = self.corps.values().map(|entry| entry.violations).sum();
        accounts + corps
    }

    /// The smallest gap of any account.
    pub fn smallest_gap(&self) -> Option<Duration> {
        self.accounts.values().filter_map(|entry| entry.smallest_gap).min()
    }

    /// The messages that took effect more than once.
    pub fn repeated(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().filter(|(_, entry)| entry.effects > 1).map(|(message, _)| &**message)
    }
}

/// What an arrival broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    pub too_soon: bool,
    pub window_full: bool,
}

impl Ruling {
    pub fn is_violation(self) -> bool {
        self.too_soon || self.window_full
    }
}

/// The ledger while it is written.
#[derive(Debug)]
pub struct Book {
    mode: LedgerMode,
    limits: Limits,
    ledger: Ledger,
}

impl Book {
    pub fn new(mode: LedgerMode, limits: Limits) -> Self {
        Self { mode, limits, ledger: Ledger::default() }
    }

    /// Enters an arrival and judges it. `at` must not be before that of the arrival before.
    pub fn arrive(&mut self, account: &str, corp: Option<&str>, arrived: Arrived) -> Ruling {
        self.ledger.arrivals += 1;
        if self.mode == LedgerMode::Off {
            return Ruling::default();
        }
        let at = arrived.at;
        if self.mode == LedgerMode::Full {
            entry(&mut self.ledger.messages, &arrived.message).arrivals += 1;
            if let Some(request) = &arrived.request_id {
                entry(&mut self.ledger.requests, request).arrivals += 1;
            }
            entry(&mut self.ledger.accounts, account).history.push(arrived);
        }
        let too_soon = entry(&mut self.ledger.accounts, account).arrive(at, self.limits.account_interval);
        let window_full = corp.is_some_and(|corp| entry(&mut self.ledger.corps, corp).arrive(at, &self.limits));
        Ruling { too_soon, window_full }
    }

    /// The message reached its receiver, by this request.
    pub fn take_effect(&mut self, message: &str, request: Option<&str>) {
        self.ledger.effects += 1;
        if self.mode == LedgerMode::Full {
            entry(&mut self.ledger.messages, message).effects += 1;
            if let Some(request) = request {
                entry(&mut self.ledger.requests, request).effects += 1;
            }
        }
    }

    /// Enters a callback that is to be posted, and returns its number.
    pub fn enter_callback(&mut self, made: &Made) -> u64 {
        self.ledger.callbacks.enter(made, self.mode == LedgerMode::Full)
    }

    pub fn attempted_callback(&mut self, number: u64, delivery: Delivery, is_first: bool, is_last: bool) {
        self.ledger.callbacks.attempted(number, delivery, is_first, is_last);
    }

    pub fn count_unauthorized(&mut self) {
        self.ledger.unauthorized += 1;
    }

    pub fn count_call(&mut self, call: &str) {
        *self.ledger.calls.entry(Box::from(call)).or_default() += 1;
    }

    pub fn enter(&mut self) {
        self.ledger.in_flight += 1;
        self.ledger.in_flight_max = self.ledger.in_flight_max.max(self.ledger.in_flight);
    }

    pub fn leave(&mut self) {
        self.ledger.in_flight -= 1;
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl AccountEntry {
    /// Whether this arrival is too soon after the one before.
    fn arrive(&mut self, at: Time, interval: Duration) -> bool {
        self.arrivals += 1;
        let Some(last_at) = self.last_at.replace(at) else { return false };
        let gap = at.since(last_at);
        self.smallest_gap = Some(self.smallest_gap.map_or(gap, |smallest| smallest.min(gap)));
        let too_soon = gap < interval;
        self.violations += u64::from(too_soon);
        too_soon
    }
}

impl CorpEntry {
    /// Whether this arrival is one too many in its window.
    fn arrive(&mut self, at: Time, limits: &Limits) -> bool {
        self.arrivals += 1;
        self.window.push_back(at);
        while self.window.front().is_some_and(|first| at.since(*first) >= limits.corp_window) {
            self.window.pop_front();
        }
        let in_window = self.window.len() as u64;
        self.largest_window = self.largest_window.max(in_window);
        let full = in_window > limits.corp_limit;
        self.violations += u64::from(full);
        full
    }
}

/// The entry of `key`, without making a key that is there already.
fn entry<'a, T: Default>(map: &'a mut BTreeMap<Box<str>, T>, key: &str) -> &'a mut T {
    if !map.contains_key(key) {
        map.insert(Box::from(key), T::default());
    }
    map.get_mut(key).expect("inserted above")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { account_interval: Duration::from_millis(500), corp_limit: 3, corp_window: Duration::from_secs(3600) };

    const TOO_SOON: Ruling = Ruling { too_soon: true, window_full: false };
    const FULL: Ruling = Ruling { too_soon: false, window_full: true };

    fn arrived(at_nanos: u64) -> Arrived {
        Arrived { at: Time::from_nanos(at_nanos), message: Box::from("m"), request_id: None }
    }

    #[test]
    fn a_gap_is_judged_to_the_nanosecond() {
        let mut book = Book::new(LedgerMode::Full, LIMITS);
        let second = 1_000_000_000;
        assert_eq!(book.arrive("a", None, arrived(second)), Ruling::default());
        assert_eq!(book.arrive("a", None, arrived(second + 500_000_000)), Ruling::default());
        assert_eq!(book.arrive("b", None, arrived(second + 500_000_001)), Ruling::default());
        assert_eq!(book.arrive("a", None, arrived(second + 999_999_999)), TOO_SOON);
        // What was too soon is an arrival too, and the next gap begins there.
        assert_eq!(book.arrive("a", None, arrived(second + 1_498_999_999)), TOO_SOON);
        assert_eq!(book.arrive("a", None, arrived(second + 1_998_999_999)), Ruling::default());
        let ledger = book.ledger();
        assert_eq!(ledger.violations(), 2);
        assert_eq!(ledger.smallest_gap(), Some(Duration::from_millis(499)));
        assert_eq!(ledger.accounts["a"].history.len(), 5);
        assert_eq!(ledger.accounts["b"].smallest_gap, None);
    }

    #[test]
    fn a_window_slides_and_the_one_too_many_is_caught() {
        let mut book = Book::new(LedgerMode::Light, LIMITS);
        let hour = 3_600_000_000_000;
        let mut at = |nanos, account| book.arrive(account, Some("c"), arrived(nanos));
        for (nanos, account) in [(1, "a"), (2, "b"), (3, "d")] {
            assert_eq!(at(nanos, account), Ruling::default());
        }
        // One nanosecond before the first is an hour old, and exactly then.
        assert_eq!(at(hour, "e"), FULL);
        assert_eq!(at(hour + 3, "f"), Ruling::default());
        assert_eq!(at(hour + 3, "g"), Ruling::default());
        assert_eq!(at(hour + 3, "h"), FULL);
        assert_eq!(book.arrive("i", Some("other"), arrived(hour + 3)), Ruling::default());
        let ledger = book.ledger();
        assert_eq!(ledger.corps["c"].largest_window, 4);
        assert_eq!(ledger.corps["c"].violations, 2);
        assert_eq!(ledger.violations(), 2);
        assert!(ledger.messages.is_empty());
        assert!(ledger.accounts["a"].history.is_empty());
    }

    #[test]
    fn effects_are_counted_per_message() {
        let mut book = Book::new(LedgerMode::Full, LIMITS);
        book.arrive("a", None, arrived(0));
        book.arrive("b", None, Arrived { message: Box::from("n"), ..arrived(0) });
        for message in ["m", "n", "m"] {
            book.take_effect(message, None);
        }
        assert_eq!(book.ledger().repeated().collect::<Vec<_>>(), ["m"]);
        assert_eq!(book.ledger().messages["n"], MessageEntry { arrivals: 1, effects: 1 });
        assert_eq!(book.ledger().effects, 3);
    }

    #[test]
    fn off_counts_and_judges_nothing() {
        let mut book = Book::new(LedgerMode::Off, LIMITS);
        for _ in 0..9 {
            assert_eq!(book.arrive("a", Some("c"), arrived(0)), Ruling::default());
        }
        assert_eq!(book.ledger(), &Ledger { arrivals: 9, ..Ledger::default() });
    }
}
