//! Callbacks of the four systems: with the right secret and without, signed and not.
//!
//! What is taken had the right secret and the right signature, becomes known events of bounded size, and shows nothing
//! that is secret; what is not taken changes nothing, not even what is known of logins.

mod wecom;
mod yunxin;

pub use wecom::{WORDS as WECOM_WORDS, check as wecom};
pub use yunxin::{WORDS as YUNXIN_WORDS, check as yunxin};

use sendbridge::intake::callback::{Arrival, Arrived, Kind, Logins, Source};
use sendbridge::model::{Callback, EVENTS, SenderName, Signal, Time};
use serde_json::Value;

pub const QUNTOOL_WORDS: &str = r#"
    "type" "msgId" "wxid" "timestamp" "source" "data" "sendMsgId" "isOpenApi" "sender" "sender_name" "receiver"
    "conversation_id" "room_conversation_id" "op_user_id" "error_code" "error_message" "is_pc" "at_list" "content"
    "send_time" "member_list" "user_id" "corp_id" "corpid" "vid" "status" "appinfo" "x_need_verify" "mobile" "aes_key"
    "text_msg" "image_msg" "link_card_msg" "person_card_msg" "mini_program_msg" "video_num_msg" "chat_gray_msg"
    "user_login" "user_offline" "qrcode_status_msg" "safe_validate" "notify_type_room_add_member" "batch_msg_confirm"
    "R:1" "S:1_2" {} [] null true false "1" 1686708146 1686708146000 "[\"a\"]" "{$@}"
"#;

pub const GUID_WORDS: &str = r#"
    "guid" "notify_type" "data" "sender" "receiver" "roomid" "user_id" "vid" "corp_id" "msg_type" "flag" "send_flag"
    "appinfo" "sendtime" "timestamp" "inviteMsg" "inviteId" "inviteName" "memlist" "xid" "name" "status" "sender_name"
    "mobile" "token" 11001 11002 11003 11004 11005 11008 11009 11010 11011 11012 11013 2120 2131 2132 573 1001 1002
    1005
    1011 1012 1037 4194304 {} [] null 0 1 "5L2g" [0,0,0,0] --
"#;

/// What every path of a callback ends with here.
const SECRET: &str = "0123456789abcdef";

/// When everything comes.
const NOW: Time = Time::from_millis(1_700_000_000_000);

/// Members that are never published, and those that are only where it is configured, as the README lists them.
const SECRETS: [&str; 12] = [
    "aes_key",
    "auth_key",
    "authcode",
    "auth_deviceid",
    "file_id",
    "permanentcode",
    "suiteticket",
    "welcomecode",
    "activecode",
    "previousactivecode",
    "sdkbuff",
    "token",
];
const PERSONAL: [&str; 11] = [
    "account",
    "bizmail",
    "document_root",
    "email",
    "mobile",
    "openid",
    "phone",
    "real_name",
    "realname",
    "telephone",
    "unionid",
];

/// Written where one of them is.
const CANARY: &str = "canary-4711";

/// So many times the bytes of a callback may be what it becomes, at most, beside a part for each event.
const GROWTH_MAX: usize = 24;
const EVENT_BYTES: usize = 2048;
/// What is withheld is listed up to here.
const WITHHELD_BYTES: usize = 20 * 1024;

/// A request to a callback address, without its secret.
#[derive(Clone, Debug, Default)]
struct Delivery {
    is_get: bool,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Delivery {
    fn post(body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::default() }
    }
}

fn source(kind: Kind, personal_data: bool) -> Source {
    let sender = Some(SenderName::new("main"));
    Source { name: Box::from("main"), secret: Box::from(SECRET), sender, personal_data, kind }
}

fn read(source: &Source, secret: &str, delivery: &Delivery) -> Arrived {
    let Delivery { is_get, query, headers, body } = delivery;
    source.read(Arrival { is_get: *is_get, secret, query, headers, body }, NOW)
}

/// One after the other, to a source of this kind; checks each, and says what the last one came to.
fn deliver(kind: fn() -> Kind, deliveries: &[Delivery]) -> Vec<Arrived> {
    let (one, other) = (source(kind(), false), source(kind(), false));
    let mut all = Vec::new();
    for delivery in deliveries {
        for wrong in ["", "0", &SECRET[1..], &SECRET.to_ascii_uppercase(), &format!("{SECRET}0")] {
            assert_eq!(read(&one, wrong, delivery), Arrived::Forged, "taken with a wrong secret");
        }
        let arrived = read(&one, SECRET, delivery);
        assert_eq!(arrived, read(&other, SECRET, delivery), "read twice, and differently");
        let bytes = deliveries.iter().map(|delivery| delivery.body.len()).sum::<usize>();
        match &arrived {
            Arrived::Callback(callback, answer) => {
                check_callback(callback, bytes, &[&SECRETS[..], &PERSONAL[..]].concat());
                assert!(answer.body.len() < 1000);
            }
            Arrived::Answer(answer) => assert!(answer.body.len() <= bytes + 4096),
            Arrived::Forged | Arrived::Unreadable(_) | Arrived::WrongMethod => {}
        }
        all.push(arrived);
    }
    let open = source(kind(), true);
    for (delivery, arrived) in deliveries.iter().zip(&all) {
        if let (Arrived::Callback(callback, _), Arrived::Callback(same, _)) = (read(&open, SECRET, delivery), arrived) {
            check_callback(&callback, deliveries.iter().map(|delivery| delivery.body.len()).sum(), &SECRETS);
            assert_eq!((callback.key, callback.events.len()), (same.key, same.events.len()));
        }
    }
    all
}

/// Known events, each once, bounded, without what is withheld.
fn check_callback(callback: &Callback, bytes: usize, withheld: &[&str]) {
    assert!(!callback.events.is_empty(), "what was taken is told");
    let bytes_max = GROWTH_MAX * bytes + EVENT_BYTES * callback.events.len() + WITHHELD_BYTES;
    let mut said_bytes = 0;
    let mut ids = std::collections::BTreeSet::new();
    for event in &callback.events {
        assert!(EVENTS.contains(&event.event), "{}", event.event);
        assert!(ids.insert(event.id.as_str()), "two events with one id");
        let said = serde_json::to_string(event).expect("an event is JSON");
        said_bytes += said.len();
        assert!(said_bytes <= bytes_max, "{said_bytes} bytes or more of events from {bytes}");
        let again: Value = serde_json::from_str(&said).expect("what is published can be read");
        assert_eq!(again["data"], event.data, "written and read again");
        check_withheld(&event.data, withheld);
    }
    for signal in &callback.signals {
        let said = serde_json::to_string(signal).expect("a signal is JSON");
        assert!(said.len() <= bytes_max, "a signal of {} bytes from {bytes}", said.len());
        let again: Signal = serde_json::from_str(&said).expect("the journal can read it");
        assert_eq!(&again, signal, "written and read again");
    }
}

fn check_withheld(data: &Value, withheld: &[&str]) {
    match data {
        Value::Object(members) => {
            for (name, member) in members {
                let is_named = withheld.contains(&name.to_ascii_lowercase().as_str());
                let is_empty = member.is_null() || member.as_str() == Some("");
                assert!(!is_named || is_empty, "{name} is published");
                check_withheld(member, withheld);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| check_withheld(item, withheld)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The JSON with a canary in everything that is withheld; `None` where nothing is.
fn planted(body: &[u8]) -> Option<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(body).ok()?;
    if body.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()) {
        return None;
    }
    // Members beside `data` are not published under their own names.
    let data = root.get_mut("data")?;
    plant(data).then(|| serde_json::to_vec(&root).expect("it was JSON"))
}

fn plant(data: &mut Value) -> bool {
    match data {
        Value::Object(members) => {
            let mut is_planted = false;
            for (name, member) in members.iter_mut() {
                let name = name.to_ascii_lowercase();
                if SECRETS.contains(&name.as_str()) || PERSONAL.contains(&name.as_str()) {
                    *member = Value::from(vec![CANARY]);
                    is_planted = true;
                } else {
                    is_planted |= plant(member);
                }
            }
            is_planted
        }
        Value::Array(items) => items.iter_mut().fold(false, |is_planted, item| plant(item) | is_planted),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn check_planted(kind: fn() -> Kind, body: &[u8]) {
    let Some(body) = planted(body) else { return };
    if let Arrived::Callback(callback, _) = read(&source(kind(), false), SECRET, &Delivery::post(&body)) {
        for event in &callback.events {
            let said = serde_json::to_string(event).expect("an event is JSON");
            assert!(!said.contains(CANARY), "it is published: {said}");
        }
    }
}

/// One body.
pub fn quntool(body: &[u8]) {
    let kind = || Kind::Quntool;
    let get = Delivery { is_get: true, ..Delivery::post(body) };
    let arrived = deliver(kind, &[Delivery::post(body), get]);
    assert_eq!(arrived[1], Arrived::WrongMethod);
    assert!(matches!(arrived[0], Arrived::Callback(..) | Arrived::Unreadable(_)), "it had the right secret");
    check_planted(kind, body);
}

/// Some bodies, with lines of `--` between them: what a login says counts for what comes after it.
pub fn guid(input: &[u8]) {
    let kind = || Kind::Guid(Logins::default());
    let text = String::from_utf8_lossy(input);
    let bodies: Vec<&[u8]> = match text {
        // Not text: one body, to the byte.
        std::borrow::Cow::Owned(_) => vec![input],
        std::borrow::Cow::Borrowed(text) => text.split("\n--\n").take(4).map(str::as_bytes).collect(),
    };
    let deliveries: Vec<Delivery> = bodies.iter().map(|body| Delivery::post(body)).collect();
    for arrived in deliver(kind, &deliveries) {
        assert!(matches!(arrived, Arrived::Callback(..) | Arrived::Unreadable(_)), "it had the right secret");
    }
    bodies.iter().for_each(|body| check_planted(kind, body));
}
