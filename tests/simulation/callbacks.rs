//! What the virtual platform reports: messages that it saw, late, early, twice or never, people who write the same in
//! the client, logins and logouts. And what the bridge may make of it, held against what the server knows.

use super::kinds::Kind;
use super::promises::{Promise, Violation, broken};
use super::scenario::sender_name;
use super::world::{Event, World};
use crate::model::{
    Account, Callback, CallbackTicket, Doubt, Input, OnDoubt, Record, Request, Seen, Seq, Signal, State, Time, Verdict,
};
use std::time::Duration;

/// What the platform says when it does not deliver.
const ERRORS: [i64; 2] = [-7, -1_000_999];

/// The id under which the platform knows a request. Never twice.
pub fn platform_id(seq: Seq, attempt: u32) -> String {
    format!("m{seq}-{attempt}")
}

/// What the platform says of a request that worked, whenever it is asked.
fn error_of(seq: Seq, attempt: u32) -> i64 {
    let roll = seq.0.wrapping_mul(31).wrapping_add(u64::from(attempt) * 7) % 23;
    if roll < 2 { ERRORS[roll as usize] } else { 0 }
}

impl World {
    fn callback(&mut self, sender: usize, signal: Signal, event: &'static str) -> Box<Callback> {
        self.callback_last += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.callback_last.to_le_bytes());
        let event = crate::golden::plain_event(event, self.callback_last.to_string(), self.now);
        Box::new(Callback { sender: Some(sender_name(sender)), key, events: vec![event], signals: vec![signal] })
    }

    fn seen(&self, request: &Request, id: String, error: i64, by_api: bool) -> Signal {
        Signal::Seen(Seen {
            account: request.account.clone(),
            conversation: Some(request.conversation.clone()),
            send_msg_id: Some(id.into()),
            by_api,
            shown: request.shown,
            error,
            error_text: None,
            at: self.clock(),
        })
    }

    fn sender_of(&self, account: &Account) -> Option<usize> {
        let truth = self.accounts.iter().find(|truth| truth.name == *account)?;
        self.settings.senders[truth.sender].callbacks.then_some(truth.sender)
    }

    /// A request works: the platform will say so, or not.
    pub(super) fn report_effect(&mut self, seq: Seq, attempt: u32) {
        let Some(request) = self.disk.messages.get(&seq).map(|kept| kept.message.request.clone()) else { return };
        let Some(sender) = self.sender_of(&request.account) else { return };
        if self.random.percent(15) && !self.calm {
            self.trace.counts.count(Kind::CallbackNever);
            return;
        }
        let signal = self.seen(&request, platform_id(seq, attempt), error_of(seq, attempt), true);
        let callback = self.callback(sender, signal.clone(), "message/sent");
        let after = match self.random.below(10) {
            0..=5 => self.random.millis(0, 300),
            6..=8 => self.random.seconds(1, 60),
            _ => {
                self.trace.counts.count(Kind::CallbackLate);
                self.random.seconds(60, 900)
            }
        };
        if self.random.percent(20) {
            self.trace.counts.count(Kind::CallbackAgain);
            let again = after + self.random.seconds(0, 30);
            self.schedule(again, Event::Callback(callback.clone()));
        }
        if self.random.percent(10) {
            // The same message in another envelope.
            self.trace.counts.count(Kind::CallbackInAnotherEnvelope);
            let other = self.callback(sender, signal, "message/sent");
            let again = after + self.random.seconds(0, 300);
            self.schedule(again, Event::Callback(other));
        }
        if self.random.percent(5) {
            // Another message in the same envelope, which must change nothing.
            self.trace.counts.count(Kind::CallbackForged);
            let forged = self.seen(&request, format!("forged-{seq}-{attempt}"), 0, true);
            let forged = Box::new(Callback { signals: vec![forged], ..Callback::clone(&callback) });
            let again = after + self.random.seconds(1, 30);
            self.schedule(again, Event::Callback(forged));
        }
        self.schedule(after, Event::Callback(callback));
    }

    /// Somebody writes the same in the client.
    pub(super) fn somebody_writes(&mut self, seq: Seq) {
        let Some(request) = self.disk.messages.get(&seq).map(|kept| kept.message.request.clone()) else { return };
        let Some(sender) = self.sender_of(&request.account) else { return };
        if self.calm || !self.random.percent(15) {
            return;
        }
        self.trace.counts.count(Kind::SomebodyWrote);
        let signal = self.seen(&request, format!("gui-{}", self.callback_last), 0, false);
        let callback = self.callback(sender, signal, "message/sent");
        let after = self.random.seconds(0, 20);
        self.schedule(after, Event::Callback(callback));
    }

    /// An account logged in or out, which the platform may report.
    pub(super) fn report_presence(&mut self, index: usize) {
        let truth = self.accounts[index].clone();
        let Some(sender) = self.sender_of(&truth.name) else { return };
        if self.random.percent(50) {
            let account = truth.name;
            self.trace.counts.count(if truth.online { Kind::LoginReported } else { Kind::LogoutReported });
            let (signal, event) = if truth.online {
                (Signal::Online { account, corp: Some(truth.corp) }, "account/login")
            } else {
                (Signal::Offline { account }, "account/logout")
            };
            let callback = self.callback(sender, signal, event);
            let after = self.random.millis(0, 3000);
            self.schedule(after, Event::Callback(callback));
        }
    }

    /// A callback comes. Where nobody takes it the platform may try again.
    pub(super) fn deliver_callback(&mut self, callback: Box<Callback>) {
        if self.bridge.is_none() {
            return self.bring_again(callback);
        }
        let is_forged = |signal: &Signal| matches!(signal, Signal::Seen(seen) if seen.send_msg_id.as_ref().is_some_and(|id| id.starts_with("forged")));
        let is_known = self.disk.reports.callbacks.iter().any(|(_, kept)| kept.key == callback.key);
        if callback.signals.iter().any(is_forged) && !is_known {
            // Only what is a repeat is told from the true one: a forger who knows the secret is believed.
            return;
        }
        self.ticket_last += 1;
        self.tickets.insert(self.ticket_last, callback.clone());
        self.input(Input::Callback { ticket: CallbackTicket(self.ticket_last), callback });
    }

    fn bring_again(&mut self, callback: Box<Callback>) {
        if self.random.percent(50) {
            self.trace.counts.count(Kind::CallbackBroughtAgain);
            self.schedule(Duration::from_secs(5), Event::Callback(callback));
        }
    }

    pub(super) fn answer_callback(&mut self, ticket: CallbackTicket, taken: bool) -> Result<(), Violation> {
        let Some(callback) = self.tickets.remove(&ticket.0) else {
            return broken(Promise::Once, format!("callback {} is answered twice", ticket.0));
        };
        if !taken {
            self.bring_again(callback);
            return Ok(());
        }
        if !self.disk.reports.callbacks.iter().any(|(_, kept)| kept.key == callback.key) {
            return broken(Promise::Durable, format!("callback {} is taken and not on disk", ticket.0));
        }
        Ok(())
    }

    /// Nothing is taken for what it is not.
    pub(super) fn check_attribution(&mut self, record: &Record) -> Result<(), Violation> {
        match record {
            Record::Proven { seq, msg_id, .. } => {
                self.attributions += 1;
                let attempts = self.server.by_message.get(seq).into_iter().flatten();
                let own: Vec<String> = attempts
                    .map(|index| &self.server.requests[*index])
                    .filter(|sent| sent.fate.effect && sent.arrived)
                    .map(|sent| platform_id(*seq, sent.attempt))
                    .collect();
                let is_own = msg_id.as_ref().is_none_or(|id| own.iter().any(|own| **own == **id));
                if own.is_empty() || !is_own {
                    return broken(Promise::True, format!("{seq} is proven by {msg_id:?}, and its own are {own:?}"));
                }
            }
            Record::Receipt { seq, receipt } => {
                self.attributions += 1;
                let outcome = self.disk.messages.get(seq).and_then(|kept| kept.outcome.as_ref());
                let id = outcome.and_then(|outcome| outcome.msg_id.as_deref()).map(str::to_lowercase);
                let attempts = self.server.by_message.get(seq).into_iter().flatten();
                let own = attempts
                    .map(|index| &self.server.requests[*index])
                    .find(|sent| Some(platform_id(*seq, sent.attempt)) == id);
                let wanted = own.map(|sent| error_of(*seq, sent.attempt));
                if wanted != Some(receipt.error) || (receipt.error == 0) != (receipt.state == State::Delivered) {
                    return broken(Promise::True, format!("{seq} has the receipt {receipt:?}, not {wanted:?}"));
                }
            }
            // What a crash left open is in doubt from the start on, not from the time that it is said to have ended.
            Record::Ended { seq, at, verdict: Verdict::Unknown { why, .. }, .. } if *why != Doubt::Crash => {
                self.doubted.insert(*seq, (self.life, *at + self.settings.senders[0].doubt_window));
            }
            Record::Attempted { seq, at, .. } => return self.check_twins(*seq, *at),
            _ => {}
        }
        Ok(())
    }

    /// What cannot be told from a message in doubt is not sent while proof may come.
    fn check_twins(&self, seq: Seq, at: Time) -> Result<(), Violation> {
        let Some(kept) = self.disk.messages.get(&seq) else { return Ok(()) };
        let look = |request: &Request| (request.account.clone(), request.conversation.clone(), request.shown);
        let own = look(&kept.message.request);
        if own.2.is_none() || !self.settings.senders.iter().any(|sender| sender.callbacks) {
            return Ok(());
        }
        let waits = |(other, (life, until)): (&Seq, &(u32, Time))| {
            let twin = self.disk.messages.get(other)?;
            let in_doubt = *life == self.life
                && at < *until
                && *other != seq
                && twin.outcome.is_none()
                && twin.message.on_doubt != OnDoubt::Resend
                && twin.open_attempt().is_none()
                && look(&twin.message.request) == own;
            in_doubt.then_some(*other)
        };
        match self.doubted.iter().find_map(waits) {
            Some(other) => broken(Promise::Held, format!("{seq} is sent while its twin {other} is in doubt")),
            None => Ok(()),
        }
    }
}
