//! quntool's callbacks: 24 types in one envelope.
//!
//! Source: the vendor's openAPI text, section on callbacks. Where the text and its samples differ, the samples count:
//! `timestamp` is a number there, `sendMsgId` may be missing, `data` may be null.

use super::read::{Fields, conversation, digest};
use super::{Draft, Read, Unreadable};
use crate::intake::shown;
use crate::model::{Account, Corp, Party, Seen, Signal, Time};
use serde_json::Value;
use std::borrow::Cow;

/// The message types. All others are notices.
const MESSAGES: [&str; 12] = [
    "text_msg",
    "image_msg",
    "video_msg",
    "voice_msg",
    "file_msg",
    "location_msg",
    "link_card_msg",
    "emoticon_msg",
    "red_packet_msg",
    "person_card_msg",
    "mini_program_msg",
    "video_num_msg",
];

/// `qrcode_status_msg` with this status asks for the code that the phone shows.
const REQUIRES_VERIFICATION: i64 = 10;

pub(super) fn read(body: &[u8], received_at: Time) -> Result<Read, Unreadable> {
    let root: Value = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    if !root.is_object() {
        return Err(Unreadable::NotAnObject);
    }
    let envelope = Fields::of(&root);
    let kind = envelope.text("type").unwrap_or_default();
    let data = envelope.fields("data");
    // An empty one names nothing, and would make all that have it repeats of each other.
    let key = match envelope.text("msgId").filter(|id| !id.is_empty()) {
        Some(id) => digest(&[b"id", id.as_bytes()]),
        None => digest(&[b"body", body]),
    };
    // Before the login the envelope does not know the account, but the QR code does.
    let account = envelope.text("wxid").filter(|id| !id.is_empty()).or_else(|| data.text("vid"));
    let mut draft = Draft::new(event(&kind, envelope, data, account.as_deref()), &kind);
    draft.at = envelope.time("timestamp").unwrap_or(received_at);
    draft.instance = envelope.text("source");
    draft.account.clone_from(&account);
    draft.corp = match kind.as_str() {
        "user_login" => data.text("corp_id"),
        "qrcode_status_msg" => data.text("corpid"),
        // A contact's own company, not the account's.
        _ => None,
    };
    draft.conversation =
        data.text("conversation_id").or_else(|| data.text("room_conversation_id")).and_then(conversation);
    draft.actor = data.party("sender", "sender_name").or_else(|| data.party("op_user_id", "op_user_name"));
    draft.targets = targets(&kind, data);
    draft.data = root.get("data").cloned().unwrap_or(Value::Null);
    let mut drafts = vec![draft.clone()];
    if kind == "chat_gray_msg" && data.text("appinfo").is_some_and(|info| info.ends_with("_need_verify")) {
        // Inferred from the vendor's sample: the peer asks to be added again, so it has deleted the account.
        drafts.push(Draft { event: "contact/deleted_by_peer", ..draft });
    }
    let signals = account.map(|account| signals(&kind, envelope, data, &account, received_at)).unwrap_or_default();
    Ok(Read { key, drafts, signals })
}

fn event(kind: &str, envelope: Fields<'_>, data: Fields<'_>, account: Option<&str>) -> &'static str {
    if MESSAGES.contains(&kind) {
        return match (is_outgoing(envelope, data, account), data.integer("error_code")) {
            (false, _) => "message/received",
            (true, None | Some(0)) => "message/sent",
            (true, Some(_)) => "message/failed",
        };
    }
    match kind {
        "qrcode_status_msg" if data.integer("status") == Some(REQUIRES_VERIFICATION) => "account/verify_required",
        "qrcode_status_msg" => "account/qrcode",
        "safe_validate" => "account/safety_check",
        "notify_type_contact_add" => "contact/added",
        "notify_type_room_add_member" => "group/member_added",
        "notify_type_room_del_member" => "group/member_removed",
        "notify_type_room_create" => "group/created",
        "notify_type_room_member_quit" => "group/member_left",
        "room_name_changed" => "group/renamed",
        "chat_gray_msg" => "message/system",
        "user_login" => "account/login",
        "user_offline" => "account/logout",
        "batch_msg_confirm" => "broadcast/confirm_required",
        _ => "raw/unknown",
    }
}

/// Whether the account itself sent it: by its own id as the sender, else by what only sent messages have.
fn is_outgoing(envelope: Fields<'_>, data: Fields<'_>, account: Option<&str>) -> bool {
    match data.text("sender") {
        Some(sender) => Some(sender.as_str()) == account,
        None => envelope.text("sendMsgId").is_some() || data.integer("is_pc") == Some(1),
    }
}

fn targets(kind: &str, data: Fields<'_>) -> Vec<Party> {
    match kind {
        "notify_type_contact_add" => data.party("user_id", "username").into_iter().collect(),
        "notify_type_room_member_quit" => Vec::new(),
        _ if MESSAGES.contains(&kind) || kind == "chat_gray_msg" => {
            data.party("receiver", "receiver_name").into_iter().collect()
        }
        _ => data.list("member_list").iter().filter_map(|member| Fields::of(member).party("user_id", "name")).collect(),
    }
}

fn signals(kind: &str, envelope: Fields<'_>, data: Fields<'_>, account: &str, received_at: Time) -> Vec<Signal> {
    let name = Account::new(account);
    match kind {
        "user_login" => {
            let corp = data.text("corp_id").filter(|id| !id.is_empty()).map(|id| Corp::new(&id));
            vec![Signal::Online { account: name, corp }]
        }
        "user_offline" => vec![Signal::Offline { account: name }],
        _ if MESSAGES.contains(&kind) && is_outgoing(envelope, data, Some(account)) => {
            let send_msg_id = envelope.text("sendMsgId").filter(|id| !id.is_empty());
            vec![Signal::Seen(Seen {
                account: name,
                conversation: data.text("conversation_id").map(String::into_boxed_str),
                send_msg_id: send_msg_id.map(|id| id.to_ascii_lowercase().into_boxed_str()),
                by_api: data.is_true("isOpenApi") || envelope.is_true("isOpenApi"),
                // Who is named in it stands in its content, too: it came from another type than a text.
                shown: if data.list("at_list").is_empty() {
                    shown::of_callback(kind, |field| data.text(field).map(Cow::Owned))
                } else {
                    None
                },
                error: data.integer("error_code").unwrap_or(0),
                error_text: data.text("error_message").map(String::into_boxed_str),
                at: data.time("send_time").or_else(|| envelope.time("timestamp")).unwrap_or(received_at),
            })]
        }
        _ => Vec::new(),
    }
}
