//! Arrivals through the real engine, over virtual time.
//!
//! The engine is the bridge's own and cannot tell the difference: it is handed requests and answers, and asked when it
//! has something to do. Nothing is awaited and nothing is random, so the same journal gives the same replay.

use super::summary::{Fate, Request as Made};
use crate::engine::{
    AccountSettings, BrokerLimits, CallSettings, Engine, EventLevel, IdConflict, LimitSettings, MessageSettings,
    SenderSettings, Settings, StatusSettings,
};
use crate::journal::Arrival;
use crate::model::{
    Account, Action, Corp, Input, LastNumbers, Lifetime, MessageId, OnDoubt, Options, Origin, Ready, Record, Request,
    SenderName, Seq, Time, Verdict,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The company of accounts that the journal does not know the company of.
pub(super) const UNKNOWN_CORP: &str = "(unknown)";

/// What the replay assumes.
#[derive(Clone, Debug)]
pub(super) struct Assumptions {
    pub(super) limits: LimitSettings,
    pub(super) corps: BTreeMap<Account, Corp>,
    /// How long the sender takes for each answer.
    pub(super) answer_time: Duration,
    /// Requests in flight, at most.
    pub(super) connections: usize,
    /// Of messages whose own is not known any more.
    pub(super) ttl: Duration,
    /// How many times as fast they arrive.
    pub(super) speed: f64,
}

/// What would have become of all arrivals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    /// In the order of their start.
    pub(super) requests: Vec<Made>,
    /// By position of the arrival.
    pub(super) fates: Vec<Fate>,
    /// When each would have arrived.
    pub(super) received_at: Vec<Time>,
}

/// Replays arrivals, which are in the order of their times.
pub(super) fn replay(arrivals: &[Arrival], assumptions: &Assumptions) -> Replayed {
    let Some(first) = arrivals.first() else { return Replayed::default() };
    let origin = first.received_at;
    let due: Vec<(Time, Request)> = arrivals
        .iter()
        .enumerate()
        .map(|(position, arrival)| {
            let after = arrival.received_at.since(origin).as_secs_f64() / assumptions.speed;
            let at = if assumptions.speed == 1.0 {
                arrival.received_at
            } else {
                origin + Duration::try_from_secs_f64(after).unwrap_or_default()
            };
            (at, request(position, arrival, at))
        })
        .collect();
    let mut world = World {
        engine: Engine::new(settings(arrivals, assumptions), origin, LastNumbers::default()),
        answer_time: assumptions.answer_time,
        answers: BTreeMap::new(),
        answers_last: 0,
        positions: BTreeMap::new(),
        inputs: vec![Input::Connected(true)],
        open: due.len(),
        replayed: Replayed {
            requests: Vec::with_capacity(due.len()),
            fates: vec![Fate::Waiting; due.len()],
            received_at: due.iter().map(|(at, _)| *at).collect(),
        },
    };
    world.engine.start(origin);
    world.run(due);
    world.replayed
}

struct World {
    engine: Engine,
    answer_time: Duration,
    /// Answers on their way, by when they come and in the order of their requests.
    answers: BTreeMap<(Time, u64), Answer>,
    answers_last: u64,
    /// Of the messages on their way.
    positions: BTreeMap<Seq, usize>,
    inputs: Vec<Input>,
    /// Arrivals without a fate.
    open: usize,
    replayed: Replayed,
}

struct Answer {
    seq: Seq,
    attempt: u32,
    request: usize,
}

impl World {
    fn run(&mut self, due: Vec<(Time, Request)>) {
        let mut due = due.into_iter().peekable();
        let mut now = due.peek().map(|(at, _)| *at).unwrap_or_default();
        while self.open > 0 {
            while let Some(entry) = self.answers.first_entry().filter(|entry| entry.key().0 <= now) {
                let Answer { seq, attempt, request } = entry.remove();
                self.replayed.requests[request].ended_at = Some(now);
                let verdict = Verdict::Confirmed { msg_id: None };
                self.inputs.push(Input::Ended { seq, attempt, at: now, verdict });
            }
            while let Some((_, request)) = due.next_if(|(at, _)| *at <= now) {
                self.inputs.push(Input::Request { ticket: None, request: Box::new(request) });
            }
            self.step(now);
            let next = [due.peek().map(|(at, _)| *at), self.answers.keys().next().map(|(at, _)| *at)];
            let Some(next) = next.into_iter().chain([self.engine.poll_timeout()]).flatten().min() else { return };
            now = next.max(now);
        }
    }

    /// Lets the engine decide until it has nothing more to say at this moment.
    fn step(&mut self, now: Time) {
        loop {
            for input in std::mem::take(&mut self.inputs) {
                self.engine.handle(input, now);
            }
            let Ready { records, actions } = self.engine.poll_ready(now);
            for record in records {
                self.note(record);
            }
            for action in actions {
                self.perform(action, now);
            }
            if self.inputs.is_empty() {
                return;
            }
        }
    }

    fn note(&mut self, record: Record) {
        match record {
            Record::Accepted(message) => {
                if let Some(position) = position(&message.request.id) {
                    self.positions.insert(message.seq, position);
                }
            }
            Record::Attempted { seq, at, account, corp, .. } => {
                if let Some(position) = self.positions.get(&seq) {
                    let (position, started_at) = (*position, at);
                    self.replayed.requests.push(Made {
                        position,
                        account,
                        corp,
                        started_at,
                        ended_at: None,
                        written: true,
                    });
                }
            }
            Record::Finished { seq, outcome } => {
                if let Some(position) = self.positions.remove(&seq) {
                    self.replayed.fates[position] = Fate::of(outcome.state);
                    self.open -= 1;
                }
            }
            Record::Refused { refusal, .. } => {
                if let Some(position) = refusal.id.as_ref().and_then(position) {
                    self.replayed.fates[position] = Fate::Expired;
                    self.open -= 1;
                }
            }
            Record::Ended { .. }
            | Record::Readdressed { .. }
            | Record::Answered { .. }
            | Record::RefusalAnswered { .. }
            | Record::Held(_)
            | Record::Released { .. }
            | Record::Blocked(_)
            | Record::Unblocked { .. }
            | Record::LimitSet(_)
            | Record::Located { .. }
            | Record::Commanded { .. }
            | Record::Reported { .. }
            | Record::EventPublished { .. }
            | Record::EventOpen { .. }
            | Record::Receipt { .. }
            | Record::Proven { .. }
            | Record::Presence { .. }
            | Record::CooledDown { .. }
            | Record::Spent { .. } => {}
        }
    }

    fn perform(&mut self, action: Action, now: Time) {
        match action {
            Action::Send { seq, attempt, .. } => {
                let position = self.positions.get(&seq).copied();
                let request = self.replayed.requests.iter().rposition(|made| Some(made.position) == position);
                if let Some(request) = request {
                    self.answers_last += 1;
                    let due = (now + self.answer_time, self.answers_last);
                    self.answers.insert(due, Answer { seq, attempt, request });
                }
            }
            Action::Publish(what) => self.inputs.push(Input::Published { what, refused: None }),
            Action::Acknowledge(_)
            | Action::Event(_)
            | Action::Reply(_)
            | Action::Lookup(_)
            | Action::Holds(..)
            | Action::Status(_)
            | Action::LogLevel(_)
            | Action::Alarm(_)
            | Action::RefreshDirectory { .. }
            | Action::CallbackTaken(_)
            | Action::CallbackRefused(_)
            | Action::Intake { .. }
            | Action::Call(_) => {}
        }
    }
}

/// The message of an arrival. Its id is the position, so that no two are one.
fn request(position: usize, arrival: &Arrival, at: Time) -> Request {
    let shifted = |time: Time| at + time.since(arrival.received_at);
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&(position as u64).to_le_bytes());
    Request {
        id: MessageId::from_json(&position.to_string()),
        kind: Arc::from("text"),
        account: arrival.account.clone(),
        conversation: Box::default(),
        origin: Origin::default(),
        options: Options {
            priority: arrival.priority,
            not_before: arrival.not_before.map(shifted),
            lifetime: arrival.expires_at.map(|time| Lifetime::Until(shifted(time))),
            ..Options::default()
        },
        fingerprint,
        shown: None,
        body: Bytes::new(),
    }
}

fn position(id: &MessageId) -> Option<usize> {
    id.as_json().parse().ok()
}

fn settings(arrivals: &[Arrival], assumptions: &Assumptions) -> Settings {
    let sender = SenderName::new("simulated");
    let unknown = Corp::new(UNKNOWN_CORP);
    let mut accounts: BTreeMap<&Account, Corp> = BTreeMap::new();
    for arrival in arrivals {
        let corp = assumptions.corps.get(&arrival.account).unwrap_or(&unknown);
        accounts.entry(&arrival.account).or_insert_with(|| corp.clone());
    }
    let accounts = accounts.into_iter().map(|(account, corp)| AccountSettings {
        account: account.clone(),
        corp: Some(corp),
        sender: Some(sender.clone()),
    });
    Settings {
        accounts: accounts.collect(),
        senders: vec![SenderSettings {
            name: sender.clone(),
            connections: assumptions.connections,
            callbacks: false,
            doubt_window: Duration::ZERO,
            default_corp: Some(unknown.clone()),
            calls: CallSettings::default(),
        }],
        info: serde_json::Value::Null,
        health_interval: None,
        broker_backlog_alarm: 0,
        broker_limits: BrokerLimits::default(),
        status: StatusSettings { per_second: 0, accounts_max: 1, idle: Duration::ZERO },
        limits: LimitSettings { ahead: Duration::ZERO, ..assumptions.limits.clone() },
        messages: MessageSettings {
            ttl: assumptions.ttl,
            dedup_window: Duration::ZERO,
            id_conflict: IdConflict::Accept,
            on_doubt: OnDoubt::Report,
            resends_max: 0,
            // What was accepted is not refused by a queue that a journal does not show.
            queue_messages: usize::MAX,
            queue_bytes: u64::MAX,
            queue_time: None,
            unknown_account_grace: Duration::from_secs(3600),
        },
        events: EventLevel::Off,
        publish_window: 1000,
    }
}
