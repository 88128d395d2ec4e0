//! Callbacks of the `{guid, notify_type, data}` protocol.
//!
//! Sources: the vendor's callback text (six types) and the codes that the protocol's public clients name. Many facts of
//! the latter are not documented by the vendor, so all that is not certain is left to `data`.

use super::read::{Fields, digest};
use super::{Draft, Login, Read, Unreadable, redact};
use crate::model::{Conversation, ConversationKind, Party, Time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A bit of `flag` in a message: it could not be sent.
const SEND_FAILED: i64 = 4_194_304;

/// Messages of one batch. What claims to have more is passed on in one piece: a body can hold more than anybody counts.
const BATCH_MAX: usize = 1000;

/// Longest guid, and account behind one, that is taken for such, in bytes: both are remembered, and told again with
/// every message of a batch.
const ID_BYTES_MAX: usize = 256;

/// `known_login` gives the account that logged in last under a guid: that tells who sent a message.
pub(super) fn read(
    body: &[u8],
    received_at: Time,
    known_login: impl Fn(&str) -> Option<Login>,
) -> Result<Read, Unreadable> {
    let root: Value = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    if !root.is_object() {
        return Err(Unreadable::NotAnObject);
    }
    let envelope = Fields::of(&root);
    let named_guid = envelope.text("guid").unwrap_or_default();
    let guid = if named_guid.len() <= ID_BYTES_MAX { named_guid.clone() } else { String::new() };
    let code = envelope.integer("notify_type");
    let kind = code.map_or_else(String::new, |code| code.to_string());
    let known = known_login(&guid);
    let own = known.as_ref().map(|login| login.user.clone());
    let nothing = Value::Null;
    let data = root.get("data").unwrap_or(&nothing);
    let mut items: Vec<&Value> = match (code, data) {
        // A batch of messages: a list, or an object that holds one.
        (Some(11013), Value::Array(items)) => items.iter().collect(),
        (Some(11013), Value::Object(members)) => {
            let lists = members.iter().filter(|(name, _)| !redact::is_named(name));
            let list = lists.map(|(_, member)| member).find_map(Value::as_array);
            list.map_or_else(|| vec![data], |items| items.iter().collect())
        }
        _ => vec![data],
    };
    let is_whole = items.is_empty() || items.len() > BATCH_MAX;
    if is_whole {
        items = vec![data];
    }
    let key = match Fields::of(data).text("appinfo").filter(|info| code == Some(11010) && !info.is_empty()) {
        Some(info) => digest(&[b"appinfo", named_guid.as_bytes(), info.as_bytes()]),
        None => digest(&[b"body", body]),
    };
    let mut drafts = Vec::with_capacity(items.len());
    for item in items {
        let fields = Fields::of(item);
        let is_no_message = code == Some(11013) && (is_whole || fields.is_none());
        let what = if is_no_message { "raw/unknown" } else { event(code, fields, own.as_deref()) };
        let mut draft = Draft::new(what, &kind);
        draft.at = ["sendtime", "timestamp"].into_iter().find_map(|name| fields.time(name)).unwrap_or(received_at);
        // Elsewhere it is a contact.
        let names_account = matches!(code, Some(11002 | 11003));
        let named = ["user_id", "vid"].into_iter().find_map(|name| fields.text(name)).filter(|_| names_account);
        draft.account = named.or_else(|| own.clone()).or_else(|| Some(guid.clone()).filter(|guid| !guid.is_empty()));
        draft.instance = Some(guid.clone()).filter(|guid| !guid.is_empty());
        let own_corp = || known.as_ref().and_then(|login| login.corp.clone());
        draft.corp = if names_account { fields.text("corp_id") } else { own_corp() };
        draft.conversation = chat(fields, own.as_deref());
        draft.actor = fields
            .party("sender", "sender_name")
            .or_else(|| fields.fields("inviteMsg").party("inviteId", "inviteName"));
        draft.targets = if names_account { Vec::new() } else { targets(fields) };
        draft.data = item.clone();
        if let (Some(reason), Value::Object(members)) = (end_reason(code), &mut draft.data) {
            members.entry("reason").or_insert_with(|| reason.into());
        }
        drafts.push(draft);
    }
    Ok(Read { key, drafts, signals: Vec::new() })
}

/// The guid and the account behind it, where a callback says it: a login.
pub(super) fn login(body: &[u8]) -> Option<(String, Login)> {
    let root: Value = serde_json::from_slice(body).ok()?;
    let envelope = Fields::of(&root);
    if envelope.integer("notify_type") != Some(11003) {
        return None;
    }
    let data = envelope.fields("data");
    let (guid, user) = (envelope.text("guid")?, data.text("user_id")?);
    let corp = data.text("corp_id").filter(|corp| !corp.is_empty() && corp.len() <= ID_BYTES_MAX);
    (guid.len() <= ID_BYTES_MAX && user.len() <= ID_BYTES_MAX).then_some((guid, Login { user, corp }))
}

fn event(code: Option<i64>, data: Fields<'_>, own: Option<&str>) -> &'static str {
    match code {
        Some(11001 | 11005) => "account/ready",
        Some(11002) if data.integer("status") == Some(10) => "account/verify_required",
        Some(11002) => "account/qrcode",
        Some(11003) => "account/login",
        Some(11004 | 11006..=11008) => "account/logout",
        Some(11009) => "contact/synchronised",
        Some(11010 | 11013) => message(data, own),
        Some(11011) => "account/kicked",
        Some(11012) => "account/verify_required",
        Some(2120 | 2166) => "call/invited",
        Some(2131) => "contact/updated",
        Some(2132) => "contact/requested",
        Some(2115 | 2118) => "group/updated",
        Some(529 | 2215) => "moment/changed",
        Some(573) => "broadcast/confirm_required",
        Some(1001) => "group/renamed",
        Some(1002) => "group/member_added",
        Some(1003 | 1004) => "group/member_removed",
        Some(1005) => "group/member_left",
        Some(1006) => "group/created",
        Some(1023) => "group/dismissed",
        Some(1029) => "group/join_requested",
        Some(1037) => "message/system",
        Some(_) | None => "raw/unknown",
    }
}

/// Why an account is logged out, where only the code of the callback says it.
const fn end_reason(code: Option<i64>) -> Option<&'static str> {
    match code {
        Some(11006) => Some("heartbeat_error"),
        Some(11007) => Some("session_timeout"),
        Some(11008) => Some("login_failed"),
        Some(_) | None => None,
    }
}

fn message(data: Fields<'_>, own: Option<&str>) -> &'static str {
    match data.integer("msg_type") {
        Some(1) => return "message/revoked",
        Some(1011) => return "message/system",
        Some(1012) => return "message/read",
        Some(_) | None => {}
    }
    match (is_own(data, own), data.integer("flag").is_some_and(|flag| flag & SEND_FAILED != 0)) {
        (_, true) => "message/failed",
        (true, false) => "message/sent",
        (false, false) => "message/received",
    }
}

/// Whether the account itself sent a message.
fn is_own(data: Fields<'_>, own: Option<&str>) -> bool {
    match (own, data.text("sender")) {
        (Some(own), Some(sender)) => own == sender,
        // Public clients take it for unverified, so it only counts where nothing better is known.
        _ => data.integer("send_flag") == Some(1),
    }
}

/// A group by its number; else the chat with whoever is not the account itself.
fn chat(data: Fields<'_>, own: Option<&str>) -> Option<Conversation> {
    let room = data.text("roomid").or_else(|| data.fields("inviteMsg").text("roomid"));
    if let Some(room) = room.filter(|room| !room.is_empty() && room != "0") {
        return Some(Conversation { kind: ConversationKind::Group, id: format!("R:{room}") });
    }
    let (sender, receiver) = (data.text("sender"), data.text("receiver"));
    let peer = if is_own(data, own) { receiver? } else { sender.or(receiver)? };
    (!peer.is_empty()).then(|| Conversation { kind: ConversationKind::Private, id: format!("S:{peer}") })
}

fn targets(data: Fields<'_>) -> Vec<Party> {
    let invited = data.fields("inviteMsg").list("memlist");
    if !invited.is_empty() {
        return invited
            .iter()
            .filter_map(|member| {
                let member = Fields::of(member);
                let party = member.party("xid", "name")?;
                Some(Party { name: party.name.map(plain), ..party })
            })
            .collect();
    }
    data.party("receiver", "receiver_name").or_else(|| data.party("user_id", "name")).into_iter().collect()
}

/// Names in calls are base64. What does not decode to text is left as it came.
fn plain(name: String) -> String {
    let decoded = STANDARD.decode(&name).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.filter(|text| !text.is_empty()).unwrap_or(name)
}
