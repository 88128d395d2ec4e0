//! From a payload on a request topic to a command, or to the reason why it is none.

use super::field::{self, invalid, kind_of};
use super::object::{Object, decode};
use super::{PacketMeta, Settings, allowed_reply};
use crate::model::{
    Account, Code, Command, CommandOrigin, CommandRequest, Corp, Fault, HoldId, Input, MessageId, Scope, Selection,
    SenderName,
};
use std::borrow::Cow;

const TRANSACTION_BYTES_MAX: usize = 256;
const REASON_BYTES_MAX: usize = 1024;
const CONVERSATION_BYTES_MAX: usize = 256;

/// What the message calls it that a scope has to be.
const SCOPES: &str = "all, sender, corp, account, or account with conversation";

/// Reads a command. `name` is what followed `<base>/request/`.
///
/// Always gives one input with the packet's ticket; a command that is refused carries the fault for its reply.
pub fn parse_command(settings: &Settings, name: &str, mut meta: PacketMeta, payload: &[u8]) -> Input {
    let mut origin = CommandOrigin {
        name: Box::from(name),
        reply_to: allowed_reply(&settings.topics, &mut meta),
        transaction: None,
        by: None,
    };
    let command = read(settings, meta.retain, payload, &mut origin);
    Input::Command { ticket: meta.ticket, request: Box::new(CommandRequest { origin, command }) }
}

fn read(settings: &Settings, is_retained: bool, payload: &[u8], origin: &mut CommandOrigin) -> Result<Command, Fault> {
    if payload.len() > settings.max_message {
        let (bytes, bytes_max) = (payload.len(), settings.max_message);
        let message = format!("payload is {bytes} bytes long, at most {bytes_max} are allowed: shorten it");
        return Err(Fault::new(Code::TooLarge, message));
    }
    let object = Object::parse(if payload.is_empty() { b"{}" } else { payload });
    if let Ok(object) = &object {
        // The reply carries the transaction whatever else is wrong.
        origin.transaction = object.only("transaction").and_then(|raw| transaction(raw).ok()).flatten();
    }
    if is_retained {
        return Err(Fault::new(Code::Retained, "retained commands are never done: publish without the retain flag"));
    }
    let name = Command::NAMES.into_iter().find(|&known| known == &*origin.name).ok_or_else(unknown_command)?;
    let object = object?;
    object.check()?;
    check_fields(name, &object)?;
    if let Some(raw) = object.get("transaction") {
        transaction(raw)?;
    }
    origin.by = object.given("by").map(|raw| field::label("by", raw)).transpose()?.map(boxed);
    build(name, &object)
}

fn unknown_command() -> Fault {
    let message = format!("command is not known: use one of {}", Command::NAMES.join(", "));
    Fault::new(Code::UnknownCommand, message)
}

/// The JSON text of a transaction. `null` is none: two commands without one are not the same command.
fn transaction(raw: &str) -> Result<Option<Box<str>>, Fault> {
    if raw.starts_with(['{', '[']) {
        let kind = kind_of(raw);
        let message = format!("transaction must be a string, a number, true or false, not {kind}: choose one value");
        return Err(invalid("transaction", message));
    }
    field::within("transaction", Cow::Borrowed(raw), TRANSACTION_BYTES_MAX)?;
    Ok(if raw == "null" { None } else { Some(Box::from(raw)) })
}

fn check_fields(name: &str, object: &Object<'_>) -> Result<(), Fault> {
    let own: &[&str] = match name {
        "pause" => &["all", "sender", "corp", "account", "conversation", "reason", "duration", "until"],
        "resume" => &["all", "sender", "corp", "account", "conversation", "hold"],
        "message/get" => &["id", "account"],
        "message/cancel" => &["id", "account", "dryRun"],
        "account/get" => &["account"],
        _ => &[],
    };
    let known: Vec<&str> = own.iter().copied().chain(["transaction", "by"]).collect();
    object.check_known(name, "", &known)
}

fn build(name: &str, object: &Object<'_>) -> Result<Command, Fault> {
    match name {
        "pause" => pause(object),
        "resume" => resume(object),
        "message/get" => Ok(Command::MessageGet { id: message_id(object)?, account: account(object)? }),
        "message/cancel" => Ok(Command::MessageCancel {
            selection: Selection { id: Some(message_id(object)?), account: account(object)?, ..Selection::default() },
            dry_run: object.given("dryRun").map(|raw| boolean("dryRun", raw)).transpose()?.unwrap_or(false),
            block_for: None,
            reason: None,
        }),
        "account/get" => match account(object)? {
            Some(account) => Ok(Command::AccountGet { account }),
            None => Err(invalid("account", "account is required: add the wxId of the account")),
        },
        "health" => Ok(Command::Health),
        // pending: commands reads the rest
        _ => Err(Fault::new(Code::Internal, "not available yet")),
    }
}

fn pause(object: &Object<'_>) -> Result<Command, Fault> {
    let Some(scope) = scope(object)? else {
        return Err(Fault::new(Code::InvalidField, format!("pause needs to know what to pause: add {SCOPES}")));
    };
    let Some(raw) = object.given("reason") else {
        return Err(invalid("reason", "reason is required: say why, for those who find the queue standing"));
    };
    let reason = boxed(field::within("reason", field::filled("reason", raw)?, REASON_BYTES_MAX)?);
    let (duration, until) = (object.given("duration"), object.given("until"));
    if duration.is_some() && until.is_some() {
        return Err(invalid("duration", "duration and until exclude each other: send one"));
    }
    Ok(Command::Pause {
        scope,
        reason,
        duration: duration.map(|raw| field::span("duration", raw)).transpose()?,
        until: until.map(|raw| field::time("until", raw)).transpose()?,
    })
}

fn resume(object: &Object<'_>) -> Result<Command, Fault> {
    let scope = scope(object)?;
    let hold = object.given("hold").map(hold).transpose()?;
    match (scope, hold) {
        (Some(scope), None) => Ok(Command::Resume { scope }),
        (None, Some(hold)) => Ok(Command::ResumeHold { hold }),
        (Some(_), Some(_)) => Err(invalid("hold", format!("hold excludes every other scope: send hold, or {SCOPES}"))),
        (None, None) => {
            let message = format!("resume needs to know what to resume: add hold, {SCOPES}");
            Err(Fault::new(Code::InvalidField, message))
        }
    }
}

/// The one scope that a command names, if it names any.
fn scope(object: &Object<'_>) -> Result<Option<Scope>, Fault> {
    let named: Vec<(&str, &str)> = ["all", "sender", "corp", "account"]
        .into_iter()
        .filter_map(|name| object.given(name).map(|raw| (name, raw)))
        .collect();
    let conversation = object.given("conversation");
    match (named.as_slice(), conversation) {
        ([], None) => Ok(None),
        ([("account", raw)], Some(conversation)) => {
            let account = Account::new(&field::name("account", raw)?);
            let conversation = field::filled("conversation", conversation)?;
            let conversation = field::within("conversation", conversation, CONVERSATION_BYTES_MAX)?;
            Ok(Some(Scope::Conversation(account, boxed(conversation))))
        }
        (_, Some(_)) => {
            let message = "conversation goes with account and nothing else: add the account that it belongs to";
            Err(invalid("conversation", message))
        }
        ([(name, raw)], None) => one_scope(name, raw).map(Some),
        ([_, (second, _), ..], None) => {
            let names: Vec<&str> = named.iter().map(|&(name, _)| name).collect();
            let message = format!("{} exclude each other: send one of {SCOPES}", names.join(" and "));
            Err(invalid(second, message))
        }
    }
}

fn one_scope(name: &str, raw: &str) -> Result<Scope, Fault> {
    match name {
        "sender" => Ok(Scope::Sender(SenderName::new(&field::name(name, raw)?))),
        "corp" => Ok(Scope::Corp(Corp::new(&field::name(name, raw)?))),
        "account" => Ok(Scope::Account(Account::new(&field::name(name, raw)?))),
        _ if raw == "true" => Ok(Scope::All),
        _ => Err(invalid(name, format!("{name} must be true, or left out: name what is meant"))),
    }
}

fn hold(raw: &str) -> Result<HoldId, Fault> {
    let number = decode(raw).unwrap_or(Cow::Borrowed(raw));
    let digits_only = field::is_integer(&number) && !number.starts_with('-');
    match number.parse() {
        Ok(number) if digits_only => Ok(HoldId(number)),
        Ok(_) | Err(_) => Err(invalid("hold", "hold must be the number of a hold: take it from the hold topic")),
    }
}

fn message_id(object: &Object<'_>) -> Result<MessageId, Fault> {
    match object.given("id") {
        Some(raw) => field::message_id("id", raw),
        None => Err(invalid("id", "id is required: add the id of the message")),
    }
}

fn account(object: &Object<'_>) -> Result<Option<Account>, Fault> {
    Ok(object.given("account").map(|raw| field::name("account", raw)).transpose()?.map(|name| Account::new(&name)))
}

fn boolean(path: &str, raw: &str) -> Result<bool, Fault> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(path, format!("{path} must be true or false, not {}: write it without quotes", kind_of(raw)))),
    }
}

fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into_owned().into_boxed_str()
}
