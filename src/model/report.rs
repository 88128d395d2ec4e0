//! What the bridge says about itself: the payloads of its status topics, which are also the data of the replies to
//! commands. `watch`, `send` and the metrics read the same types, and the AsyncAPI document is made from them.

use super::{Account, Corp, HoldReason, SenderName, State, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Retained on `<base>/account/<wxId>`, and the data of `account/get`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountReport {
    pub at: Time,
    pub account: Account,
    /// `None` while nobody knows it.
    pub corp: Option<Corp>,
    pub sender: Option<SenderName>,
    pub state: AccountState,
    /// Why its next message is not on its way, in the words of a queued message's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HoldReason>")]
    pub reason: Option<String>,
    /// The hold behind the reason `paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    /// When the reason ends, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    pub queued: u64,
    pub sending: u64,
    pub in_doubt: u64,
    /// When its next message is expected to leave; `None` when nothing waits, or nobody can know.
    pub next_send_at: Option<Time>,
    /// When its last queued message is expected to have left.
    pub drain_eta: Option<Time>,
    pub sent_last_hour: u64,
    /// The spacing between two of its sends, in milliseconds.
    pub interval_ms: u64,
}

/// What an account is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Nothing waits.
    Idle,
    /// A request is under way.
    Sending,
    /// Something waits for its turn or for a limit.
    Waiting,
    /// Something waits for a person, the account or its server: paused, offline, unknown, cooling down, server down.
    Held,
}

/// Retained on `<base>/corp/<corpId>`, and the data of `corp/get`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorpReport {
    pub at: Time,
    pub corp: Corp,
    /// Sends in any sliding hour, at most.
    pub limit: u64,
    /// Of these, kept for priority 8 and 9.
    pub reserve: u64,
    /// Places of the last hour that are taken.
    pub used: u64,
    /// Places that a send of any priority may take now.
    pub free: u64,
    /// When the next place becomes free; `None` while one is.
    pub next_free_at: Option<Time>,
    /// Known accounts of the company.
    pub accounts: u64,
    pub queued: u64,
    pub sending: u64,
    pub in_doubt: u64,
    pub next_send_at: Option<Time>,
    pub drain_eta: Option<Time>,
    /// The hold that covers the whole company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    pub counts: Counts,
}

/// The data of `message/get` and `message/list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesReport {
    /// For `message/get` in the order of acceptance, for `message/list` newest first.
    pub messages: Vec<MessageReport>,
    /// False when there may be others among those that were not looked at: one question looks at a bounded number.
    pub complete: bool,
    /// What `after` is to be for the next page; `None` after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is known of one message. Never its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageReport {
    /// The bridge's own number, ascending in the order of acceptance.
    pub seq: u64,
    /// As the publisher wrote it; a number that JSON's usual readers would change is shown as its text.
    pub id: serde_json::Value,
    pub account: Account,
    #[serde(rename = "type")]
    pub kind: String,
    pub tag: Option<String>,
    pub received_at: Time,
    pub state: State,
    pub attempts: u32,
    /// Whether it was requested again after a request that may have worked.
    pub possibly_duplicate: bool,
    /// The number of the life before, when a person had it sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Its place in the queue of its account, counted from 1; left out far behind the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Why it is not on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HoldReason>")]
    pub reason: Option<String>,
    /// The hold behind the reason `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<u64>,
    /// What whoever ordered that hold said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PauseReport>,
    /// When the reason, or the wait for proof, ends, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// When it is expected to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Whether the broker has the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// What a callback told of it after it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptReport>,
    /// Every attempt that is still kept; only in `message/get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<AttemptReport>>,
}

/// A hold, as a message that it keeps tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseReport {
    pub reason: String,
    /// Who ordered it, if they said.
    pub by: Option<String>,
    pub since: Time,
    /// `None` until somebody resumes it.
    pub until: Option<Time>,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// One of the stable codes of answers.
    pub code: String,
    pub message: String,
}

/// What a callback told of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptReport {
    pub at: Time,
    /// The system's code: 0 for what was delivered.
    pub code: i64,
    /// The system's own words for the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One request that was made, or may have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptReport {
    pub attempt: u32,
    /// In whose hour it counted.
    pub corp: Corp,
    pub possibly_duplicate: bool,
    pub started_at: Time,
    pub ended_at: Option<Time>,
    pub result: AttemptWord,
    /// In which way nothing was sent, or nobody can know.
    pub why: Option<String>,
}

/// What an attempt has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptWord {
    /// It is being made.
    Open,
    Confirmed,
    Refused,
    NotSent,
    Unknown,
}

/// Where everything that came in has gone, since the start of the process.
///
/// Invariants: received = rejected + duplicate + accepted, and accepted = the sum of `states`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub received: u64,
    pub rejected: u64,
    pub duplicate: u64,
    pub accepted: u64,
    /// Of the received and accepted, those that an earlier life of the process took.
    pub restored: u64,
    /// How many messages are in each state, by its word.
    #[schemars(schema_with = "counts_by_state")]
    pub states: BTreeMap<String, u64>,
    /// Whether the invariants hold.
    pub balanced: bool,
}

fn counts_by_state(_: &mut SchemaGenerator) -> Schema {
    let words = State::ALL.map(State::as_str);
    let counts: serde_json::Map<String, serde_json::Value> =
        words.iter().map(|&word| (word.to_owned(), json!({ "type": "integer", "minimum": 0 }))).collect();
    json_schema!({ "type": "object", "properties": counts, "additionalProperties": false })
}

/// Retained on `<base>/health`, and the data of `health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthReport {
    pub at: Time,
    pub started_at: Time,
    pub mode: Mode,
    /// Whether `mode` is `stopping`.
    pub stopping: bool,
    #[serde(flatten)]
    pub counts: Counts,
    /// Companies whose own counts do not add up. Always empty, or there is an alarm.
    pub unbalanced_corps: Vec<Corp>,
    pub accounts: u64,
    pub corps: u64,
    pub queued_bytes: u64,
    /// When the message came that waits longest for its turn, those for later and those in doubt apart.
    pub oldest_queued_at: Option<Time>,
    /// Answers that the broker has not acknowledged yet.
    pub answers_open: u64,
    pub holds: u64,
    pub blocks: u64,
    /// When everything queued is expected to have left.
    pub drain_eta: Option<Time>,
    pub storage_low: bool,
    pub rates: Rates,
    pub senders: Vec<SenderReport>,
    pub broker: BrokerReport,
    /// What only the process around the engine can measure.
    #[serde(flatten)]
    pub process: ProcessReport,
}

/// What the bridge is doing as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Running,
    /// Takes no more messages, sends those that it has.
    Draining,
    /// The same, with nothing left.
    Drained,
    Stopping,
}

/// Per second, over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    pub received: f64,
    pub sent: f64,
    pub answered: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderReport {
    pub name: SenderName,
    pub state: SenderWord,
    pub in_flight: u64,
    pub connections: u64,
    /// When a server that is down is tried again.
    pub retry_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SenderWord {
    Up,
    Down,
    /// It does not take our API key.
    Unauthorized,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerReport {
    /// Whether messages can arrive.
    pub incoming: LinkWord,
    /// Whether answers can leave.
    pub outgoing: LinkWord,
    /// Whether commands can arrive.
    pub commands: LinkWord,
    /// As the broker calls itself.
    pub version: Option<String>,
    /// Messages that the broker says it has thrown away since it started, for any client.
    pub dropped: Option<u64>,
    /// Messages that the broker says it holds, for any client.
    pub stored: Option<u64>,
    /// Of these, those that it keeps for whoever subscribes: the others wait for a client.
    pub retained: Option<u64>,
    /// Clients that the broker says are connected.
    pub clients: Option<u64>,
    /// Memory that the broker says it uses, in bytes.
    pub heap_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkWord {
    Up,
    #[default]
    Down,
    /// On purpose: draining, or the disk is nearly full.
    Closed,
}

/// What only the process around the engine can measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessReport {
    pub latency: LatencyReport,
    pub resident_bytes: u64,
    pub journal_bytes: u64,
    /// Free bytes on the journal's file system.
    pub journal_free_bytes: u64,
    /// Events and replies dropped because the broker did not take them fast enough.
    pub notices_dropped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyReport {
    /// From a message's arrival until the broker has its answer.
    pub intake_to_answer: Percentiles,
    /// From a request's first byte until its answer was read.
    pub sender: Percentiles,
    /// One commit of the journal.
    pub commit: Percentiles,
}

/// Milliseconds, over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Retained on `<base>/info`, and the data of `info`. Made at the start, and never changed after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InfoReport {
    pub version: String,
    /// What this bridge can do, in stable words: for a publisher that must also work with one that cannot.
    pub features: Vec<String>,
    pub limits: InfoLimits,
    pub topics: TopicReport,
    /// Every `type` that a message may have.
    pub types: Vec<String>,
    /// Every command, by its place under the topic of requests.
    pub commands: Vec<String>,
    /// The configuration in force, with the names and units of its file, secrets left out.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub config: serde_json::Value,
}

/// What a publisher must keep to, or may count on. What is set for one account or company is in `config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InfoLimits {
    /// The largest payload of a message or a command.
    pub max_message_bytes: u64,
    /// The spacing between two sends of one account.
    pub account_interval_ms: u64,
    /// Sends of one company in any sliding hour.
    pub corp_per_hour: u64,
    /// How long a message waits, at most, if it does not say so itself.
    pub ttl_ms: u64,
    /// How long a repeat is known after its message's final state.
    pub dedup_window_ms: u64,
    /// Messages that may wait at once.
    pub queue_messages: u64,
    pub queue_bytes: u64,
}

/// The bridge's topics. What is in braces stands for a name; filters may hold MQTT's wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicReport {
    /// Filters of the topics on which messages are taken.
    pub send: Vec<String>,
    /// Where answers go, followed by the suffix that the message came with.
    pub answer: String,
    /// Filters of the MQTT 5 response topics that are allowed.
    pub reply_topics: Vec<String>,
    pub request: String,
    pub response: String,
    pub state: String,
    pub info: String,
    pub health: String,
    pub account: String,
    pub corp: String,
    pub hold: String,
    pub send_event: String,
    /// Where an event of a callback is told, if any callback is configured.
    pub event: String,
    pub alarm: String,
}
