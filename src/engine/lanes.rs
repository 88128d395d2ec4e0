//! The accounts that could send now through one server, company by company.
//!
//! Every decision about who goes first is here and nowhere else, so that a forecast decides as the schedule does.

use super::tables::{AccountKey, CorpKey, Rank, SenderKey};
use crate::model::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What one level of priority is worth between accounts: that much longer waiting. Nothing starves, because every
/// account's wait grows without end.
const HEAD_START: Duration = Duration::from_secs(5);
/// From this priority on a message may use the reserve of its company's hour.
const URGENT: u8 = 8;

/// Smaller goes first: the moment since when it waits, with a head start for priority.
pub(super) type Order = u64;

/// What a company's hour has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    All,
    /// Only the reserve is left.
    Urgent,
    Nothing,
}

impl Open {
    /// What is left once a message was refused a place.
    pub(super) fn after_refusal(urgent: bool) -> Self {
        if urgent { Self::Nothing } else { Self::Urgent }
    }

    pub(super) fn lets(self, urgent: bool) -> bool {
        match self {
            Self::All => true,
            Self::Urgent => urgent,
            Self::Nothing => false,
        }
    }
}

/// One account in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) order: Order,
    pub(super) account: AccountKey,
    pub(super) urgent: bool,
}

impl Entry {
    /// An account that waits since then for a message of this rank.
    pub(super) fn new(account: AccountKey, since: Time, rank: Rank) -> Self {
        let head_start_nanos = u64::try_from(HEAD_START.as_nanos()).unwrap_or(u64::MAX);
        let order = since.as_nanos() + u64::from(9 - rank.priority()) * head_start_nanos;
        Self { order, account, urgent: is_urgent(rank) }
    }
}

pub(super) fn is_urgent(rank: Rank) -> bool {
    rank.priority() >= URGENT
}

/// The accounts of one company.
#[derive(Clone, Debug, Default)]
struct Lane {
    ready: BTreeSet<Entry>,
    /// Those whose next message is urgent: the reserve is theirs too.
    urgent: BTreeSet<Entry>,
    /// Under which order it stands in `heads`.
    head: Option<Order>,
}

impl Lane {
    /// Its first account among those that `open` lets go.
    fn first(&self, open: Open) -> Option<Entry> {
        let urgent = self.urgent.first().copied();
        let ready = self.ready.first().copied();
        match open {
            Open::Nothing => None,
            Open::Urgent => urgent,
            Open::All => match (urgent, ready) {
                (Some(urgent), Some(ready)) => Some(urgent.min(ready)),
                (urgent, ready) => urgent.or(ready),
            },
        }
    }
}

/// All lanes of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<CorpKey, Lane>,
    /// The lanes that may go, by the order of their first account.
    heads: BTreeSet<(Order, CorpKey)>,
}

impl Lanes {
    pub(super) fn insert(&mut self, corp: CorpKey, open: Open, entry: Entry) {
        let lane = self.lanes.entry(corp).or_default();
        let set = if entry.urgent { &mut lane.urgent } else { &mut lane.ready };
        set.insert(entry);
        self.refresh(corp, open);
    }

    pub(super) fn remove(&mut self, corp: CorpKey, open: Open, entry: Entry) {
        if let Some(lane) = self.lanes.get_mut(&corp) {
            let set = if entry.urgent { &mut lane.urgent } else { &mut lane.ready };
            set.remove(&entry);
        }
        self.refresh(corp, open);
    }

    /// Puts the company's lane where its first account belongs among the others.
    pub(super) fn refresh(&mut self, corp: CorpKey, open: Open) {
        let Some(lane) = self.lanes.get_mut(&corp) else { return };
        let head = lane.first(open).map(|entry| entry.order);
        if head != lane.head {
            if let Some(old) = lane.head {
                self.heads.remove(&(old, corp));
            }
            if let Some(new) = head {
                self.heads.insert((new, corp));
            }
            lane.head = head;
        }
    }

    /// The lane whose first account waits longest.
    pub(super) fn first(&self) -> Option<(Order, CorpKey)> {
        self.heads.first().copied()
    }

    /// The first account of a company among those that `open` lets go.
    pub(super) fn first_of(&self, corp: CorpKey, open: Open) -> Option<Entry> {
        self.lanes.get(&corp)?.first(open)
    }
}

/// Among the servers that have room, the lane that waits longest.
pub(super) fn next_lane<'a>(servers: impl Iterator<Item = (SenderKey, &'a Lanes)>) -> Option<(SenderKey, CorpKey)> {
    let candidates = servers.filter_map(|(server, lanes)| lanes.first().map(|(order, corp)| (order, server, corp)));
    candidates.min().map(|(_, server, corp)| (server, corp))
}
