//! Every type of every system, from originals written by hand after the vendors' samples: `tests/data/callbacks`.
//!
//! A block is a title, the original, and below `=>` what is made of it. `SENDBRIDGE_REWRITE=1` writes the latter anew.

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

/// Reads the blocks of a file, makes of each what `read` makes of it, and compares.
fn check(file: &str, mut read: impl FnMut(&[u8]) -> Read, source: &Source) -> BTreeSet<&'static str> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/callbacks").join(file);
    let text = std::fs::read_to_string(&path).expect("the file");
    let (mut written, mut seen) = (String::new(), BTreeSet::new());
    for block in text.trim_end().split("\n\n") {
        let mut lines = block.lines();
        let title = lines.next().expect("a title");
        let original = lines.next().expect("an original");
        let Read { key, drafts, signals } = read(original.as_bytes());
        assert_ne!(key, [0; 16], "{title}");
        written += &format!("{title}\n{original}\n");
        for draft in drafts {
            assert!(EVENTS.contains(&draft.event), "{title}: {} is no event", draft.event);
            seen.insert(draft.event);
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

fn check_quntool() -> BTreeSet<&'static str> {
    check("quntool.txt", |body| quntool::read(body, RECEIVED).expect("readable"), &source(Kind::Quntool))
}

fn check_guid() -> BTreeSet<&'static str> {
    let logins = Logins::default();
    let read = |body: &[u8]| {
        if let Some((guid, user)) = guid::login(body) {
            logins.note(guid, user);
        }
        guid::read(body, RECEIVED, |guid| logins.user(guid)).expect("readable")
    };
    check("guid.txt", read, &source(Kind::Guid(Logins::default())))
}

fn yunxin_source() -> Source {
    let (app_key, app_secret) = (Box::from("key"), Box::from("test-secret"));
    source(Kind::Yunxin { app_key, app_secret, tolerance: Duration::ZERO })
}

fn check_yunxin() -> BTreeSet<&'static str> {
    let proof = yunxin::Proof { app_key: "key", ..yunxin::Proof::default() };
    let read = |body: &[u8]| yunxin::read(proof, body, RECEIVED).expect("readable").expect("an event");
    check("yunxin.txt", read, &yunxin_source())
}

fn wecom_source() -> Source {
    source(Kind::Wecom(WecomKeys {
        token: Box::from("QDG6eK"),
        aes_key: AesKey::parse("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C").expect("a key"),
        receivers: vec!["wx5823bf96d3bd56c7".to_owned()],
    }))
}

fn check_wecom() -> BTreeSet<&'static str> {
    let read = |body: &[u8]| wecom::read(std::str::from_utf8(body).expect("text"), RECEIVED).expect("readable");
    check("wecom.txt", read, &wecom_source())
}

#[test]
fn every_type_becomes_what_its_table_says_and_every_event_has_an_original() {
    let mut seen = check_quntool();
    seen.extend(check_guid());
    seen.extend(check_yunxin());
    seen.extend(check_wecom());
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
