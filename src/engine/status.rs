//! What the engine can say about itself.

use super::Engine;
use super::tables::{AccountKey, DedupKey, IdKey};
use crate::model::{Account, HoldReason, MessageId, Seq, State, Time};
use serde_json::{Value, json};

/// Counts since the start of the process; what was restored counts as accepted.
///
/// Invariants: received = rejected + duplicate + accepted (without the restored), and accepted = the sum over all
/// states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: u64,
    pub rejected: u64,
    pub duplicate: u64,
    pub accepted: u64,
    /// Of the accepted, those that an earlier life of the process took.
    pub restored: u64,
    pub states: StateCounts,
}

impl Counters {
    /// Whether everything that came in is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.received + self.restored == self.rejected + self.duplicate + self.accepted
            && self.accepted == self.states.total()
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
        assert!(self.0[from as usize] > 0, "a message left a state that none was in");
        self.0[from as usize] -= 1;
        self.0[to as usize] += 1;
    }

    fn total(&self) -> u64 {
        self.0.iter().sum()
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
    pub(super) fn set(&mut self, now: bool) -> Edge {
        match (std::mem::replace(&mut self.0, now), now) {
            (false, true) => Edge::Rose,
            (true, false) => Edge::Fell,
            (true, true) | (false, false) => Edge::None,
        }
    }
}

impl Engine {
    pub fn counters(&self) -> Counters {
        self.counters
    }

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
        self.ids.range((id, 0, Seq(0))..=(id, DedupKey::MAX, Seq(u64::MAX))).map(|(_, _, seq)| *seq)
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

    /// What is known of an account: where it belongs, what waits, and why.
    pub(super) fn describe_account(&mut self, key: AccountKey) -> Value {
        let now = self.now;
        let sent_last_hour = self.account_mut(key).minutes.as_mut().map_or(0, |minutes| minutes.total(now));
        let account = self.account(key);
        let mut data = json!({
            "account": account.name.as_str(),
            "corp": account.corp.map(|corp| self.corps[corp.index()].name.as_str()),
            "sender": account.sender.map(|sender| self.senders[sender.index()].name.as_str()),
            "queued": account.queue.len() + account.scheduled as usize,
            "sending": account.in_flight,
            "sentLastHour": sent_last_hour,
            "intervalMs": self.spacing.interval(key).as_millis() as u64,
        });
        let Some(object) = data.as_object_mut() else { return data };
        let head = account.queue.first().and_then(|rank| self.waiting_for(rank.1));
        let state = match (&head, account.in_flight) {
            (_, sending) if sending > 0 => "sending",
            (Some(_), _) => "waiting",
            (None, _) => "idle",
        };
        object.insert("state".to_owned(), json!(state));
        if let Some((reason, until)) = head.filter(|_| account.in_flight == 0) {
            insert_reason(object, &reason, until);
            object.insert("nextSendAt".to_owned(), json!(until.map(|at| at.to_string())));
        }
        if let Some(corp) = account.corp {
            let hour = self.hours.status(corp, now);
            object.insert(
                "hour".to_owned(),
                json!({ "used": hour.used, "limit": hour.limit, "reserve": hour.reserve,
                        "nextFreeAt": hour.free_at.map(|at| at.to_string()) }),
            );
        }
        data
    }

    /// Counts and conditions for the reply to `health`.
    pub fn health(&self) -> Value {
        let counters = &self.counters;
        let states: serde_json::Map<String, Value> =
            State::ALL.iter().map(|state| (state.as_str().to_owned(), json!(counters.states.get(*state)))).collect();
        let senders: Vec<Value> = self
            .senders
            .iter()
            .map(|sender| {
                json!({
                    "name": sender.name.as_str(),
                    "inFlight": sender.in_flight,
                    "connections": sender.connections,
                    "state": if sender.unauthorized { "unauthorized" }
                        else if sender.breaker.is_open() { "down" } else { "up" },
                    "retryAt": sender.breaker.opens_at(self.now).map(|at| at.to_string()),
                })
            })
            .collect();
        json!({
            "at": self.now.to_string(),
            "received": counters.received,
            "rejected": counters.rejected,
            "duplicate": counters.duplicate,
            "accepted": counters.accepted,
            "restored": counters.restored,
            "states": states,
            "balanced": counters.is_balanced(),
            "queuedBytes": self.live_bytes,
            "answersOpen": self.outbox.len(),
            "broker": { "outgoing": if self.outbox.is_connected() { "up" } else { "down" } },
            "senders": senders,
            "holds": self.holds.len(),
            "blocks": self.blocks.len(),
            "storageLow": self.storage_low,
            "mode": self.mode(),
        })
    }
}

fn insert_reason(object: &mut serde_json::Map<String, Value>, reason: &HoldReason, until: Option<Time>) {
    object.insert("reason".to_owned(), json!(reason.as_str()));
    if let HoldReason::Paused(hold) = reason {
        object.insert("hold".to_owned(), json!(hold.0));
    }
    if let Some(until) = until {
        object.insert("until".to_owned(), json!(until.to_string()));
    }
}
