//! The payloads as their readers see them: names, order, and what is left out. Their JSON Schemas are made from these
//! types, so a payload cannot change without its schema.

use crate::model::{Account, Code, Corp, EventWord, MessageId, SenderName, Time, one_of};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// JSON text that goes out as it came in. `None` for text that is not JSON, which nobody must publish.
pub(super) fn raw(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The answer to a message that was sent.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent<'a> {
    /// As it was written.
    #[schemars(with = "MessageId")]
    pub id: Option<&'a RawValue>,
    /// The sender's number of the message; null where the sender gave none.
    pub msg_id: Option<&'a str>,
}

/// The answer to a message that was not sent, or whose fate is not known.
#[derive(Serialize, JsonSchema)]
pub struct NotSent<'a> {
    /// As it was written; null when it could not be read.
    #[schemars(with = "Option<MessageId>")]
    pub id: Option<&'a RawValue>,
    pub error: Error<'a>,
}

/// Why a message was not sent.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Error<'a> {
    #[schemars(with = "Code")]
    pub code: &'static str,
    /// Names the field, the rule and what to do, for people.
    pub message: &'a str,
    /// Whether the same request may succeed when it is made again later.
    pub retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderWords<'a>>,
    /// More than one attempt may have worked.
    #[serde(skip_serializing_if = "is_false")]
    pub possibly_duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// What the sender's API said, in its own words.
#[derive(Serialize, JsonSchema)]
pub struct SenderWords<'a> {
    /// The status of the HTTP answer.
    pub http: u16,
    pub code: Option<i64>,
    pub msg: &'a str,
}

/// A step in a message's life.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// The bridge's own number of the message; null for one that was not accepted.
    pub seq: Option<u64>,
    #[schemars(with = "Option<MessageId>")]
    pub id: Option<&'a RawValue>,
    pub account: Option<&'a str>,
    pub conversation: Option<&'a str>,
    #[serde(rename = "type")]
    pub kind: Option<&'a str>,
    #[schemars(with = "EventWord")]
    pub state: &'static str,
    pub at: Time,
    pub attempt: u32,
    /// More than one attempt may have worked.
    #[serde(skip_serializing_if = "is_false")]
    pub possibly_duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'a str>,
    /// It came at QoS 0.
    #[serde(skip_serializing_if = "is_false")]
    pub weak: bool,
}

/// The reply to a command that was done, or to a question. The data is the command's own.
#[derive(Serialize)]
pub struct Done<'a> {
    pub status: &'static str,
    pub data: &'a serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<&'a RawValue>,
}

/// The schema of [`Done`], with that of its data.
pub fn done(data: &Schema, generator: &mut SchemaGenerator) -> Schema {
    let transaction = generator.subschema_for::<Transaction>();
    json_schema!({
        "type": "object",
        "properties": { "status": { "const": "ok" }, "data": data, "transaction": transaction },
        "required": ["status", "data"],
        "additionalProperties": false,
    })
}

/// The reply to a command that was not done.
#[derive(Serialize, JsonSchema)]
pub struct NotDone<'a> {
    #[schemars(schema_with = "error_word")]
    pub status: &'static str,
    pub error: Reason<'a>,
    pub data: Nothing,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Transaction")]
    pub transaction: Option<&'a RawValue>,
}

fn error_word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": "error" })
}

/// Why a command was not done.
#[derive(Serialize, JsonSchema)]
pub struct Reason<'a> {
    #[schemars(with = "Code")]
    pub code: &'static str,
    /// Names the field, the rule and what to do, for people.
    pub message: &'a str,
    /// What the sender's API said, where a call of it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderWords<'a>>,
}

/// An empty object.
#[derive(Serialize, JsonSchema)]
pub struct Nothing {}

/// What a command is known by to whoever gave it: echoed as it was written, and the same change is made once for it.
pub struct Transaction;

impl JsonSchema for Transaction {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Transaction")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number", "boolean"],
            "maxLength": 256,
            "description": "echoed as it was written; a change is made once per transaction",
        })
    }
}

/// Every hold and every block there is.
#[derive(Serialize, JsonSchema)]
pub struct Holds<'a> {
    pub holds: Vec<Hold<'a>>,
    pub blocks: Vec<Block<'a>>,
}

/// A stop that a person ordered.
#[derive(Serialize, JsonSchema)]
pub struct Hold<'a> {
    pub id: u64,
    pub scope: Scope<'a>,
    pub reason: &'a str,
    pub by: Option<&'a str>,
    #[schemars(with = "Time")]
    pub since: String,
    /// Null when only a command ends it.
    #[schemars(with = "Option<Time>")]
    pub until: Option<String>,
}

/// What a hold stops, in the words of the command `pause`.
#[derive(Default, Serialize, JsonSchema)]
pub struct Scope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "always")]
    pub all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SenderName")]
    pub sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Corp")]
    pub corp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Account")]
    pub account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub conversation: Option<&'a str>,
}

fn always(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": true })
}

/// Refuses new messages that meet every condition, for a while.
#[derive(Serialize, JsonSchema)]
pub struct Block<'a> {
    /// Numbered like a hold, and ended like one.
    pub id: u64,
    pub selection: Selection<'a>,
    pub reason: Option<&'a str>,
    pub by: Option<&'a str>,
    #[schemars(with = "Time")]
    pub since: String,
    #[schemars(with = "Time")]
    pub until: String,
}

/// Which messages, in the words of the command `message/cancel`.
#[derive(Serialize, JsonSchema)]
pub struct Selection<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MessageId")]
    pub id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Account")]
    pub account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub conversation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Corp")]
    pub corp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub tag: Option<&'a str>,
}

/// Something that a person must act on.
#[derive(Serialize, JsonSchema)]
pub struct Alarm<'a> {
    /// A stable word.
    #[schemars(schema_with = "alarm_words")]
    pub what: &'static str,
    /// The account, company, sender or part that it concerns.
    pub about: &'a str,
    pub message: &'a str,
    pub at: Time,
}

fn alarm_words(_: &mut SchemaGenerator) -> Schema {
    one_of(&crate::model::ALARMS)
}

/// Whether the bridge is there.
#[derive(Serialize, JsonSchema)]
pub struct BridgeState<'a> {
    #[schemars(schema_with = "bridge_words")]
    pub state: &'a str,
}

/// `online`; `stopped` after a clean stop; `offline` by the will.
const BRIDGE_WORDS: [&str; 3] = ["online", "stopped", "offline"];

fn bridge_words(_: &mut SchemaGenerator) -> Schema {
    one_of(&BRIDGE_WORDS)
}
