//! Messages whose handling ended the process: who it was, and what becomes of one that did so too often.

use super::Engine;
use super::accept::id_key;
use super::tables::{ContentKey, IdKey, half};
use crate::model::{Code, Fault, Fingerprint, MessageId, Seq, State};

/// The message that is being handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtHand {
    pub seq: Seq,
    /// What its delivery has, when it comes again: see [`delivery_key`].
    pub delivery: u128,
}

/// A digest of a request to send, by which it is known again.
pub fn delivery_key(id: &MessageId, fingerprint: Fingerprint) -> u128 {
    key(id_key(id), half(fingerprint))
}

fn key(id: IdKey, content: ContentKey) -> u128 {
    u128::from(id) << u64::BITS | u128::from(content)
}

/// What is said of a message that nobody dares to handle again.
pub fn poison_fault() -> Fault {
    let message = "handling this message ended the bridge again and again, which is a mistake of the bridge; it is not \
         sent: report it with the payload";
    Fault::new(Code::Internal, message)
}

impl Engine {
    /// Which message was being handled, for whoever caught the engine in a panic.
    pub fn at_hand(&self) -> Option<AtHand> {
        let seq = self.at_hand?;
        let live = self.live.get(&seq)?;
        Some(AtHand { seq, delivery: key(live.dedup.id, live.content) })
    }

    /// This message will be ended by [`start`](Self::start), because it ended the process again and again.
    pub fn condemn(&mut self, seq: Seq) {
        self.condemned.insert(seq);
    }

    pub(super) fn end_condemned(&mut self) {
        for seq in std::mem::take(&mut self.condemned) {
            if !self.live.contains_key(&seq) {
                continue;
            }
            let message = format!("message {seq} ended the process again and again and was given up: report it");
            self.alarm("poison", &format!("message {seq}"), message);
            self.finish(seq, State::Failed, None, Some(poison_fault()));
        }
    }
}
