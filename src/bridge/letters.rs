//! Messages at hand: those that are on their way or about to be, so that the journal need not be read for each.

use crate::journal::Answered;
use crate::model::{Action, Message, Outcome, Outgoing, ReportedEvent, Seq};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of bodies kept at hand. What is over is read from the journal when it is sent.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Memory of a message beside its body, roughly.
const OVERHEAD_BYTES: usize = 600;
/// Events whose message is read from the journal in one turn, at most.
const EVENTS_MAX: usize = 1000;

/// What has to be read from the journal before the actions of a turn.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) messages: Vec<Seq>,
    pub(super) answers: Vec<Seq>,
    pub(super) events: Vec<u64>,
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.answers.is_empty() && self.events.is_empty()
    }
}

struct Letter {
    message: Arc<Message>,
    outcome: Option<Arc<Outcome>>,
}

/// A bounded part of the messages.
#[derive(Default)]
pub(super) struct Letters {
    letters: BTreeMap<Seq, Letter>,
    bytes: usize,
    /// Let go at the end of the turn, whose actions may still speak of them.
    leaving: BTreeSet<Seq>,
    /// Events of callbacks, for this turn.
    events: BTreeMap<u64, ReportedEvent>,
}

impl Letters {
    pub(super) fn accept(&mut self, message: &Arc<Message>) {
        self.insert(message.seq, Letter { message: Arc::clone(message), outcome: None });
        if self.bytes > BYTES_MAX {
            self.leaving.insert(message.seq);
        }
    }

    pub(super) fn finish(&mut self, seq: Seq, outcome: &Outcome) {
        if let Some(letter) = self.letters.get_mut(&seq) {
            letter.outcome = Some(Arc::new(outcome.clone()));
        }
    }

    /// The message is done with, or no longer what it was: the journal knows better.
    pub(super) fn forget(&mut self, seq: Seq) {
        if let Some(letter) = self.letters.remove(&seq) {
            self.bytes -= size(&letter.message);
        }
    }

    /// What these actions need and is not at hand.
    pub(super) fn wanted(&self, actions: &[Action]) -> Wanted {
        let (mut messages, mut answers, mut events) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for action in actions {
            match action {
                Action::Send { seq, .. } if !self.letters.contains_key(seq) => {
                    messages.insert(*seq);
                }
                Action::Publish(Outgoing::Answer(seq)) if self.outcome(*seq).is_none() => {
                    answers.insert(*seq);
                }
                Action::Event(event) if answers.len() < EVENTS_MAX => {
                    if let Some(seq) = event.seq.filter(|seq| !self.letters.contains_key(seq)) {
                        answers.insert(seq);
                    }
                }
                Action::Publish(Outgoing::Event(number)) => events.push(*number),
                Action::Send { .. }
                | Action::Publish(_)
                | Action::Event(_)
                | Action::Acknowledge(_)
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
        answers.retain(|seq| !messages.contains(seq));
        Wanted { messages: messages.into_iter().collect(), answers: answers.into_iter().collect(), events }
    }

    pub(super) fn load(&mut self, messages: Vec<Message>, answers: Vec<Answered>, events: Vec<ReportedEvent>) {
        self.events.extend(events.into_iter().map(|event| (event.number, event)));
        for message in messages {
            let message = Arc::new(message);
            self.accept(&message);
        }
        for Answered { message, outcome } in answers {
            let seq = message.seq;
            // Read without its body, so it must not be found by a later attempt.
            self.leaving.insert(seq);
            self.insert(seq, Letter { message: Arc::new(message), outcome: outcome.map(Arc::new) });
        }
    }

    pub(super) fn message(&self, seq: Seq) -> Option<Arc<Message>> {
        self.letters.get(&seq).map(|letter| Arc::clone(&letter.message))
    }

    pub(super) fn answer(&self, seq: Seq) -> Option<(Arc<Message>, Arc<Outcome>)> {
        Some((self.message(seq)?, self.outcome(seq)?))
    }

    pub(super) fn event(&mut self, number: u64) -> Option<ReportedEvent> {
        self.events.remove(&number)
    }

    fn outcome(&self, seq: Seq) -> Option<Arc<Outcome>> {
        self.letters.get(&seq)?.outcome.clone()
    }

    /// Ends a turn: what was only needed for it goes.
    pub(super) fn trim(&mut self) {
        for seq in std::mem::take(&mut self.leaving) {
            self.forget(seq);
        }
    }

    fn insert(&mut self, seq: Seq, letter: Letter) {
        self.bytes += size(&letter.message);
        if let Some(old) = self.letters.insert(seq, letter) {
            self.bytes -= size(&old.message);
        }
    }
}

fn size(message: &Message) -> usize {
    message.request.body.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Account, MessageId, OnDoubt, Options, Origin, Request, Time};
    use bytes::Bytes;

    fn message(seq: u64, body_bytes: usize) -> Message {
        let body = Bytes::from(vec![0; body_bytes]);
        Message {
            seq: Seq(seq),
            received_at: Time::default(),
            expires_at: Time::MAX,
            not_before: None,
            priority: 4,
            on_doubt: OnDoubt::Report,
            body_bytes: u32::try_from(body_bytes).expect("a small body"),
            retry: None,
            request: Request {
                id: MessageId::from_json("1"),
                kind: Arc::from("text"),
                account: Account::new("a"),
                conversation: Box::from("S:1"),
                origin: Origin::default(),
                options: Options::default(),
                fingerprint: [0; 16],
                shown: None,
                body,
            },
        }
    }

    /// A backlog that is sent while the broker is away is not kept until it comes back.
    #[test]
    fn what_is_read_for_sending_is_kept_as_far_as_there_is_room_and_else_for_its_turn() {
        let mut letters = Letters::default();
        letters.load((1..=3).map(|seq| message(seq, BYTES_MAX / 2 - OVERHEAD_BYTES)).collect(), Vec::new(), Vec::new());
        assert!((1..=3).all(|seq| letters.message(Seq(seq)).is_some()));
        letters.trim();
        assert_eq!([1, 2, 3].map(|seq| letters.message(Seq(seq)).is_some()), [true, true, false]);
    }
}
