//! One value of a request: what it must be, and what a refusal says when it is not.
//!
//! `path` is the name that the refusal uses, such as `bridge.ttl`; `raw` is the value's JSON text.

use super::object::decode;
use crate::model::{Code, Fault, MessageId, Time};
use std::borrow::Cow;
use std::time::Duration;

/// The longest `id`, tag and account id, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 128;

/// From this length on a number may be beyond 2^53, and readers round it.
const DIGITS_AT_RISK: usize = 16;

/// How much of a name that a stranger chose is repeated, in characters.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// A name that a stranger chose, cut, and without a character that could deceive a reader.
pub(super) fn show(name: &str) -> String {
    let cut: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
    let rest = if cut.len() < name.len() { "…" } else { "" };
    format!("{}{rest}", cut.escape_debug())
}

pub(super) fn invalid(path: &str, message: impl Into<Box<str>>) -> Fault {
    Fault::of_field(Code::InvalidField, path, message)
}

/// What kind of JSON value it is, in words.
pub(super) fn kind_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        Some(_) | None => "a number",
    }
}

pub(super) fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Whether it is a number without fraction and exponent.
pub(super) fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A string.
pub(super) fn text<'a>(path: &str, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    decode(raw).ok_or_else(|| {
        let hint = if is_number(raw) && raw.len() >= DIGITS_AT_RISK {
            "write it in quotes, because a number beyond 2^53 loses digits on its way"
        } else {
            "write it in quotes"
        };
        invalid(path, format!("{path} must be a string, not {}: {hint}", kind_of(raw)))
    })
}

/// A string with something to see in it.
pub(super) fn filled<'a>(path: &str, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    let text = text(path, raw)?;
    if text.trim().is_empty() {
        return Err(invalid(path, format!("{path} must not be blank: fill it in")));
    }
    Ok(text)
}

/// A string of at most `bytes_max` bytes.
pub(super) fn within<'a>(path: &str, text: Cow<'a, str>, bytes_max: usize) -> Result<Cow<'a, str>, Fault> {
    let bytes = text.len();
    if bytes > bytes_max {
        return Err(invalid(
            path,
            format!("{path} is {bytes} bytes long, at most {bytes_max} are allowed: shorten it"),
        ));
    }
    Ok(text)
}

/// A string that may be shown on one line: no control characters.
pub(super) fn printable<'a>(path: &str, text: Cow<'a, str>) -> Result<Cow<'a, str>, Fault> {
    if text.chars().any(char::is_control) {
        return Err(invalid(path, format!("{path} must not contain control characters: remove them")));
    }
    Ok(text)
}

/// A short name: something to see in it, no control characters, at most [`NAME_BYTES_MAX`] bytes.
pub(super) fn name<'a>(path: &str, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    printable(path, within(path, filled(path, raw)?, NAME_BYTES_MAX)?)
}

/// A label: as a name, but it may be empty.
pub(super) fn label<'a>(path: &str, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    printable(path, within(path, text(path, raw)?, NAME_BYTES_MAX)?)
}

/// A message id, kept as it was written.
pub(super) fn message_id(path: &str, raw: &str) -> Result<MessageId, Fault> {
    if is_number(raw) {
        within(path, Cow::Borrowed(raw), NAME_BYTES_MAX)?;
        return Ok(MessageId::from_json(raw));
    }
    let Some(id) = decode(raw) else {
        return Err(invalid(
            path,
            format!("{path} must be a string or a number, not {}: choose one per message", kind_of(raw)),
        ));
    };
    if id.is_empty() {
        return Err(invalid(path, format!("{path} must not be empty: choose one per message")));
    }
    printable(path, within(path, id, NAME_BYTES_MAX)?)?;
    Ok(MessageId::from_json(raw))
}

/// A moment in RFC 3339.
pub(super) fn time(path: &str, raw: &str) -> Result<Time, Fault> {
    text(path, raw).ok().and_then(|text| Time::parse_rfc3339(&text)).ok_or_else(|| {
        invalid(path, format!("{path} must be an RFC 3339 time: write it like \"2026-01-31T08:30:00+08:00\""))
    })
}

/// A span of time above zero: words such as `"24h"`, or whole seconds.
pub(super) fn span(path: &str, raw: &str) -> Result<Duration, Fault> {
    let span = match decode(raw) {
        Some(text) => humantime::parse_duration(&text).ok(),
        None => raw.parse().ok().map(Duration::from_secs),
    };
    span.filter(|span| !span.is_zero()).ok_or_else(|| {
        invalid(
            path,
            format!("{path} must be a duration above zero: write it like \"90s\" or \"24h\", or as whole seconds"),
        )
    })
}
