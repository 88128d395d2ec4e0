//! What comes in: accepted, known already, or refused.

use super::sabotage::Sabotage;
use super::settings::IdConflict;
use super::tables::{DedupKey, IdKey, Live, Phase, Timer, half};
use super::{Engine, sabotage, status};
use crate::model::{
    Action, Code, Fault, Lifetime, Message, MessageId, Origin, Outgoing, Record, Refusal, ReplyTo, Request, Retry, Seq,
    State, Ticket, Time,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A message with the same key as one that just came.
enum Known {
    /// It asks for the same thing.
    Same(Seq),
    /// It asks for something else.
    Other,
}

impl Engine {
    pub(super) fn handle_request(&mut self, ticket: Option<Ticket>, request: Request) {
        if !self.takes(ticket) {
            return;
        }
        self.count_received();
        self.acknowledge(ticket);
        let dedup = dedup_key(&request);
        if self.sabotaged(Sabotage::CrashOnRequest) {
            sabotage::crash_over(Some(dedup.id));
        }
        match self.find_known(dedup, &request) {
            Some(Known::Same(seq)) => {
                self.count_duplicate(self.account_keys.get(&request.account).copied());
                return self.repeat(seq, request.origin.reply_to);
            }
            Some(Known::Other) if self.settings.messages.id_conflict == IdConflict::Reject => {
                let message = "id is in use for a message with another content; use a new id for a new message, \
                     or repeat the first one unchanged";
                return self.refuse_request(request, Fault::of_field(Code::IdConflict, "id", message));
            }
            Some(Known::Other) | None => {}
        }
        match self.refusal_of(&request) {
            Some(fault) => {
                if self.is_stranger_too_many(&request) {
                    // It may be an account of today: the next try finds it, once a list has named it.
                    self.want_directories();
                }
                self.refuse_request(request, fault);
            }
            None => {
                self.accept(request, dedup, None);
            }
        }
    }

    pub(super) fn handle_refused(&mut self, ticket: Option<Ticket>, refusal: Refusal) {
        if !self.takes(ticket) {
            return;
        }
        self.count_received();
        self.acknowledge(ticket);
        self.refuse(refusal);
    }

    /// Whether a delivery is taken. One that is not stays with the broker, which brings it again over the next
    /// connection. What came behind it over the same one stays there too: the broker brings that again behind it, and
    /// to take it now, because intake was opened meanwhile, would be out of order.
    fn takes(&mut self, ticket: Option<Ticket>) -> bool {
        let connection = ticket.map(|ticket| ticket.generation);
        if !self.takes_messages() {
            self.left_behind = connection.or(self.left_behind);
            return false;
        }
        connection.is_none() || connection != self.left_behind || self.sabotaged(Sabotage::TakesOutOfOrder)
    }

    pub(super) fn acknowledge(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.act(Action::Acknowledge(ticket));
        }
    }

    fn find_known(&self, dedup: DedupKey, request: &Request) -> Option<Known> {
        let mut other = None;
        // The newest first: of two lives of a message it is the one that counts.
        for seq in self.ids.of_key(dedup).rev() {
            let past = self.past.get(&seq).filter(|_| !self.sabotaged(Sabotage::DedupSkipsPast));
            let (key, content) = match (self.live.get(&seq), past) {
                (Some(live), _) => (live.dedup, live.content),
                (None, Some(past)) => (past.dedup, past.content),
                (None, None) => continue,
            };
            if key == dedup && content == half(request.fingerprint) {
                return Some(Known::Same(seq));
            }
            if key == dedup {
                other = Some(Known::Other);
            }
        }
        other
    }

    /// A repeat is never sent again: it is told what is known, now or when it is.
    fn repeat(&mut self, seq: Seq, reply_to: Option<ReplyTo>) {
        if let Some(live) = self.live.get(&seq) {
            let (state, attempt, flagged) = (live.state(), u32::from(live.attempts), live.possibly_duplicate);
            if reply_to.is_some() {
                self.record(Record::Readdressed { seq, reply_to, again: false });
            }
            return self.event(seq, state, attempt, flagged);
        }
        self.record(Record::Readdressed { seq, reply_to, again: true });
        if let Some(past) = self.past.get_mut(&seq) {
            past.answered = false;
        }
        self.outbox.push(Outgoing::Answer(seq));
    }

    pub(super) fn refusal_of(&self, request: &Request) -> Option<Fault> {
        let settings = &self.settings.messages;
        let expires_at = self.expires_at(request);
        if request.options.not_before.is_some_and(|at| at >= expires_at && at > self.now) {
            let message = "bridge.notBefore lies after the end of the message's lifetime, so it could never be sent; make \
                 ttl, expiresAt or the message expiry longer";
            return Some(Fault::of_field(Code::InvalidField, "bridge.notBefore", message));
        }
        if let Some(fault) = self.refusal_by_block(request) {
            return Some(fault);
        }
        if expires_at <= self.now {
            let message = "the message was already too old when it came: ttl, expiresAt or the message expiry is over";
            return Some(Fault::new(Code::Expired, message));
        }
        if self.is_stranger_too_many(request) {
            let message = "too many accounts are known that no account list names; check the wxId, or publish again \
                 later: it is taken as soon as a list names the account";
            return Some(Fault::of_field(Code::QueueFull, "wxId", message));
        }
        if self.live.len() >= settings.queue_messages {
            let message = format!(
                "the queue is full ({} messages, messages.queue_messages); publish again later",
                settings.queue_messages
            );
            return Some(Fault::new(Code::QueueFull, message));
        }
        if self.live_bytes + request.body.len() as u64 > settings.queue_bytes {
            let message = format!(
                "the queue is full ({} bytes, messages.queue_bytes); publish again later",
                settings.queue_bytes
            );
            return Some(Fault::new(Code::QueueFull, message));
        }
        let queue_time = settings.queue_time?;
        let account = *self.account_keys.get(&request.account)?;
        let waiting = u32::try_from(self.account(account).queue.len() + 1).unwrap_or(u32::MAX);
        let wait = self.spacing.interval(account).saturating_mul(waiting);
        (wait > queue_time).then(|| {
            let message = format!(
                "the queue of this account would take {:.1} s at its own rate, over messages.queue_time; publish again later",
                wait.as_secs_f64()
            );
            Fault::new(Code::QueueFull, message)
        })
    }

    /// Whether a message would make one more account known that no list knows. An account is remembered as long as the
    /// process lives, so whoever may publish could else fill the memory with names.
    fn is_stranger_too_many(&self, request: &Request) -> bool {
        let is_full = self.strangers >= STRANGERS_MAX || self.accounts.len() >= ACCOUNTS_MAX;
        is_full && !self.account_keys.contains_key(&request.account)
    }

    fn expires_at(&self, request: &Request) -> Time {
        let wished = match request.options.lifetime {
            Some(Lifetime::For(span)) => self.now + span,
            Some(Lifetime::Until(time)) => time,
            // A message for next week is worth as long from then on as one for now.
            None => request.options.not_before.unwrap_or_default().max(self.now) + self.settings.messages.ttl,
        };
        match request.options.message_expiry {
            Some(span) => wished.min(self.now + span),
            None => wished,
        }
    }

    /// Takes a message; `retry` says what it inherits from an earlier life.
    pub(super) fn accept(&mut self, request: Request, dedup: DedupKey, retry: Option<Retry>) -> Seq {
        self.last.seq.0 += 1;
        let seq = self.last.seq;
        let message = Message {
            seq,
            received_at: self.now,
            expires_at: self.expires_at(&request),
            not_before: request.options.not_before.filter(|at| *at > self.now),
            priority: request.options.priority.unwrap_or(DEFAULT_PRIORITY).min(9),
            on_doubt: request.options.on_doubt.unwrap_or(self.settings.messages.on_doubt),
            body_bytes: u32::try_from(request.body.len()).unwrap_or(u32::MAX),
            request,
            retry,
        };
        self.add_live(&message, dedup);
        self.outdate_retries(dedup.id);
        self.count_accepted(seq, false);
        if !self.sabotaged(Sabotage::AcceptWithoutRecord) {
            self.record(Record::Accepted(Arc::new(message)));
        }
        self.event(seq, State::Queued, 0, retry.is_some_and(|retry| retry.possibly_duplicate));
        self.enqueue(seq);
        seq
    }

    /// Makes a message known, without a place in a queue yet. The caller counts it.
    pub(super) fn add_live(&mut self, message: &Message, dedup: DedupKey) {
        let account = self.account_key(&message.request.account);
        let live = Live::new(message, account, dedup);
        self.live_bytes += u64::from(message.body_bytes);
        if self.started {
            self.ids.insert(dedup, message.seq);
        } else {
            self.ids.insert_unsorted(dedup, message.seq);
        }
        self.live.insert(message.seq, live);
        self.touch(account);
    }

    /// Puts a message that is to be sent where it waits: in its account's queue, or in the timers until `notBefore`.
    pub(super) fn enqueue(&mut self, seq: Seq) {
        let now = self.now;
        let Some(live) = self.live.get_mut(&seq) else { return };
        let (account, rank, earliest, expires_at) = (live.account, live.rank(seq), live.earliest(), live.expires_at);
        // A retry waits at the head of its queue; only a message that was never tried waits outside of it.
        if live.attempts == 0 && earliest > now {
            live.phase = Phase::Scheduled;
            self.timers.insert((earliest, Timer::Scheduled(seq)));
            self.account_mut(account).scheduled.insert((earliest, seq), ());
        } else {
            live.phase = Phase::Queued;
            self.account_mut(account).queue.insert(rank, ());
            self.place_for(account, rank);
        }
        self.deadlines.insert((expires_at, seq), ());
        self.expect_directory(account);
    }

    fn refuse_request(&mut self, request: Request, fault: Fault) {
        let Request { id, account, origin, .. } = request;
        self.refuse(Refusal { id: Some(id), account: Some(account), origin, fault });
    }

    fn refuse(&mut self, refusal: Refusal) {
        let account = refusal.account.as_ref().and_then(|account| self.account_keys.get(account));
        self.count_rejected(account.copied());
        self.last.refusal += 1;
        let number = self.last.refusal;
        let refusal = Arc::new(refusal);
        self.record(Record::Refused { number, at: self.now, refusal: Arc::clone(&refusal) });
        self.outbox.push(Outgoing::Refusal(number));
        self.event_rejected(&refusal);
    }

    pub(super) fn handle_storage_low(&mut self, low: bool) {
        let about = "store";
        match self.storage.set(low) {
            status::Edge::Rose => self.alarm(
                "storage_low",
                about,
                "the disk is nearly full: nothing new is taken from the broker until there is room".to_owned(),
            ),
            status::Edge::Fell => self.alarm("storage_ok", about, "the disk has room again".to_owned()),
            status::Edge::None => return,
        }
        self.storage_low = low;
        self.steer_intake();
    }
}

/// Accounts without a company, at most: far more than a site adds before its account list is read again.
const STRANGERS_MAX: usize = 10_000;

/// Accounts in all, at most, where every account has a company because the configuration gives them one.
const ACCOUNTS_MAX: usize = 1_000_000;

/// The priority of a message that names none.
pub(super) const DEFAULT_PRIORITY: u8 = 4;

/// Who asked (the topic suffix), for which account, under which id.
pub(super) fn dedup_key(request: &Request) -> DedupKey {
    let Origin { suffix, .. } = &request.origin;
    let mut digest = Sha256::new();
    for part in [suffix.as_deref().unwrap_or_default(), request.account.as_str(), &request.id.key()] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.update([u8::from(suffix.is_some())]);
    DedupKey { id: id_key(&request.id), whole: eight_bytes(digest) }
}

pub(super) fn id_key(id: &MessageId) -> IdKey {
    digest_key(&id.key())
}

/// A digest of a conversation's id; conversations are told apart within one account only.
pub(super) fn conversation_key(conversation: &str) -> u64 {
    digest_key(conversation)
}

/// A digest of a tag. No digest is that of no tag.
pub(super) fn tag_key(tag: &str) -> u64 {
    digest_key(tag).max(1)
}

fn digest_key(text: &str) -> u64 {
    eight_bytes(Sha256::new_with_prefix(text))
}

fn eight_bytes(digest: Sha256) -> u64 {
    let bytes: [u8; 32] = digest.finalize().into();
    let mut key = [0; 8];
    key.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Corp, DirectoryEntry, Input, LastNumbers, Ready, SenderName};

    const START: Time = Time::from_millis(1_700_000_000_000);

    fn request(engine: &mut Engine, account: &str, id: u64) -> Ready {
        let request = Box::new(crate::golden::request_of(account, id));
        engine.handle(Input::Request { ticket: None, request }, START);
        engine.poll_ready(START)
    }

    fn refusal(ready: &Ready) -> Option<Code> {
        ready.records.iter().find_map(|record| {
            let Record::Refused { refusal, .. } = record else { return None };
            Some(refusal.fault.code)
        })
    }

    #[test]
    fn names_that_nobody_knows_do_not_fill_the_memory() {
        let mut settings = crate::golden::default_settings();
        settings.messages.queue_messages = 2 * STRANGERS_MAX;
        settings.messages.queue_bytes = u64::MAX;
        let mut engine = Engine::new(settings, START, LastNumbers::default());
        engine.start(START);
        for number in 0..STRANGERS_MAX as u64 {
            assert_eq!(refusal(&request(&mut engine, &format!("stranger-{number}"), number)), None);
        }
        let known = engine.accounts.len();
        for number in 0..100 {
            let ready = request(&mut engine, &format!("one-more-{number}"), number);
            assert_eq!(refusal(&ready), Some(Code::QueueFull));
        }
        assert_eq!(engine.accounts.len(), known);
        // Who is known already goes on, and so does whoever the list names, also one that was refused.
        assert_eq!(refusal(&request(&mut engine, "stranger-0", 1_000_000)), None);
        let entry = |account: &str| DirectoryEntry {
            account: crate::model::Account::new(account),
            corp: Some(Corp::new("corp")),
            online: Some(false),
        };
        let entries = vec![entry("one-more-0"), entry("stranger-1")];
        engine.handle(Input::Directory { sender: SenderName::new("main"), entries }, START);
        assert_eq!(refusal(&request(&mut engine, "one-more-0", 1_000_001)), None);
        // One of the strangers is none any more, so there is room for one.
        assert_eq!(refusal(&request(&mut engine, "one-more-1", 1_000_002)), None);
        assert_eq!(refusal(&request(&mut engine, "one-more-2", 1_000_003)), Some(Code::QueueFull));
        engine.account_for_everything().expect("all is accounted for");
    }
}
