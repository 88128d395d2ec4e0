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
    Account, Action, CALLBACK_WINDOW, CALLBACKS_KNOWN_MAX, Callback, CallbackTicket, Outgoing, Record, Signal, Time,
};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Events that wait for the broker, at most: beyond it callbacks are refused. Tests are to reach it.
const EVENTS_MAX: usize = if cfg!(test) { 1000 } else { 1_000_000 };

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
    pub(super) fn handle_callback(&mut self, ticket: CallbackTicket, mut callback: Callback) {
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
        self.name_corps(&mut callback);
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

    /// Says whose account an event is about, where its system does not and we know.
    fn name_corps(&self, callback: &mut Callback) {
        if callback.sender.is_none() {
            return;
        }
        for event in callback.events.iter_mut().filter(|event| event.corp.is_none()) {
            let key = event.account.as_deref().and_then(|account| self.account_keys.get(&Account::new(account)));
            let corp = key.and_then(|key| self.account(*key).corp);
            event.corp = corp.map(|corp| self.corps[corp.index()].name.as_str().to_owned());
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

#[cfg(test)]
mod tests {
    #![allow(clippy::wildcard_enum_match_arm, reason = "a check picks the few cases that it is about")]

    use super::*;
    use crate::model::{Event, LastNumbers, Ready};
    use std::time::Duration;

    const START: Time = Time::from_millis(1_700_000_000_000);
    const INSTANT: Duration = Duration::from_nanos(1);

    fn key(number: usize) -> [u8; 16] {
        (number as u128).to_be_bytes()
    }

    fn told(engine: &mut Engine, number: usize, now: Time) -> Ready {
        let event = crate::golden::plain_event("account/login", number.to_string(), now);
        let callback = Callback { sender: None, key: key(number), events: vec![event], signals: Vec::new() };
        let input =
            crate::model::Input::Callback { ticket: CallbackTicket(number as u64), callback: Box::new(callback) };
        engine.handle(input, now);
        engine.poll_ready(now)
    }

    fn engine() -> Engine {
        let mut engine = Engine::new(crate::golden::default_settings(), START, LastNumbers::default());
        engine.start(START);
        engine
    }

    #[test]
    fn a_callback_is_known_again_for_its_window_and_not_longer() {
        let mut callbacks = Callbacks::default();
        assert!(callbacks.note(key(1), START) && callbacks.note(key(2), START + INSTANT));
        callbacks.forget(START);
        assert!(!callbacks.note(key(1), START));
        callbacks.forget(START + INSTANT);
        assert!(!callbacks.note(key(2), START) && callbacks.note(key(1), START));
        let mut engine = engine();
        let reported = |ready: Ready| ready.records.len();
        assert_eq!(reported(told(&mut engine, 1, START)), 1);
        assert_eq!(reported(told(&mut engine, 1, START + CALLBACK_WINDOW)), 0);
        assert_eq!(reported(told(&mut engine, 1, START + CALLBACK_WINDOW + INSTANT)), 1);
    }

    #[test]
    fn an_event_names_the_company_of_an_account_of_ours_where_its_system_does_not() {
        let settings = crate::engine::Settings {
            accounts: vec![crate::engine::AccountSettings {
                account: Account::new("a"),
                corp: Some(crate::model::Corp::new("c")),
                sender: Some(crate::model::SenderName::new("main")),
            }],
            ..crate::golden::default_settings()
        };
        let mut engine = Engine::new(settings, START, LastNumbers::default());
        engine.start(START);
        let sender = Some(crate::model::SenderName::new("main"));
        let cases = [
            (&sender, "a", None, Some("c")),
            (&sender, "a", Some("told"), Some("told")),
            (&sender, "stranger", None, None),
            (&None, "a", None, None),
        ];
        for (number, (sender, account, told, named)) in cases.into_iter().enumerate() {
            let event = Event {
                account: Some(account.to_owned()),
                corp: told.map(str::to_owned),
                ..crate::golden::plain_event("account/login", number.to_string(), START)
            };
            let callback =
                Callback { sender: sender.clone(), key: key(number), events: vec![event], signals: Vec::new() };
            let ticket = CallbackTicket(number as u64);
            engine.handle(crate::model::Input::Callback { ticket, callback: Box::new(callback) }, START);
            let ready = engine.poll_ready(START);
            let Some(Record::Reported { callback, .. }) = ready.records.first() else { panic!("{ready:?}") };
            assert_eq!(callback.events[0].corp.as_deref(), named);
        }
    }

    #[test]
    fn of_too_many_callbacks_the_oldest_is_forgotten_first() {
        let mut callbacks = Callbacks::default();
        assert!((0..CALLBACKS_KNOWN_MAX).all(|number| callbacks.note(key(number), START)));
        assert!(!callbacks.note(key(0), START), "as many as are kept");
        assert!(callbacks.note(key(CALLBACKS_KNOWN_MAX), START));
        assert!(!callbacks.note(key(1), START) && callbacks.note(key(0), START));
    }

    /// A broker that is away for long must not fill the memory with events; answers have their own room.
    #[test]
    fn callbacks_are_refused_while_too_many_events_wait_for_the_broker() {
        let mut engine = engine();
        let is_refused = |ready: Ready| ready.actions.iter().any(|action| matches!(action, Action::CallbackRefused(_)));
        assert!((1..=EVENTS_MAX).all(|number| !is_refused(told(&mut engine, number, START))));
        assert!(is_refused(told(&mut engine, EVENTS_MAX + 1, START)));
        engine.handle(crate::model::Input::Connected(true), START);
        engine.poll_ready(START);
        let what = Outgoing::Event(1);
        engine.handle(crate::model::Input::Published { what, refused: None }, START);
        assert!(!is_refused(told(&mut engine, EVENTS_MAX + 1, START)));
        assert!(is_refused(told(&mut engine, EVENTS_MAX + 2, START)));
    }
}
