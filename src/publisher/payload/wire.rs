//! The payloads as their readers see them: names, order, and what is left out.

use serde::Serialize;
use serde_json::value::RawValue;

/// JSON text that goes out as it came in. `None` for text that is not JSON, which nobody must publish.
pub(super) fn raw(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent<'a> {
    pub id: Option<&'a RawValue>,
    pub msg_id: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct NotSent<'a> {
    pub id: Option<&'a RawValue>,
    pub error: Error<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Error<'a> {
    pub code: &'static str,
    pub message: &'a str,
    pub retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderWords<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    pub possibly_duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct SenderWords<'a> {
    pub http: u16,
    pub code: Option<i64>,
    pub msg: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    pub seq: Option<u64>,
    pub id: Option<&'a RawValue>,
    pub account: Option<&'a str>,
    pub conversation: Option<&'a str>,
    #[serde(rename = "type")]
    pub kind: Option<&'a str>,
    pub state: &'static str,
    pub at: String,
    pub attempt: u32,
    #[serde(skip_serializing_if = "is_false")]
    pub possibly_duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    pub weak: bool,
}

#[derive(Serialize)]
pub(super) struct Done<'a> {
    pub status: &'static str,
    pub data: &'a serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct NotDone<'a> {
    pub status: &'static str,
    pub error: Reason<'a>,
    pub data: Nothing,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub(super) struct Reason<'a> {
    pub code: &'static str,
    pub message: &'a str,
}

/// An empty object.
#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
pub(super) struct Holds<'a> {
    pub holds: Vec<Hold<'a>>,
}

#[derive(Serialize)]
pub(super) struct Hold<'a> {
    pub id: u64,
    pub scope: Scope<'a>,
    pub reason: &'a str,
    pub by: Option<&'a str>,
    pub since: String,
    pub until: Option<String>,
}

#[derive(Default, Serialize)]
pub(super) struct Scope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Alarm<'a> {
    pub what: &'static str,
    pub about: &'a str,
    pub message: &'a str,
    pub at: String,
}

#[derive(Serialize)]
pub(super) struct BridgeState<'a> {
    pub state: &'a str,
}
