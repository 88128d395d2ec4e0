//! What a watcher reads of the payloads that are not reports: what it shows, and nothing that it cannot do without.

use crate::model::Time;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Characters of one event that are kept: more than a wide screen shows.
const REST_CHARS_MAX: usize = 240;
/// Characters of a name out of an event.
const NAME_CHARS_MAX: usize = 128;

/// On `<base>/state`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StatePayload {
    pub state: String,
}

/// Of `<base>/info`, what the header shows.
#[derive(Clone, Debug, Deserialize)]
pub struct Info {
    pub version: Option<String>,
}

/// On `<base>/hold`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Holds {
    pub holds: Vec<Hold>,
    #[serde(default)]
    pub blocks: Vec<Hold>,
}

/// A hold or a block: the latter refuses new messages instead of keeping them.
#[derive(Clone, Debug, Deserialize)]
pub struct Hold {
    pub id: u64,
    #[serde(alias = "selection")]
    pub scope: BTreeMap<String, Value>,
    pub reason: Option<String>,
    pub by: Option<String>,
    pub since: Option<Time>,
    pub until: Option<Time>,
}

impl Hold {
    /// What it is about, in words: `account 168`.
    pub fn subject(&self) -> String {
        let mut subject = String::new();
        for (name, value) in &self.scope {
            if value.is_null() {
                continue;
            }
            if !subject.is_empty() {
                subject.push(' ');
            }
            subject.push_str(name);
            if *value != Value::Bool(true) {
                subject.push(' ');
                subject.push_str(&plain(value));
            }
        }
        subject
    }

    /// Whether it is about exactly this account, or this company, and nothing narrower.
    pub fn covers_exactly(&self, name: &str, value: &str) -> bool {
        let mut given = self.scope.iter().filter(|(_, value)| !value.is_null());
        matches!((given.next(), given.next()), (Some((only, Value::String(is))), None) if only == name && is == value)
    }
}

/// On `<base>/alarm`.
#[derive(Clone, Debug, Deserialize)]
pub struct Alarm {
    pub what: String,
    #[serde(default)]
    pub about: String,
    #[serde(default)]
    pub message: String,
    pub at: Option<Time>,
}

/// A reply to a command.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReplyPayload {
    pub status: String,
    #[serde(default)]
    pub data: Value,
    pub error: Option<ErrorPayload>,
    pub transaction: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ErrorPayload {
    pub code: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventPayload {
    at: Option<Time>,
    account: Option<String>,
    id: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<String>,
    conversation: Option<String>,
    attempt: Option<u64>,
    #[serde(default)]
    possibly_duplicate: bool,
    msg_id: Option<String>,
    error: Option<ErrorPayload>,
}

/// One line of the live tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    pub at: Option<Time>,
    /// `sent`, or `account/login` for what is not the life of a message.
    pub what: Box<str>,
    pub account: Option<Box<str>>,
    pub rest: Box<str>,
}

impl Tail {
    /// `event` is what followed `<base>/event/`. `None` when the payload is no JSON object.
    pub(super) fn read(event: &str, payload: &[u8]) -> Option<Self> {
        let Some(state) = event.strip_prefix("send/") else {
            let value: BTreeMap<String, Value> = serde_json::from_slice(payload).ok()?;
            let at = value.get("at").and_then(Value::as_str).and_then(Time::parse_rfc3339);
            let account = value.get("account").and_then(Value::as_str).map(|name| clipped(name, NAME_CHARS_MAX));
            let rest = String::from_utf8_lossy(payload);
            return Some(Self {
                at,
                what: clipped(event, NAME_CHARS_MAX),
                account,
                rest: clipped(&rest, REST_CHARS_MAX),
            });
        };
        let read: EventPayload = serde_json::from_slice(payload).ok()?;
        let mut rest = read.id.as_ref().map_or("id –".to_owned(), |id| format!("id {}", plain(id)));
        let mut add = |name: &str, value: &str| {
            rest.push_str("  ");
            rest.push_str(name);
            rest.push_str(value);
        };
        if let Some(kind) = &read.kind {
            add("", kind);
        }
        if read.attempt.is_some_and(|attempt| attempt > 1) {
            add("attempt ", &read.attempt.unwrap_or_default().to_string());
        }
        if read.possibly_duplicate {
            add("possibly duplicate", "");
        }
        if let Some(error) = &read.error {
            add(&error.code, "");
            add("", &error.message);
        }
        if let Some(msg_id) = &read.msg_id {
            add("msgId ", msg_id);
        }
        if let Some(conversation) = &read.conversation {
            add("to ", conversation);
        }
        Some(Self {
            at: read.at,
            what: clipped(state, NAME_CHARS_MAX),
            account: read.account.map(|name| clipped(&name, NAME_CHARS_MAX)),
            rest: clipped(&rest, REST_CHARS_MAX),
        })
    }
}

/// A value as a person writes it: a text without its quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

pub(super) fn clipped(text: &str, chars_max: usize) -> Box<str> {
    text.chars().take(chars_max).collect()
}
