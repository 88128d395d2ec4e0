//! How much one turn may take, so that the watermark closes intake while the disk still has room.
//!
//! Free space is looked at with each commit, so what can be lost between two looks is one turn. What a turn takes is
//! written twice, to the write-ahead log and from there to the file, and the log may hold some megabytes of earlier
//! turns that are still to be written to the file. An eighth of what is free leaves room for all of it.

use super::{Bridge, BridgeError};
use crate::journal::Committed;
use crate::model::{Action, Alarm, Event, Input, Origin};
use serde_json::Value;

/// What a turn may take of the free space, counted once.
const SHARE: u64 = 8;
/// A turn may always take so much: without it a nearly full disk would drain one input at a time.
const BYTES_MIN: u64 = 1024 * 1024;
/// More makes no commit cheaper, and keeps all others waiting for it.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What an input adds to the log beside its texts, at most: a page in each of four tables or indexes.
const INPUT_BYTES: u64 = 4 * 4096;

/// What is known about the room on the disk.
#[derive(Debug, Default)]
pub(super) struct Room {
    free_bytes: u64,
    pub(super) is_low: bool,
}

impl Room {
    /// Takes note of a look at the disk. True when it became low, or ceased to be.
    pub(super) fn note(&mut self, free_bytes: u64, is_low: bool) -> bool {
        self.free_bytes = free_bytes;
        std::mem::replace(&mut self.is_low, is_low) != is_low
    }

    /// How many of the first inputs a turn may take: at least one.
    pub(super) fn fitting(&self, inputs: &[Input]) -> usize {
        let mut left = (self.free_bytes / SHARE).clamp(BYTES_MIN, BYTES_MAX);
        let fitting = inputs.iter().take_while(|input| {
            let fits = bytes(input) <= left;
            left = left.saturating_sub(bytes(input));
            fits
        });
        fitting.count().max(1).min(inputs.len())
    }
}

impl Bridge {
    /// Says at once what the engine cannot decide, because it waits for the commit that found no room.
    pub(super) fn alarm_room(&mut self, what: &'static str, message: &str) -> Result<(), BridgeError> {
        let alarm = Alarm { what, about: Box::from("store"), message: Box::from(message), at: self.clock.now() };
        self.perform(Action::Alarm(alarm))?;
        // The engine stands still: without this nobody would see it before there is room.
        self.leave_snapshot();
        Ok(())
    }

    pub(super) fn notice_space(&mut self, committed: &Committed) {
        if self.room.note(committed.free_bytes, committed.low_space) {
            self.engine.handle(Input::StorageLow(committed.low_space), self.clock.now());
        }
    }
}

/// What an input adds to the log, at most.
fn bytes(input: &Input) -> u64 {
    let texts = match input {
        // The conversation is kept beside the body that names it.
        Input::Request { request, .. } => {
            request.body.len() + request.conversation.len() + request.kind.len() + address_len(&request.origin)
        }
        Input::Refused { refusal, .. } => refusal.fault.message.len() + address_len(&refusal.origin),
        // Not measured exactly: its data is at most as large as what came.
        Input::Callback { callback, .. } => callback.events.iter().map(size_of_event).sum(),
        Input::Command { .. }
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
        | Input::Called { .. } => 0,
    };
    INPUT_BYTES + texts as u64
}

/// About what an event takes as JSON.
fn size_of_event(event: &Event) -> usize {
    400 + size_of_value(&event.data)
}

fn size_of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size_of_value).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + 4 + size_of_value(value)).sum(),
    }
}

fn address_len(origin: &Origin) -> usize {
    origin.reply_to.as_ref().map_or(0, |to| to.topic.len() + to.correlation.as_ref().map_or(0, |data| data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Code, Fault, Refusal};

    const MIB: u64 = 1024 * 1024;

    fn input(bytes: u64) -> Input {
        let text = "x".repeat(usize::try_from(bytes - INPUT_BYTES).expect("a length"));
        let origin = Origin::default();
        let refusal = Refusal { id: None, account: None, origin, fault: Fault::new(Code::InvalidField, text) };
        Input::Refused { ticket: None, refusal: Box::new(refusal) }
    }

    #[test]
    fn a_turn_takes_an_eighth_of_what_is_free_and_never_nothing() {
        let mut room = Room::default();
        let inputs: Vec<Input> = (0..100).map(|_| input(MIB / 2)).collect();
        // Before the first look, and when nothing is free.
        assert_eq!(room.fitting(&inputs), 2);
        assert_eq!(room.fitting(&[input(2 * MIB), input(MIB)]), 1);
        assert_eq!(room.fitting(&[]), 0);
        assert!(!room.note(16 * MIB, false));
        assert_eq!(room.fitting(&inputs), 4);
        assert!(room.note(15 * MIB, true) && !room.note(14 * MIB, true) && room.note(u64::MAX, false));
        assert_eq!(room.fitting(&inputs), 32);
    }

    #[test]
    fn a_full_turn_of_what_is_small_fits_where_there_is_room() {
        let mut room = Room::default();
        room.note(128 * MIB, false);
        let inputs: Vec<Input> = (0..super::super::TURN_INPUTS_MAX).map(|_| Input::Connected(true)).collect();
        assert_eq!(room.fitting(&inputs), inputs.len());
    }
}
