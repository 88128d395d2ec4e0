//! What operators order and ask.

use super::Engine;
use super::accept::id_key;
use super::sabotage::Sabotage;
use super::tables::Phase;
use crate::model::{
    Account, Action, Code, Command, CommandOrigin, CommandRequest, Fault, Fingerprint, Hold, HoldId, MessageId, Record, Reply,
    Scope, Seq, State, Ticket, Time,
};
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
        let CommandRequest { origin, command, fingerprint, .. } = request;
        let command = match command {
            Ok(command) => command,
            Err(fault) => {
                self.acknowledge(ticket);
                return self.act(Action::Reply(Reply { origin, result: Err(fault) }));
            }
        };
        if !command.is_change() {
            self.acknowledge(ticket);
            return self.answer_question(origin, command);
        }
        // Also while the disk is nearly full: a command is small, and what it does may be what makes room.
        let Some(order) = self.settle_repeat(Order { ticket, origin, fingerprint }) else { return };
        if let Command::MessageRetry { id, account } = command {
            return self.retry(order, id, account);
        }
        let result = self.perform(&order.origin, command);
        self.conclude(order, result);
    }

    /// Answers an order that was done before, or is being done; gives back one that is new.
    fn settle_repeat(&mut self, order: Order) -> Option<Order> {
        if let Some(done) = self.done_before(&order.origin) {
            self.acknowledge(order.ticket);
            self.act(Action::Reply(Reply { origin: order.origin, result: Ok(done) }));
            return None;
        }
        self.join_retry(order)
    }

    /// The order was done, or cannot be: what it changed, and that it was done, are one commit.
    pub(super) fn conclude(&mut self, order: Order, result: Result<Value, Fault>) {
        let Order { ticket, origin, .. } = order;
        self.acknowledge(ticket);
        if let Ok(data) = &result {
            let reply = Box::from(data.to_string());
            if let Some(transaction) = &origin.transaction {
                let key = transaction_key(&origin, transaction);
                self.transactions.insert(key, (self.now, data.to_string().into()));
            }
            self.record(Record::Commanded { at: self.now, origin: origin.clone(), reply });
        }
        self.act(Action::Reply(Reply { origin, result }));
    }

    /// Gives a repeat what the order that it repeats has come to.
    pub(super) fn tell_repeat(&mut self, repeat: Order, result: Result<Value, Fault>) {
        self.acknowledge(repeat.ticket);
        self.act(Action::Reply(Reply { origin: repeat.origin, result }));
    }

    /// The reply to the same transaction of the same command, if it was done before.
    fn done_before(&self, origin: &CommandOrigin) -> Option<Value> {
        let (_, reply) = self.transactions.get(&transaction_key(origin, origin.transaction.as_deref()?))?;
        serde_json::from_str(reply).ok()
    }

    pub(super) fn replay_commanded(&mut self, at: Time, origin: &CommandOrigin, reply: Box<str>) {
        if let Some(transaction) = &origin.transaction {
            self.transactions.insert(transaction_key(origin, transaction), (at, reply));
        }
    }

    fn answer_question(&mut self, origin: CommandOrigin, command: Command) {
        let result = match command {
            Command::MessageGet { id, account } => return self.get_message(origin, id, account),
            Command::MessageList { selection, states, page } => {
                return self.list_messages(origin, selection, states, page);
            }
            Command::AccountGet { account } => match self.account_keys.get(&account).copied() {
                Some(key) => Ok(self.describe_account(key)),
                None => {
                    Err(Fault::of_field(Code::NotFound, "account", "no message and no account list named this account"))
                }
            },
            Command::Health => Ok(self.health()),
            // pending: commands
            Command::Info
            | Command::AccountList { .. }
            | Command::CorpList { .. }
            | Command::CorpGet { .. }
            | Command::HoldList { .. }
            | Command::LimitsGet { .. }
            | Command::DirectoryRefresh { .. }
            | Command::MessageRetry { .. }
            | Command::MessageResolve { .. }
            | Command::LimitsSet { .. }
            | Command::Drain { .. }
            | Command::LogLevel { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::ResumeHold { .. }
            | Command::MessageCancel { .. } => Err(Fault::new(Code::Internal, "not available yet")),
        };
        self.act(Action::Reply(Reply { origin, result }));
    }

    fn perform(&mut self, origin: &CommandOrigin, command: Command) -> Result<Value, Fault> {
        let by = origin.by.clone();
        match command {
            Command::Pause { scope, reason, duration, until } => {
                self.check_scope(&scope)?;
                let until = self.end_of(duration, until)?;
                let hold = self.hold(scope, reason, by, until);
                Ok(describe_hold(&hold))
            }
            Command::Resume { scope } => {
                let ids: Vec<HoldId> =
                    self.holds.values().filter(|hold| hold.scope == scope).map(|hold| hold.id).collect();
                for id in &ids {
                    self.release(*id, by.clone());
                }
                Ok(json!({ "released": ids.iter().map(|id| id.0).collect::<Vec<_>>() }))
            }
            Command::ResumeHold { hold } => {
                if self.release(hold, by) {
                    Ok(json!({ "released": [hold.0] }))
                } else {
                    Err(Fault::of_field(Code::NotFound, "hold", "there is no hold of this number"))
                }
            }
            // pending: commands takes every selection
            Command::MessageCancel { selection, dry_run, .. } => match &selection.id {
                Some(id) => self.cancel(id, selection.account.as_ref(), dry_run),
                None => Err(Fault::new(Code::Internal, "not available yet")),
            },
            Command::MessageResolve { id, account, settled } => self.resolve(&id, account.as_ref(), settled),
            // pending: commands
            Command::MessageRetry { .. }
            | Command::LimitsSet { .. }
            | Command::Drain { .. }
            | Command::LogLevel { .. }
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
            | Command::Health => Err(Fault::new(Code::Internal, "not available yet")),
        }
    }

    /// Servers are all known from the configuration, so an unknown one is a slip that would hold nothing. Companies and
    /// accounts may come later.
    fn check_scope(&self, scope: &Scope) -> Result<(), Fault> {
        match scope {
            Scope::Sender(name) if self.sender_key(name).is_none() => {
                let known: Vec<&str> = self.senders.iter().map(|sender| sender.name.as_str()).collect();
                let message = format!("there is no sender of this name: use one of {}", known.join(", "));
                Err(Fault::of_field(Code::NotFound, "sender", message))
            }
            Scope::Sender(_) | Scope::All | Scope::Corp(_) | Scope::Account(_) | Scope::Conversation(..) => Ok(()),
        }
    }

    fn end_of(&self, duration: Option<Duration>, until: Option<Time>) -> Result<Option<Time>, Fault> {
        match (duration, until) {
            (Some(span), _) => Ok(Some(self.now + span)),
            (None, Some(until)) if until <= self.now => {
                Err(Fault::of_field(Code::InvalidField, "until", "until must lie in the future"))
            }
            (None, until) => Ok(until),
        }
    }

    /// Cancels what is queued. What is on its way, or in doubt, cannot be called back.
    fn cancel(&mut self, id: &MessageId, account: Option<&Account>, dry_run: bool) -> Result<Value, Fault> {
        let found = self.live_with_id(id, account);
        if found.is_empty() {
            return Err(self.nothing_to_cancel(id));
        }
        if account.is_none() && self.accounts_of(&found) > 1 {
            let message = "several accounts have a message with this id; name the account";
            return Err(Fault::of_field(Code::InvalidField, "account", message));
        }
        let (mut cancelled, mut too_late) = (Vec::new(), Vec::new());
        for seq in found {
            let Some(live) = self.live.get(&seq) else { continue };
            match live.phase {
                Phase::Queued | Phase::Scheduled => cancelled.push(seq),
                Phase::Sending if self.sabotaged(Sabotage::CancelWhileSending) => cancelled.push(seq),
                Phase::Sending | Phase::InDoubt(_) => too_late.push((seq, live.state())),
            }
        }
        if !dry_run {
            for seq in &cancelled {
                let fault = Fault::new(Code::Cancelled, "the message was cancelled by a command before it was sent");
                self.finish(*seq, State::Cancelled, None, Some(fault));
            }
        }
        Ok(json!({
            "dryRun": dry_run,
            "cancelled": cancelled.iter().map(|seq| seq.0).collect::<Vec<_>>(),
            "tooLate": too_late.iter()
                .map(|(seq, state)| json!({ "seq": seq.0, "state": state.as_str() })).collect::<Vec<_>>(),
        }))
    }

    fn accounts_of(&self, seqs: &[Seq]) -> usize {
        let mut accounts: Vec<_> = seqs.iter().filter_map(|seq| self.live.get(seq)).map(|live| live.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts.len()
    }

    fn nothing_to_cancel(&self, id: &MessageId) -> Fault {
        let id = id_key(id);
        let past = self.with_id(id).find_map(|seq| self.past.get(&seq));
        match past {
            Some(past) => {
                let message = format!("the message is {} already", past.state.as_str());
                Fault::of_field(Code::NotFound, "id", message)
            }
            None => Fault::of_field(Code::NotFound, "id", "no waiting message has this id"),
        }
    }
}

fn transaction_key(origin: &CommandOrigin, transaction: &str) -> Box<str> {
    format!("{} {transaction}", origin.name).into()
}

/// A hold as it is shown in replies.
pub(super) fn describe_hold(hold: &Hold) -> Value {
    let scope = match &hold.scope {
        Scope::All => json!({ "all": true }),
        Scope::Sender(name) => json!({ "sender": name.as_str() }),
        Scope::Corp(name) => json!({ "corp": name.as_str() }),
        Scope::Account(name) => json!({ "account": name.as_str() }),
        Scope::Conversation(name, conversation) => json!({ "account": name.as_str(), "conversation": conversation }),
    };
    json!({
        "hold": hold.id.0,
        "scope": scope,
        "reason": hold.reason,
        "by": hold.by,
        "since": hold.since.to_string(),
        "until": hold.until.map(|until| until.to_string()),
    })
}
