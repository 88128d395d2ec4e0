//! What the engine can say about itself.

use super::Engine;
use super::tables::IdKey;
use crate::model::{Account, MessageId, Seq, State};

/// Counts since the start of the process; what was restored counts as received and accepted at the start.
///
/// Invariants: received = rejected + duplicate + accepted, and accepted = the sum over all states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: u64,
    pub rejected: u64,
    pub duplicate: u64,
    pub accepted: u64,
    /// Of the received and accepted, those that an earlier life of the process took.
    pub restored: u64,
    pub states: StateCounts,
}

impl Counters {
    /// Whether everything that came in is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.received == self.rejected + self.duplicate + self.accepted && self.accepted == self.states.total()
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, |one, other| one + other)
    }

    /// `other` is a part of this, or the books are wrong and stay so.
    pub(super) fn minus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    fn with(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            received: combine(self.received, other.received),
            rejected: combine(self.rejected, other.rejected),
            duplicate: combine(self.duplicate, other.duplicate),
            accepted: combine(self.accepted, other.accepted),
            restored: combine(self.restored, other.restored),
            states: self.states.with(&other.states, combine),
        }
    }
}

/// How many messages are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts([u64; State::ALL.len()]);

impl StateCounts {
    pub fn get(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    pub(super) fn enter(&mut self, state: State) {
        self.0[state as usize] += 1;
    }

    pub(super) fn change(&mut self, from: State, to: State) {
        // A state that none was in is a mistake of ours: then the sum is wrong from now on, and an alarm says so.
        self.0[from as usize] = self.0[from as usize].saturating_sub(1);
        self.0[to as usize] += 1;
    }

    pub(super) fn add(&mut self, state: State, count: u64) {
        self.0[state as usize] += count;
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn with(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|index| combine(self.0[index], other.0[index])))
    }
}

/// Remembers a condition, to say something only when it changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latch(bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Rose,
    Fell,
    None,
}

impl Latch {
    pub(super) fn is_set(self) -> bool {
        self.0
    }

    pub(super) fn set(&mut self, now: bool) -> Edge {
        match (std::mem::replace(&mut self.0, now), now) {
            (false, true) => Edge::Rose,
            (true, false) => Edge::Fell,
            (true, true) | (false, false) => Edge::None,
        }
    }
}

impl Engine {
    /// Live messages with this id, of one account if one is named.
    pub(super) fn live_with_id(&self, id: &MessageId, account: Option<&Account>) -> Vec<Seq> {
        let id = super::accept::id_key(id);
        let account = account.map(|name| self.account_keys.get(name));
        let mut found: Vec<Seq> = self
            .with_id(id)
            .filter(|seq| match (self.live.get(seq), account) {
                (Some(live), Some(wanted)) => wanted == Some(&live.account),
                (Some(_), None) => true,
                (None, _) => false,
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Live and past messages with this id.
    pub(super) fn with_id(&self, id: IdKey) -> impl Iterator<Item = Seq> {
        let id_of = |seq: &Seq| {
            let live = self.live.get(seq).map(|live| live.dedup.id);
            live.or_else(|| self.past.get(seq).map(|past| past.dedup.id))
        };
        self.ids.of_id(id).filter(move |seq| id_of(seq) == Some(id))
    }

    /// Live and past messages with this id, of one account if one is named, in ascending order.
    pub(super) fn known_with_id(&self, id: &MessageId, account: Option<&Account>) -> Vec<Seq> {
        let account = account.map(|name| self.account_keys.get(name));
        let account_of = |seq: &Seq| {
            let live = self.live.get(seq).map(|live| &live.account);
            live.or_else(|| self.past.get(seq).map(|past| &past.account))
        };
        let mut known: Vec<Seq> = self.with_id(super::accept::id_key(id)).collect();
        known.retain(|seq| account_of(seq).is_some_and(|of| account.is_none_or(|wanted| wanted == Some(of))));
        known.sort_unstable();
        known
    }
}
