//! Proof that comes after the doubt: from a person, or from what a callback reports.

use super::Engine;
use super::sabotage::Sabotage;
use super::tables::{MessageKey, Phase};
use crate::model::{Account, Code, Fault, MessageId, Outcome, Outgoing, Record, Seq, Settled, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is proven of a message in doubt.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Sent { msg_id: Option<Box<str>> },
    NotSent { fault: Fault },
}

impl Proof {
    fn into_end(self) -> (State, Option<Box<str>>, Option<Fault>) {
        match self {
            Self::Sent { msg_id } => (State::Sent, msg_id, None),
            Self::NotSent { fault } => (State::Failed, None, Some(fault)),
        }
    }
}

impl Engine {
    /// Settles a doubt. One that was answered `UNRESOLVED` already is answered again, with what is true. False when
    /// there is nothing to settle, or no longer: then nothing changes.
    ///
    /// Whether the receiver may have it twice is another question, so the flag stays.
    pub(super) fn correct(&mut self, seq: Seq, proof: Proof) -> bool {
        if self.is_in_doubt(seq, &proof) {
            let (state, msg_id, fault) = proof.into_end();
            self.end(seq, state, msg_id, fault);
            return true;
        }
        let Some(past) = self.past.get_mut(&seq).filter(|past| past.state == State::Unresolved) else { return false };
        let (state, msg_id, fault) = proof.into_end();
        let before = *past;
        past.state = state;
        past.answered = false;
        past.told = false;
        past.at = self.now;
        let (attempts, possibly_duplicate) = (u32::from(past.attempts), past.possibly_duplicate);
        let outcome = Outcome { state, at: self.now, msg_id, fault, attempts, possibly_duplicate };
        if self.sabotaged(Sabotage::CorrectionCountsTwice) {
            self.ledger.total.states.enter(state);
        } else {
            self.count_corrected(before.account, before, state);
        }
        self.forgetting.push_back((self.now, seq));
        self.event_final(seq, &outcome);
        let msg_id = outcome.msg_id.clone().filter(|_| state == State::Sent);
        self.record(Record::Finished { seq, outcome });
        if let Some(id) = msg_id {
            self.join(seq, &id);
        }
        if !self.sabotaged(Sabotage::CorrectionUnanswered) {
            self.outbox.push(Outgoing::Answer(seq));
        }
        true
    }

    /// Whether a live message is in a doubt that the proof settles. One that waits to be sent again can be proven sent;
    /// that an earlier request did nothing only means that it goes on waiting.
    fn is_in_doubt(&self, seq: Seq, proof: &Proof) -> bool {
        let Some(live) = self.live.get(&seq) else { return false };
        match (live.phase, proof) {
            (Phase::InDoubt, _) => true,
            (Phase::Queued | Phase::Scheduled, Proof::Sent { .. }) => live.is_doubtful(),
            (Phase::Queued | Phase::Scheduled | Phase::Sending, _) => false,
        }
    }

    /// A person says what became of a message.
    pub(super) fn resolve(
        &mut self,
        id: &MessageId,
        account: Option<&Account>,
        settled: Settled,
    ) -> Result<Value, Fault> {
        let proof = match settled {
            Settled::Sent { msg_id } => Proof::Sent { msg_id },
            Settled::Failed { reason } => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                Proof::NotSent {
                    fault: Fault::new(Code::NotSent, format!("a person found that it was not sent{reason}")),
                }
            }
        };
        let newest = self.newest_with_id(id, account);
        let in_doubt: Vec<Seq> = newest.values().copied().filter(|seq| self.can_settle(*seq, &proof)).collect();
        let &[seq] = in_doubt.as_slice() else { return Err(self.why_not_one(&in_doubt, &newest)) };
        let was_over = self.past.contains_key(&seq);
        self.correct(seq, proof);
        let Some(past) = self.past.get(&seq) else {
            return Err(Fault::new(Code::Internal, "the message was settled and is gone: report it"));
        };
        Ok(json!({
            "seq": seq.0,
            "account": self.account(past.account).name.as_str(),
            "state": past.state.as_str(),
            "corrected": was_over,
            "possiblyDuplicate": past.possibly_duplicate,
        }))
    }

    fn can_settle(&self, seq: Seq, proof: &Proof) -> bool {
        self.is_in_doubt(seq, proof) || self.past.get(&seq).is_some_and(|past| past.state == State::Unresolved)
    }

    /// Of every message with this id the newest life, by what makes two messages the same.
    pub(super) fn newest_with_id(&self, id: &MessageId, account: Option<&Account>) -> BTreeMap<MessageKey, Seq> {
        let key_of = |seq: &Seq| {
            let live = self.live.get(seq).map(|live| (live.dedup, live.content));
            live.or_else(|| self.past.get(seq).map(|past| (past.dedup, past.content)))
        };
        // In ascending order, so the newest of a key stays.
        self.known_with_id(id, account).into_iter().filter_map(|seq| Some((key_of(&seq)?, seq))).collect()
    }

    /// The state of a message that is still known.
    pub(super) fn state_of(&self, seq: Seq) -> Option<State> {
        let live = self.live.get(&seq).map(|live| live.state());
        live.or_else(|| self.past.get(&seq).map(|past| past.state))
    }

    /// Why not exactly one message can be settled.
    fn why_not_one(&self, in_doubt: &[Seq], newest: &BTreeMap<MessageKey, Seq>) -> Fault {
        if in_doubt.len() > 1 {
            let account = |seq: &Seq| {
                let live = self.live.get(seq).map(|live| live.account);
                live.or_else(|| self.past.get(seq).map(|past| past.account))
            };
            let same = in_doubt.windows(2).all(|pair| account(&pair[0]) == account(&pair[1]));
            return several(same);
        }
        let states: Vec<&str> = newest.values().filter_map(|seq| self.state_of(*seq)).map(State::as_str).collect();
        match states.as_slice() {
            [] => Fault::of_field(
                Code::NotFound,
                "id",
                "no message with this id is in doubt; one that was answered UNRESOLVED can be corrected for \
                 messages.dedup_window after that",
            ),
            states => {
                let message = format!("there is no doubt to settle: the message is {}", states.join(", another is "));
                Fault::of_field(Code::WrongState, "id", message)
            }
        }
    }
}

/// Several messages are meant by one id.
pub(super) fn several(of_one_account: bool) -> Fault {
    if of_one_account {
        let message = "several publishers used this id for this account, and none of the messages can be told from the \
             others: publish it again with a new id instead";
        Fault::of_field(Code::InvalidField, "id", message)
    } else {
        let message = "several accounts have a message with this id; name the account";
        Fault::of_field(Code::InvalidField, "account", message)
    }
}
