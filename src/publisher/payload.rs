//! What every payload says: pure formatting, from what the engine decided to bytes.
//!
//! Invariants: names are camelCase, times RFC 3339 with milliseconds, ids and transactions exactly as they came, and
//! the content of a message is in none of them.

pub mod data;

pub mod wire;

#[cfg(test)]
mod tests;

use crate::model::{
    Account, Alarm, Block, Code, Corp, EventWord, Fault, Hold, InfoReport, Message, MessageId, Outcome, Refusal, Reply,
    Scope, Selection, SendEvent, Sender, State, Status,
};
use bytes::Bytes;
use serde::Serialize;
use wire::raw;

/// The answer to a message: its id and the sender's `msgId` and nothing else when it was sent, else the error.
pub fn answer(id: &MessageId, outcome: &Outcome) -> Bytes {
    let id = raw(id.as_json());
    if outcome.state.says_sent() {
        return encode(&wire::Sent { id, msg_id: outcome.msg_id.as_deref() });
    }
    let unexplained;
    let fault = match &outcome.fault {
        Some(fault) => fault,
        None => {
            unexplained = Fault::new(Code::Internal, "the reason is not known: ask for it with message/get");
            &unexplained
        }
    };
    let mut error = error(fault);
    error.possibly_duplicate = outcome.possibly_duplicate;
    error.attempts = Some(outcome.attempts);
    encode(&wire::NotSent { id, error })
}

/// The answer to a request that was not accepted; its id is `null` when it could not be read.
pub fn refusal(refusal: &Refusal) -> Bytes {
    let id = refusal.id.as_ref().and_then(|id| raw(id.as_json()));
    encode(&wire::NotSent { id, error: error(&refusal.fault) })
}

/// A step in a message's life. `message` is `None` for a rejected request, which has no number.
pub fn send_event(event: &SendEvent, message: Option<&Message>) -> Bytes {
    let request = message.map(|message| &message.request);
    let refusal = event.refusal.as_deref();
    let outcome = event.outcome.as_deref();
    let id = request.map(|request| &request.id).or(refusal.and_then(|refusal| refusal.id.as_ref()));
    let account = request.map(|request| &request.account).or(refusal.and_then(|refusal| refusal.account.as_ref()));
    let origin = request.map(|request| &request.origin).or(refusal.map(|refusal| &refusal.origin));
    let fault = outcome.and_then(|outcome| outcome.fault.as_ref()).or(refusal.map(|refusal| &refusal.fault));
    encode(&wire::Event {
        seq: event.seq.map(|seq| seq.0),
        id: id.and_then(|id| raw(id.as_json())),
        account: account.map(|account| account.as_str()),
        conversation: request.map(|request| &*request.conversation),
        kind: request.map(|request| &*request.kind),
        state: event.state.map_or(EventWord::REJECTED, State::as_str),
        at: event.at,
        attempt: event.attempt,
        possibly_duplicate: event.possibly_duplicate || outcome.is_some_and(|outcome| outcome.possibly_duplicate),
        msg_id: outcome.and_then(|outcome| outcome.msg_id.as_deref()),
        error: fault.map(error),
        tag: request.and_then(|request| request.options.tag.as_deref()),
        weak: origin.is_some_and(|origin| origin.weak),
    })
}

/// The reply to a command, with its transaction if it had one.
pub fn reply(reply: &Reply) -> Bytes {
    let transaction = reply.origin.transaction.as_deref().and_then(raw);
    match &reply.result {
        Ok(data) => encode(&wire::Done { status: "ok", data, transaction }),
        Err(fault) => encode(&wire::NotDone {
            status: "error",
            error: wire::Reason {
                code: fault.code.as_str(),
                message: &fault.message,
                sender: fault.sender.as_ref().map(sender_words),
            },
            data: wire::Nothing {},
            transaction,
        }),
    }
}

/// Every hold and every block there is: `{"holds":[…],"blocks":[…]}`, in the order given.
pub fn holds(holds: &[Hold], blocks: &[Block]) -> Bytes {
    encode(&wire::Holds { holds: holds.iter().map(hold).collect(), blocks: blocks.iter().map(block).collect() })
}

/// What a status says; empty where it is to go away, which is how MQTT clears a retained message.
pub fn status(status: &Status) -> Bytes {
    match status {
        Status::Account(_, Some(report)) => encode(report),
        Status::Corp(_, Some(report)) => encode(report),
        Status::Account(_, None) | Status::Corp(_, None) => Bytes::new(),
        Status::Health(report) => encode(report),
    }
}

/// What the bridge is and can do.
pub fn info(info: &InfoReport) -> Bytes {
    encode(info)
}

/// Something that a person must act on.
pub fn alarm(alarm: &Alarm) -> Bytes {
    encode(&wire::Alarm { what: alarm.what, about: &alarm.about, message: &alarm.message, at: alarm.at })
}

/// The bridge's own state: `online`, `stopped` or `offline`.
pub fn state(word: &str) -> Bytes {
    encode(&wire::BridgeState { state: word })
}

fn error(fault: &Fault) -> wire::Error<'_> {
    wire::Error {
        code: fault.code.as_str(),
        message: &fault.message,
        retryable: fault.code.is_retryable(),
        field: fault.field.as_deref(),
        sender: fault.sender.as_ref().map(sender_words),
        possibly_duplicate: false,
        attempts: None,
    }
}

fn sender_words(sender: &Sender) -> wire::SenderWords<'_> {
    wire::SenderWords { http: sender.http, code: sender.code, msg: &sender.msg }
}

fn hold(hold: &Hold) -> wire::Hold<'_> {
    wire::Hold {
        id: hold.id.0,
        scope: scope(&hold.scope),
        reason: &hold.reason,
        by: hold.by.as_deref(),
        since: hold.since.to_string(),
        until: hold.until.map(|until| until.to_string()),
    }
}

fn block(block: &Block) -> wire::Block<'_> {
    let Selection { id, account, conversation, corp, tag } = &block.selection;
    wire::Block {
        id: block.id.0,
        selection: wire::Selection {
            id: id.as_ref().and_then(|id| raw(id.as_json())),
            account: account.as_ref().map(Account::as_str),
            conversation: conversation.as_deref(),
            corp: corp.as_ref().map(Corp::as_str),
            tag: tag.as_deref(),
        },
        reason: block.reason.as_deref(),
        by: block.by.as_deref(),
        since: block.since.to_string(),
        until: block.until.to_string(),
    }
}

/// A scope in the words of the command `pause`.
fn scope(scope: &Scope) -> wire::Scope<'_> {
    match scope {
        Scope::All => wire::Scope { all: Some(true), ..wire::Scope::default() },
        Scope::Sender(sender) => wire::Scope { sender: Some(sender.as_str()), ..wire::Scope::default() },
        Scope::Corp(corp) => wire::Scope { corp: Some(corp.as_str()), ..wire::Scope::default() },
        Scope::Account(account) => wire::Scope { account: Some(account.as_str()), ..wire::Scope::default() },
        Scope::Conversation(account, conversation) => {
            wire::Scope { account: Some(account.as_str()), conversation: Some(conversation), ..wire::Scope::default() }
        }
    }
}

fn encode(payload: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(ROOM);
    // Only a map with keys that are no strings can fail, and no payload has one.
    match serde_json::to_writer(&mut text, payload) {
        Ok(()) => Bytes::from(text),
        Err(_) => Bytes::new(),
    }
}

/// What most payloads need, in bytes, so that they do not grow while they are written.
const ROOM: usize = 384;
