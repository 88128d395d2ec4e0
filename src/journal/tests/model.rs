//! What a journal promises, in the plainest way: lists in memory.

use crate::model::{
    Account, Block, CALLBACK_WINDOW, Callback, Corp, Hold, LastNumbers, LimitChange, LimitOverride, LimitScope,
    Message, NotSent, Outcome, Record, Refusal, SenderName, Seq, TRANSACTION_WINDOW, Time, Verdict,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const SPENT_WINDOW: Duration = Duration::from_secs(3601);
const ATTEMPT_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) message: Message,
    pub(super) attempts: Vec<(Record, Option<Record>)>,
    pub(super) outcome: Option<Outcome>,
    pub(super) answered: bool,
    pub(super) known_from: Option<Time>,
    pub(super) body_erased: bool,
}

impl Life {
    pub(super) fn has_open_attempt(&self) -> bool {
        self.attempts.last().is_some_and(|(_, end)| end.is_none())
    }

    fn close(&mut self, known_from: Option<Time>) {
        self.answered = true;
        self.known_from = known_from.or(self.known_from);
    }

    pub(super) fn is_live(&self, now: Time, dedup_window: Duration) -> bool {
        self.outcome
            .as_ref()
            .is_none_or(|outcome| !self.answered || now.since(self.known_from.unwrap_or(outcome.at)) < dedup_window)
    }
}

struct Attempt {
    seq: Seq,
    attempt: u32,
    account: Account,
    corp: Corp,
    started_at: Time,
    ended_at: Option<Time>,
    /// Whether anything may have reached the sender: else it takes no place in the hour.
    left: bool,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) lives: BTreeMap<Seq, Life>,
    attempts: Vec<Attempt>,
    pub(super) refusals: BTreeMap<u64, (Time, Arc<Refusal>)>,
    pub(super) holds: BTreeMap<u64, Hold>,
    pub(super) blocks: BTreeMap<u64, Block>,
    pub(super) limits: BTreeMap<LimitScope, LimitOverride>,
    located: BTreeMap<Account, (Corp, SenderName, Time)>,
    commands: Vec<(Time, Record)>,
    callbacks: Vec<(Time, Arc<Callback>)>,
    pub(super) open_events: BTreeSet<u64>,
    offline: BTreeMap<Account, Time>,
    cool_downs: BTreeMap<Account, Record>,
    pub(super) last: LastNumbers,
}

impl Model {
    pub(super) fn apply(&mut self, record: &Record) {
        match record.clone() {
            Record::Accepted(message) => {
                self.last.seq = message.seq;
                let message = Arc::unwrap_or_clone(message);
                let (attempts, outcome) = (Vec::new(), None);
                let life = Life { message, attempts, outcome, answered: false, known_from: None, body_erased: false };
                self.lives.insert(life.message.seq, life);
            }
            Record::Blocked(block) => {
                self.last.hold = self.last.hold.max(block.id.0);
                self.blocks.insert(block.id.0, block);
            }
            Record::Unblocked { block, .. } => drop(self.blocks.remove(&block.0)),
            Record::LimitSet(set) if set.change == LimitChange::Configured => drop(self.limits.remove(&set.scope)),
            Record::LimitSet(set) => drop(self.limits.insert(set.scope.clone(), set)),
            Record::Attempted { seq, attempt, at, account, corp, .. } => {
                self.life(seq).attempts.push((record.clone(), None));
                self.attempts.push(Attempt { seq, attempt, account, corp, started_at: at, ended_at: None, left: true });
            }
            Record::Ended { seq, attempt, at, verdict } => {
                self.life(seq).attempts.last_mut().expect("an attempt").1 = Some(record.clone());
                let of = |known: &&mut Attempt| known.seq == seq && known.attempt == attempt;
                let known = self.attempts.iter_mut().find(of).expect("an attempt");
                known.ended_at = Some(at);
                known.left = !matches!(verdict, Verdict::NotSent { why: NotSent::Connect, .. });
            }
            Record::Finished { seq, outcome } => {
                let life = self.life(seq);
                life.outcome = Some(outcome);
                life.answered = false;
                life.known_from = None;
            }
            Record::Readdressed { seq, reply_to, again } => {
                let life = self.life(seq);
                life.message.request.origin.reply_to = reply_to;
                life.answered &= !again;
            }
            Record::Answered { seq, known_from } => self.life(seq).close(known_from),
            Record::Refused { number, at, refusal } => {
                self.last.refusal = number;
                self.refusals.insert(number, (at, refusal));
            }
            Record::RefusalAnswered { number } => drop(self.refusals.remove(&number)),
            Record::Held(hold) => {
                self.last.hold = self.last.hold.max(hold.id.0);
                self.holds.insert(hold.id.0, hold);
            }
            Record::Released { hold, .. } => drop(self.holds.remove(&hold.0)),
            Record::Located { account, corp, sender, at } => {
                self.located.insert(account, (corp, sender, at));
            }
            Record::Commanded { at, .. } => self.commands.push((at, record.clone())),
            Record::Reported { number, at, callback } => {
                self.last.see(record);
                self.open_events.extend(number..number + callback.events.len() as u64);
                let callback = Arc::new(Callback { events: Vec::new(), ..Callback::clone(&callback) });
                self.callbacks.push((at, callback));
            }
            Record::EventPublished { number } => drop(self.open_events.remove(&number)),
            Record::Receipt { seq, receipt } => {
                self.life(seq).outcome.as_mut().expect("an outcome").state = receipt.state;
            }
            Record::Proven { .. } => {}
            Record::Presence { account, online: true, .. } => drop(self.offline.remove(&account)),
            Record::Presence { account, at, .. } => drop(self.offline.insert(account, at)),
            Record::CooledDown { account, times: 0, .. } => drop(self.cool_downs.remove(&account)),
            Record::CooledDown { account, .. } => drop(self.cool_downs.insert(account, record.clone())),
            Record::EventOpen { .. } => unreachable!("never written"),
            Record::Spent { .. } => unreachable!("never written"),
        }
    }

    /// Erases the bodies that a pruning at `now` erases.
    pub(super) fn prune(&mut self, now: Time, body_retention: Duration) {
        for life in self.lives.values_mut() {
            life.body_erased |= life.outcome.as_ref().is_some_and(|outcome| outcome.at < now - body_retention);
        }
    }

    pub(super) fn life(&mut self, seq: Seq) -> &mut Life {
        self.lives.get_mut(&seq).expect("a message")
    }

    pub(super) fn replay(&self, now: Time, dedup_window: Duration) -> Vec<Record> {
        let mut records = Vec::new();
        for (account, (corp, sender, at)) in &self.located {
            let (account, corp, sender) = (account.clone(), corp.clone(), sender.clone());
            records.push(Record::Located { account, corp, sender, at: *at });
        }
        for (account, at) in &self.offline {
            records.push(Record::Presence { account: account.clone(), at: *at, online: false });
        }
        records.extend(self.cool_downs.values().cloned());
        records.extend(self.holds.values().cloned().map(Record::Held));
        records.extend(self.blocks.values().cloned().map(Record::Blocked));
        records.extend(self.limits.values().cloned().map(Record::LimitSet));
        for attempt in &self.attempts {
            let ended_at = attempt.ended_at.unwrap_or(now);
            let is_recent = ended_at >= now - SPENT_WINDOW && attempt.started_at >= now - SPENT_WINDOW - ATTEMPT_MAX;
            if is_recent && attempt.left && !self.lives[&attempt.seq].is_live(now, dedup_window) {
                let (account, corp) = (attempt.account.clone(), attempt.corp.clone());
                records.push(Record::Spent { account, corp, ended_at });
            }
        }
        for life in self.lives.values().filter(|life| life.is_live(now, dedup_window)) {
            let mut message = life.message.clone();
            message.request.body = Bytes::new();
            let seq = message.seq;
            records.push(Record::Accepted(Arc::new(message)));
            for (attempted, ended) in &life.attempts {
                records.push(attempted.clone());
                records.extend(ended.clone());
            }
            let Some(outcome) = life.outcome.clone() else { continue };
            records.push(Record::Finished { seq, outcome });
            if life.answered {
                records.push(Record::Answered { seq, known_from: life.known_from });
            }
        }
        for (number, (at, refusal)) in &self.refusals {
            records.push(Record::Refused { number: *number, at: *at, refusal: refusal.clone() });
        }
        let is_recent = |(at, _): &&(Time, Record)| *at > now - TRANSACTION_WINDOW;
        records.extend(self.commands.iter().filter(is_recent).map(|(_, record)| record.clone()));
        let window = dedup_window.max(CALLBACK_WINDOW);
        for (at, callback) in self.callbacks.iter().filter(|(at, _)| *at >= now - window) {
            records.push(Record::Reported { number: 0, at: *at, callback: Arc::clone(callback) });
        }
        records.extend(self.open_events.iter().map(|number| Record::EventOpen { number: *number }));
        records
    }
}
