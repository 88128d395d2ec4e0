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

#[cfg(test)]
mod tests {
    #![allow(clippy::wildcard_enum_match_arm, reason = "a check picks the few cases that it is about")]

    use super::*;
    use crate::model::{Account, Action, DirectoryEntry, Input, LastNumbers, Record, SenderName, Time, Verdict};

    const START: Time = Time::from_millis(1_700_000_000_000);

    fn engine() -> Engine {
        let mut engine = Engine::new(crate::golden::default_settings(), START, LastNumbers::default());
        engine.start(START);
        let entry = DirectoryEntry {
            account: Account::new("a"),
            corp: Some(crate::model::Corp::new("corp1")),
            online: Some(true),
        };
        engine.handle(Input::Directory { sender: SenderName::new("main"), entries: vec![entry] }, START);
        engine
    }

    fn request(engine: &mut Engine, id: u64) -> crate::model::Request {
        let request = crate::golden::request_of("a", id);
        engine.handle(Input::Request { ticket: None, request: Box::new(request.clone()) }, START);
        request
    }

    #[test]
    fn a_delivery_is_known_again_by_its_id_and_by_what_it_asks_for() {
        let (one, other) = (MessageId::from_json("1"), MessageId::from_json("2"));
        let keys = [
            delivery_key(&one, [7; 16]),
            delivery_key(&one, [8; 16]),
            delivery_key(&other, [7; 16]),
            delivery_key(&other, [8; 16]),
        ];
        assert_eq!(keys[0], delivery_key(&one, [7; 16]));
        let different: std::collections::BTreeSet<u128> = keys.into_iter().collect();
        assert_eq!(different.len(), 4);
        // Half of it is of each.
        assert_eq!((keys[0] >> 64, keys[0] as u64), (keys[1] >> 64, keys[2] as u64));
        assert!(keys[0] >> 64 != keys[2] >> 64 && keys[0] as u64 != keys[1] as u64 && keys[0] as u64 != 0);
    }

    #[test]
    fn the_message_that_is_at_hand_is_named_with_its_delivery() {
        let mut engine = engine();
        let first = request(&mut engine, 1);
        engine.poll_ready(START);
        assert_eq!(engine.at_hand(), None, "between two turns nothing is");
        engine.at_hand = Some(Seq(1));
        let at_hand = AtHand { seq: Seq(1), delivery: delivery_key(&first.id, first.fingerprint) };
        assert_eq!(engine.at_hand(), Some(at_hand));
        engine.at_hand = Some(Seq(2));
        assert_eq!(engine.at_hand(), None, "there is none of that number");
        engine.handle(
            Input::Ended { seq: Seq(1), attempt: 1, at: START, verdict: Verdict::Confirmed { msg_id: None } },
            START,
        );
        engine.poll_ready(START);
        assert_eq!(engine.at_hand(), None);
    }

    #[test]
    fn what_ended_the_process_too_often_is_given_up_and_nothing_else_is() {
        let mut engine = engine();
        request(&mut engine, 1);
        request(&mut engine, 2);
        engine.condemn(Seq(2));
        engine.condemn(Seq(7));
        engine.start(START);
        let ready = engine.poll_ready(START);
        let ends = ready.records.iter().filter_map(|record| match record {
            Record::Finished { seq, outcome } => {
                Some((*seq, outcome.state, outcome.fault.as_ref().map(|fault| fault.code)))
            }
            _ => None,
        });
        assert_eq!(ends.collect::<Vec<_>>(), [(Seq(2), State::Failed, Some(Code::Internal))]);
        let alarms = ready.actions.iter().filter_map(|action| match action {
            Action::Alarm(alarm) => Some((alarm.what, alarm.about.to_string())),
            _ => None,
        });
        assert_eq!(alarms.collect::<Vec<_>>(), [("poison", "message 2".to_owned())]);
    }
}
