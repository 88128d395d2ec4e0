//! `drain`: takes no more messages, finishes those that are there, and says when nothing is left.
//!
//! Whether intake is open is decided in one place, because three things close it: a drain, a disk that is nearly full,
//! and a stop.

use crate::engine::Engine;
use crate::model::{Action, CommandOrigin, Mode, Reply, State};
use serde_json::{Value, json};

/// Those who are told when a drain is over, at most; more have to ask `health`.
const WAITING_MAX: usize = 100;

/// A drain under way, and who waits for its end. A restart ends it.
#[derive(Debug, Default)]
pub(in crate::engine) struct Drain {
    waiting: Vec<CommandOrigin>,
}

impl Engine {
    pub(super) fn drain(&mut self, origin: &CommandOrigin, on: bool) -> Value {
        if !on {
            let ended = self.drain.take().unwrap_or_default();
            self.steer_intake();
            for origin in ended.waiting {
                self.act(Action::Reply(Reply { origin, result: Ok(json!({ "state": "running" })) }));
            }
            return json!({ "state": "running" });
        }
        let mut drain = self.drain.take().unwrap_or_default();
        let is_over = self.is_empty();
        if !is_over && drain.waiting.len() < WAITING_MAX {
            drain.waiting.push(origin.clone());
        }
        self.drain = Some(drain);
        self.steer_intake();
        if is_over { json!({ "state": "drained" }) } else { self.describe_drain() }
    }

    fn describe_drain(&self) -> Value {
        let count = |state| self.ledger.total.states.get(state);
        json!({
            "state": "draining",
            "queued": count(State::Queued),
            "sending": count(State::Sending),
            "inDoubt": count(State::InDoubt),
            "answersOpen": self.outbox.answers(),
        })
    }

    /// Whether every message is over and answered.
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.outbox.answers() == 0 && self.sweeps.is_empty()
    }

    /// Tells those who wait for the end of a drain, once it is there.
    pub(in crate::engine) fn notice_drained(&mut self) {
        if !self.is_empty() {
            return;
        }
        let waiting = self.drain.as_mut().map(|drain| std::mem::take(&mut drain.waiting));
        for origin in waiting.into_iter().flatten() {
            self.act(Action::Reply(Reply { origin, result: Ok(json!({ "state": "drained" })) }));
        }
    }

    pub(in crate::engine) fn mode(&self) -> Mode {
        match &self.drain {
            _ if self.stopping => Mode::Stopping,
            Some(_) if self.is_empty() => Mode::Drained,
            Some(_) => Mode::Draining,
            None => Mode::Running,
        }
    }

    /// Whether new messages are taken. What is not taken is not acknowledged, so the broker keeps it.
    pub(in crate::engine) fn takes_messages(&self) -> bool {
        let drains = self.drain.is_some() && !self.sabotaged(crate::engine::sabotage::Sabotage::DrainTakesMessages);
        !self.storage_low && !self.stopping && !drains
    }

    /// Opens or closes intake, if it is not as it should be.
    pub(in crate::engine) fn steer_intake(&mut self) {
        let open = !self.storage_low && !self.stopping && self.drain.is_none();
        if std::mem::replace(&mut self.intake_open, open) != open {
            self.act(Action::Intake { open });
        }
    }
}
