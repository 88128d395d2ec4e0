//! A message that makes the engine panic must not do so after every start, for ever.
//!
//! ```text
//!  panic --> who was it? --> named in the journal --> the process ends --> the next start, and the delivery again
//!                                                                                |
//!            named three times: refused before the engine sees it, or ended before it is started <--'
//! ```
//!
//! Nothing is written for a message that does no harm: the culprit is named when the crash has happened, by what the
//! loop was handling. What kills the process from outside (SIGKILL, lack of memory) names nobody and accuses nobody.
//! A request that ends the process is no such loop: its attempt is open at the crash, so it is in doubt and not tried
//! again.

use super::{Bridge, BridgeError};
use crate::engine::{AtHand, delivery_key, poison_fault};
use crate::journal::{Journal, Suspect};
use crate::model::{Alarm, CommandRequest, Fingerprint, Input, MessageId, Refusal, Seq, Time};
use crate::telemetry;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// After so many crashes a suspect is not handled any more.
pub(super) const CRASHES_MAX: u32 = 3;

/// Enough of an input to name it once it is used up.
pub(super) enum Name {
    Nobody,
    Request(MessageId, Fingerprint),
    Command(Box<CommandRequest>),
    Callback([u8; 16]),
}

impl Name {
    pub(super) fn of(input: &Input) -> Self {
        match input {
            Input::Request { request, .. } => Self::Request(request.id.clone(), request.fingerprint),
            Input::Command { request, .. } => Self::Command(request.clone()),
            Input::Callback { callback, .. } => Self::Callback(callback.key),
            Input::Refused { .. }
            | Input::Ignored { .. }
            | Input::Ended { .. }
            | Input::Published { .. }
            | Input::PublishAgain { .. }
            | Input::Connected(_)
            | Input::Directory { .. }
            | Input::DirectoryFailed { .. }
            | Input::StorageLow(_)
            | Input::StatusSeen(_)
            | Input::Link { .. }
            | Input::Broker(_)
            | Input::Found(_)
            | Input::Stop
            | Input::Called { .. } => Self::Nobody,
        }
    }

    pub(super) fn suspect(&self) -> Option<Suspect> {
        match self {
            Self::Nobody => None,
            Self::Request(id, fingerprint) => Some(Suspect::Delivery(delivery_key(id, *fingerprint))),
            Self::Command(request) => Some(Suspect::Delivery(command_key(request))),
            Self::Callback(key) => Some(Suspect::Delivery(u128::from_le_bytes(*key))),
        }
    }
}

/// A message that the engine had in hand, by its number if the journal has it: otherwise it comes again, as a delivery,
/// and another one may get the number.
pub(super) fn in_hand(at_hand: AtHand, durable: Seq) -> Suspect {
    if at_hand.seq <= durable { Suspect::Message(at_hand.seq) } else { Suspect::Delivery(at_hand.delivery) }
}

impl Bridge {
    /// Notes who made the engine panic, so that it cannot do so after every start. What the engine holds is not used
    /// any more.
    pub(super) async fn accuse(&mut self, name: Name) -> BridgeError {
        let in_hand = || self.engine.at_hand().map(|at_hand| in_hand(at_hand, self.durable));
        let suspect = name.suspect().or_else(in_hand);
        if let Some(suspect) = suspect {
            note(&self.journal, suspect, self.clock.now()).await;
        }
        BridgeError::Panicked(suspect)
    }
}

/// Names whoever ended the process, in the journal.
pub(super) async fn note(journal: &Journal, suspect: Suspect, at: Time) {
    telemetry::poison_named(&suspect.to_string());
    // What cannot be noted now is named again by the next crash.
    if let Err(error) = journal.accuse(suspect, at).await {
        telemetry::poison_unnamed(&error.to_string());
    }
}

/// The same for each delivery of a command: what only says how it came this time is left out.
fn command_key(request: &CommandRequest) -> u128 {
    let of_all = CommandRequest { message_expiry: None, is_redelivered: false, ..request.clone() };
    let bytes: [u8; 32] = Sha256::digest(format!("{of_all:?}")).into();
    let mut key = [0; 16];
    key.copy_from_slice(&bytes[..16]);
    u128::from_le_bytes(key)
}

/// The messages that were named too often.
pub(super) fn condemned(suspects: &BTreeMap<Suspect, u32>) -> BTreeSet<Seq> {
    let seqs = suspects.iter().filter(|(_, times)| **times >= CRASHES_MAX).filter_map(|(suspect, _)| match suspect {
        Suspect::Message(seq) => Some(*seq),
        Suspect::Delivery(_) => None,
    });
    seqs.collect()
}

pub(super) fn alarm(about: Box<str>, at: Time) -> Alarm {
    let message = "handling it ended the process again and again: it is refused; report it as a bug";
    Alarm { what: "poison", about, message: Box::from(message), at }
}

/// Refuses deliveries that were named too often.
pub(super) struct Guard {
    refused: BTreeSet<Suspect>,
}

impl Guard {
    pub(super) fn new(suspects: &BTreeMap<Suspect, u32>) -> Self {
        let often = suspects.iter().filter(|(_, times)| **times >= CRASHES_MAX);
        Self { refused: often.map(|(suspect, _)| *suspect).collect() }
    }

    /// The input, or in its place its refusal and what it is about.
    pub(super) fn look(&self, input: Input) -> (Input, Option<Box<str>>) {
        let is_known = |suspect| self.refused.contains(&suspect);
        if self.refused.is_empty() || !Name::of(&input).suspect().is_some_and(is_known) {
            return (input, None);
        }
        if let Input::Request { ticket, request } = input {
            let about = Box::from(format!("id {}", request.id.as_json()));
            let (id, account) = (Some(request.id), Some(request.account));
            let refusal = Box::new(Refusal { id, account, origin: request.origin, fault: poison_fault() });
            return (Input::Refused { ticket, refusal }, Some(about));
        }
        if let Input::Command { ticket, mut request } = input {
            let about = Box::from(format!("command {}", request.origin.name));
            request.command = Err(poison_fault());
            return (Input::Command { ticket, request }, Some(about));
        }
        if let Input::Callback { ticket, mut callback } = input {
            let about = Box::from(format!("callback {:032x}", u128::from_be_bytes(callback.key)));
            // Taken for nothing, so that its system does not bring it for ever.
            callback.signals.clear();
            callback.events.clear();
            return (Input::Callback { ticket, callback }, Some(about));
        }
        (input, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, CommandOrigin};
    use std::time::Duration;

    #[test]
    fn a_command_is_the_same_one_however_often_it_is_delivered() {
        let origin = CommandOrigin { name: Box::from("health"), reply_to: None, transaction: None, by: None };
        let first = CommandRequest::new(origin, Ok(Command::Health));
        let again =
            CommandRequest { message_expiry: Some(Duration::from_secs(7)), is_redelivered: true, ..first.clone() };
        assert_eq!(command_key(&first), command_key(&again));
        let other = CommandRequest { command: Ok(Command::Info), ..first.clone() };
        assert_ne!(command_key(&first), command_key(&other));
    }
}
