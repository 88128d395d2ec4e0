//! One value of a command: what several commands take.

use super::fields::{ACCOUNT_STATES, LOG_LEVELS, MESSAGE_STATES};
use crate::intake::field::{self, invalid, kind_of};
use crate::intake::object::{Object, decode};
use crate::model::{Account, AccountState, Corp, Fault, HoldId, LogLevel, MessageId, Page, SenderName, State, Time};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;

pub(super) const REASON_BYTES_MAX: usize = 1024;
const CONVERSATION_BYTES_MAX: usize = 256;
const TRANSACTION_BYTES_MAX: usize = 256;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

pub(super) fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into_owned().into_boxed_str()
}

/// The JSON text of a transaction. `null` is none: two commands without one are not the same command.
pub(super) fn transaction(raw: &str) -> Result<Option<Box<str>>, Fault> {
    if raw.starts_with(['{', '[']) {
        let kind = kind_of(raw);
        let message = format!("transaction must be a string, a number, true or false, not {kind}: choose one value");
        return Err(invalid("transaction", message));
    }
    field::within("transaction", Cow::Borrowed(raw), TRANSACTION_BYTES_MAX)?;
    Ok(if raw == "null" { None } else { Some(Box::from(raw)) })
}

pub(super) fn account(object: &Object<'_>) -> Result<Option<Account>, Fault> {
    name(object, "account").map(|name| name.map(|name| Account::new(&name)))
}

pub(super) fn corp(object: &Object<'_>) -> Result<Option<Corp>, Fault> {
    name(object, "corp").map(|name| name.map(|name| Corp::new(&name)))
}

pub(super) fn sender(object: &Object<'_>) -> Result<Option<SenderName>, Fault> {
    name(object, "sender").map(|name| name.map(|name| SenderName::new(&name)))
}

/// A short name, if it is given.
pub(super) fn name(object: &Object<'_>, path: &str) -> Result<Option<Box<str>>, Fault> {
    Ok(object.given(path).map(|raw| field::name(path, raw)).transpose()?.map(boxed))
}

/// What `path` is required for, in words that say what to add.
pub(super) fn required<T>(found: Option<T>, path: &str, what: &str) -> Result<T, Fault> {
    found.ok_or_else(|| invalid(path, format!("{path} is required: add {what}")))
}

pub(super) fn message_id(object: &Object<'_>) -> Result<Option<MessageId>, Fault> {
    object.given("id").map(|raw| field::message_id("id", raw)).transpose()
}

pub(super) fn conversation(object: &Object<'_>) -> Result<Option<Box<str>>, Fault> {
    let Some(raw) = object.given("conversation") else { return Ok(None) };
    let text = field::within("conversation", field::filled("conversation", raw)?, CONVERSATION_BYTES_MAX)?;
    Ok(Some(boxed(text)))
}

pub(super) fn reason(object: &Object<'_>) -> Result<Option<Box<str>>, Fault> {
    let Some(raw) = object.given("reason") else { return Ok(None) };
    Ok(Some(boxed(field::within("reason", field::filled("reason", raw)?, REASON_BYTES_MAX)?)))
}

/// True or false, or what it is when nothing is said.
pub(super) fn flag(object: &Object<'_>, path: &str, default: bool) -> Result<bool, Fault> {
    match object.given(path) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(raw) => {
            let kind = kind_of(raw);
            Err(invalid(path, format!("{path} must be true or false, not {kind}: write it without quotes")))
        }
    }
}

/// A field that is either `true` or left out.
pub(super) fn only_true(path: &str, raw: &str) -> Result<(), Fault> {
    if raw == "true" {
        return Ok(());
    }
    Err(invalid(path, format!("{path} must be true, or left out: name what is meant")))
}

pub(super) fn duration(object: &Object<'_>, path: &str) -> Result<Option<Duration>, Fault> {
    object.given(path).map(|raw| field::span(path, raw)).transpose()
}

pub(super) fn moment(object: &Object<'_>, path: &str) -> Result<Option<Time>, Fault> {
    object.given(path).map(|raw| field::time(path, raw)).transpose()
}

/// `duration` or `until`, never both.
pub(super) fn end(object: &Object<'_>) -> Result<(Option<Duration>, Option<Time>), Fault> {
    if object.given("duration").is_some() && object.given("until").is_some() {
        return Err(invalid("duration", "duration and until exclude each other: send one"));
    }
    Ok((duration(object, "duration")?, moment(object, "until")?))
}

/// A whole number from 1 to `max`.
pub(super) fn count(path: &str, raw: &str, max: u32) -> Result<u32, Fault> {
    let number = raw.parse().ok().filter(|number| (1..=max).contains(number) && field::is_integer(raw));
    number.ok_or_else(|| {
        let range = if max == u32::MAX { "from 1 on".to_owned() } else { format!("from 1 to {max}") };
        invalid(path, format!("{path} must be a whole number {range}: write it without quotes"))
    })
}

pub(super) fn page(object: &Object<'_>) -> Result<Page, Fault> {
    let limit = object.given("limit").map(|raw| count("limit", raw, LIMIT_MAX as u32)).transpose()?;
    let after = match object.given("after") {
        None => None,
        // A number is no name, but it is what the number of a hold looks like.
        Some(raw) if field::is_integer(raw) => Some(boxed(field::within("after", Cow::Borrowed(raw), 20)?)),
        Some(raw) => Some(boxed(field::name("after", raw)?)),
    };
    Ok(Page { limit: limit.map_or(LIMIT_DEFAULT, |limit| limit as usize), after })
}

pub(super) fn hold(raw: &str) -> Result<HoldId, Fault> {
    let number = decode(raw).unwrap_or(Cow::Borrowed(raw));
    let digits_only = field::is_integer(&number) && !number.starts_with('-');
    match number.parse() {
        Ok(number) if digits_only => Ok(HoldId(number)),
        Ok(_) | Err(_) => Err(invalid("hold", "hold must be the number of a hold: take it from the hold topic")),
    }
}

fn unknown_word(path: &str, words: &[&str]) -> Fault {
    invalid(path, format!("{path} is not known: use {}", words.join(", ")))
}

pub(super) fn account_state(raw: &str) -> Result<AccountState, Fault> {
    match decode(raw).as_deref() {
        Some("idle") => Ok(AccountState::Idle),
        Some("sending") => Ok(AccountState::Sending),
        Some("waiting") => Ok(AccountState::Waiting),
        Some("held") => Ok(AccountState::Held),
        Some(_) | None => Err(unknown_word("state", ACCOUNT_STATES)),
    }
}

/// One state, or a list of them; a list that names none names all.
pub(super) fn message_states(raw: &str) -> Result<Vec<State>, Fault> {
    let words: Vec<&RawValue> = match raw.starts_with('[') {
        true => serde_json::from_str(raw).map_err(|_| unknown_word("state", MESSAGE_STATES))?,
        false => return Ok(vec![message_state(raw)?]),
    };
    let mut states = words.into_iter().map(|word| message_state(word.get())).collect::<Result<Vec<_>, _>>()?;
    states.sort_unstable();
    states.dedup();
    Ok(states)
}

fn message_state(raw: &str) -> Result<State, Fault> {
    decode(raw).and_then(|word| State::parse(&word)).ok_or_else(|| unknown_word("state", MESSAGE_STATES))
}

pub(super) fn log_level(raw: &str) -> Result<LogLevel, Fault> {
    let word = decode(raw);
    let known = LogLevel::ALL.into_iter().find(|level| Some(level.as_str()) == word.as_deref());
    known.ok_or_else(|| unknown_word("level", LOG_LEVELS))
}
