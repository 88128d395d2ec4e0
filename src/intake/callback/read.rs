//! Reading what vendors write: numbers as text, text as numbers, seconds and milliseconds, and nothing where something
//! should be.

use crate::model::{Conversation, ConversationKind, Party, Time};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The members of an object, or none.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        Self(value.as_object())
    }

    /// Whether it is no object at all.
    pub(super) fn is_none(self) -> bool {
        self.0.is_none()
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn fields(self, name: &str) -> Self {
        Self(self.get(name).and_then(Value::as_object))
    }

    /// A string, or a number as it was written: ids come as both, and are larger than a float is exact.
    pub(super) fn text(self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    pub(super) fn integer(self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn is_true(self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            Some(Value::String(text)) => text == "1" || text.eq_ignore_ascii_case("true"),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }

    pub(super) fn time(self, name: &str) -> Option<Time> {
        self.integer(name).and_then(time)
    }

    /// An array, or a string that holds one.
    pub(super) fn list(self, name: &str) -> Vec<Value> {
        match self.get(name) {
            Some(Value::Array(items)) => items.clone(),
            Some(Value::String(text)) => match serde_json::from_str(text) {
                Ok(Value::Array(items)) => items,
                Ok(_) | Err(_) => Vec::new(),
            },
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
        }
    }

    pub(super) fn party(self, id: &str, name: &str) -> Option<Party> {
        let id = self.text(id).filter(|id| !id.is_empty())?;
        Some(Party { id, name: self.text(name).filter(|name| !name.is_empty()) })
    }
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// From this number on it is milliseconds: as seconds it would be the year 5138.
const MILLIS_LEAST: i64 = 100_000_000_000;
/// 9999-12-31: what is later is no time.
const SECONDS_MOST: i64 = 253_402_300_799;

/// Seconds or milliseconds since the epoch, told apart by size. Zero and what is before is none.
pub(super) fn time(number: i64) -> Option<Time> {
    let millis = if number >= MILLIS_LEAST { number } else { number.checked_mul(1000)? };
    let is_moment = millis > 0 && millis / 1000 <= SECONDS_MOST;
    u64::try_from(millis).ok().filter(|_| is_moment).map(Time::from_millis)
}

/// Whether a signed time is as close to `now` as its system's clock can be expected to be. `tolerance` zero takes any.
/// What is older may be somebody who brings again what he has overheard.
pub(super) fn is_fresh(signed: &str, now: Time, tolerance: Duration) -> bool {
    let is_near = |at: Time| now.since(at) <= tolerance && at.since(now) <= tolerance;
    tolerance.is_zero() || signed.parse().ok().and_then(time).is_some_and(is_near)
}

/// `R:` is a group, everything else a chat of two.
pub(super) fn conversation(id: String) -> Option<Conversation> {
    if id.is_empty() {
        return None;
    }
    let kind = if id.starts_with("R:") { ConversationKind::Group } else { ConversationKind::Private };
    Some(Conversation { kind, id })
}

/// A digest of parts that cannot run into each other.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_exact_whatever_they_were() {
        let value = json!({ "a": 10_896_703_172_971_234_u64, "b": "x", "c": null, "d": {}, "e": "17" });
        let fields = Fields::of(&value);
        assert_eq!(fields.text("a").as_deref(), Some("10896703172971234"));
        assert_eq!(fields.text("b").as_deref(), Some("x"));
        assert_eq!((fields.text("c"), fields.text("d"), fields.text("z")), (None, None, None));
        assert_eq!(fields.integer("e"), Some(17));
    }

    #[test]
    fn seconds_and_milliseconds_are_told_apart() {
        let moment = Some(Time::from_millis(1_686_708_146_000));
        assert_eq!(time(1_686_708_146), moment);
        assert_eq!(time(1_686_708_146_000), moment);
        assert_eq!((time(0), time(-5), time(i64::MAX), time(i64::MIN)), (None, None, None, None));
    }

    #[test]
    fn a_list_may_come_as_text() {
        let value = json!({ "a": ["x"], "b": "[\"x\"]", "c": "x", "d": 1 });
        let fields = Fields::of(&value);
        assert_eq!(fields.list("a"), fields.list("b"));
        assert!(fields.list("c").is_empty() && fields.list("d").is_empty() && fields.list("e").is_empty());
    }

    #[test]
    fn parts_of_a_digest_do_not_run_into_each_other() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
