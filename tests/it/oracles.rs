//! What others have encrypted and signed, read by us. `tests/oracles/run` makes it.

use sendbridge::intake::callback::{AesKey, Arrival, Arrived, Kind, Source, WecomKeys};
use sendbridge::model::Time;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const SECRET: &str = "0123456789abcdef";

fn pairs(value: &Value) -> Vec<(String, String)> {
    let Some(members) = value.as_object() else { return Vec::new() };
    members.iter().map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned())).collect()
}

fn source(case: &Value) -> Source {
    let text = |name: &str| case[name].as_str().unwrap_or_else(|| panic!("{name} of {case}")).to_owned();
    let tolerance = Duration::ZERO;
    let kind = match case["kind"].as_str() {
        Some("yunxin") => Kind::Yunxin { app_key: Box::from("key"), app_secret: text("secret").into(), tolerance },
        Some(_) | None => {
            let aes_key = AesKey::parse(&text("key")).expect("a key");
            let receivers = vec!["somebody else".to_owned(), text("receiver")];
            Kind::Wecom { keys: WecomKeys { token: text("token").into(), aes_key, receivers }, tolerance }
        }
    };
    Source { name: Box::from("oracle"), secret: Box::from(SECRET), sender: None, personal_data: false, kind }
}

/// What we read of a case, as text.
fn read(case: &Value, source: &Source) -> Option<String> {
    let (query, headers) = (pairs(&case["query"]), pairs(&case["headers"]));
    let arrival = Arrival {
        is_get: case["kind"] == "echo",
        secret: SECRET,
        query: &query,
        headers: &headers,
        body: case["body"].as_str().unwrap_or_default().as_bytes(),
    };
    match source.read(arrival, Time::from_millis(1_700_000_000_000)) {
        Arrived::Answer(answer) => Some(answer.body),
        Arrived::Callback(callback, answer) => {
            let field = if case["kind"] == "post" { "Content" } else { "tname" };
            assert_eq!(callback.events.len(), 1);
            assert!(case["kind"] == "yunxin" || answer.body == "success");
            Some(callback.events[0].data[field].as_str().expect("a text").to_owned())
        }
        Arrived::Forged => None,
        Arrived::Unreadable(why) => panic!("{}: {case}", why.as_str()),
        Arrived::WrongMethod => panic!("a wrong method: {case}"),
    }
}

/// The same case with one character of one part changed, for each part that is signed.
fn forgeries(case: &Value) -> Vec<Value> {
    let mut forged = Vec::new();
    for (table, name) in [
        ("query", "msg_signature"),
        ("query", "timestamp"),
        ("query", "nonce"),
        ("query", "echostr"),
        ("headers", "curtime"),
        ("headers", "md5"),
        ("headers", "checksum"),
        ("headers", "appkey"),
    ] {
        let Some(text) = case[table][name].as_str() else { continue };
        let at = text.len() / 2;
        let other = if text.as_bytes()[at] == b'1' { "2" } else { "1" };
        let mut changed = text.to_owned();
        changed.replace_range(at..=at, other);
        let mut case = case.clone();
        case[table][name] = Value::from(changed);
        forged.push(case);
    }
    forged
}

#[test]
#[ignore = "needs what tests/oracles/run makes"]
fn what_others_encrypt_and_sign_is_read_and_what_they_did_not_is_not() {
    let folder = PathBuf::from(std::env::var_os("SENDBRIDGE_ORACLES").expect("the folder of tests/oracles/run"));
    for (file, kinds) in [("wechatpy.jsonl", 3), ("wecom-crypto.jsonl", 2)] {
        let text = std::fs::read_to_string(folder.join(file)).expect("the cases");
        let (mut good, mut forged) = (0, 0);
        for line in text.lines() {
            let case: Value = serde_json::from_str(line).expect("JSON");
            let source = source(&case);
            assert_eq!(read(&case, &source).as_deref(), case["plain"].as_str(), "{case}");
            good += 1;
            for forgery in forgeries(&case) {
                assert_eq!(read(&forgery, &source), None, "{forgery}");
                forged += 1;
            }
            // For somebody else.
            if let Kind::Wecom { keys, tolerance } = source.kind {
                let keys = WecomKeys { receivers: vec!["somebody else".to_owned()], ..keys };
                let other = Source { kind: Kind::Wecom { keys, tolerance }, ..source };
                assert_eq!(read(&case, &other), None, "{case}");
            }
        }
        // Every length from 0 to 100, twice.
        assert_eq!(good, 2 * 101 * kinds, "{file}");
        eprintln!("{file}: {good} read, {forged} forgeries refused");
    }
}
