//! Every type of every system, from originals written by hand after the vendors' samples: `tests/data/callbacks`.
//!
//! A block is a title, the original, and below `=>` what is made of it. `SENDBRIDGE_REWRITE=1` writes the latter anew.

mod properties;

use super::*;
use crate::model::EVENTS;
use std::collections::BTreeSet;
use std::path::PathBuf;

const RECEIVED: Time = Time::from_millis(1_700_000_000_000);

fn source(kind: Kind) -> Source {
    Source {
        name: Box::from("main"),
        secret: Box::from("0123456789abcdef"),
        sender: Some(SenderName::new("main")),
        personal_data: false,
        kind,
    }
}

fn line(event: &Event) -> String {
    let mut value = serde_json::to_value(event).expect("an event is JSON");
    let members = value.as_object_mut().expect("an object");
    // The same in all blocks, or a digest.
    for name in ["source", "system", "receivedAt", "id", "originalType"] {
        members.remove(name);
    }
    value.to_string()
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/callbacks").join(file)
}

/// The originals of a file.
fn originals(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path(file)).expect("the file");
    text.split("\n\n").map(|block| block.lines().nth(1).expect("an original").to_owned()).collect()
}

/// The events of a file, and the types of its originals.
#[derive(Default)]
struct Met {
    events: BTreeSet<&'static str>,
    types: BTreeSet<String>,
}

/// Reads the blocks of a file, makes of each what `read` makes of it, and compares.
fn check(file: &str, mut read: impl FnMut(&[u8]) -> Read, source: &Source) -> Met {
    let path = path(file);
    let text = std::fs::read_to_string(&path).expect("the file");
    let (mut written, mut seen) = (String::new(), Met::default());
    for block in text.trim_end().split("\n\n") {
        let mut lines = block.lines();
        let title = lines.next().expect("a title");
        let original = lines.next().expect("an original");
        let Read { key, drafts, signals } = read(original.as_bytes());
        assert_ne!(key, [0; 16], "{title}");
        written += &format!("{title}\n{original}\n");
        for draft in drafts {
            assert!(EVENTS.contains(&draft.event), "{title}: {} is no event", draft.event);
            seen.events.insert(draft.event);
            seen.types.insert(draft.original_type.clone());
            written += &format!("=> {}\n", line(&source.event(draft, "id", 0, RECEIVED)));
        }
        for signal in signals {
            written += &format!("=> {signal:?}\n");
        }
        written.push('\n');
    }
    let written = format!("{}\n", written.trim_end());
    if std::env::var_os("SENDBRIDGE_REWRITE").is_some() {
        std::fs::write(&path, &written).expect("the file is written");
    }
    let read_back = std::fs::read_to_string(&path).expect("the file");
    assert!(written == read_back, "{file} differs; look at it, and rewrite it with SENDBRIDGE_REWRITE=1:\n{written}");
    seen
}

fn check_quntool() -> Met {
    check("quntool.txt", |body| quntool::read(body, RECEIVED).expect("readable"), &source(Kind::Quntool))
}

fn check_guid() -> Met {
    let logins = Logins::default();
    let read = |body: &[u8]| {
        if let Some((guid, login)) = guid::login(body) {
            logins.note(guid, login);
        }
        guid::read(body, RECEIVED, |guid| logins.of(guid)).expect("readable")
    };
    check("guid.txt", read, &source(Kind::Guid(Logins::default())))
}

fn yunxin_source() -> Source {
    let (app_key, app_secret) = (Box::from("key"), Box::from("test-secret"));
    source(Kind::Yunxin { app_key, app_secret, tolerance: Duration::ZERO })
}

fn check_yunxin() -> Met {
    let proof = yunxin::Proof { app_key: "key", ..yunxin::Proof::default() };
    let read = |body: &[u8]| yunxin::read(proof, body, RECEIVED).expect("readable").expect("an event");
    check("yunxin.txt", read, &yunxin_source())
}

fn wecom_source() -> Source {
    let keys = WecomKeys {
        token: Box::from("QDG6eK"),
        aes_key: AesKey::parse("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C").expect("a key"),
        receivers: vec!["wx5823bf96d3bd56c7".to_owned()],
    };
    source(Kind::Wecom { keys, tolerance: Duration::ZERO })
}

fn check_wecom() -> Met {
    let read = |body: &[u8]| wecom::read(std::str::from_utf8(body).expect("text"), RECEIVED).expect("readable");
    check("wecom.txt", read, &wecom_source())
}

/// The types that the vendors' pages name, as `originalType` has them.
const QUNTOOL: &str = "qrcode_status_msg safe_validate text_msg image_msg video_msg voice_msg file_msg location_msg \
    link_card_msg emoticon_msg red_packet_msg person_card_msg mini_program_msg video_num_msg notify_type_contact_add \
    notify_type_room_add_member notify_type_room_del_member notify_type_room_create notify_type_room_member_quit \
    room_name_changed chat_gray_msg user_login user_offline batch_msg_confirm";
const GUID: &str = "11001 11002 11003 11004 11005 11006 11007 11008 11009 11010 11011 11012 11013 1001 1002 1003 1004 \
    1005 1006 1023 1029 1037 2115 2118 2120 2166 2131 2132 529 2215 573";
const YUNXIN: &str = "7 8 9 10 11 12 13 14 15 16 17 18 19";
const WECOM: &str = "suite_ticket create_auth change_auth cancel_auth reset_permanent_code share_agent_change \
    share_chain_change change_contact/create_user change_contact/update_user change_contact/delete_user \
    change_contact/create_party change_contact/update_party change_contact/delete_party change_contact/update_tag \
    change_external_contact/add_external_contact change_external_contact/edit_external_contact \
    change_external_contact/add_half_external_contact change_external_contact/del_external_contact \
    change_external_contact/del_follow_user change_external_contact/transfer_fail change_external_chat/create \
    change_external_chat/update change_external_chat/dismiss change_external_tag/create change_external_tag/update \
    change_external_tag/delete change_external_tag/shuffle customer_acquisition/balance_low \
    customer_acquisition/balance_exhausted customer_acquisition/delete_link customer_acquisition/quota_expire_soon \
    customer_acquisition/customer_start_chat customer_acquisition/link_unavailable license_pay_success license_refund \
    auto_activate unlicensed_notify upload_media_job_finish text change_app_admin corp_arch_auth batch_job_result \
    msgaudit_notify kf_msg_or_event kf_account_auth_change device_data_auth_change change_school_contact/create_student \
    pay_for_app_success open_order change_order refund";

#[test]
fn every_type_becomes_what_its_table_says_and_every_event_has_an_original() {
    let mut seen = BTreeSet::new();
    for (of, met) in
        [(QUNTOOL, check_quntool()), (GUID, check_guid()), (YUNXIN, check_yunxin()), (WECOM, check_wecom())]
    {
        let missing: Vec<_> = of.split_whitespace().filter(|name| !met.types.contains(*name)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "these types have no original");
        seen.extend(met.events);
    }
    let never: Vec<_> = EVENTS.into_iter().filter(|event| !seen.contains(event)).collect();
    assert_eq!(never, Vec::<&str>::new(), "no original makes these");
    assert!(EVENTS.is_sorted());
}

#[test]
fn a_wrong_secret_is_forged_whatever_the_body_says() {
    for source in [source(Kind::Quntool), source(Kind::Guid(Logins::default())), yunxin_source(), wecom_source()] {
        for secret in ["", "0123456789abcdeF", "0123456789abcdef0"] {
            for is_get in [false, true] {
                let arrival = Arrival { is_get, secret, body: b"{}", ..Arrival::default() };
                assert_eq!(source.read(arrival, RECEIVED), Arrived::Forged);
            }
        }
    }
}

const SECRET: &str = "0123456789abcdef";

#[test]
fn the_same_callback_has_the_same_key_and_another_source_has_another() {
    let body = br#"{"msgId":"1","type":"user_offline","wxid":"w","data":null}"#;
    let arrival = Arrival { secret: SECRET, body, ..Arrival::default() };
    let key = |source: &Source, at: Time| match source.read(arrival, at) {
        Arrived::Callback(callback, answer) => {
            assert_eq!(answer, Answer::json(r#"{"code":0,"msg":"ok"}"#));
            assert_eq!(callback.signals, [Signal::Offline { account: crate::model::Account::new("w") }]);
            callback.key
        }
        other @ (Arrived::Answer(_) | Arrived::Forged | Arrived::Unreadable(_) | Arrived::WrongMethod) => {
            panic!("{other:?}")
        }
    };
    let main = source(Kind::Quntool);
    let other = Source { name: Box::from("other"), ..source(Kind::Quntool) };
    assert_eq!(key(&main, RECEIVED), key(&main, RECEIVED + Duration::from_secs(9)));
    assert_ne!(key(&main, RECEIVED), key(&other, RECEIVED));
}

#[test]
fn callbacks_with_an_empty_number_are_told_apart_by_what_they_say() {
    let key = |body: &'static [u8]| {
        let arrival = Arrival { secret: SECRET, body, ..Arrival::default() };
        let Arrived::Callback(callback, _) = source(Kind::Quntool).read(arrival, RECEIVED) else {
            panic!("it is genuine");
        };
        callback.key
    };
    let offline = br#"{"msgId":"","type":"user_offline","wxid":"w","data":null}"#;
    assert_ne!(key(offline), key(br#"{"msgId":"","type":"user_login","wxid":"w","data":{"corp_id":"c"}}"#));
    assert_eq!(key(offline), key(offline));
}

#[test]
fn a_source_without_a_server_of_ours_steers_nothing() {
    let body = br#"{"msgId":"1","type":"user_offline","wxid":"w","data":null}"#;
    let source = Source { sender: None, ..source(Kind::Quntool) };
    let Arrived::Callback(callback, _) = source.read(Arrival { secret: SECRET, body, ..Arrival::default() }, RECEIVED)
    else {
        panic!("it is genuine");
    };
    assert_eq!((callback.events.len(), callback.signals.len()), (1, 0));
}

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn wecom_verifies_its_address_and_takes_only_what_is_signed() {
    let source = wecom_source();
    let good = query(
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780\
         &echostr=P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
    );
    let arrival = Arrival { is_get: true, secret: SECRET, query: &good, ..Arrival::default() };
    assert_eq!(source.read(arrival, RECEIVED), Arrived::Answer(Answer::text("1616140317555161061")));
    let forged = query("msg_signature=5c45&timestamp=1409659589&nonce=263014780&echostr=x");
    for query in [&forged[..], &[]] {
        for is_get in [true, false] {
            let body = b"<xml><Encrypt>x</Encrypt></xml>";
            let arrival = Arrival { is_get, secret: SECRET, query, body, ..Arrival::default() };
            assert_eq!(source.read(arrival, RECEIVED), Arrived::Forged);
        }
    }
}

#[test]
fn what_is_brought_again_later_is_refused() {
    let Kind::Wecom { keys, .. } = wecom_source().kind else { panic!("it is WeCom's") };
    let source = source(Kind::Wecom { keys, tolerance: Duration::from_secs(300) });
    let signed_at = Time::from_millis(1_409_659_589_000);
    let good = query(
        "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780\
         &echostr=P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
    );
    let arrival = Arrival { is_get: true, secret: SECRET, query: &good, ..Arrival::default() };
    let seconds = Duration::from_secs;
    for now in [signed_at, signed_at + seconds(300), signed_at - seconds(300)] {
        assert!(matches!(source.read(arrival, now), Arrived::Answer(_)));
    }
    for now in [signed_at + seconds(301), signed_at - seconds(301), RECEIVED] {
        assert_eq!(source.read(arrival, now), Arrived::Forged);
    }
}

#[test]
fn yunxin_is_always_allowed_and_only_ever_requested() {
    let body: &[u8] = br#"{"eventType":8,"fromAccount":"wmtest3","fromClientType":"IOS","fromDeviceId":"4f60d2c0-559d-4b84-8315-29c94d8a4ea8","tid":2637250619,"timestamp":"1564575855993"}"#;
    let headers: Vec<(String, String)> = [
        ("appkey", "key"),
        ("curtime", "1564575856000"),
        ("md5", "57650fc98ccd7ec966f0fb90ce7bde45"),
        ("checksum", "28195b40a552b08d98874781e25c23adc0e7c3e6"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let arrival = Arrival { secret: SECRET, headers: &headers, body, ..Arrival::default() };
    let Arrived::Callback(callback, answer) = yunxin_source().read(arrival, RECEIVED) else { panic!("it is genuine") };
    assert_eq!(answer.body, r#"{"errCode":0,"responseCode":200,"modifyResponse":{},"callbackExt":""}"#);
    assert_eq!(callback.events[0].phase, Some(Phase::Requested));
    assert_eq!(yunxin_source().read(Arrival { headers: &[], ..arrival }, RECEIVED), Arrived::Forged);
}

#[test]
fn whatever_comes_is_refused_or_read_and_never_panics() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies: [&[u8]; 9] = [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        deep.as_bytes(),
        br#"{"type":{"a":1},"data":[1],"wxid":[],"timestamp":-9223372036854775808,"msgId":{}}"#,
        br#"{"notify_type":"11013","data":[null,1,"x",[]],"guid":null}"#,
        br#"{"type":"text_msg","wxid":"w","data":{"sender":null,"send_time":99999999999999999999,"error_code":"x"}}"#,
    ];
    for source in [source(Kind::Quntool), source(Kind::Guid(Logins::default()))] {
        for body in bodies {
            let _ = source.read(Arrival { secret: SECRET, body, ..Arrival::default() }, RECEIVED);
        }
    }
}

#[test]
fn a_batch_of_anything_is_passed_on() {
    let source = source(Kind::Guid(Logins::default()));
    let events = |body: String| {
        let arrival = Arrival { secret: SECRET, body: body.as_bytes(), ..Arrival::default() };
        let Arrived::Callback(callback, _) = source.read(arrival, RECEIVED) else { panic!("{body}") };
        callback.events
    };
    for (data, wanted) in [
        ("[]".to_owned(), vec!["raw/unknown"]),
        ("{}".to_owned(), vec!["message/received"]),
        ("[1,{\"msg_type\":2},null]".to_owned(), vec!["raw/unknown", "message/received", "raw/unknown"]),
        (format!("[{}{{}}]", "{},".repeat(999)), vec!["message/received"; 1000]),
        (format!("[{}{{}}]", "{},".repeat(1000)), vec!["raw/unknown"]),
        (format!("{{\"list\":[{}{{}}]}}", "{},".repeat(1000)), vec!["raw/unknown"]),
    ] {
        let made = events(format!("{{\"guid\":\"g\",\"notify_type\":11013,\"data\":{data}}}"));
        assert_eq!(made.iter().map(|event| event.event).collect::<Vec<_>>(), wanted);
    }
}

/// Each message of a batch names the instance and its account: a long name would take a thousand times its room.
#[test]
fn a_long_name_is_not_multiplied_by_a_batch() {
    let source = source(Kind::Guid(Logins::default()));
    let events = |body: String| {
        let arrival = Arrival { secret: SECRET, body: body.as_bytes(), ..Arrival::default() };
        let Arrived::Callback(callback, _) = source.read(arrival, RECEIVED) else { panic!("{body}") };
        callback.events
    };
    let login = |guid: &str, user: &str| {
        events(format!("{{\"guid\":\"{guid}\",\"notify_type\":11003,\"data\":{{\"user_id\":\"{user}\"}}}}"));
    };
    let batch = |guid: &str| events(format!("{{\"guid\":\"{guid}\",\"notify_type\":11013,\"data\":[{{}},{{}}]}}"));
    let (short, long) = ("g".repeat(256), "g".repeat(257));
    login(&short, &"u".repeat(256));
    let known = batch(&short);
    assert!(known.iter().all(|event| event.instance.as_deref() == Some(&short)));
    assert!(known.iter().all(|event| event.account.as_ref().is_some_and(|user| user.len() == 256)));
    login("another", &"u".repeat(257));
    assert!(batch("another").iter().all(|event| event.account.as_deref() == Some("another")));
    assert!(batch(&long).iter().all(|event| event.instance.is_none() && event.account.is_none()));
}
