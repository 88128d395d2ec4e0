//! What the virtual disk keeps of callbacks, and what it tells of a message.

use super::disk::{Kept, moved};
use super::promises::{Promise, Violation, broken};
use crate::model::{Account, CALLBACK_WINDOW, Callback, Message, MessageReport, Record, State, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Times are kept without shifts, like all of the disk's.
#[derive(Default)]
pub struct Reports {
    /// In the order in which they came, with their time.
    pub callbacks: Vec<(Time, Arc<Callback>)>,
    pub open: BTreeSet<u64>,
    pub event_last: u64,
    offline: BTreeMap<Account, Time>,
    cool_downs: BTreeMap<Account, (Time, Time, u32)>,
}

impl Reports {
    /// Takes a record about callbacks or about how an account stands; `shifted` is what to take off its times.
    pub fn append(&mut self, record: Record, shifted: i128) -> Result<(), Violation> {
        match record {
            Record::Reported { number, at, callback } => {
                if number != self.event_last + 1 {
                    return broken(Promise::Durable, format!("events begin at {number} after {}", self.event_last));
                }
                if self.callbacks.iter().any(|(_, kept)| kept.key == callback.key) {
                    return broken(Promise::Once, format!("callback {:?} is kept twice", callback.key));
                }
                self.event_last += callback.events.len() as u64;
                self.open.extend(number..=self.event_last);
                self.callbacks.push((moved(at, -shifted), callback));
            }
            Record::EventPublished { number } if !self.open.remove(&number) => {
                return broken(Promise::Kept, format!("event {number} is closed and not open"));
            }
            Record::Presence { account, online: true, .. } => drop(self.offline.remove(&account)),
            Record::Presence { account, at, .. } => drop(self.offline.insert(account, moved(at, -shifted))),
            Record::CooledDown { account, at, until, times } => {
                self.cool_downs.insert(account, (moved(at, -shifted), moved(until, -shifted), times));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a start hears first.
    pub fn replay_accounts(&self, shifted: i128, records: &mut Vec<Record>) {
        records.extend(self.offline.iter().map(|(account, at)| {
            let (account, at) = (account.clone(), moved(*at, shifted));
            Record::Presence { account, at, online: false }
        }));
        records.extend(self.cool_downs.iter().filter(|(_, (_, _, times))| *times > 0).map(
            |(account, (at, until, times))| {
                let (account, at, until) = (account.clone(), moved(*at, shifted), moved(*until, shifted));
                Record::CooledDown { account, at, until, times: *times }
            },
        ));
    }

    /// What a start hears last.
    pub fn replay(&self, now: Time, window: Duration, shifted: i128, records: &mut Vec<Record>) {
        let window = window.max(CALLBACK_WINDOW);
        for (at, callback) in &self.callbacks {
            let at = moved(*at, shifted);
            if now.since(at) <= window {
                let callback = Arc::new(Callback { events: Vec::new(), ..Callback::clone(callback) });
                records.push(Record::Reported { number: 0, at, callback });
            }
        }
        records.extend(self.open.iter().map(|number| Record::EventOpen { number: *number }));
    }
}

/// What a journal's reader would show of a message.
pub fn report(kept: &Kept) -> MessageReport {
    let Message { seq, received_at, request, retry, .. } = &*kept.message;
    let outcome = kept.outcome.as_ref();
    MessageReport {
        seq: seq.0,
        id: serde_json::from_str(request.id.as_json()).unwrap_or_default(),
        account: request.account.clone(),
        kind: request.kind.to_string(),
        tag: None,
        received_at: *received_at,
        state: outcome.map_or(State::Queued, |outcome| outcome.state),
        attempts: u32::try_from(kept.attempts.len()).unwrap_or_default(),
        possibly_duplicate: outcome.is_some_and(|outcome| outcome.possibly_duplicate),
        retry_of: retry.map(|retry| retry.of.0),
        priority: None,
        expires_at: None,
        position: None,
        reason: None,
        hold: None,
        until: None,
        expected_at: None,
        finished_at: outcome.map(|outcome| outcome.at),
        answered: outcome.map(|_| kept.answered),
        msg_id: outcome.and_then(|outcome| outcome.msg_id.as_deref()).map(str::to_owned),
        error: None,
        receipt: None,
        history: None,
    }
}
