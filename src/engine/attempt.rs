//! What the end of an attempt means for its message, its account and its server.

use super::Engine;
use super::sabotage::Sabotage;
use super::settings::MeasuredFrom;
use super::tables::{AccountKey, Flight, Live, Past, Phase, SenderKey, Timer};
use crate::model::{Code, Doubt, Fault, NotSent, OnDoubt, Outcome, Outgoing, Record, Seq, State, Time, Verdict};
use std::time::Duration;

/// The wait before a message is tried again: one second, doubling up to a minute.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A server may ask for a longer wait, up to this.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The status that says of the whole server that it is not there.
const SERVICE_UNAVAILABLE: u16 = 503;

impl Engine {
    pub(super) fn handle_ended(&mut self, seq: Seq, attempt: u32, at: Time, verdict: Verdict) {
        match self.flights.get(&seq) {
            Some(flight) if flight.attempt == attempt => {}
            // An answer that came twice, or to an attempt that was already given up.
            Some(_) | None => return,
        }
        self.at_hand = Some(seq);
        let Some(flight) = self.flights.remove(&seq) else { return };
        // Never before it began or after it is heard of, whatever the clock of whoever saw it says.
        let at = at.max(flight.at).min(self.now);
        self.record(Record::Ended { seq, attempt, at, verdict: verdict.clone() });
        if let Some(sender) = flight.sender {
            self.senders[sender.index()].answers.observe(at.since(flight.at));
        }
        self.count_end(&flight, at, &verdict);
        let look = self.look_of(seq);
        if let Some(look) = look {
            self.end_of_attempt(look, seq, attempt, &verdict);
        }
        self.judge(seq, flight.account, flight.sender, verdict);
        if let Some(look) = look {
            // It may be proven by what was seen before, or leave another doubt as the only one.
            self.weigh(look);
        }
        self.place(flight.account);
    }

    /// Gives the limits and the server what the end of the attempt at `at` owes them.
    pub(super) fn count_end(&mut self, flight: &Flight, at: Time, verdict: &Verdict) {
        // Only where no connection came about is it sure that nothing was written. What expired before its request is
        // rare, and counts like one that was made.
        let written = !matches!(verdict, Verdict::NotSent { why: NotSent::Connect, .. });
        let refunded = !matches!(verdict, Verdict::Confirmed { .. }) && self.sabotaged(Sabotage::RefundEveryFailure);
        let written = written && !refunded;
        self.hours.end(flight.corp, at, written);
        let account = self.account_mut(flight.account);
        account.in_flight -= 1;
        let corp_now = account.corp;
        if written {
            self.count_past_send(flight.account, at);
            if let Some(corp) = corp_now.filter(|corp| *corp != flight.corp) {
                self.hours.add_past(corp, at, 1, at);
            }
        }
        let from_response = self.settings.limits.measured_from == MeasuredFrom::Response;
        if (from_response && !self.sabotaged(Sabotage::SpacingFromRequest)) || flight.sender.is_none() {
            self.spacing.restart(flight.account, at);
        }
        if !written || self.corps[flight.corp.index()].open_timer.is_none() {
            self.reopen_hour(flight.corp);
        }
        if let Some(sender) = flight.sender {
            self.senders[sender.index()].in_flight -= 1;
        }
    }

    pub(super) fn count_past_send(&mut self, account: AccountKey, at: Time) {
        let now = self.now;
        let minutes = self.account_mut(account).minutes.get_or_insert_with(|| Box::new(super::limits::minutes()));
        minutes.add(at, now);
    }

    /// Decides what happens to a message whose attempt ended so.
    pub(super) fn judge(&mut self, seq: Seq, account: AccountKey, sender: Option<SenderKey>, verdict: Verdict) {
        match verdict {
            Verdict::Confirmed { msg_id } => {
                self.server_answered(sender);
                // Where callbacks tell what became of a message, its answer says too little.
                if !sender.is_some_and(|sender| self.settings.senders[sender.index()].callbacks) {
                    self.end_cool_downs(account);
                }
                self.finish(seq, State::Sent, msg_id, None);
            }
            Verdict::Refused { sender: words } => {
                self.server_answered(sender);
                let message = format!("the sender refused the message: {}", words.msg);
                let fault = Fault { sender: Some(words), ..Fault::new(Code::Refused, message) };
                self.finish(seq, State::Failed, None, Some(fault));
            }
            Verdict::NotSent { why, .. } => self.judge_not_sent(seq, account, sender, why),
            Verdict::Unknown { why: Doubt::Timeout, .. } if self.sabotaged(Sabotage::RetryAfterTimeout) => {
                self.requeue(seq, self.now);
            }
            Verdict::Unknown { why: Doubt::Timeout, .. } if self.sabotaged(Sabotage::TimeoutIsSuccess) => {
                self.finish(seq, State::Sent, None, None);
            }
            Verdict::Unknown { why, .. } => {
                match why {
                    // Nobody knows what became of this one; of the server it says the same as any 503.
                    Doubt::Status(SERVICE_UNAVAILABLE) => self.server_failed(sender, None),
                    Doubt::Status(_) | Doubt::Code(_) | Doubt::Unreadable => self.server_answered(sender),
                    Doubt::Timeout | Doubt::Reset | Doubt::Crash => {}
                }
                self.doubt(seq, sender);
            }
        }
    }

    fn judge_not_sent(&mut self, seq: Seq, account: AccountKey, sender: Option<SenderKey>, why: NotSent) {
        let retry_at = match why {
            NotSent::Connect => {
                self.server_failed(sender, None);
                let attempts = self.live.get(&seq).map_or(1, |live| u32::from(live.attempts));
                let rarer = self.sabotaged(Sabotage::RarerAndRarer);
                self.now + if rarer { RETRY_MIN * (1 << attempts.min(16)) } else { RETRY_MIN }
            }
            NotSent::Busy { retry_after } => {
                self.server_failed(sender, retry_after);
                self.now + retry_after.unwrap_or(RETRY_MIN).min(RETRY_AFTER_MAX)
            }
            NotSent::TooFrequent { retry_after } => {
                self.server_answered(sender);
                self.cool_down(account, retry_after);
                self.now
            }
            NotSent::Temporary { retry_after } => {
                self.server_answered(sender);
                let attempts = self.live.get(&seq).map_or(1, |live| u32::from(live.attempts));
                self.now + temporary_wait(retry_after, attempts)
            }
            NotSent::Offline => {
                self.server_answered(sender);
                self.go_offline(account);
                self.now
            }
            NotSent::Unauthorized => {
                self.server_answered(sender);
                self.lose_authority(sender);
                self.now
            }
            // Nobody was asked, so nothing is known of the server. Its deadline is over, and ends it.
            NotSent::Expired => self.now,
        };
        self.requeue(seq, retry_at);
    }

    fn server_answered(&mut self, sender: Option<SenderKey>) {
        if let Some(sender) = sender {
            let server = &mut self.senders[sender.index()];
            if server.breaker.is_open() {
                let name = server.name.clone();
                server.breaker.succeed();
                self.touch_server(sender);
                self.alarm("sender_back", name.as_str(), "the sender answers again".to_owned());
            } else {
                server.breaker.succeed();
            }
        }
    }

    fn server_failed(&mut self, sender: Option<SenderKey>, retry_after: Option<Duration>) {
        let Some(sender) = sender else { return };
        let now = self.now;
        let server = &mut self.senders[sender.index()];
        let was_open = server.breaker.is_open();
        let opened = server.breaker.fail(now);
        let name = server.name.clone();
        if opened && !was_open {
            self.touch_server(sender);
            let message = "five requests in a row found no server, or one that is unavailable (503); it is tried again \
                 with one request at a time";
            self.alarm("sender_down", name.as_str(), message.to_owned());
        }
        let wait_until = self.senders[sender.index()].breaker.opens_at(now);
        if let Some(at) = wait_until.max(retry_after.map(|wait| now + wait.min(RETRY_AFTER_MAX))) {
            self.timers.insert((at, Timer::Sender(sender)));
        }
    }

    /// Puts a message back to the place in its queue that it had.
    pub(super) fn requeue(&mut self, seq: Seq, earliest: Time) {
        let Some(live) = self.live.get_mut(&seq) else { return };
        let from = live.state();
        live.phase = Phase::Queued;
        live.set_earliest(live.earliest().max(earliest));
        let (account, rank, expires_at) = (live.account, live.rank(seq), live.expires_at);
        let (attempt, flagged) = (u32::from(live.attempts), live.possibly_duplicate);
        self.count_change(seq, account, from, State::Queued);
        self.deadlines.insert((expires_at, seq), ());
        self.account_mut(account).queue.insert(rank, ());
        self.event(seq, State::Queued, attempt, flagged);
        self.place(account);
    }

    /// Nobody knows whether the attempt worked.
    pub(super) fn doubt(&mut self, seq: Seq, sender: Option<SenderKey>) {
        let window = self.doubt_window(seq, sender);
        let now = self.now;
        let Some(live) = self.live.get_mut(&seq) else { return };
        let from = live.state();
        let until = now + window;
        live.phase = Phase::InDoubt;
        let rare = live.rare_mut();
        rare.doubts = rare.doubts.saturating_add(1);
        rare.doubt_until = Some(until);
        let (attempt, flagged, account) = (u32::from(live.attempts), live.possibly_duplicate, live.account);
        self.count_change(seq, account, from, State::InDoubt);
        self.event(seq, State::InDoubt, attempt, flagged);
        if window.is_zero() {
            self.doubt_ends(seq);
        } else {
            self.timers.insert((until, Timer::Doubt(seq)));
        }
    }

    pub(super) fn doubt_window(&self, seq: Seq, sender: Option<SenderKey>) -> Duration {
        let account_sender = || self.live.get(&seq).and_then(|live| self.account(live.account).sender);
        let sender = sender.or_else(account_sender).map_or(0, SenderKey::index);
        self.settings.senders[sender].doubt_window
    }

    /// No proof came: what the publisher chose happens now.
    pub(super) fn doubt_ends(&mut self, seq: Seq) {
        let resends_max = self.settings.messages.resends_max;
        let flag_forgotten = self.sabotaged(Sabotage::FlagForgotten);
        let now = self.now;
        let Some(live) = self.live.get_mut(&seq) else { return };
        let Some(until) = live.doubt_until() else { return };
        if until > now {
            return;
        }
        match live.on_doubt {
            OnDoubt::Report => self.finish_unresolved(seq),
            // Judged by when the doubt had waited long enough, whenever that is noticed: a resend that was told before
            // a crash is not taken back because the crash took the rest of the message's lifetime.
            OnDoubt::Resend if u32::from(live.rare().doubts) > resends_max || live.expires_at <= until => {
                self.finish_unresolved(seq);
            }
            OnDoubt::Resend => {
                // The flag is durable with the record of the next attempt, before its first byte.
                live.possibly_duplicate = !flag_forgotten;
                self.requeue(seq, now);
            }
            OnDoubt::Hold => {
                live.rare_mut().doubt_until = None;
                self.deadlines.insert((live.expires_at, seq), ());
            }
        }
    }

    fn finish_unresolved(&mut self, seq: Seq) {
        self.finish(seq, State::Unresolved, None, None);
    }

    /// A message's lifetime is over.
    pub(super) fn deadline_passes(&mut self, seq: Seq) {
        let Some(live) = self.live.get(&seq) else { return };
        match live.phase {
            // It ends with the attempt or with the doubt.
            Phase::Sending => {}
            Phase::InDoubt if live.doubt_until().is_some() => {}
            Phase::InDoubt => self.finish_unresolved(seq),
            Phase::Scheduled | Phase::Queued => {
                let message = "the message was not sent within its ttl, expiresAt or message expiry";
                self.finish(seq, State::Expired, None, Some(Fault::new(Code::Expired, message)));
            }
        }
    }

    /// Ends a message's life. A doubt behind it outweighs what would otherwise be said: only the sender's own word
    /// that it worked may be said after one.
    pub(super) fn finish(&mut self, seq: Seq, state: State, msg_id: Option<Box<str>>, fault: Option<Fault>) {
        let Some(live) = self.live.get(&seq) else { return };
        if live.is_doubtful() && state != State::Sent && self.is_proven(seq) {
            return;
        }
        let Some(live) = self.live.get(&seq) else { return };
        let doubtful = live.is_doubtful() && state != State::Sent && !self.sabotaged(Sabotage::DoubtForgotten);
        let (state, fault) = if doubtful { (State::Unresolved, Some(unresolved(fault))) } else { (state, fault) };
        self.end(seq, state, msg_id, fault);
    }

    /// Ends a message's life as it is told to: whoever calls it has the proof.
    pub(super) fn end(&mut self, seq: Seq, state: State, msg_id: Option<Box<str>>, fault: Option<Fault>) {
        let Some(live) = self.live.remove(&seq) else { return };
        self.leave_queue(seq, &live);
        let outcome = Outcome {
            state,
            at: self.now,
            msg_id,
            fault,
            attempts: u32::from(live.attempts),
            possibly_duplicate: live.possibly_duplicate,
        };
        self.count_change(seq, live.account, live.state(), state);
        self.live_bytes -= u64::from(live.body_bytes);
        let corp = self.account(live.account).corp;
        self.past.insert(seq, Past::of(&live, state, self.now, corp));
        self.forgetting.push_back((self.now, seq));
        self.event_final(seq, &outcome);
        let msg_id = outcome.msg_id.clone().filter(|_| state == State::Sent);
        self.record(Record::Finished { seq, outcome });
        self.outbox.push(Outgoing::Answer(seq));
        if let Some(id) = msg_id {
            self.join(seq, &id);
        }
        self.place(live.account);
    }

    /// Takes a message out of whatever it waits in.
    fn leave_queue(&mut self, seq: Seq, live: &Live) {
        self.deadlines.remove(&(live.expires_at, seq));
        match live.phase {
            Phase::Scheduled => {
                self.timers.remove(&(live.earliest(), Timer::Scheduled(seq)));
                self.account_mut(live.account).scheduled.remove(&(live.earliest(), seq));
            }
            Phase::Queued => {
                self.account_mut(live.account).queue.remove(&live.rank(seq));
            }
            Phase::Sending => {}
            Phase::InDoubt => {
                if let Some(until) = live.doubt_until() {
                    self.timers.remove(&(until, Timer::Doubt(seq)));
                }
            }
        }
    }
}

/// How long a message waits after its `attempts`-th attempt was turned away.
fn retry_wait(attempts: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(6)).min(RETRY_MAX)
}

/// The same where the sender called it temporary, and may have said until when.
pub(super) fn temporary_wait(retry_after: Option<Duration>, attempts: u32) -> Duration {
    retry_after.map_or_else(|| retry_wait(attempts), |wait| wait.clamp(RETRY_MIN, RETRY_AFTER_MAX))
}

/// The error of a message that may or may not have been sent; what ended it is said too.
fn unresolved(ended_by: Option<Fault>) -> Fault {
    let message = match &ended_by {
        None => {
            "it is not known whether the message was sent: the sender did not answer, or not clearly, and no proof came"
                .to_owned()
        }
        Some(fault) => format!("it is not known whether an earlier attempt was sent; the last one ended with {fault}"),
    };
    let sender = ended_by.and_then(|fault| fault.sender);
    Fault { sender, ..Fault::new(Code::Unresolved, message) }
}
