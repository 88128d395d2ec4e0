//! The data of the replies to commands, as their readers see it.
//!
//! Replies are put together where the answer is known; these types are the shape that they are held to: each reply that
//! a test hears is validated against the schema made from them.

use super::wire;
use crate::model::{Account, AccountReport, Corp, CorpReport, LogLevel, Mode, SenderName, State, Time, one_of};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

/// `account/get`.
#[derive(Serialize, JsonSchema)]
pub struct AccountData {
    #[serde(flatten)]
    pub report: AccountReport,
    /// The hour of its company, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Hour")]
    pub hour: Option<Hour>,
}

/// The last hour of a company.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hour {
    pub used: u64,
    pub limit: u64,
    pub reserve: u64,
    /// Places that a send of any priority may take now.
    pub free: u64,
    /// When the next place becomes free; null while one is.
    pub next_free_at: Option<Time>,
}

/// `account/list`.
#[derive(Serialize, JsonSchema)]
pub struct AccountList {
    pub accounts: Vec<AccountReport>,
    /// What `after` is to be for the next page; null after the last.
    pub next: Option<String>,
}

/// `corp/list`.
#[derive(Serialize, JsonSchema)]
pub struct CorpList {
    pub corps: Vec<CorpReport>,
    /// What `after` is to be for the next page; null after the last.
    pub next: Option<String>,
}

/// `hold/list`.
#[derive(Serialize, JsonSchema)]
pub struct HoldList<'a> {
    pub holds: Vec<wire::Hold<'a>>,
    pub blocks: Vec<wire::Block<'a>>,
    /// What `after` is to be for the next page; null after the last.
    pub next: Option<String>,
}

/// `pause`: the hold that it made.
#[derive(Serialize, JsonSchema)]
pub struct PauseData<'a> {
    /// Its number, as lists call it.
    pub id: u64,
    /// The same, as `resume` and the reports call it.
    pub hold: u64,
    pub scope: wire::Scope<'a>,
    pub reason: &'a str,
    pub by: Option<&'a str>,
    pub since: Time,
    pub until: Option<Time>,
}

/// `resume`.
#[derive(Serialize, JsonSchema)]
pub struct ResumeData {
    /// The numbers of the holds and blocks that ended.
    pub released: Vec<u64>,
    /// How many these are.
    pub count: u64,
    /// Holds and blocks that are left.
    pub remaining: u64,
}

/// `message/cancel`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelData {
    pub dry_run: bool,
    /// Waiting messages that met the selection.
    pub found: u64,
    /// Of these, those that were cancelled.
    pub cancelled: u64,
    /// Too late for them: they are on their way.
    pub sending: u64,
    /// Too late for them: nobody knows whether they were sent.
    pub in_doubt: u64,
    /// The numbers of some of those found.
    pub sample: Vec<u64>,
    /// The block that `blockFor` made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_until: Option<Time>,
}

/// `directory/refresh`.
#[derive(Serialize, JsonSchema)]
pub struct RefreshData {
    pub senders: Vec<RefreshOf>,
}

/// One server whose account list is read again.
#[derive(Serialize, JsonSchema)]
pub struct RefreshOf {
    pub sender: SenderName,
    /// When it is asked for.
    pub at: Time,
}

/// `drain`. The counts are only there while something is left.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainData {
    pub state: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub queued: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub sending: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub in_doubt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub answers_open: Option<u64>,
}

/// `log/level`.
#[derive(Serialize, JsonSchema)]
pub struct LogLevelData {
    #[schemars(schema_with = "log_levels")]
    pub level: &'static str,
    pub until: Option<Time>,
}

fn log_levels(_: &mut SchemaGenerator) -> Schema {
    one_of(&LogLevel::ALL.map(LogLevel::as_str))
}

/// `limits/get` of nobody in particular.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllLimits {
    pub configured: ConfiguredLimits,
    /// Some of what is not as configured.
    pub set: Vec<OneLimit>,
    pub set_count: u64,
}

/// The limits of whoever has none of its own.
#[derive(Serialize, JsonSchema)]
pub struct ConfiguredLimits {
    pub account: AccountLimit,
    pub corp: CorpLimit,
}

/// `limits/set`, and `limits/get` of one account or company: `account` or `corp` says whose.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneLimit {
    Account(AccountLimits),
    Corp(CorpLimits),
}

/// The limits of one account.
#[derive(Serialize, JsonSchema)]
pub struct AccountLimits {
    pub account: Account,
    pub configured: AccountLimit,
    pub effective: AccountLimit,
    /// Whether a command set it.
    pub set: bool,
    pub by: Option<String>,
    pub since: Option<Time>,
    pub until: Option<Time>,
}

/// The limits of one company.
#[derive(Serialize, JsonSchema)]
pub struct CorpLimits {
    pub corp: Corp,
    pub configured: CorpLimit,
    pub effective: CorpLimit,
    /// Whether a command set it.
    pub set: bool,
    pub by: Option<String>,
    pub since: Option<Time>,
    pub until: Option<Time>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountLimit {
    pub interval_ms: u64,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CorpLimit {
    pub per_hour: u64,
    pub reserve: u64,
}

/// `message/retry`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryData {
    /// The number of the new life.
    pub seq: u64,
    /// And of the life before.
    pub of: u64,
    pub account: Account,
    pub possibly_duplicate: bool,
}

/// `message/resolve`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolveData {
    pub seq: u64,
    pub account: Account,
    pub state: State,
    /// Whether an answer that was given before is given anew.
    pub corrected: bool,
    pub possibly_duplicate: bool,
}
