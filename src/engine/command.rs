//! What operators order and ask.
//!
//! A question is answered at once. An order is done once per transaction, is durable before its reply, and is
//! acknowledged when it is done: until then the broker keeps it, so that a crash in the middle does it again.

mod ask;
mod cancel;
mod describe;
mod drain;
mod limit;

pub(super) use cancel::Sweep;
pub(super) use drain::Drain;

use super::Engine;
use super::call::Arrival;
use super::tables::Timer;
use super::transaction::Before;
use crate::model::{
    Action, Code, Command, CommandOrigin, CommandRequest, Fault, Fingerprint, HoldId, LogLevel, Record, Reply, Scope,
    Ticket, Time,
};
use describe::describe_hold;
use serde_json::{Value, json};
use std::time::Duration;

/// A command that changes something, until it is done.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) ticket: Option<Ticket>,
    pub(super) origin: CommandOrigin,
    pub(super) fingerprint: Fingerprint,
}

impl Engine {
    pub(super) fn handle_command(&mut self, ticket: Option<Ticket>, request: CommandRequest) {
        let is_late = request.has_expired(self.now);
        let CommandRequest { origin, command, fingerprint, expires_at, message_expiry, is_redelivered } = request;
        let command = match command {
            Ok(command) => command,
            Err(fault) => return self.refuse_command(ticket, origin, fault),
        };
        let order = Order { ticket, origin, fingerprint };
        if let Command::SenderCall(call) = command {
            let expires_at = [expires_at, message_expiry.map(|left| self.now + left)].into_iter().flatten().min();
            return self.call(order, *call, Arrival { is_late, is_redelivered, expires_at });
        }
        // What was done in time is told as often as it comes.
        let order = if command.is_change() {
            match self.settle_repeat(order) {
                Some(order) => order,
                None => return,
            }
        } else {
            order
        };
        if is_late {
            let message = "the command came too late: its expiresAt or its message expiry is over, so it was not done";
            return self.refuse_command(order.ticket, order.origin, Fault::new(Code::Expired, message));
        }
        if let Command::MessageCancel { selection, dry_run, block_for, reason } = command {
            self.cancel(order, selection, dry_run, block_for, reason);
        } else if let Command::MessageRetry { id, account } = command {
            self.retry(order, id, account);
        } else if command.is_change() {
            let result = self.perform(&order.origin, command);
            self.conclude(order, result);
        } else {
            self.acknowledge(order.ticket);
            self.answer_question(order.origin, command);
        }
    }

    fn refuse_command(&mut self, ticket: Option<Ticket>, origin: CommandOrigin, fault: Fault) {
        self.acknowledge(ticket);
        self.act(Action::Reply(Reply { origin, result: Err(fault) }));
    }

    /// Answers an order that was done before, or is being done; gives back one that is new.
    fn settle_repeat(&mut self, order: Order) -> Option<Order> {
        let order = self.join_retry(order)?;
        let (order, is_in_use) = self.join_sweep(order)?;
        let result = match self.transactions.find(&order.origin, order.fingerprint) {
            None if !is_in_use => return Some(order),
            Some(Before::Same(reply)) => serde_json::from_str(reply).ok(),
            Some(Before::Other) | None => None,
        };
        let result = result.ok_or_else(|| {
            let message = "transaction was used for another command of this name: use a new one for a new command, or \
                 repeat the first one unchanged";
            Fault::of_field(Code::IdConflict, "transaction", message)
        });
        self.tell(order, result);
        None
    }

    /// Acknowledges an order and replies to it, without a trace of it.
    pub(super) fn tell(&mut self, order: Order, result: Result<Value, Fault>) {
        self.acknowledge(order.ticket);
        self.act(Action::Reply(Reply { origin: order.origin, result }));
    }

    /// The order was done, or cannot be: what it changed, and that it was done, are one commit.
    pub(super) fn conclude(&mut self, order: Order, result: Result<Value, Fault>) {
        let Order { ticket, origin, fingerprint } = order;
        self.acknowledge(ticket);
        if let Ok(data) = &result {
            let reply: Box<str> = data.to_string().into();
            self.transactions.insert(&origin, fingerprint, self.now, reply.clone());
            self.record(Record::Commanded { at: self.now, origin: origin.clone(), fingerprint, reply });
        }
        self.act(Action::Reply(Reply { origin, result }));
    }

    pub(super) fn replay_commanded(&mut self, at: Time, origin: &CommandOrigin, fp: Fingerprint, reply: Box<str>) {
        // What a restart ends is not done any more: when it comes again it is to be done again.
        if !matches!(&*origin.name, "drain" | "log/level") {
            self.transactions.insert(origin, fp, at.min(self.now), reply);
        }
    }

    fn perform(&mut self, origin: &CommandOrigin, command: Command) -> Result<Value, Fault> {
        let by = origin.by.clone();
        match command {
            Command::Pause { scope, reason, duration, until } => {
                self.check_scope(&scope)?;
                let until = self.end_of(duration, until)?;
                let hold = self.hold(scope, reason, by, until)?;
                let mut data = describe_hold(&hold);
                // As resume and the reports call it.
                data["hold"] = json!(hold.id.0);
                Ok(data)
            }
            Command::Resume { scope } => {
                let ids: Vec<HoldId> = self.holds.of_scope(&scope).map(|hold| hold.id).collect();
                for id in &ids {
                    self.release(*id, by.clone());
                }
                Ok(self.describe_released(&ids))
            }
            Command::ResumeHold { hold } => {
                if self.release(hold, by.clone()) || self.unblock(hold, by) {
                    Ok(self.describe_released(&[hold]))
                } else {
                    Err(Fault::of_field(
                        Code::NotFound,
                        "hold",
                        "there is no hold of this number: hold/list names those that there are",
                    ))
                }
            }
            Command::LimitsSet { scope, change, duration, until } => {
                let until = self.end_of(duration, until)?;
                self.limits_set(scope, change, until, by)
            }
            Command::Drain { on } => Ok(self.drain(origin, on)),
            Command::LogLevel { level, duration } => Ok(self.log_level(level, duration)),
            Command::MessageResolve { id, account, settled } => self.resolve(&id, account.as_ref(), settled),
            // Done step by step, each in its own way.
            Command::MessageRetry { .. }
            | Command::MessageCancel { .. }
            | Command::SenderCall(_)
            | Command::Info
            | Command::AccountList { .. }
            | Command::CorpList { .. }
            | Command::CorpGet { .. }
            | Command::HoldList { .. }
            | Command::LimitsGet { .. }
            | Command::DirectoryRefresh { .. }
            | Command::MessageList { .. }
            | Command::MessageGet { .. }
            | Command::AccountGet { .. }
            | Command::Health => Err(not_an_order()),
        }
    }

    /// `remaining` tells who resumed something else than what is held.
    fn describe_released(&self, released: &[HoldId]) -> Value {
        let ids: Vec<u64> = released.iter().map(|id| id.0).collect();
        json!({ "released": ids, "count": ids.len(), "remaining": self.holds.len() + self.blocks.len() })
    }

    /// Servers are all known from the configuration, so an unknown one is a slip that would hold nothing. Companies and
    /// accounts may come later.
    fn check_scope(&self, scope: &Scope) -> Result<(), Fault> {
        match scope {
            Scope::Sender(name) if self.sender_key(name).is_none() => Err(self.unknown_sender()),
            Scope::Sender(_) | Scope::All | Scope::Corp(_) | Scope::Account(_) | Scope::Conversation(..) => Ok(()),
        }
    }

    pub(super) fn unknown_sender(&self) -> Fault {
        let known: Vec<&str> = self.senders.iter().map(|sender| sender.name.as_str()).collect();
        let message = format!("there is no sender of this name: use one of {}", known.join(", "));
        Fault::of_field(Code::NotFound, "sender", message)
    }

    fn end_of(&self, duration: Option<Duration>, until: Option<Time>) -> Result<Option<Time>, Fault> {
        match (duration, until) {
            (Some(span), _) => Ok(Some(self.now + span)),
            (None, Some(until)) if until <= self.now => Err(Fault::of_field(
                Code::InvalidField,
                "until",
                "until must lie in the future: give a later time, or a duration",
            )),
            (None, until) => Ok(until),
        }
    }

    fn log_level(&mut self, level: LogLevel, duration: Option<Duration>) -> Value {
        let until = duration.map(|span| self.now + span);
        if let Some(before) = std::mem::replace(&mut self.log_level_until, until) {
            self.timers.remove(&(before, Timer::LogLevel));
        }
        if let Some(until) = until {
            self.timers.insert((until, Timer::LogLevel));
        }
        self.act(Action::LogLevel(Some(level)));
        json!({ "level": level.as_str(), "until": until.map(|until| until.to_string()) })
    }

    pub(super) fn log_level_ends(&mut self) {
        self.log_level_until = None;
        self.act(Action::LogLevel(None));
    }
}

/// A question among the orders: nobody sends one there.
fn not_an_order() -> Fault {
    Fault::new(Code::Internal, "this command changes nothing, and was taken for one that does: report it")
}
