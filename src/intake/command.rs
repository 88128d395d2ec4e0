//! From a payload on a request topic to a command, or to the reason why it is none.

mod fields;

mod call;
mod scope;
mod value;

pub use fields::{ACCOUNT_STATES, COMMON, FIELDS, Field, Kind, LOG_LEVELS, MESSAGE_STATES, fields_of};

use super::field::{self, invalid};
use super::fingerprint::fingerprint;
use super::object::{Object, decode};
use super::{PacketMeta, Settings, allowed_reply};
use crate::model::{
    Code, Command, CommandOrigin, CommandRequest, Fault, Fingerprint, HoldFilter, Input, LimitChange, LimitScope,
    Settled, Time,
};
use scope::SCOPES;
use std::time::Duration;
use value::{REASON_BYTES_MAX, boxed, required};

/// The longest time for which arrivals can be refused.
const BLOCK_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What does not make two commands different: how it is told apart, who asks, and how long it is worth doing.
const BESIDE_THE_POINT: [&str; 3] = ["transaction", "by", "expiresat"];

/// Reads a command. `name` is what followed `<base>/request/`.
///
/// Always gives one input with the packet's ticket; a command that is refused carries the fault for its reply.
pub fn parse_command(settings: &Settings, name: &str, mut meta: PacketMeta, payload: &[u8]) -> Input {
    let reply_to = allowed_reply(&settings.topics, None, &mut meta);
    let mut reading = Reading {
        origin: CommandOrigin { name: Box::from(name), reply_to, transaction: None, by: None },
        expires_at: None,
        fingerprint: Fingerprint::default(),
    };
    let command = reading.read(settings, meta.retain, payload);
    let is_redelivered = meta.is_redelivered;
    let Reading { origin, expires_at, fingerprint } = reading;
    let request =
        CommandRequest { origin, command, expires_at, message_expiry: meta.expiry, fingerprint, is_redelivered };
    Input::Command { ticket: meta.ticket, request: Box::new(request) }
}

/// What is known of a command so far, which a refusal needs, too.
struct Reading {
    origin: CommandOrigin,
    expires_at: Option<Time>,
    fingerprint: Fingerprint,
}

impl Reading {
    fn read(&mut self, settings: &Settings, is_retained: bool, payload: &[u8]) -> Result<Command, Fault> {
        if payload.len() > settings.max_message {
            let (bytes, bytes_max) = (payload.len(), settings.max_message);
            let message = format!("payload is {bytes} bytes long, at most {bytes_max} are allowed: shorten it");
            return Err(Fault::new(Code::TooLarge, message));
        }
        let object = Object::parse(if payload.is_empty() { b"{}" } else { payload });
        if let Ok(object) = &object {
            // The reply carries the transaction whatever else is wrong.
            let transaction = object.only("transaction").and_then(|raw| value::transaction(raw).ok());
            self.origin.transaction = transaction.flatten();
        }
        if is_retained {
            let message = "retained commands are never done: publish without the retain flag";
            return Err(Fault::new(Code::Retained, message));
        }
        let known = Command::NAMES.into_iter().find(|&known| known == &*self.origin.name);
        let name = known.ok_or_else(unknown_command)?;
        let object = object?;
        object.check()?;
        let fields: Vec<&str> = fields_of(name).iter().chain(&COMMON).map(|field| field.name).collect();
        object.check_known(name, "", &fields)?;
        if let Some(raw) = object.get("transaction") {
            value::transaction(raw)?;
        }
        self.origin.by = object.given("by").map(|raw| field::label("by", raw)).transpose()?.map(boxed);
        self.expires_at = value::moment(&object, "expiresAt")?;
        let asked = object.sorted().filter(|(name, _)| !BESIDE_THE_POINT.contains(name));
        self.fingerprint = fingerprint(name, asked);
        let command = build(name, &object)?;
        if payload.is_empty() && command.is_change() {
            // A question needs no words. What changes something should not happen because they were forgotten.
            let message = format!("{name} changes something, and the payload is empty: publish {{}} to have it done");
            return Err(Fault::new(Code::InvalidJson, message));
        }
        Ok(command)
    }
}

fn unknown_command() -> Fault {
    let message = format!("command is not known: use one of {}", Command::NAMES.join(", "));
    Fault::new(Code::UnknownCommand, message)
}

fn build(name: &str, object: &Object<'_>) -> Result<Command, Fault> {
    let id = || required(value::message_id(object)?, "id", "the id of the message");
    match name {
        "account/get" => {
            let account = required(value::account(object)?, "account", "the wxId of the account")?;
            Ok(Command::AccountGet { account })
        }
        "account/list" => Ok(Command::AccountList {
            corp: value::corp(object)?,
            state: object.given("state").map(value::account_state).transpose()?,
            page: value::page(object)?,
        }),
        "corp/get" => Ok(Command::CorpGet { corp: required(value::corp(object)?, "corp", "the id of the company")? }),
        "corp/list" => Ok(Command::CorpList { page: value::page(object)? }),
        "directory/refresh" => Ok(Command::DirectoryRefresh { sender: value::sender(object)? }),
        "drain" => Ok(Command::Drain { on: value::flag(object, "on", true)? }),
        "health" => Ok(Command::Health),
        "hold/list" => {
            let (sender, corp) = (value::sender(object)?, value::corp(object)?);
            let filter = HoldFilter { sender, corp, account: value::account(object)? };
            Ok(Command::HoldList { filter, page: value::page(object)? })
        }
        "limits/get" => Ok(Command::LimitsGet { scope: scope::limit_scope(object)? }),
        "limits/set" => limits_set(object),
        "log/level" => log_level(object),
        "message/cancel" => cancel(object),
        "message/get" => Ok(Command::MessageGet { id: id()?, account: value::account(object)? }),
        "message/list" => Ok(Command::MessageList {
            selection: scope::selection(object)?,
            states: object.given("state").map(value::message_states).transpose()?.unwrap_or_default(),
            page: value::page(object)?,
        }),
        "message/resolve" => {
            Ok(Command::MessageResolve { id: id()?, account: value::account(object)?, settled: settled(object)? })
        }
        "message/retry" => Ok(Command::MessageRetry { id: id()?, account: value::account(object)? }),
        "pause" => pause(object),
        "resume" => resume(object),
        "info" => Ok(Command::Info),
        "sender/call" => call::call(object),
        _ => Err(unknown_command()),
    }
}

fn cancel(object: &Object<'_>) -> Result<Command, Fault> {
    let selection = scope::selection(object)?;
    if selection == crate::model::Selection::default() {
        let message = "message/cancel needs to know which messages: add id, account, conversation, corp or tag";
        return Err(Fault::new(Code::InvalidField, message));
    }
    let block_for = value::duration(object, "blockFor")?;
    if block_for.is_some_and(|span| span > BLOCK_MAX) {
        return Err(invalid("blockFor", "blockFor must be 30 days at most: block again when they are over"));
    }
    let (dry_run, reason) = (value::flag(object, "dryRun", false)?, value::reason(object)?);
    Ok(Command::MessageCancel { selection, dry_run, block_for, reason })
}

fn settled(object: &Object<'_>) -> Result<Settled, Fault> {
    let state = required(object.given("state"), "state", "sent or failed")?;
    let (msg_id, reason) = (value::name(object, "msgId")?, value::reason(object)?);
    match decode(state).as_deref() {
        Some("sent") if reason.is_some() => {
            Err(invalid("reason", "reason goes with state failed: leave it out, or say that it failed"))
        }
        Some("sent") => Ok(Settled::Sent { msg_id }),
        Some("failed") if msg_id.is_some() => {
            Err(invalid("msgId", "msgId goes with state sent: leave it out, or say that it was sent"))
        }
        Some("failed") => Ok(Settled::Failed { reason }),
        Some(_) | None => Err(invalid("state", "state is not known: use sent or failed")),
    }
}

fn limits_set(object: &Object<'_>) -> Result<Command, Fault> {
    let Some(scope) = scope::limit_scope(object)? else {
        let message = "limits/set needs to know whose limit: add account or corp";
        return Err(Fault::new(Code::InvalidField, message));
    };
    let (interval, per_hour, reset) = (object.given("interval"), object.given("perHour"), object.given("reset"));
    let change = match (&scope, interval, per_hour, reset) {
        (_, None, None, Some(raw)) => value::only_true("reset", raw).map(|()| LimitChange::Configured)?,
        (_, _, _, Some(_)) => return Err(invalid("reset", "reset excludes interval and perHour: send one of them")),
        (LimitScope::Account(_), Some(raw), None, None) => LimitChange::Interval(field::span("interval", raw)?),
        (LimitScope::Corp(_), None, Some(raw), None) => LimitChange::PerHour(value::count("perHour", raw, u32::MAX)?),
        (LimitScope::Account(_), None, None, None) => {
            return Err(invalid("interval", "interval is required of an account: add it, such as \"1s\", or reset"));
        }
        (LimitScope::Corp(_), None, None, None) => {
            return Err(invalid("perHour", "perHour is required of a corp: add it, such as 20000, or reset"));
        }
        (LimitScope::Account(_), _, Some(_), None) => {
            return Err(invalid("perHour", "perHour is a limit of a corp: use interval, or name the corp"));
        }
        (LimitScope::Corp(_), Some(_), _, None) => {
            return Err(invalid("interval", "interval is a limit of an account: use perHour, or name the account"));
        }
    };
    let (duration, until) = value::end(object)?;
    if change == LimitChange::Configured && (duration.is_some() || until.is_some()) {
        let path = if duration.is_some() { "duration" } else { "until" };
        return Err(invalid(path, format!("{path} means nothing with reset: leave it out")));
    }
    Ok(Command::LimitsSet { scope, change, duration, until })
}

fn log_level(object: &Object<'_>) -> Result<Command, Fault> {
    let level = value::log_level(required(object.given("level"), "level", &LOG_LEVELS.join(", "))?)?;
    Ok(Command::LogLevel { level, duration: value::duration(object, "duration")? })
}

fn pause(object: &Object<'_>) -> Result<Command, Fault> {
    let Some(scope) = scope::scope(object)? else {
        return Err(Fault::new(Code::InvalidField, format!("pause needs to know what to pause: add {SCOPES}")));
    };
    let Some(raw) = object.given("reason") else {
        return Err(invalid("reason", "reason is required: say why, for those who find the queue standing"));
    };
    let reason = boxed(field::within("reason", field::filled("reason", raw)?, REASON_BYTES_MAX)?);
    let (duration, until) = value::end(object)?;
    Ok(Command::Pause { scope, reason, duration, until })
}

fn resume(object: &Object<'_>) -> Result<Command, Fault> {
    let scope = scope::scope(object)?;
    let hold = object.given("hold").map(value::hold).transpose()?;
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
