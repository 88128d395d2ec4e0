//! What the vendors' systems report: kept once, published, and taken for what it says about our messages and accounts.
//!
//! # Invariants
//!
//! - A callback is answered once it is durable, and not before: its answer leaves behind the record of the same turn,
//!   and so does that of a repeat.
//! - A repeat changes nothing.
//! - What cannot be kept is refused, so that its system brings it again.

use super::Engine;
use super::tables::SenderKey;
use crate::model::{
    Action, CALLBACK_WINDOW, CALLBACKS_KNOWN_MAX, Callback, CallbackTicket, Outgoing, Record, Signal, Time,
};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Events that wait for the broker, at most: beyond it callbacks are refused.
const EVENTS_MAX: usize = 1_000_000;

/// Callbacks that are known again.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    known: BTreeSet<[u8; 16]>,
    /// In the order in which they are forgotten.
    forgetting: VecDeque<(Time, [u8; 16])>,
}

impl Callbacks {
    /// False for one that is known.
    fn note(&mut self, key: [u8; 16], at: Time) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        self.forgetting.push_back((at, key));
        if self.forgetting.len() > CALLBACKS_KNOWN_MAX
            && let Some((_, oldest)) = self.forgetting.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    fn forget(&mut self, before: Time) {
        while let Some((_, key)) = self.forgetting.front().filter(|(at, _)| *at < before) {
            self.known.remove(key);
            self.forgetting.pop_front();
        }
    }
}

impl Engine {
    pub(super) fn handle_callback(&mut self, ticket: CallbackTicket, callback: Callback) {
        if self.storage_low || self.stopping || self.outbox.events() + callback.events.len() > EVENTS_MAX {
            return self.act(Action::CallbackRefused(ticket));
        }
        self.act(Action::CallbackTaken(ticket));
        self.forget_callbacks();
        if !self.callbacks.note(callback.key, self.now) {
            return;
        }
        let number = self.last.event + 1;
        self.last.event += callback.events.len() as u64;
        let callback = Arc::new(callback);
        self.record(Record::Reported { number, at: self.now, callback: Arc::clone(&callback) });
        for number in number..=self.last.event {
            self.outbox.push(Outgoing::Event(number));
        }
        // Only what is about a server of ours steers anything.
        let Some(sender) = callback.sender.as_ref().and_then(|name| self.sender_key(name)) else { return };
        callback.events.iter().for_each(|event| self.ask_a_person(event));
        for signal in &callback.signals {
            self.handle_signal(sender, signal.clone());
        }
    }

    fn handle_signal(&mut self, sender: SenderKey, signal: Signal) {
        match signal {
            Signal::Seen(seen) => self.handle_seen(sender, seen),
            Signal::Online { account, corp } => self.come_online(sender, account, corp),
            Signal::Offline { account } => self.leave(sender, &account),
        }
    }

    fn forget_callbacks(&mut self) {
        let window = self.settings.messages.dedup_window.max(CALLBACK_WINDOW);
        self.callbacks.forget(self.now - window);
    }

    /// A callback of an earlier life, without its events: those that are open come by their numbers.
    pub(super) fn replay_reported(&mut self, at: Time, callback: &Callback) {
        let at = at.min(self.now);
        self.callbacks.note(callback.key, at);
        for signal in &callback.signals {
            match signal {
                Signal::Seen(seen) => self.replay_seen(seen.clone(), at),
                // How an account stands has a record of its own.
                Signal::Online { .. } | Signal::Offline { .. } => {}
            }
        }
    }
}
