//! What the person at the keys asks of the bridge, and what it answers.
//!
//! A command goes out at QoS 0: it is done now or not at all. A broker would keep one at QoS 1 for a bridge that is
//! away, and a pause that nobody remembers would fall out of it a day later.

use super::payload::{ReplyPayload, plain};
use super::{BridgeState, Heard, Link, Model, Notice};
use crate::model::{HealthReport, Time};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a reply is waited for.
pub(super) const REPLY_PATIENCE: Duration = Duration::from_secs(10);
/// Replies waited for at once.
const PENDING_MAX: usize = 32;
const HEALTH: &str = "health";
/// Lines of details that are kept.
const DETAIL_LINES_MAX: usize = 500;

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Publish at QoS 0, not retained; tell [`Model::not_sent`] with the transaction when it could not be.
    Publish {
        topic: String,
        payload: String,
        transaction: String,
    },
    Quit,
}

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Account(String),
    Corp(String),
    /// The number of a hold or a block.
    Hold(u64),
}

impl Target {
    /// In words.
    pub fn subject(&self) -> String {
        match self {
            Self::Account(account) => format!("account {account}"),
            Self::Corp(corp) => format!("company {corp}"),
            Self::Hold(hold) => format!("hold {hold}"),
        }
    }

    /// Its field of a command.
    fn field(&self) -> (&'static str, Value) {
        match self {
            Self::Account(account) => ("account", json!(account)),
            Self::Corp(corp) => ("corp", json!(corp)),
            Self::Hold(hold) => ("hold", json!(hold)),
        }
    }
}

/// A line that is being filled in. Enter goes on, Esc leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    Filter {
        text: String,
    },
    Reason {
        target: Target,
        text: String,
    },
    /// Optional: an empty one pauses until somebody resumes.
    Duration {
        target: Target,
        reason: String,
        text: String,
    },
    Resume {
        target: Target,
    },
}

/// What `account/get` or `corp/get` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    pub subject: String,
    transaction: String,
    /// `None` while the reply is waited for.
    pub lines: Option<Vec<(String, String)>>,
    pub scroll: usize,
}

/// A command without a reply yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    what: String,
    due: Time,
}

impl Model {
    /// Pauses what was asked about; the reply says the rest.
    pub(super) fn pause(&mut self, target: &Target, reason: &str, duration: &str) -> Option<Effect> {
        let mut order = Map::new();
        let (name, value) = target.field();
        order.insert(name.to_owned(), value);
        order.insert("reason".to_owned(), json!(reason));
        if !duration.is_empty() {
            order.insert("duration".to_owned(), json!(duration));
        }
        self.command("pause", order, format!("pause {}", target.subject())).map(|(effect, _)| effect)
    }

    pub(super) fn resume(&mut self, target: &Target) -> Option<Effect> {
        let (name, value) = target.field();
        let order = Map::from_iter([(name.to_owned(), value)]);
        self.command("resume", order, format!("resume {}", target.subject())).map(|(effect, _)| effect)
    }

    pub(super) fn fetch_details(&mut self, target: &Target) -> Option<Effect> {
        let command = match target {
            Target::Account(_) => "account/get",
            Target::Corp(_) => "corp/get",
            Target::Hold(_) => return None,
        };
        let (name, value) = target.field();
        let order = Map::from_iter([(name.to_owned(), value)]);
        let subject = target.subject();
        let (effect, transaction) = self.command(command, order, format!("details of {subject}"))?;
        self.details = Some(Details { subject, transaction, lines: None, scroll: 0 });
        Some(effect)
    }

    /// Asks for `health`, which a bridge that lives answers. The transaction comes with it.
    pub fn ask_for_health(&mut self) -> Option<(Effect, String)> {
        self.command(HEALTH, Map::new(), HEALTH.to_owned())
    }

    /// Whether the last reply was to this transaction.
    pub fn is_answered(&self, transaction: &str) -> bool {
        self.answered.as_deref() == Some(transaction)
    }

    fn command(&mut self, name: &str, mut order: Map<String, Value>, what: String) -> Option<(Effect, String)> {
        if self.link != Link::Up {
            self.refuse(format!("{what}: not sent, there is no connection to the broker"));
            return None;
        }
        if let Some(state @ (BridgeState::Offline | BridgeState::Stopped)) = &self.bridge {
            let word = if *state == BridgeState::Offline { "offline" } else { "stopped" };
            self.refuse(format!("{what}: not sent, the bridge is {word}"));
            return None;
        }
        if self.pending.len() >= PENDING_MAX {
            self.refuse(format!("{what}: not sent, {PENDING_MAX} commands wait for a reply already"));
            return None;
        }
        let transaction = format!("{}-{}", self.session, self.next_transaction);
        self.next_transaction += 1;
        order.insert("transaction".to_owned(), json!(transaction));
        order.insert("by".to_owned(), json!(self.by));
        self.notice = Some(Notice { text: format!("{what}: sent, waiting for the reply"), is_bad: false });
        self.pending.insert(transaction.clone(), Pending { what, due: self.now + REPLY_PATIENCE });
        let payload = Value::Object(order).to_string();
        let topic = self.topics.request(name);
        Some((Effect::Publish { topic, payload, transaction: transaction.clone() }, transaction))
    }

    fn refuse(&mut self, text: String) {
        self.notice = Some(Notice { text, is_bad: true });
    }

    /// The connection did not take the command with this transaction.
    pub fn not_sent(&mut self, transaction: &str) {
        if let Some(pending) = self.pending.remove(transaction) {
            self.end_details(transaction);
            self.refuse(format!("{}: not sent, the connection did not take it", pending.what));
        }
    }

    pub(super) fn give_up_overdue(&mut self) {
        let overdue: Vec<String> =
            self.pending.iter().filter(|(_, pending)| pending.due <= self.now).map(|(key, _)| key.clone()).collect();
        for transaction in overdue {
            let Some(pending) = self.pending.remove(&transaction) else { continue };
            self.end_details(&transaction);
            let seconds = REPLY_PATIENCE.as_secs();
            self.refuse(format!("{}: no reply within {seconds} s, it may or may not have been done", pending.what));
        }
    }

    /// Details whose reply does not come are closed: an empty box would promise something.
    fn end_details(&mut self, transaction: &str) {
        self.details.take_if(|details| details.transaction == transaction);
    }

    pub(super) fn take_reply(&mut self, reply: ReplyPayload) {
        let Some(Value::String(transaction)) = &reply.transaction else { return };
        // Others ask, too, and their replies come on the same topics.
        let Some(pending) = self.pending.remove(transaction) else { return };
        self.answered = Some(transaction.clone());
        let what = pending.what;
        if what == HEALTH
            && reply.status == "ok"
            && let Ok(value) = serde_json::from_value::<HealthReport>(reply.data.clone())
        {
            self.health = Some(Heard { value, at: self.now, stored: false });
            self.notice = None;
            return;
        }
        if reply.status != "ok" {
            self.end_details(transaction);
            let said = reply
                .error
                .map_or("without saying why".to_owned(), |error| format!("{}: {}", error.code, error.message));
            return self.refuse(format!("{what}: refused, {said}"));
        }
        if let Some(details) = self.details.as_mut().filter(|details| details.transaction == *transaction) {
            let mut lines = Vec::new();
            flatten("", &reply.data, &mut lines);
            details.lines = Some(lines);
            self.notice = None;
            return;
        }
        self.notice = Some(Notice { text: format!("{what}: done{}", outcome(&reply.data)), is_bad: false });
    }
}

/// What a reply says beyond that it was done.
fn outcome(data: &Value) -> String {
    if let Some(released) = data.get("released").and_then(Value::as_array) {
        let numbers: Vec<String> = released.iter().map(plain).collect();
        let none = ", but no hold was of exactly this scope: look at the holds".to_owned();
        return if numbers.is_empty() { none } else { format!(", released hold {}", numbers.join(", ")) };
    }
    let mut text = String::new();
    if let Some(hold) = data.get("hold").filter(|hold| !hold.is_null()) {
        text.push_str(", hold ");
        text.push_str(&plain(hold));
    }
    if let Some(until) = data.get("until").and_then(Value::as_str) {
        text.push_str(" until ");
        text.push_str(until);
    }
    text
}

/// Every figure with its name, nested ones with the names before it.
fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    if lines.len() >= DETAIL_LINES_MAX {
        return;
    }
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (member, value) in members {
                let path = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flatten(&path, value, lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{name}[{index}]"), value, lines);
            }
        }
        Value::Array(_) | Value::Object(_) | Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
            lines.push((name.to_owned(), plain(value)));
        }
    }
}
