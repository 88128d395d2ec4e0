//! A start from what the journal kept.

use super::accept::dedup_key;
use super::attempt::temporary_wait;
use super::sabotage::Sabotage;
use super::tables::{AccountKey, CorpKey, Flight, Live, Past, Phase, Timer};
use super::{Engine, SETTLE};
use crate::model::{Account, Corp, Doubt, NotSent, OnDoubt, Outgoing, Record, Seq, State, Time, Verdict};
use std::time::Duration;

/// The longest wait that a retry of an earlier life may still claim: a wall clock set back must not park a message.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3600);

impl Engine {
    /// Takes over a record of an earlier life of the process. They come in the order in which they were written, but
    /// all that belongs to a message follows its `Accepted`.
    ///
    /// # Panics
    /// After [`start`](Self::start) was called: a journal is replayed once.
    pub fn replay(&mut self, record: Record) {
        assert!(!self.started, "the journal is replayed before the start");
        self.last.see(&record);
        match record {
            Record::Accepted(message) => {
                let before = self.replayed_last.replace(message.seq);
                before.into_iter().for_each(|seq| self.resume_untried(seq));
                self.add_live(&message, dedup_key(&message.request));
                self.count_accepted(message.seq, true);
            }
            Record::Attempted { seq, attempt, at, account, corp, possibly_duplicate } => {
                if let Some(look) = self.look_of(seq) {
                    self.evidence.begin(look, seq, attempt, self.aged(at));
                }
                self.replay_attempted(seq, attempt, &account, &corp, possibly_duplicate);
            }
            Record::Ended { seq, attempt, at, verdict } => self.replay_ended(seq, attempt, at, &verdict),
            Record::Finished { seq, outcome } => {
                self.replay_finished(seq, outcome.state, outcome.at);
                if let Some((id, past)) = outcome.msg_id.as_ref().zip(self.past.get(&seq)) {
                    self.evidence.claim(past.account, id, seq, self.aged(outcome.at), true);
                }
            }
            Record::Readdressed { seq, again, .. } => {
                if again && let Some(past) = self.past.get_mut(&seq) {
                    past.answered = false;
                    self.outbox.push(Outgoing::Answer(seq));
                }
            }
            Record::Answered { seq, known_from } => self.replay_answered(seq, known_from),
            Record::Refused { number, .. } => self.outbox.push(Outgoing::Refusal(number)),
            Record::RefusalAnswered { number } => self.outbox.remove(Outgoing::Refusal(number)),
            Record::Held(_) if self.sabotaged(Sabotage::HoldsForgotten) => {}
            Record::Held(hold) => self.add_hold(hold),
            Record::Released { hold, .. } => drop(self.remove_hold(hold)),
            Record::Blocked(_) if self.sabotaged(Sabotage::BlocksForgotten) => {}
            Record::Blocked(block) => self.add_block(block),
            Record::Unblocked { block, .. } => {
                self.remove_block(block);
            }
            Record::LimitSet(_) if self.sabotaged(Sabotage::LimitsForgotten) => {}
            Record::LimitSet(set) => {
                let scope = set.scope.clone();
                self.replay_limit(set);
                self.apply_limit(&scope);
            }
            Record::Located { account, corp, sender, .. } => self.replay_located(&account, &corp, &sender),
            Record::Commanded { at, origin, fingerprint, reply } => {
                self.replay_commanded(at, &origin, fingerprint, reply);
            }
            Record::Reported { at, callback, .. } => self.replay_reported(at, &callback),
            Record::EventOpen { number } => self.outbox.push(Outgoing::Event(number)),
            Record::EventPublished { number } => self.outbox.remove(Outgoing::Event(number)),
            Record::Receipt { seq, receipt } => {
                if let Some(past) = self.past.get_mut(&seq) {
                    past.state = receipt.state;
                }
            }
            Record::Proven { .. } => {}
            Record::Presence { account, online, .. } => self.replay_presence(&account, online),
            Record::CooledDown { account, until, times, .. } => self.replay_cooled_down(&account, until, times),
            Record::Spent { account, corp, ended_at } => self.replay_spent(&account, &corp, ended_at),
        }
    }

    /// Ends the replay: attempts without an end are in doubt, queues are filled, and nothing is sent for a second if
    /// anything was sent before.
    pub fn start(&mut self, now: Time) {
        self.set_now(now);
        self.started = true;
        self.settle_until = if self.sent_before { self.now + SETTLE } else { self.now };
        self.forgetting.make_contiguous().sort_unstable();
        self.ids.sort();
        let crashed: Vec<(Seq, Flight)> = std::mem::take(&mut self.flights).into_iter().collect();
        for (seq, flight) in crashed {
            self.at_hand = Some(seq);
            let verdict = Verdict::Unknown { why: Doubt::Crash, detail: Box::default() };
            // What the process before had handed to the network may arrive until nothing is settled any more.
            let at = self.settle_until;
            self.record(Record::Ended { seq, attempt: flight.attempt, at, verdict: verdict.clone() });
            self.count_end(&flight, at, &verdict);
            if let Some(look) = self.look_of(seq) {
                self.end_of_attempt(look, seq, flight.attempt, &verdict);
            }
            if self.sabotaged(Sabotage::CrashRetries) {
                self.requeue(seq, now);
                continue;
            }
            self.doubt(seq, None);
            // Others of its account were put where they wait before its end was known.
            self.place(flight.account);
        }
        self.end_condemned();
        let waiting: Vec<Seq> =
            self.live.iter().filter(|(_, live)| matches!(live.phase, Phase::Scheduled)).map(|(seq, _)| *seq).collect();
        for seq in waiting {
            self.at_hand = Some(seq);
            self.resume_waiting(seq);
        }
        self.at_hand = None;
        for look in self.evidence.looks() {
            self.weigh(look);
        }
        // A message may wait because of a doubt that was found after it.
        for index in 0..self.accounts.len() {
            if self.accounts[index].in_doubt > 0 {
                self.place(AccountKey(index as u32));
            }
        }
        if !self.holds.is_empty() || !self.blocks.is_empty() {
            self.publish_holds();
        }
    }

    /// A message that was never tried goes back to where it waited as soon as all of it is there, while the next ones
    /// are being read: of a million it would take half a second afterwards.
    fn resume_untried(&mut self, seq: Seq) {
        let untried = |live: &Live| live.attempts == 0 && live.phase == Phase::Scheduled && !live.rare().last_in_doubt;
        if self.live.get(&seq).is_some_and(untried) {
            self.enqueue(seq);
        }
    }

    /// A message that is not on its way goes back to where it waited: in doubt, in its queue, or in the timers.
    fn resume_waiting(&mut self, seq: Seq) {
        let now = self.now;
        let window = self.doubt_window(seq, None);
        let Some(live) = self.live.get_mut(&seq) else { return };
        let account = live.account;
        if live.attempts > 0 {
            live.set_earliest(live.earliest().min(now + RETRY_WAIT_MAX));
        }
        if !live.rare().last_in_doubt {
            return self.enqueue(seq);
        }
        let until = (live.rare().doubted_at + window).min(now + window);
        live.phase = Phase::InDoubt;
        live.rare_mut().doubt_until = Some(until);
        self.count_change(seq, account, State::Queued, State::InDoubt);
        if until <= now {
            self.doubt_ends(seq);
        } else {
            self.timers.insert((until, Timer::Doubt(seq)));
        }
    }

    fn replay_attempted(&mut self, seq: Seq, attempt: u32, account: &Account, corp: &Corp, possibly_duplicate: bool) {
        self.sent_before = true;
        let account = self.account_key(account);
        let corp = self.corp_key(corp);
        let Some(live) = self.live.get_mut(&seq) else { return };
        live.attempts = u16::try_from(attempt).unwrap_or(u16::MAX);
        live.possibly_duplicate |= possibly_duplicate;
        if live.rare().last_in_doubt {
            live.rare_mut().last_in_doubt = false;
        }
        live.phase = Phase::Sending;
        // What was tried once is past its notBefore, also where the wall clock was set back since.
        live.set_earliest(Time::default());
        let of = live.account;
        self.count_change(seq, of, State::Queued, State::Sending);
        self.account_mut(account).in_flight += 1;
        let at = self.now;
        self.flights.insert(seq, Flight { attempt, account, sender: None, corp, at });
        self.hours.start_past(corp);
    }

    fn replay_ended(&mut self, seq: Seq, attempt: u32, at: Time, verdict: &Verdict) {
        let Some(flight) = self.flights.remove(&seq).filter(|flight| flight.attempt == attempt) else { return };
        let aged = self.aged(at);
        let now = self.now;
        let written = !matches!(verdict, Verdict::NotSent { why: NotSent::Connect, .. });
        self.account_mut(flight.account).in_flight -= 1;
        self.hours.end(flight.corp, now, false);
        if written {
            self.replay_send(flight.account, flight.corp, aged);
        }
        self.spacing.restart(flight.account, aged);
        if let Some(look) = self.look_of(seq) {
            self.end_of_attempt(look, seq, attempt, verdict);
        }
        let Some(live) = self.live.get_mut(&seq) else { return };
        live.phase = Phase::Scheduled;
        let (attempts, of) = (u32::from(live.attempts), live.account);
        match verdict {
            Verdict::Unknown { .. } => {
                let rare = live.rare_mut();
                rare.doubts = rare.doubts.saturating_add(1);
                rare.last_in_doubt = true;
                rare.doubted_at = aged;
            }
            Verdict::NotSent { why: NotSent::Temporary { retry_after }, .. } => {
                live.set_earliest(aged + temporary_wait(*retry_after, attempts));
            }
            Verdict::Confirmed { .. } | Verdict::Refused { .. } | Verdict::NotSent { .. } => {}
        }
        self.count_change(seq, of, State::Sending, State::Queued);
    }

    fn replay_finished(&mut self, seq: Seq, state: State, at: Time) {
        let Some(live) = self.live.remove(&seq) else { return };
        self.count_change(seq, live.account, live.state(), state);
        self.live_bytes -= u64::from(live.body_bytes);
        let at = self.aged(at);
        let corp = self.account(live.account).corp;
        self.past.insert(seq, Past::of(&live, state, at, corp));
        self.forgetting.push_back((at, seq));
        self.outbox.push(Outgoing::Answer(seq));
    }

    fn replay_answered(&mut self, seq: Seq, known_from: Option<Time>) {
        if let Some(past) = self.past.get_mut(&seq) {
            past.answered = true;
            past.told = true;
        }
        if let Some(at) = known_from {
            self.count_from(seq, self.aged(at));
        }
        self.outbox.remove(Outgoing::Answer(seq));
    }

    fn replay_located(&mut self, account: &Account, corp: &Corp, sender: &crate::model::SenderName) {
        let pinned = self.configured(account).cloned();
        let Some(sender) = self.sender_key(sender) else { return };
        let key = self.account_key(account);
        let corp = self.corp_key(&pinned.as_ref().and_then(|own| own.corp.clone()).unwrap_or_else(|| corp.clone()));
        let sender = pinned.and_then(|own| own.sender).and_then(|name| self.sender_key(&name)).unwrap_or(sender);
        self.move_account(key, corp, sender);
    }

    fn replay_spent(&mut self, account: &Account, corp: &Corp, ended_at: Time) {
        self.sent_before = true;
        let account = self.account_key(account);
        let corp = self.corp_key(corp);
        let at = self.aged(ended_at);
        self.replay_send(account, corp, at);
        self.spacing.restart(account, at);
    }

    /// Counts a send of an earlier life for the company that it was made for, and for the one that its account belongs
    /// to now: a move carries the sends of the last hour over, and a restart does not undo that.
    fn replay_send(&mut self, account: AccountKey, corp: CorpKey, at: Time) {
        let now = self.now;
        if self.sabotaged(Sabotage::HourForgotten) {
            return;
        }
        self.hours.add_past(corp, at, 1, now);
        if let Some(current) = self.account(account).corp.filter(|current| *current != corp) {
            self.hours.add_past(current, at, 1, now);
        }
        self.count_past_send(account, at);
    }

    /// A time of an earlier life on today's axis: as long ago as it truly is, and never in the future.
    fn aged(&self, at: Time) -> Time {
        at.min(self.now)
    }

    /// Whether a message with `onDoubt` `hold` waits for a person.
    pub fn held_doubts(&self) -> usize {
        self.live
            .values()
            .filter(|live| {
                live.on_doubt == OnDoubt::Hold && live.phase == Phase::InDoubt && live.doubt_until().is_none()
            })
            .count()
    }
}
