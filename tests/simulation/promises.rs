//! What the bridge promises, and the receiver that sees whether the limits hold.

use crate::model::{Account, Corp, Time};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// An acknowledged message survives, ends once and is answered.
    Kept,
    /// What is said of a message is so.
    True,
    /// Nothing is requested twice that may have worked, unless its publisher wants it and it is flagged.
    Once,
    /// The spacing of accounts and the hour of companies, as the receiver sees them.
    Limits,
    /// What the limits allow is used while something waits.
    Used,
    /// First come, first served within account and priority; and evenly between accounts.
    Ordered,
    /// One that is away or slow delays no other.
    Prompt,
    /// The counts add up.
    Seen,
    /// Nothing leaves before what it rests on is on disk.
    Durable,
    /// What is paused is not sent, what is blocked or drained is not taken.
    Held,
    /// The engine neither spins nor gets stuck.
    Progress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub promise: Promise,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.promise, self.what)
    }
}

pub fn broken<T>(promise: Promise, what: String) -> Result<T, Violation> {
    Err(Violation { promise, what })
}

pub const HOUR: Duration = Duration::from_secs(3600);

/// What arrived, as the platform sees it.
pub struct Receiver {
    pub interval: Duration,
    pub per_hour: usize,
    /// Spacing counted from the request proves nothing at the receiver, so it is not looked at here.
    pub proves_spacing: bool,
    last: BTreeMap<Account, Time>,
    hours: BTreeMap<Corp, VecDeque<(Time, Account)>>,
}

impl Receiver {
    pub fn new(interval: Duration, per_hour: usize, proves_spacing: bool) -> Self {
        Self { interval, per_hour, proves_spacing, last: BTreeMap::new(), hours: BTreeMap::new() }
    }

    /// A request arrived that was made for an account of this company.
    pub fn arrive(&mut self, account: &Account, corp: &Corp, now: Time) -> Result<(), Violation> {
        if let Some(last) = self.last.insert(account.clone(), now)
            && self.proves_spacing
            && now.since(last) < self.interval
        {
            return broken(Promise::Limits, format!("{account} sends {:?} after its last send", now.since(last)));
        }
        let hour = self.hours.entry(corp.clone()).or_default();
        hour.push_back((now, account.clone()));
        while hour.front().is_some_and(|(at, _)| now.since(*at) > HOUR) {
            hour.pop_front();
        }
        if hour.len() > self.per_hour {
            return broken(Promise::Limits, format!("{corp} sends {} in an hour", hour.len()));
        }
        Ok(())
    }

    /// Sends of the last hour by accounts that belong to the company now, or that were made for it.
    pub fn counted(&self, corp: &Corp, members: impl Fn(&Account) -> bool, now: Time) -> usize {
        let recent = |at: &Time| now.since(*at) <= HOUR;
        self.hours
            .iter()
            .map(|(other, hour)| {
                hour.iter().filter(|(at, account)| recent(at) && (other == corp || members(account))).count()
            })
            .sum()
    }
}
