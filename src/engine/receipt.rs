//! What a message that was seen means for ours: a receipt for one that was sent, proof for one in doubt.
//!
//! ```text
//! seen --> its id is that of an answer -------> receipt: delivered | undelivered
//!      '-> its content is that of a doubt ----> proof: sent, and then a receipt
//!      '-> neither, yet: kept for the answer that may come after it
//! ```

use super::Engine;
use super::correct::Proof;
use super::evidence::{Evidence, Look, Sight, Standing};
use super::sabotage::Sabotage;
use super::settings::EventLevel;
use super::tables::{AccountKey, Phase, SenderKey, shown_key};
use crate::model::{
    Action, Code, Fault, OnDoubt, Outcome, Receipt, Record, Seen, SendEvent, Seq, State, Time, Verdict,
};
use std::sync::Arc;

/// The platform's "too frequent", as a callback says it.
const TOO_FREQUENT: i64 = -1_000_999;

impl Engine {
    /// Takes note of a message that a system saw leave an account of `sender`.
    pub(super) fn handle_seen(&mut self, sender: SenderKey, seen: Seen) {
        let Some(account) = self.account_of(sender, &seen.account) else { return };
        let (error, by_api) = (seen.error, seen.by_api);
        let Some(sight) = self.sight(account, seen, self.now) else { return };
        let (id, look) = (sight.id.clone(), sight.look);
        if !self.evidence.see(sight.clone()) {
            return;
        }
        let owner = self.evidence.owner(account, &id);
        if let Some(seq) = owner {
            self.receive(seq, &sight);
        } else if let Some(look) = look {
            self.weigh(look);
        }
        if error == TOO_FREQUENT && (by_api || owner.is_some()) {
            self.notice_too_frequent(account);
        }
    }

    /// The key of an account that is on this server, or may be.
    fn account_of(&self, sender: SenderKey, name: &crate::model::Account) -> Option<AccountKey> {
        let key = *self.account_keys.get(name)?;
        self.account(key).sender.is_none_or(|own| own == sender).then_some(key)
    }

    /// What can be remembered of something seen. Without an id nothing can be told from anything.
    fn sight(&self, account: AccountKey, seen: Seen, heard_at: Time) -> Option<Sight> {
        let Seen { conversation, send_msg_id, by_api, shown, error, error_text, at, .. } = seen;
        // People write in the client too, and what they write may be the same.
        let counts = by_api || self.sabotaged(Sabotage::PeopleCount);
        let look = conversation.zip(shown).filter(|_| counts);
        let conversation_key = super::accept::conversation_key;
        let look = look.map(|(of, shown)| (account, conversation_key(&of), shown_key(shown)));
        let id = send_msg_id.filter(|id| !id.is_empty())?;
        Some(Sight { account, id, look, at, heard_at, error, text: error_text, answered: false })
    }

    /// Something seen of an earlier life.
    pub(super) fn replay_seen(&mut self, seen: Seen, heard_at: Time) {
        let Some(account) = self.account_keys.get(&seen.account).copied() else { return };
        if !Evidence::is_fresh(heard_at, self.now) {
            return;
        }
        if let Some(sight) = self.sight(account, seen, heard_at) {
            self.evidence.see(sight);
        }
    }

    /// What a live message would show, where callbacks can tell of it.
    pub(super) fn look_of(&self, seq: Seq) -> Option<Look> {
        let live = self.live.get(&seq).filter(|_| self.has_callbacks)?;
        Some((live.account, live.conversation, live.shown?))
    }

    /// An attempt of a message that shows this ended so.
    pub(super) fn end_of_attempt(&mut self, look: Look, seq: Seq, attempt: u32, verdict: &Verdict) {
        let standing = match verdict {
            Verdict::Confirmed { msg_id: Some(_) } | Verdict::Refused { .. } | Verdict::NotSent { .. } => None,
            Verdict::Confirmed { msg_id: None } | Verdict::Unknown { .. } => Some(Standing::Unclear),
        };
        self.evidence.end(look, seq, attempt, standing);
    }

    /// Looks for doubts of this look that are none any more.
    pub(super) fn weigh(&mut self, look: Look) {
        for seq in self.evidence.unclear(&look) {
            let waits = self.live.get(&seq).is_some_and(|live| live.phase != Phase::Sending && live.is_doubtful());
            let is_open = waits || self.past.get(&seq).is_some_and(|past| past.state == State::Unresolved);
            if is_open && let Some(found) = self.evidence.proof(&look, seq) {
                let found = found.cloned();
                self.prove(seq, found);
            }
        }
    }

    /// Ends a message that is about to be called unresolved as sent, if that is proven. True when it was.
    pub(super) fn is_proven(&mut self, seq: Seq) -> bool {
        let Some(look) = self.look_of(seq) else { return false };
        let Some(found) = self.evidence.proof(&look, seq).map(|found| found.cloned()) else { return false };
        self.prove(seq, found);
        true
    }

    fn prove(&mut self, seq: Seq, found: Option<Sight>) {
        let msg_id = found.as_ref().map(|sight| sight.id.clone());
        self.record(Record::Proven { seq, at: self.now, msg_id: msg_id.clone() });
        if let Some(Sight { account, id, .. }) = &found {
            // It goes on explaining what was seen, by the attempt that made it.
            self.evidence.claim(*account, id, seq, self.now, false);
        }
        if self.live.contains_key(&seq) {
            self.end(seq, State::Sent, msg_id, None);
        } else {
            self.correct(seq, Proof::Sent { msg_id });
        }
        if let Some(sight) = found {
            self.receive(seq, &sight);
        }
    }

    /// A message of ours has this id, by its answer or by a person's word.
    pub(super) fn join(&mut self, seq: Seq, id: &str) {
        if !self.has_callbacks {
            return;
        }
        let Some(account) = self.past.get(&seq).map(|past| past.account) else { return };
        if let Some(sight) = self.evidence.claim(account, id, seq, self.now, true).cloned() {
            self.receive(seq, &sight);
            if let Some(look) = sight.look {
                // What it no longer explains may leave another doubt as the only one, or as none.
                self.weigh(look);
            }
        }
    }

    /// The system tells what became of a message that was sent. Told once.
    fn receive(&mut self, seq: Seq, sight: &Sight) {
        let Some(past) = self.past.get_mut(&seq) else { return };
        if past.state != State::Sent {
            return;
        }
        let before = *past;
        let state = if sight.error == 0 { State::Delivered } else { State::Undelivered };
        past.state = state;
        self.count_corrected(before.account, before, state);
        let Sight { error, text, .. } = sight.clone();
        self.record(Record::Receipt { seq, receipt: Receipt { state, at: self.now, error, text: text.clone() } });
        if state == State::Delivered {
            self.end_cool_downs(before.account);
        }
        if self.settings.events == EventLevel::Off {
            return;
        }
        let fault = (state == State::Undelivered).then(|| {
            let words = text.map(|text| format!(": {text}")).unwrap_or_default();
            Fault::new(Code::Refused, format!("the platform did not deliver it ({error}{words})"))
        });
        let (attempts, possibly_duplicate) = (u32::from(before.attempts), before.possibly_duplicate);
        let msg_id = Some(sight.id.clone());
        let outcome = Outcome { state, at: self.now, msg_id, fault, attempts, possibly_duplicate };
        self.act(Action::Event(SendEvent {
            at: self.now,
            seq: Some(seq),
            state: Some(state),
            attempt: attempts,
            possibly_duplicate,
            refusal: None,
            outcome: Some(Arc::new(outcome)),
        }));
    }

    /// Until when a message waits because another one that cannot be told from it is in doubt: what is seen of the one
    /// must not be taken for the other.
    pub(super) fn twin_until(&self, seq: Seq) -> Option<Time> {
        let look = self.look_of(seq).filter(|_| !self.sabotaged(Sabotage::TwinsDispatched))?;
        let until = |other: Seq| {
            let live = self.live.get(&other).filter(|live| live.on_doubt != OnDoubt::Resend)?;
            live.doubt_until()
        };
        self.evidence.unclear(&look).into_iter().filter(|other| *other != seq).filter_map(until).max()
    }

    pub(super) fn forget_evidence(&mut self) {
        let window = self.settings.messages.dedup_window;
        self.evidence.forget(self.now, window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Account, Corp, DirectoryEntry, Input, LastNumbers};

    /// Everything that was ever sent would be too much to keep.
    #[test]
    fn what_an_attempt_would_explain_is_forgotten_in_time() {
        let start = Time::from_millis(1_700_000_000_000);
        let mut settings = crate::golden::default_settings();
        settings.senders[0].callbacks = true;
        let mut engine = Engine::new(settings, start, LastNumbers::default());
        engine.start(start);
        let entry = DirectoryEntry { account: Account::new("a"), corp: Some(Corp::new("corp")), online: Some(true) };
        let sender = engine.settings.senders[0].name.clone();
        engine.handle(Input::Directory { sender, entries: vec![entry] }, start);
        let request = Box::new(crate::golden::request_of("a", 1));
        engine.handle(Input::Request { ticket: None, request }, start);
        engine.poll_ready(start);
        engine.handle(
            Input::Ended { seq: Seq(1), attempt: 1, at: start, verdict: Verdict::Confirmed { msg_id: None } },
            start,
        );
        assert_eq!(engine.evidence.looks().len(), 1);
        engine.poll_ready(start + std::time::Duration::from_secs(86_400));
        assert_eq!(engine.evidence.looks().len(), 0);
    }
}
