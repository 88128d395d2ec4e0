//! WeCom's third-party callbacks: encrypted XML in two forms, one for suites (`InfoType`) and one for a company's own
//! applications (`Event`).
//!
//! Source: WeCom's developer pages, named beside each group below by their path; element names are those of the pages,
//! because the vendor text at hand misspells some.

mod crypto;
mod xml;

pub use crypto::AesKey;

use super::read::{Fields, digest};
use super::{Draft, Read, Unreadable};
use crate::model::{Conversation, ConversationKind, Party, Time};
use serde_json::Value;

/// What one source of callbacks is known by.
#[derive(Clone)]
pub struct Keys {
    pub token: Box<str>,
    pub aes_key: AesKey,
    /// Whom messages may be for: company ids and suite ids, and an empty one where WeCom sends none.
    pub receivers: Vec<String>,
}

/// The query of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signature<'a> {
    pub(super) msg_signature: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) nonce: &'a str,
}

/// Opens what is signed and for us. Which check failed is nobody's business.
pub(super) fn open(keys: &Keys, signature: Signature<'_>, encrypted: &str) -> Option<String> {
    let Signature { msg_signature, timestamp, nonce } = signature;
    if !crypto::is_signed(&keys.token, timestamp, nonce, encrypted, msg_signature) {
        return None;
    }
    crypto::open(&keys.aes_key, &keys.receivers, encrypted).ok()
}

/// The encrypted part of a POST.
pub(super) fn encrypted(body: &str) -> Option<String> {
    let members = xml::parse(body).ok()?;
    members.get("Encrypt")?.as_str().map(str::to_owned)
}

pub(super) fn read(message: &str, received_at: Time) -> Result<Read, Unreadable> {
    let members = xml::parse(message).map_err(|_| Unreadable::NotXml)?;
    let root = Value::Object(members);
    let fields = Fields::of(&root);
    let info = word(fields, "InfoType");
    let name = info.clone().or_else(|| word(fields, "Event"));
    let change = word(fields, "ChangeType");
    let kind = name.clone().or_else(|| word(fields, "MsgType")).unwrap_or_default();
    let original = match &change {
        Some(change) => format!("{kind}/{change}"),
        None => kind.clone(),
    };
    let is_message = name.is_none() && !kind.is_empty();
    let what = if is_message { "message/received" } else { event(&kind, change.as_deref(), fields) };
    let mut draft = Draft::new(what, &original);
    draft.at = ["TimeStamp", "CreateTime"].into_iter().find_map(|name| fields.time(name)).unwrap_or(received_at);
    draft.account = ["SuiteId", "AgentID", "AgentId"].into_iter().find_map(|name| word(fields, name));
    let corp_names: &[&str] =
        if info.is_some() { &["AuthCorpId", "CorpId", "ServiceCorpId"] } else { &["ToUserName", "AuthCorpId"] };
    draft.corp = corp_names.iter().find_map(|name| word(fields, name));
    draft.conversation = chat(fields);
    draft.actor = ["UserID", "FromUserName", "BuyerUserId"]
        .into_iter()
        .find_map(|name| word(fields, name))
        .map(|id| Party { id, name: None });
    draft.targets = targets(&kind, fields);
    draft.data = root.clone();
    let key = match word(fields, "MsgId") {
        Some(id) => digest(&[b"msg", draft.corp.as_deref().unwrap_or_default().as_bytes(), id.as_bytes()]),
        None => digest(&[b"xml", message.as_bytes()]),
    };
    Ok(Read { key, drafts: vec![draft], signals: Vec::new() })
}

fn word(fields: Fields<'_>, name: &str) -> Option<String> {
    fields.text(name).filter(|text| !text.is_empty())
}

fn event(kind: &str, change: Option<&str>, fields: Fields<'_>) -> &'static str {
    match kind {
        // 90628, 90642, 97175, 93373
        "suite_ticket" => "corp/ticket",
        "create_auth" => "corp/auth_created",
        "change_auth" => "corp/auth_changed",
        "cancel_auth" => "corp/auth_cancelled",
        "reset_permanent_code" => "corp/secret_reset",
        "share_agent_change" | "share_chain_change" => "corp/agent_shared",
        "change_contact" => directory(change),
        "change_external_contact" => contact(change),
        "change_external_chat" => group(change, fields),
        "change_external_tag" => tag(change),
        "customer_acquisition" => acquisition(change),
        // 97196, 95994, 95716, 97126
        "license_pay_success" => "license/paid",
        "license_refund" => "license/refunded",
        "auto_activate" => "license/activated",
        "unlicensed_notify" => "license/missing",
        "upload_media_job_finish" => "media/job_finished",
        _ => "raw/unknown",
    }
}

/// 90639, 90640, 92656
fn directory(change: Option<&str>) -> &'static str {
    match change {
        Some("create_user") => "directory/user_created",
        Some("update_user") => "directory/user_updated",
        Some("delete_user") => "directory/user_deleted",
        Some("create_party") => "directory/department_created",
        Some("update_party") => "directory/department_updated",
        Some("delete_party") => "directory/department_deleted",
        Some("update_tag") => "directory/tag_updated",
        Some(_) | None => "raw/unknown",
    }
}

/// 92277
fn contact(change: Option<&str>) -> &'static str {
    match change {
        Some("add_external_contact") => "contact/added",
        Some("add_half_external_contact") => "contact/requested",
        Some("edit_external_contact") => "contact/updated",
        Some("del_external_contact") => "contact/deleted",
        Some("del_follow_user") => "contact/deleted_by_peer",
        Some("transfer_fail") => "contact/transfer_failed",
        Some(_) | None => "raw/unknown",
    }
}

/// 92277
fn group(change: Option<&str>, fields: Fields<'_>) -> &'static str {
    match change {
        Some("create") => "group/created",
        Some("dismiss") => "group/dismissed",
        Some("update") => match word(fields, "UpdateDetail").as_deref() {
            Some("add_member") => "group/member_added",
            Some("del_member") if fields.integer("QuitScene") == Some(0) => "group/member_left",
            Some("del_member") => "group/member_removed",
            Some("change_owner") => "group/owner_changed",
            Some("change_name") => "group/renamed",
            Some(_) | None => "group/updated",
        },
        Some(_) | None => "raw/unknown",
    }
}

/// 92277
fn tag(change: Option<&str>) -> &'static str {
    match change {
        Some("create") => "tag/created",
        Some("update") => "tag/updated",
        Some("delete") => "tag/deleted",
        Some("shuffle") => "tag/reordered",
        Some(_) | None => "raw/unknown",
    }
}

/// 97402, 97299. Named as the change is.
fn acquisition(change: Option<&str>) -> &'static str {
    match change {
        Some("balance_low") => "acquisition/balance_low",
        Some("balance_exhausted") => "acquisition/balance_exhausted",
        Some("balance_increased") => "acquisition/balance_increased",
        Some("delete_link") => "acquisition/delete_link",
        Some("link_unavailable") => "acquisition/link_unavailable",
        Some("quota_expire_soon") => "acquisition/quota_expire_soon",
        Some("customer_start_chat") => "acquisition/customer_start_chat",
        Some("open_profile") => "acquisition/open_profile",
        Some("friend_request") => "acquisition/friend_request",
        Some(_) | None => "acquisition/changed",
    }
}

fn chat(fields: Fields<'_>) -> Option<Conversation> {
    if let Some(id) = word(fields, "ChatId") {
        return Some(Conversation { kind: ConversationKind::Group, id });
    }
    let (user, external) = (word(fields, "UserID")?, word(fields, "ExternalUserID")?);
    Some(Conversation { kind: ConversationKind::Private, id: format!("{user}/{external}") })
}

/// Elements that name whom it is about; several in one element are separated by commas.
const TARGETS: [&str; 7] =
    ["ExternalUserID", "NewUserID", "AddUserItems", "DelUserItems", "AddPartyItems", "DelPartyItems", "TagId"];

fn targets(kind: &str, fields: Fields<'_>) -> Vec<Party> {
    let mut ids: Vec<String> = TARGETS
        .into_iter()
        .filter_map(|name| word(fields, name))
        .flat_map(|text| text.split(',').map(|id| id.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    if kind == "change_external_tag" || kind == "change_contact" {
        ids.extend(word(fields, "Id"));
    }
    ids.extend(items(fields.fields("MemChangeList").get("Item")));
    ids.retain(|id| !id.is_empty());
    ids.into_iter().map(|id| Party { id, name: None }).collect()
}

fn items(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(super::read::text).collect(),
        Some(one) => super::read::text(one).into_iter().collect(),
        None => Vec::new(),
    }
}
