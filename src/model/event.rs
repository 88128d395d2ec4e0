//! What the vendors' systems report, in one vocabulary, and what of it steers sending.

use super::words::one_of;
use super::{Account, Corp, SenderName, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Every event there is, by what follows `<base>/event/` in its topic. `raw/unknown` stands for all that the vendors
/// report beyond it: passed on, never dropped.
pub const EVENTS: [&str; 70] = [
    "account/kicked",
    "account/login",
    "account/logout",
    "account/qrcode",
    "account/ready",
    "account/safety_check",
    "account/verify_required",
    "acquisition/balance_exhausted",
    "acquisition/balance_increased",
    "acquisition/balance_low",
    "acquisition/changed",
    "acquisition/customer_start_chat",
    "acquisition/delete_link",
    "acquisition/friend_request",
    "acquisition/link_unavailable",
    "acquisition/open_profile",
    "acquisition/quota_expire_soon",
    "broadcast/confirm_required",
    "call/invited",
    "contact/added",
    "contact/deleted",
    "contact/deleted_by_peer",
    "contact/requested",
    "contact/synchronised",
    "contact/transfer_failed",
    "contact/updated",
    "corp/agent_shared",
    "corp/auth_cancelled",
    "corp/auth_changed",
    "corp/auth_created",
    "corp/secret_reset",
    "corp/ticket",
    "directory/department_created",
    "directory/department_deleted",
    "directory/department_updated",
    "directory/tag_updated",
    "directory/user_created",
    "directory/user_deleted",
    "directory/user_updated",
    "group/admin_added",
    "group/admin_removed",
    "group/created",
    "group/dismissed",
    "group/join_requested",
    "group/member_added",
    "group/member_left",
    "group/member_muted",
    "group/member_removed",
    "group/member_unmuted",
    "group/member_updated",
    "group/owner_changed",
    "group/renamed",
    "group/updated",
    "license/activated",
    "license/missing",
    "license/paid",
    "license/refunded",
    "media/job_finished",
    "message/failed",
    "message/read",
    "message/received",
    "message/revoked",
    "message/sent",
    "message/system",
    "moment/changed",
    "raw/unknown",
    "tag/created",
    "tag/deleted",
    "tag/reordered",
    "tag/updated",
];

/// One thing that a vendor's system reported. Published as it is, below `<base>/event/<event>`.
///
/// Invariants: `event` is one of [`EVENTS`]; every id is a string, whatever it was.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CallbackEvent")]
pub struct Event {
    #[schemars(schema_with = "event_words")]
    pub event: &'static str,
    /// `requested` where the system asks before it acts, so that it may still come to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The configured name of the callback source.
    pub source: String,
    pub system: System,
    /// The same for a callback that is delivered again.
    pub id: String,
    /// When it happened, by the system's clock; when it came in, where the system does not say.
    pub at: Time,
    pub received_at: Time,
    /// The system's own instance: quntool's container (its `hostname` elsewhere in the API), or a guid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The WeCom account (`wxId`), or what the system has in its place.
    pub account: Option<String>,
    pub corp: Option<String>,
    pub conversation: Option<Conversation>,
    /// Who did it.
    pub actor: Option<Party>,
    /// To whom, or with what.
    pub targets: Vec<Party>,
    /// The system's own word for it.
    pub original_type: String,
    /// The original, without what is secret and, unless configured, without personal data.
    pub data: serde_json::Value,
    /// What was taken out of `data`, by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

fn event_words(_: &mut SchemaGenerator) -> Schema {
    one_of(&EVENTS)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Requested,
}

/// Which of the four callback systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum System {
    Quntool,
    Guid,
    Yunxin,
    Wecom,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    pub kind: ConversationKind,
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    Private,
    Group,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Party {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A digest of what a message shows in its chat, equal for the request and for the callback about it.
pub type Shown = [u8; 16];

/// What of a callback steers sending. Only an authenticated source makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A message that an account sent, by whatever means.
    Seen(Seen),
    Online {
        account: Account,
        corp: Option<Corp>,
    },
    Offline {
        account: Account,
    },
}

/// A message that the system saw leave an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub account: Account,
    pub conversation: Option<Box<str>>,
    /// The sender's id of the message, in lower case: the `msgId` of the answer to a send.
    pub send_msg_id: Option<Box<str>>,
    /// Whether the system says that it came through its API. A person in the client gets a `send_msg_id`, too.
    pub by_api: bool,
    /// `None` where the type does not show its content.
    pub shown: Option<Shown>,
    /// 0 for a message that was delivered.
    pub error: i64,
    pub error_text: Option<Box<str>>,
    pub at: Time,
}

/// A callback that comes again within this is known to be the same, at least: as long as any system tries again.
pub const CALLBACK_WINDOW: Duration = Duration::from_secs(3600);

/// So many callbacks are known again, at most: the oldest are forgotten first.
pub const CALLBACKS_KNOWN_MAX: usize = 200_000;

/// Who waits to hear that a callback is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackTicket(pub u64);

/// One callback, checked and read.
#[derive(Clone, Debug, PartialEq)]
pub struct Callback {
    /// Whose messages and accounts it is about; `None` for a system that is no sender of ours.
    pub sender: Option<SenderName>,
    /// Equal for a callback that is delivered again.
    pub key: [u8; 16],
    pub events: Vec<Event>,
    pub signals: Vec<Signal>,
}
