//! What the pretend sender posts, read by the bridge's own parsers: each becomes the event that was meant.

use super::*;
use crate::intake::callback::{AesKey, Arrival, Arrived, Kind, Logins, Source, WecomKeys};
use crate::intake::{PacketMeta, Settings as IntakeSettings, parse_request};
use crate::model::{Account, Callback, Corp, Input, Phase, Seen, SenderName, Signal};
use crate::mqtt::topics::Topics;
use std::sync::Arc;

const ACCOUNT: &str = "1688850000000001";
const CONTACT: &str = "7881300000000002";
const ROOM: &str = "R:10896703172970003";
const SECRET: &str = "0123456789abcdef";
const AT: Time = Time::from_millis(1_700_000_000_000);
const WECOM_KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

fn source(kind: Kind) -> Source {
    let sender = Some(SenderName::new("main"));
    Source { name: Box::from("main"), secret: Box::from(SECRET), sender, personal_data: false, kind }
}

fn read(source: &Source, genuine: &Genuine) -> Arrived {
    let plain = |value: &str| value.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let pairs = genuine.query.split('&').filter_map(|pair| pair.split_once('='));
    let query: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), plain(value))).collect();
    let headers: Vec<(String, String)> =
        genuine.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
    let Genuine { is_get, body, .. } = genuine;
    source.read(Arrival { is_get: *is_get, secret: SECRET, query: &query, headers: &headers, body }, AT)
}

fn taken(source: &Source, genuine: &Genuine) -> Callback {
    match read(source, genuine) {
        Arrived::Callback(callback, _) => *callback,
        other @ (Arrived::Answer(_) | Arrived::Forged | Arrived::Unreadable(_) | Arrived::WrongMethod) => {
            panic!("{other:?}")
        }
    }
}

fn quntool(said: Said) -> Callback {
    let made = said.made(&CallbackSettings::default(), AT);
    taken(&source(Kind::Quntool), &Genuine::json(made.body))
}

/// A message of each type, as it is published.
fn messages() -> Vec<Value> {
    let own = [
        json!({ "type": "text", "content": "hello" }),
        json!({ "type": "roomAt", "content": "hi {$@}", "atList": ["7"] }),
        json!({ "type": "image", "fileUrl": "http://h/a.png" }),
        json!({ "type": "file", "fileUrl": "http://h/a.txt" }),
        json!({ "type": "gif", "fileUrl": "http://h/a.gif" }),
        json!({ "type": "video", "fileUrl": "http://h/a.mp4" }),
        json!({ "type": "voice", "fileUrl": "http://h/a.aac" }),
        json!({ "type": "quote", "content": "q", "serverId": "1" }),
        json!({ "type": "personCard", "personCardUserId": "788", "nickName": "n", "avatar": "http://h" }),
        json!({ "type": "link", "title": "l", "url": "http://h" }),
        json!({
            "type": "miniProgram", "username": "gh", "appid": "wx", "title": "m", "page_path": "p", "appname": "a",
            "appicon": "http://i", "cover_path": "http://c",
        }),
        json!({
            "type": "videoNum", "url": "http://v", "nickname": "v", "feed_type": 4, "cover_url": "http://c", "desc": "d",
            "thumb_url": "http://t", "extras": "", "avatar": "http://a",
        }),
    ];
    let whole = own.into_iter().map(|mut message| {
        message["id"] = json!("1");
        message["wxId"] = json!(ACCOUNT);
        message["conversationId"] = json!(ROOM);
        message
    });
    whole.collect()
}

fn of_message(message: &Value, report: &Report) -> Callback {
    let path = format!("/msg/{}", message["type"].as_str().expect("a type"));
    let content = content(&path, &|name| message.get(name).cloned()).expect("a shape");
    let sent = Message { account: ACCOUNT, conversation: ROOM, at: AT, server_id: 7, msg_id: "0A-id", user: "apps-1" };
    quntool(said(&sent, content, report))
}

#[test]
fn a_message_that_was_sent_is_seen_and_shows_what_was_published() {
    let topics = Topics::new(&["SendMessage".to_owned()], "SendMessageResp", "sendbridge", &[]).expect("topics");
    let settings = IntakeSettings { max_message: 1 << 20, extra_types: Vec::new(), topics: Arc::new(topics) };
    let (mut comparable, messages) = (0, messages());
    for message in &messages {
        let callback = of_message(message, &Report::USUAL);
        assert_eq!(callback.events[0].event, "message/sent", "{message}");
        let payload = message.to_string();
        let input = parse_request(&settings, None, PacketMeta::default(), payload.as_bytes());
        let Input::Request { request, .. } = input else { panic!("{message} is refused: {input:?}") };
        let [Signal::Seen(seen)] = &callback.signals[..] else { panic!("{callback:?}") };
        if request.shown.is_some() {
            comparable += 1;
            assert_eq!(seen.shown, request.shown, "{message}");
        } else {
            assert!(message["type"] == "roomAt" || seen.shown.is_none(), "{message}");
        }
        let wanted = Seen {
            account: Account::new(ACCOUNT),
            conversation: Some(Box::from(ROOM)),
            send_msg_id: Some(Box::from("0a-id")),
            by_api: true,
            shown: seen.shown,
            error: 0,
            error_text: seen.error_text.clone(),
            at: AT,
        };
        assert_eq!(*seen, wanted, "{message}");
    }
    assert_eq!((comparable, messages.len()), (6, 12));
}

#[test]
fn a_report_says_what_it_was_told_to() {
    let message = &messages()[0];
    let seen = |report: &Report| {
        let callback = of_message(message, report);
        let [Signal::Seen(seen)] = &callback.signals[..] else { panic!("{callback:?}") };
        (callback.events[0].event, seen.error, seen.send_msg_id.is_some(), seen.by_api)
    };
    assert_eq!(seen(&Report::failed(-1_000_999, "too frequent")), ("message/failed", -1_000_999, true, true));
    assert_eq!(seen(&Report { has_id: false, ..Report::USUAL }), ("message/sent", 0, false, true));
    assert_eq!(seen(&Report { is_open_api: Some(false), ..Report::USUAL }), ("message/sent", 0, true, false));
    assert_eq!(seen(&Report { is_open_api: None, ..Report::USUAL }), ("message/sent", 0, true, false));
}

fn happened(happening: Value) -> Callback {
    let happening: Happening = serde_json::from_value(happening).expect("an event");
    let scene = Scene { at: AT, server_id: 7, user: "apps-1", corp: "1970325000000001", msg_id: "typed-id" };
    quntool(happening.said(&scene, &Report::USUAL))
}

#[test]
fn what_happens_to_an_account_becomes_its_event() {
    let group = |event: &str| json!({ "event": event, "account": ACCOUNT, "conversation": ROOM, "name": "n", "by": "9", "members": ["7", "8"] });
    let chat = json!({ "event": "systemText", "account": ACCOUNT, "conversation": ROOM, "text": "t" });
    let table = [
        (json!({ "event": "offline", "account": ACCOUNT }), &["account/logout"][..]),
        (json!({ "event": "login", "account": ACCOUNT }), &["account/login"]),
        (json!({ "event": "qrcode", "account": ACCOUNT }), &["account/qrcode"]),
        (json!({ "event": "qrcode", "account": ACCOUNT, "status": 10 }), &["account/verify_required"]),
        (json!({ "event": "safetyCheck", "account": ACCOUNT }), &["account/safety_check"]),
        (json!({ "event": "typed", "account": ACCOUNT, "conversation": ROOM, "text": "t" }), &["message/sent"]),
        (json!({ "event": "contactAdded", "account": ACCOUNT, "contact": CONTACT, "name": "n" }), &["contact/added"]),
        (
            json!({ "event": "contactLost", "account": ACCOUNT, "contact": CONTACT }),
            &["message/system", "contact/deleted_by_peer"],
        ),
        (chat, &["message/system"]),
        (group("groupCreated"), &["group/created"]),
        (group("groupMembersAdded"), &["group/member_added"]),
        (group("groupMembersRemoved"), &["group/member_removed"]),
        (group("groupMemberLeft"), &["group/member_left"]),
        (group("groupRenamed"), &["group/renamed"]),
        (json!({ "event": "broadcastConfirm", "account": ACCOUNT, "title": "t" }), &["broadcast/confirm_required"]),
        (json!({ "event": "other", "account": ACCOUNT, "type": "of_tomorrow" }), &["raw/unknown"]),
    ];
    for (happening, events) in table {
        let callback = happened(happening.clone());
        assert_eq!(callback.events.iter().map(|event| event.event).collect::<Vec<_>>(), events, "{happening}");
        for event in &callback.events {
            assert_eq!((event.account.as_deref(), event.at), (Some(ACCOUNT), AT), "{happening}");
            assert_eq!(event.instance.as_deref(), Some("pretend"), "{happening}");
            let room = event.conversation.as_ref().map(|conversation| conversation.id.as_str());
            let is_in_group = happening.get("conversation").is_some();
            assert_eq!(room == Some(ROOM), is_in_group, "{happening}");
            let has_members = happening.get("members").is_some();
            if has_members {
                assert_eq!(event.actor.as_ref().map(|actor| actor.id.as_str()), Some("9"), "{happening}");
            }
        }
    }
}

#[test]
fn logins_and_what_a_person_types_steer_and_what_comes_in_does_not() {
    let account = Account::new(ACCOUNT);
    let offline = happened(json!({ "event": "offline", "account": ACCOUNT }));
    assert_eq!(offline.signals, [Signal::Offline { account: account.clone() }]);
    let login = happened(json!({ "event": "login", "account": ACCOUNT }));
    let corp = Some(Corp::new("1970325000000001"));
    assert_eq!(login.signals, [Signal::Online { account, corp }]);
    let typed = happened(json!({ "event": "typed", "account": ACCOUNT, "conversation": ROOM, "text": "t" }));
    let [Signal::Seen(seen)] = &typed.signals[..] else { panic!("{typed:?}") };
    assert_eq!((seen.by_api, seen.send_msg_id.as_deref()), (false, Some("typed-id")));
    for kind in ReceivedKind::ALL {
        let scene = Scene { at: AT, server_id: 7, user: "apps-1", corp: "c", msg_id: "" };
        let [account, from] = [ACCOUNT, CONTACT].map(Box::<str>::from);
        let happening = Happening::Received { account, from, conversation: None, kind, text: Box::from("hello") };
        let callback = quntool(happening.said(&scene, &Report::USUAL));
        let event = &callback.events[0];
        assert_eq!((event.event, &*event.original_type), ("message/received", kind.names().0));
        let conversation = event.conversation.as_ref().map(|conversation| conversation.id.as_str());
        assert_eq!(conversation, Some("S:1688850000000001_7881300000000002"));
        assert_eq!(event.actor.as_ref().map(|actor| actor.id.as_str()), Some(CONTACT));
        assert_eq!(callback.signals, []);
    }
}

#[test]
fn other_systems_are_genuine_and_a_touched_byte_is_not() {
    let yunxin = source(Kind::Yunxin {
        app_key: Box::from("key"),
        app_secret: Box::from("secret"),
        tolerance: Duration::from_secs(1),
    });
    let body = r#"{"eventType":8,"fromAccount":"a","tid":1,"timestamp":"1700000000000"}"#;
    let genuine = Genuine::yunxin("key", "secret", AT, body);
    let callback = taken(&yunxin, &genuine);
    assert_eq!((callback.events[0].event, callback.events[0].phase), ("group/dismissed", Some(Phase::Requested)));
    let touched = Genuine { body: Bytes::from(body.replace('8', "9")), ..genuine };
    assert_eq!(read(&yunxin, &touched), Arrived::Forged);
    assert_eq!(read(&yunxin, &Genuine::yunxin("key", "other", AT, body)), Arrived::Forged);

    let guid = Genuine::guid("g", 11003, &json!({ "user_id": "16888", "corp_id": "1970" }));
    let callback = taken(&source(Kind::Guid(Logins::default())), &guid);
    assert_eq!((callback.events[0].event, callback.events[0].account.as_deref()), ("account/login", Some("16888")));

    let side = WecomSide::new("token", WECOM_KEY, "suite-1").expect("a key");
    let keys = |receiver: &str| WecomKeys {
        token: Box::from("token"),
        aes_key: AesKey::parse(WECOM_KEY).expect("a key"),
        receivers: vec![receiver.to_owned()],
    };
    let wecom = source(Kind::Wecom { keys: keys("suite-1"), tolerance: Duration::ZERO });
    // Every length of padding.
    for length in 0..40 {
        let seasoning = Seasoning { timestamp: 1_700_000_000, nonce: "n", salt: *b"0123456789abcdef" };
        let xml = format!(
            "<xml><SuiteId>s</SuiteId><InfoType><![CDATA[cancel_auth]]></InfoType><TimeStamp>1700000000</TimeStamp>\
             <AuthCorpId><![CDATA[{}]]></AuthCorpId></xml>",
            "c".repeat(length)
        );
        let genuine = side.callback(&xml, seasoning);
        assert_eq!(taken(&wecom, &genuine).events[0].event, "corp/auth_cancelled");
        assert_eq!(
            read(&source(Kind::Wecom { keys: keys("another"), tolerance: Duration::ZERO }), &genuine),
            Arrived::Forged
        );
        let touched = Genuine { query: genuine.query.replace("nonce=n", "nonce=m"), ..genuine };
        assert_eq!(read(&wecom, &touched), Arrived::Forged);
        let echo = "7".repeat(length + 1);
        let Arrived::Answer(answer) = read(&wecom, &side.verification(&echo, seasoning)) else { panic!("{echo}") };
        assert_eq!(answer.body, echo);
    }
}
