//! What the engine can say about itself.

use super::Engine;
use super::tables::{AccountKey, DedupKey, IdKey, Phase};
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

    /// Notes that a message of the account went from one state to another.
    pub(super) fn change_state(&mut self, account: AccountKey, from: State, to: State) {
        self.counters.states.change(from, to);
        let state = self.account_mut(account);
        state.in_doubt += u32::from(to == State::InDoubt);
        state.in_doubt -= u32::from(from == State::InDoubt);
        self.touch(account);
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

    /// What is known of a live message without its text.
    pub(super) fn describe_live(&self, seq: Seq) -> Value {
        let Some(live) = self.live.get(&seq) else { return Value::Null };
        let mut data = json!({
            "state": live.state().as_str(),
            "attempts": live.attempts,
            "priority": live.priority,
            "expiresAt": live.expires_at.to_string(),
        });
        let Some(object) = data.as_object_mut() else { return data };
        if live.possibly_duplicate {
            object.insert("possiblyDuplicate".to_owned(), json!(true));
        }
        match live.phase {
            Phase::Queued | Phase::Scheduled => {
                let queue = &self.account(live.account).queue;
                if live.phase == Phase::Queued {
                    object.insert("position".to_owned(), json!(queue.range(..live.rank(seq)).count() + 1));
                }
                if let Some((reason, until)) = self.waiting_for(seq) {
                    insert_reason(object, &reason, until);
                }
            }
            Phase::InDoubt(until) => {
                object.insert("until".to_owned(), json!(until.unwrap_or(live.expires_at).to_string()));
            }
            Phase::Sending => {}
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
            "storageLow": self.storage_low,
            "stopping": self.stopping,
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
