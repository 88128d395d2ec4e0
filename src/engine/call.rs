//! Calls of the sender's API: which may be made, how many at once, and never one twice.
//!
//! ```text
//!  command --plan--> refused
//!     |
//!     +--> a repeat: told what came of the first one
//!     |
//!     '--> waiting --a connection is free--> under way --Input::Called--> replied to
//!                                 |                          |
//!                   "begun" is durable, with            its end is durable
//!                   what a repeat is told if
//!                   nobody ever hears of its end
//! ```
//!
//! Only calls that change something leave records. Their begin is durable before the request, like an attempt's, and is
//! itself the reply that a repeat gets after a crash: that nobody knows. So no repeat ever makes a second call, unless
//! the first one is proven not to have been made.

use super::Engine;
use super::command::Order;
use super::tables::SenderKey;
use super::transaction::Before;
use crate::model::{
    Action, Call, CallContent, CallJob, Code, CommandOrigin, Fault, Planned, Record, Reply, Sender, SenderName, Time,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Calls of one server that wait for a connection, at most.
const WAITING_MAX: usize = if cfg!(test) { 2 } else { 64 };

/// Repeats of one call that wait for its end together.
const JOINED_MAX: usize = 16;

/// Longest reply that is kept for repeats, in bytes. What is longer is kept without its data.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// How a command came, as far as a call has to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) is_late: bool,
    pub(super) is_redelivered: bool,
    pub(super) expires_at: Option<Time>,
}

/// A call that waits or is under way.
#[derive(Debug)]
struct Calling {
    order: Order,
    /// Its repeats since.
    joined: Vec<Order>,
    sender: SenderKey,
    changes: bool,
}

#[derive(Debug)]
struct Waiting {
    calling: Calling,
    expires_at: Option<Time>,
    plan: Planned,
    content: CallContent,
    timeout: Option<Duration>,
}

/// Every call that is not over.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    /// By number.
    under_way: BTreeMap<u64, Calling>,
    /// First come, first served, each server by itself.
    waiting: VecDeque<Waiting>,
}

impl Calls {
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    fn under_way_at(&self, sender: SenderKey) -> usize {
        self.under_way.values().filter(|calling| calling.sender == sender).count()
    }

    fn waiting_for(&self, sender: SenderKey) -> usize {
        self.waiting.iter().filter(|waiting| waiting.calling.sender == sender).count()
    }

    /// The call that this one repeats, while it is not over.
    fn first_of(&mut self, origin: &CommandOrigin) -> Option<&mut Calling> {
        let waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.calling);
        let is_first = |calling: &&mut Calling| {
            origin.transaction.is_some() && calling.order.origin.transaction == origin.transaction
        };
        self.under_way.values_mut().chain(waiting).find(is_first)
    }
}

impl Engine {
    pub(super) fn call(&mut self, order: Order, call: Call, arrival: Arrival) {
        let (sender, plan) = match self.plan_call(&call) {
            Ok(planned) => planned,
            Err(fault) => return self.tell(order, Err(fault)),
        };
        let Some(order) = self.join_call(order) else { return };
        if plan.changes {
            match self.transactions.find(&order.origin, order.fingerprint) {
                Some(Before::Other) => return self.tell(order, Err(used_before())),
                Some(Before::Same(reply)) => {
                    if let Some(result) = told(reply) {
                        return self.tell(order, result);
                    }
                }
                None => {}
            }
        }
        if let Some(fault) = self.refusal_of_call(&order, sender, plan.changes, arrival) {
            return self.tell(order, Err(fault));
        }
        let calling = Calling { order, joined: Vec::new(), sender, changes: plan.changes };
        let Call { content, timeout, .. } = call;
        self.calls.waiting.push_back(Waiting { calling, expires_at: arrival.expires_at, plan, content, timeout });
        self.begin_calls(sender);
    }

    fn plan_call(&self, call: &Call) -> Result<(SenderKey, Planned), Fault> {
        let sender = match &call.sender {
            Some(name) => self.sender_key(name).ok_or_else(|| self.unknown_sender())?,
            None if self.senders.len() == 1 => SenderKey(0),
            None => {
                let known: Vec<&str> = self.senders.iter().map(|sender| sender.name.as_str()).collect();
                let message = format!("sender is required, because there are several: add one of {}", known.join(", "));
                return Err(Fault::of_field(Code::InvalidField, "sender", message));
            }
        };
        let rules = &self.settings.senders[sender.index()].calls.rules;
        Ok((sender, rules.plan(call.method, &call.path, &call.content)?))
    }

    /// A repeat of a call that is not over waits with it. Gives back one that is new.
    fn join_call(&mut self, mut order: Order) -> Option<Order> {
        let Some(first) = self.calls.first_of(&order.origin) else { return Some(order) };
        let fault = if first.order.fingerprint != order.fingerprint {
            used_before()
        } else if first.joined.len() >= JOINED_MAX {
            Fault::new(Code::Busy, "this call is being made: wait for its reply before you repeat it")
        } else {
            let ticket = order.ticket.take();
            first.joined.push(order);
            self.acknowledge(ticket);
            return None;
        };
        self.tell(order, Err(fault));
        None
    }

    /// Why a call is not made that could be, if that is so.
    fn refusal_of_call(&self, order: &Order, sender: SenderKey, changes: bool, arrival: Arrival) -> Option<Fault> {
        if arrival.is_late {
            let message = "the command came too late: its expiresAt or its message expiry is over, so it was not done";
            return Some(Fault::new(Code::Expired, message));
        }
        if self.stopping {
            return Some(stopping());
        }
        if changes && arrival.is_redelivered && order.origin.transaction.is_none() {
            let message = "the broker delivered this command a second time, and nobody can tell whether the call was \
                 made the first time, because it has no transaction: look before you repeat it, with a transaction";
            return Some(Fault::new(Code::Unresolved, message));
        }
        if self.calls.waiting_for(sender) >= WAITING_MAX {
            let message = "too many calls of this sender wait for a connection (senders.call_connections): nothing was \
                 done, repeat it later";
            return Some(Fault::new(Code::Busy, message));
        }
        None
    }

    /// Makes the calls that have a connection now.
    fn begin_calls(&mut self, sender: SenderKey) {
        while self.calls.under_way_at(sender) < self.settings.senders[sender.index()].calls.connections {
            let next = self.calls.waiting.iter().position(|waiting| waiting.calling.sender == sender);
            let Some(waiting) = next.and_then(|index| self.calls.waiting.remove(index)) else { return };
            if waiting.expires_at.is_some_and(|at| at <= self.now) {
                let message =
                    "the call waited for a connection until it was not worth making any more: it was not done";
                self.end_call(waiting.calling, &Err(Fault::new(Code::Expired, message)));
                continue;
            }
            self.begin_call(waiting);
        }
    }

    fn begin_call(&mut self, waiting: Waiting) {
        let Waiting { mut calling, plan, content, timeout, .. } = waiting;
        let name = self.settings.senders[calling.sender.index()].name.clone();
        let ticket = calling.order.ticket.take();
        if calling.changes {
            self.keep_call(&calling.order, begun(&name, &plan));
        }
        // Once the begin is on disk the broker may forget the command: nobody makes it a second time.
        self.acknowledge(ticket);
        self.calls.last += 1;
        let number = self.calls.last;
        self.calls.under_way.insert(number, calling);
        let Planned { method, path, changes } = plan;
        let job = CallJob { number, sender: name, method, path, content, timeout, changes };
        self.act(Action::Call(Box::new(job)));
    }

    /// Writes down who called what, and what a repeat is told from now on.
    fn keep_call(&mut self, order: &Order, reply: Value) {
        let (at, origin, fingerprint) = (self.now, order.origin.clone(), order.fingerprint);
        let reply: Box<str> = reply.to_string().into();
        self.transactions.insert(&origin, fingerprint, at, reply.clone());
        self.record(Record::Commanded { at, origin, fingerprint, reply });
    }

    pub(super) fn handle_called(&mut self, number: u64, result: Result<Value, Fault>) {
        let Some(calling) = self.calls.under_way.remove(&number) else { return };
        let sender = calling.sender;
        if calling.changes {
            self.keep_call(&calling.order, kept(&result));
        }
        self.end_call(calling, &result);
        self.begin_calls(sender);
    }

    fn end_call(&mut self, calling: Calling, result: &Result<Value, Fault>) {
        for order in std::iter::once(calling.order).chain(calling.joined) {
            self.acknowledge(order.ticket);
            self.act(Action::Reply(Reply { origin: order.origin, result: result.clone() }));
        }
    }

    /// A stop waits for calls under way, and not for those that have not begun.
    pub(super) fn stop_calls(&mut self) {
        for waiting in std::mem::take(&mut self.calls.waiting) {
            self.end_call(waiting.calling, &Err(stopping()));
        }
    }
}

fn stopping() -> Fault {
    Fault::new(Code::Blocked, "the bridge is stopping, so the call was not made: repeat it when the bridge is back")
}

fn used_before() -> Fault {
    let message = "transaction was used for another command of this name: use a new one for a new command, or repeat \
         the first one unchanged";
    Fault::of_field(Code::IdConflict, "transaction", message)
}

/// The reply to repeats of a call of which nobody ever heard again, and what it was.
fn begun(sender: &SenderName, plan: &Planned) -> Value {
    let message = "the bridge ended while this call was under way, so nobody can tell whether it had its effect: look \
         before you repeat it with a new transaction";
    json!({
        "call": { "sender": sender.as_str(), "method": plan.method.as_str(), "path": plan.path },
        "error": { "code": Code::Unresolved.as_str(), "message": message },
    })
}

/// The reply to repeats of a call that is over.
fn kept(result: &Result<Value, Fault>) -> Value {
    match result {
        Ok(data) if data.to_string().len() <= KEPT_BYTES_MAX => data.clone(),
        Ok(data) => json!({
            "http": data["http"], "code": data["code"], "msg": data["msg"], "data": null, "dataKept": false,
        }),
        Err(fault) => {
            let sender = fault.sender.as_ref();
            let words = sender.map(|words| json!({ "http": words.http, "code": words.code, "msg": words.msg }));
            json!({ "error": { "code": fault.code.as_str(), "message": fault.message, "sender": words } })
        }
    }
}

/// Why a call has no data, as it is kept.
#[derive(Deserialize)]
struct KeptError {
    code: Box<str>,
    message: Box<str>,
    sender: Option<KeptWords>,
}

#[derive(Deserialize)]
struct KeptWords {
    http: u16,
    code: Option<i64>,
    msg: Box<str>,
}

/// What a repeat is told. `None` where the call was provably not made, so that it can be made now.
fn told(reply: &str) -> Option<Result<Value, Fault>> {
    let mut kept: Value = serde_json::from_str(reply).unwrap_or_default();
    let Some(error) = kept.get_mut("error") else { return Some(Ok(kept)) };
    let Ok(KeptError { code, message, sender }) = serde_json::from_value(error.take()) else {
        return Some(Err(Fault::new(
            Code::Unresolved,
            "what came of this call cannot be read: look before you repeat it",
        )));
    };
    let code = Code::parse(&code).unwrap_or(Code::Unresolved);
    let sender = sender.map(|KeptWords { http, code, msg }| Sender { http, code, msg });
    (!was_not_made(code)).then(|| Err(Fault { sender, ..Fault::new(code, message) }))
}

/// Whether an end is proof that the sender has done nothing and never will.
fn was_not_made(code: Code) -> bool {
    match code {
        Code::Busy | Code::Unreachable | Code::FileUnavailable | Code::TooLarge | Code::InvalidField => true,
        Code::InvalidJson
        | Code::UnknownType
        | Code::Retained
        | Code::IdConflict
        | Code::QueueFull
        | Code::UnknownAccount
        | Code::Refused
        | Code::Unresolved
        | Code::Expired
        | Code::Cancelled
        | Code::Blocked
        | Code::NotSent
        | Code::UnknownCommand
        | Code::NotFound
        | Code::WrongState
        | Code::StorageLow
        | Code::Internal
        | Code::PathNotAllowed
        | Code::SendPath
        | Code::Timeout
        | Code::BadAnswer
        | Code::AnswerTooLarge => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_repeat_is_told_is_what_was_told() {
        let data = json!({ "http": 200, "code": 0, "msg": "", "data": { "error": "is a word like others" } });
        assert_eq!(told(&kept(&Ok(data.clone())).to_string()), Some(Ok(data)));
        let words = Sender { http: 200, code: Some(-7), msg: Box::from("no") };
        let refused = Fault { sender: Some(words), ..Fault::new(Code::Refused, "the sender says no") };
        assert_eq!(told(&kept(&Err(refused.clone())).to_string()), Some(Err(refused)));
        for code in Code::ALL {
            let fault = Fault::new(code, "why");
            let again = told(&kept(&Err(fault.clone())).to_string());
            assert_eq!(again, (!was_not_made(code)).then_some(Err(fault)), "{code:?}");
        }
    }

    #[test]
    fn of_a_long_reply_the_data_is_left_out() {
        let long = json!({ "http": 200, "code": 0, "msg": "ok", "data": "x".repeat(KEPT_BYTES_MAX) });
        let kept = told(&kept(&Ok(long)).to_string());
        let wanted = json!({ "http": 200, "code": 0, "msg": "ok", "data": null, "dataKept": false });
        assert_eq!(kept, Some(Ok(wanted)));
    }

    #[test]
    fn a_call_that_never_ended_is_not_known() {
        let path = Box::from("/contact/remark");
        let plan = Planned { method: crate::model::Method::Put, path, changes: true };
        let begun = begun(&SenderName::new("main"), &plan);
        assert_eq!(begun["call"], json!({ "sender": "main", "method": "PUT", "path": "/contact/remark" }));
        let Some(Err(fault)) = told(&begun.to_string()) else { panic!("{begun}") };
        assert_eq!(fault.code, Code::Unresolved);
    }

    #[test]
    fn a_kept_reply_that_cannot_be_read_makes_no_second_call() {
        for reply in ["", "{", "[]", "5", r#"{"error":5}"#, r#"{"error":{"code":"NEW","message":"m"}}"#] {
            assert!(told(reply).is_some(), "{reply}");
        }
    }
}
