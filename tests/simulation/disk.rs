//! The virtual disk: what was committed, checked record by record, and fed back at a start as a journal would.

use super::promises::{Promise, Violation, broken};
use super::reports::{Reports, report};
use crate::engine::EVIDENCE_KEPT;
use crate::model::{
    Account, Block, Corp, Findings, Found, Hold, HoldId, LimitChange, LimitOverride, LimitScope, Lookup, Message,
    MessageId, MessagesReport, NotSent, OnDoubt, Outcome, Question, Receipt, Record, Refusal, Request, Retry, Scope,
    SenderName, Seq, Settled, State, Time, Verdict,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
pub struct Disk {
    pub messages: BTreeMap<Seq, Kept>,
    pub refusals: BTreeMap<u64, KeptRefusal>,
    pub holds: BTreeMap<HoldId, Hold>,
    pub blocks: BTreeMap<HoldId, Block>,
    pub limits: BTreeMap<LimitScope, LimitOverride>,
    pub located: BTreeMap<Account, (Corp, SenderName, Time)>,
    commanded: Vec<Record>,
    hold_last: u64,
    pub reports: Reports,
    /// All shifts of all starts. Times are kept without them: each life wrote on an axis of its own, and one shift would
    /// be right for the last life only.
    pub(super) shifted_nanos: i128,
    pub unfinished: usize,
    pub unanswered: usize,
    pub(super) lives: u32,
    /// What the clock shows.
    pub(super) clock: Time,
    /// The clock at the last commit: what it showed, and the true time.
    pub anchor: Option<(Time, Time)>,
    /// What people said became of messages with an id.
    pub words: Vec<(MessageId, Settled)>,
    /// The waiting and open messages of each account, first to go first.
    queues: BTreeMap<Account, BTreeSet<(u8, Seq)>>,
}

pub struct Kept {
    pub message: Arc<Message>,
    pub attempts: Vec<Attempt>,
    pub outcome: Option<Outcome>,
    /// The true time of its end, or of its answer where that was clearly later: so long a repeat is known from then on.
    pub(super) known_from: Time,
    pub answered: bool,
    /// In which life it ended, and whether it was answered since.
    pub(super) ended_in: u32,
    pub(super) told: bool,
    /// The latter on the journal's axis.
    pub(super) counted_from: Option<Time>,
    pub(super) again: bool,
    /// Whether a callback proves that it was sent.
    pub proven: bool,
}

pub struct Attempt {
    pub number: u32,
    pub at: Time,
    pub corp: Corp,
    pub flagged: bool,
    pub end: Option<(Time, Verdict)>,
}

pub struct KeptRefusal {
    pub at: Time,
    pub refusal: Arc<Refusal>,
    pub answered: bool,
}

impl Kept {
    pub fn open_attempt(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.end.is_none())
    }

    fn rank(&self) -> (u8, Seq) {
        (9 - self.message.priority, self.message.seq)
    }
}

/// A commit takes less, so this much may lie between a decision and its record.
const COMMIT_MAX: Duration = Duration::from_secs(1);

pub fn moved(at: Time, nanos: i128) -> Time {
    Time::from_nanos(u64::try_from(i128::from(at.as_nanos()) + nanos).unwrap_or_default())
}

fn same(a: &Request, b: &Request) -> bool {
    a.id == b.id && a.account == b.account && a.origin.suffix == b.origin.suffix && a.fingerprint == b.fingerprint
}

impl Disk {
    /// Messages that are the same request as this one.
    pub fn same_as<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = &'a Kept> {
        self.messages.values().filter(|kept| same(&kept.message.request, request))
    }

    pub fn numbers(&self) -> crate::model::LastNumbers {
        crate::model::LastNumbers {
            seq: self.messages.last_key_value().map_or(Seq(0), |(seq, _)| *seq),
            refusal: self.refusals.last_key_value().map_or(0, |(number, _)| *number),
            hold: self.hold_last,
            event: self.reports.event_last,
        }
    }

    /// Takes one record at the true time `now`, and says which promise it breaks.
    pub fn append(&mut self, record: Record, dedup_window: Duration, now: Time) -> Result<(), Violation> {
        if let Record::Finished { seq, .. } | Record::Readdressed { seq, .. } = &record {
            self.still_there(*seq, dedup_window.max(EVIDENCE_KEPT))?;
        }
        match record {
            Record::Accepted(message) => self.accepted(message, dedup_window, now)?,
            Record::Attempted { seq, attempt, at, account, corp, possibly_duplicate } => {
                self.attempted(seq, attempt, at, &account, corp, possibly_duplicate)?;
            }
            Record::Ended { seq, attempt, at, verdict } => {
                let open = self.messages.get_mut(&seq).and_then(|kept| kept.attempts.last_mut());
                match open {
                    Some(open) if open.number == attempt && open.end.is_none() => {
                        open.end = Some((moved(at, -self.shifted_nanos), verdict));
                    }
                    _ => return broken(Promise::Durable, format!("the end of {seq}/{attempt}, which was not open")),
                }
            }
            Record::Finished { seq, outcome } => self.finished(seq, outcome, now)?,
            Record::Readdressed { seq, again, .. } => self.readdressed(seq, again)?,
            Record::Answered { seq, known_from } => self.answered(seq, known_from, now)?,
            Record::Refused { number, at, refusal } => {
                self.unanswered += 1;
                self.refusals.insert(number, KeptRefusal { at, refusal, answered: false });
            }
            Record::RefusalAnswered { number } => match self.refusals.get_mut(&number) {
                Some(kept) => self.unanswered -= usize::from(!std::mem::replace(&mut kept.answered, true)),
                None => return broken(Promise::Kept, format!("refusal {number} is answered and not kept")),
            },
            Record::Blocked(block) => {
                self.hold_last = self.hold_last.max(block.id.0);
                self.blocks.insert(block.id, block);
            }
            Record::Unblocked { block, .. } => {
                self.blocks.remove(&block);
            }
            Record::LimitSet(set) if set.change == LimitChange::Configured => {
                self.limits.remove(&set.scope);
            }
            Record::LimitSet(set) => {
                self.limits.insert(set.scope.clone(), set);
            }
            Record::Held(hold) => {
                self.hold_last = self.hold_last.max(hold.id.0);
                self.holds.insert(hold.id, hold);
            }
            Record::Released { hold, .. } => {
                self.holds.remove(&hold);
            }
            Record::Located { account, corp, sender, at } => {
                self.located.insert(account, (corp, sender, at));
            }
            Record::Commanded { .. } => self.commanded.push(record),
            Record::Reported { .. }
            | Record::EventPublished { .. }
            | Record::Presence { .. }
            | Record::CooledDown { .. } => self.reports.append(record, self.shifted_nanos)?,
            Record::Receipt { seq, receipt } => self.receipt(seq, receipt)?,
            Record::Proven { seq, .. } => match self.messages.get_mut(&seq) {
                Some(kept) => kept.proven = true,
                None => return broken(Promise::Durable, format!("a proof for {seq}, which is not kept")),
            },
            Record::EventOpen { .. } => return broken(Promise::Durable, "an open event is only replayed".to_owned()),
            Record::Spent { .. } => return broken(Promise::Durable, "spent is only replayed".to_owned()),
        }
        Ok(())
    }

    fn accepted(&mut self, message: Arc<Message>, dedup_window: Duration, now: Time) -> Result<(), Violation> {
        let seq = message.seq;
        if self.messages.last_key_value().is_some_and(|(last, _)| *last >= seq) {
            return broken(Promise::Durable, format!("number {seq} was used before"));
        }
        let known = |kept: &&Kept| kept.outcome.is_none() || kept.known_from + dedup_window > now + COMMIT_MAX;
        let again = self.same_as(&message.request).filter(known).last();
        match (again, message.retry) {
            (Some(kept), None) => return broken(Promise::Once, format!("{seq} is {} again", kept.message.seq)),
            (_, Some(retry)) => self.retried(&message, retry)?,
            (None, None) => {}
        }
        let queue = self.queues.entry(message.request.account.clone()).or_default();
        queue.insert((9 - message.priority, seq));
        self.unfinished += 1;
        let kept = Kept {
            message,
            attempts: Vec::new(),
            outcome: None,
            known_from: now,
            ended_in: self.lives,
            told: false,
            counted_from: None,
            answered: false,
            again: false,
            proven: false,
        };
        self.messages.insert(seq, kept);
        Ok(())
    }

    /// Only what is over, and was not sent, is sent again.
    fn retried(&self, message: &Message, retry: Retry) -> Result<(), Violation> {
        let seq = message.seq;
        let newest = self.same_as(&message.request).last();
        let state = newest.and_then(|kept| Some(kept.outcome.as_ref()?.state));
        if newest.is_none_or(|kept| kept.message.seq != retry.of) {
            return broken(Promise::Once, format!("{seq} is {} again, which is not the last life", retry.of));
        }
        if !matches!(state, Some(State::Failed | State::Expired | State::Unresolved)) {
            return broken(Promise::Once, format!("{seq} is {} again, which is {state:?}", retry.of));
        }
        if (state == Some(State::Unresolved)) != retry.in_doubt {
            return broken(Promise::True, format!("{seq} does not know what became of {}", retry.of));
        }
        Ok(())
    }

    /// A message and all its lives before, newest first.
    pub fn lives(&self, seq: Seq) -> impl Iterator<Item = &Kept> {
        std::iter::successors(self.messages.get(&seq), |kept| self.messages.get(&kept.message.retry?.of))
    }

    /// Whether a request of a life before may have worked.
    pub fn inherits_doubt(&self, seq: Seq) -> bool {
        let unknown = |attempt: &Attempt| matches!(attempt.end, None | Some((_, Verdict::Unknown { .. })));
        self.lives(seq).skip(1).any(|kept| kept.attempts.iter().any(unknown))
    }

    /// What a journal's reader would find now.
    pub fn answer(&self, lookup: &Lookup) -> Found {
        let of_id = |id: &MessageId, account: &Option<Account>| {
            let (id, account) = (id.clone(), account.clone());
            self.messages.values().filter(move |kept| {
                let request = &kept.message.request;
                request.id == id && account.as_ref().is_none_or(|account| *account == request.account)
            })
        };
        let findings = match &lookup.question {
            Question::Get { id, account, .. } => {
                let messages = of_id(id, account).map(report).collect();
                Findings::Reports(MessagesReport { messages, complete: true, next: None })
            }
            Question::List { selection, members, states, page } => {
                let meets = |kept: &&Kept| {
                    let (request, state) = (&kept.message.request, kept.outcome.as_ref().map(|outcome| outcome.state));
                    selection.account.as_ref().is_none_or(|account| *account == request.account)
                        && (selection.corp.is_none() || members.contains(&request.account))
                        && (states.is_empty() || state.is_none_or(|state| states.contains(&state)))
                };
                let messages = self.messages.values().rev().filter(meets).take(page.limit).map(report).collect();
                Findings::Reports(MessagesReport { messages, complete: true, next: None })
            }
            Question::Retry { id, account, .. } => {
                Findings::Kept { kept: of_id(id, account).map(|kept| self.kept(kept)).collect(), gone: false }
            }
        };
        Found { number: lookup.number, result: Ok(findings) }
    }

    fn kept(&self, kept: &Kept) -> crate::model::Kept {
        let unknown = |attempt: &Attempt| matches!(attempt.end, None | Some((_, Verdict::Unknown { .. })));
        crate::model::Kept {
            message: Arc::clone(&kept.message),
            outcome: kept.outcome.clone(),
            doubted: kept.attempts.iter().any(unknown)
                || kept.message.retry.is_some_and(|retry| retry.possibly_duplicate),
        }
    }

    fn attempted(
        &mut self,
        seq: Seq,
        number: u32,
        at: Time,
        account: &Account,
        corp: Corp,
        flagged: bool,
    ) -> Result<(), Violation> {
        let Some(kept) = self.messages.get(&seq) else {
            return broken(Promise::Durable, format!("an attempt of {seq}, which is not kept"));
        };
        if kept.outcome.is_some() {
            return broken(Promise::True, format!("an attempt of {seq}, which is over"));
        }
        if kept.open_attempt().is_some() {
            return broken(Promise::Once, format!("two open attempts of {seq}"));
        }
        if number as usize != kept.attempts.len() + 1 {
            return broken(Promise::Durable, format!("attempt {number} of {seq} is not its next"));
        }
        if let Some(hold) = self.holds.values().find(|hold| self.covers(hold, kept, &corp)) {
            return broken(Promise::Held, format!("{seq} is sent in spite of hold {}", hold.id.0));
        }
        if let Some(first) = self.goes_first(account, kept, at) {
            return broken(Promise::Ordered, format!("{seq} is sent before {first}"));
        }
        if let Some(kept) = self.messages.get_mut(&seq) {
            let at = moved(at, -self.shifted_nanos);
            kept.attempts.push(Attempt { number, at, corp, flagged, end: None });
        }
        Ok(())
    }

    /// A message of the account that waits for nothing and ranks before this one.
    fn goes_first(&self, account: &Account, kept: &Kept, at: Time) -> Option<Seq> {
        let queue = self.queues.get(account)?;
        queue.range(..kept.rank()).map(|(_, seq)| *seq).find(|seq| {
            let other = &self.messages[seq];
            let waits = match other.attempts.last().map(|attempt| &attempt.end) {
                None => other.message.not_before.is_none_or(|not_before| not_before <= at),
                Some(None) => false,
                Some(Some((_, verdict))) => matches!(verdict, Verdict::NotSent { .. }),
            };
            waits && !self.holds.values().any(|hold| self.covers(hold, other, &Corp::new("")))
        })
    }

    fn covers(&self, hold: &Hold, kept: &Kept, corp: &Corp) -> bool {
        let request = &kept.message.request;
        match &hold.scope {
            Scope::All => true,
            Scope::Sender(name) => self.located.get(&request.account).is_some_and(|(_, sender, _)| sender == name),
            Scope::Corp(name) => name == corp,
            Scope::Account(name) => *name == request.account,
            Scope::Conversation(name, conversation) => {
                *name == request.account && *conversation == request.conversation
            }
        }
    }

    fn finished(&mut self, seq: Seq, outcome: Outcome, now: Time) -> Result<(), Violation> {
        let Some(kept) = self.messages.get_mut(&seq) else {
            return broken(Promise::Kept, format!("{seq} ends and was never kept"));
        };
        let said = |word: fn(&Settled) -> bool| {
            self.words.iter().any(|(id, settled)| *id == kept.message.request.id && word(settled))
        };
        let said_sent = said(|settled| matches!(settled, Settled::Sent { .. }));
        let said_failed = said(|settled| matches!(settled, Settled::Failed { .. }));
        let before = kept.outcome.as_ref().map(|outcome| outcome.state);
        let proven = kept.proven;
        let is_correction = before == Some(State::Unresolved) && (said_sent || said_failed || proven);
        if before.is_some() && !is_correction {
            return broken(Promise::Kept, format!("{seq} ends twice"));
        }
        let inherited = kept.message.retry.is_some_and(|retry| retry.in_doubt);
        let unknown = |attempt: &Attempt| !matches!(attempt.end, Some((_, Verdict::NotSent { .. })));
        let doubtful = kept.attempts.iter().filter(|attempt| {
            unknown(attempt) && !matches!(attempt.end, Some((_, Verdict::Refused { .. } | Verdict::Confirmed { .. })))
        });
        let doubts = doubtful.count() + usize::from(inherited);
        let confirmed = kept.attempts.iter().any(|one| matches!(one.end, Some((_, Verdict::Confirmed { .. }))));
        let is_true = match outcome.state {
            State::Sent => confirmed || said_sent || proven,
            State::Failed if said_failed && doubts > 0 => !confirmed,
            State::Failed | State::Expired | State::Cancelled => doubts == 0 && !confirmed,
            State::Unresolved => doubts > 0,
            State::Queued | State::Sending | State::InDoubt | State::Delivered | State::Undelivered => false,
        };
        if !is_true {
            let state = outcome.state.as_str();
            return broken(Promise::True, format!("{seq} is called {state} after {doubts} doubts"));
        }
        if let Some(queue) = self.queues.get_mut(&kept.message.request.account) {
            queue.remove(&kept.rank());
        }
        (kept.ended_in, kept.told, kept.counted_from) = (self.lives, false, None);
        kept.outcome = Some(Outcome { at: moved(outcome.at, -self.shifted_nanos), ..outcome });
        kept.known_from = now;
        self.unfinished -= usize::from(!is_correction);
        self.unanswered += usize::from(!is_correction || std::mem::take(&mut kept.answered));
        Ok(())
    }

    /// What a callback says of a message that was sent.
    fn receipt(&mut self, seq: Seq, receipt: Receipt) -> Result<(), Violation> {
        match self.messages.get_mut(&seq).and_then(|kept| kept.outcome.as_mut()) {
            Some(outcome) if outcome.state == State::Sent => outcome.state = receipt.state,
            _ => return broken(Promise::True, format!("a receipt for {seq}, which is not called sent")),
        }
        Ok(())
    }

    /// A new life begins: brings all times onto the axis that it writes by, in one commit with its clock.
    pub fn begin_life(&mut self, clock: Time, now: Time, shift_nanos: i128) {
        self.lives += 1;
        self.anchor = Some((clock, now));
        self.shifted_nanos += shift_nanos;
    }

    /// Everything that a start needs, in the order in which a journal feeds it. `now` is the clock of the start.
    pub fn replay(&self, now: Time, dedup_window: Duration) -> Vec<Record> {
        let mut records = Vec::new();
        for (account, (corp, sender, at)) in &self.located {
            let (account, corp, sender) = (account.clone(), corp.clone(), sender.clone());
            records.push(Record::Located { account, corp, sender, at: *at });
        }
        self.reports.replay_accounts(self.shifted_nanos, &mut records);
        records.extend(self.holds.values().cloned().map(Record::Held));
        records.extend(self.blocks.values().cloned().map(Record::Blocked));
        records.extend(self.limits.values().cloned().map(Record::LimitSet));
        let age = |at: Time| now.since(moved(at, self.shifted_nanos));
        let is_live = |kept: &Kept| match &kept.outcome {
            None => true,
            Some(outcome) => !kept.answered || age(kept.counted_from.unwrap_or(outcome.at)) < dedup_window,
        };
        for kept in self.messages.values().filter(|kept| !is_live(kept)) {
            for attempt in &kept.attempts {
                let Some((ended_at, verdict)) = &attempt.end else { continue };
                let written = !matches!(verdict, Verdict::NotSent { why: NotSent::Connect, .. });
                if written && age(*ended_at) <= Duration::from_secs(3601) {
                    let account = kept.message.request.account.clone();
                    let ended_at = moved(*ended_at, self.shifted_nanos);
                    records.push(Record::Spent { account, corp: attempt.corp.clone(), ended_at });
                }
            }
        }
        for kept in self.messages.values().filter(|kept| is_live(kept)) {
            self.relive(kept, &mut records);
        }
        for (number, kept) in self.refusals.iter().filter(|(_, kept)| !kept.answered) {
            records.push(Record::Refused { number: *number, at: kept.at, refusal: Arc::clone(&kept.refusal) });
        }
        records.extend(self.commanded.iter().cloned());
        self.reports.replay(now, dedup_window, self.shifted_nanos, &mut records);
        records
    }

    fn relive(&self, kept: &Kept, records: &mut Vec<Record>) {
        let seq = kept.message.seq;
        let mut message = Message::clone(&kept.message);
        message.request.body = Bytes::new();
        records.push(Record::Accepted(Arc::new(message)));
        for attempt in &kept.attempts {
            records.push(Record::Attempted {
                seq,
                attempt: attempt.number,
                at: moved(attempt.at, self.shifted_nanos),
                account: kept.message.request.account.clone(),
                corp: attempt.corp.clone(),
                possibly_duplicate: attempt.flagged,
            });
            if let Some((at, verdict)) = &attempt.end {
                let at = moved(*at, self.shifted_nanos);
                records.push(Record::Ended { seq, attempt: attempt.number, at, verdict: verdict.clone() });
            }
        }
        if let Some(outcome) = &kept.outcome {
            let outcome = Outcome { at: moved(outcome.at, self.shifted_nanos), ..outcome.clone() };
            records.push(Record::Finished { seq, outcome });
        }
        if kept.again {
            records.push(Record::Readdressed { seq, reply_to: None, again: true });
        }
        if kept.answered {
            records
                .push(Record::Answered { seq, known_from: kept.counted_from.map(|at| moved(at, self.shifted_nanos)) });
        }
    }
}

/// Whether the publisher allows a second request after a doubt.
pub fn may_resend(kept: &Kept) -> bool {
    kept.message.on_doubt == OnDoubt::Resend
}
