//! Whatever comes is refused or read; what has the vendor's shape is never dropped; what is secret never leaves.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, json};

const CANARY: &str = "canary-4711";

fn sources() -> [Source; 4] {
    [source(Kind::Quntool), source(Kind::Guid(Logins::default())), yunxin_source(), wecom_source()]
}

/// A value of any type, with the canary nowhere.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z0-9:_ \\[\\]{}\"]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z_]{0,8}", inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What happens to one member of an original: it goes, or becomes something else.
type Change = (Index, Option<Value>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec((any::<Index>(), proptest::option::of(anything())), 0..6)
}

/// The paths of all members of all objects in it.
fn members(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let named: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), member)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (name, member) in named {
        let path = [path, &[name]].concat();
        members_of(member, &path, found);
    }
}

fn members_of(member: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    found.push(path.to_vec());
    members(member, path, found);
}

fn change(value: &mut Value, path: &[String], new: Option<&Value>) {
    let Some((last, way)) = path.split_last() else { return };
    let mut place = value;
    for step in way {
        let next = match place {
            Value::Object(members) => members.get_mut(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        // An earlier change took it away.
        let Some(next) = next else { return };
        place = next;
    }
    match (place, new) {
        (Value::Object(members), Some(new)) => {
            members.insert(last.clone(), new.clone());
        }
        (Value::Object(members), None) => {
            members.remove(last);
        }
        (Value::Array(items), new) => {
            if let Some(item) = last.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                *item = new.cloned().unwrap_or(Value::Null);
            }
        }
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => {}
    }
}

fn changed(mut original: Value, changes: &[Change]) -> Value {
    let mut paths = Vec::new();
    members(&original, &[], &mut paths);
    for (index, new) in changes {
        if !paths.is_empty() {
            change(&mut original, &paths[index.index(paths.len())], new.as_ref());
        }
    }
    original
}

fn pick(file: &str, index: &Index) -> Value {
    let originals = originals(file);
    serde_json::from_str(&originals[index.index(originals.len())]).expect("JSON")
}

/// A request of Yunxin with the proof that fits it.
fn signed(body: &[u8]) -> Vec<(String, String)> {
    use md5::{Digest as _, Md5};
    let md5 = read::hex(&Md5::digest(body));
    let check_sum = read::hex(&sha1::Sha1::digest(format!("test-secret{md5}1").as_bytes()));
    [("appkey", "key".to_owned()), ("curtime", "1".to_owned()), ("md5", md5), ("checksum", check_sum)]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// The events of a genuine callback, which must be there and must be as the schema says.
fn events(source: &Source, body: &[u8]) -> Vec<Event> {
    let headers = signed(body);
    let arrival = Arrival { secret: SECRET, headers: &headers, body, ..Arrival::default() };
    let arrived = source.read(arrival, RECEIVED);
    // The one body that is no callback.
    if matches!(arrived, Arrived::Answer(_)) && matches!(source.kind, Kind::Yunxin { .. }) && body == b"{}" {
        return Vec::new();
    }
    let Arrived::Callback(callback, _) = arrived else { panic!("{}: {arrived:?}", String::from_utf8_lossy(body)) };
    assert!(!callback.events.is_empty());
    for event in &callback.events {
        assert!(EVENTS.contains(&event.event), "{}", event.event);
        serde_json::to_string(event).expect("JSON");
    }
    callback.events
}

/// XML as WeCom writes it.
fn xml(value: &Value, name: &str, out: &mut String) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| xml(item, name, out)),
        Value::Object(members) => {
            *out += &format!("<{name}>");
            members.iter().for_each(|(name, member)| xml(member, name, out));
            *out += &format!("</{name}>");
        }
        Value::String(text) => *out += &format!("<{name}><![CDATA[{}]]></{name}>", text.replace("]]>", "")),
        Value::Null => *out += &format!("<{name}/>"),
        Value::Bool(_) | Value::Number(_) => *out += &format!("<{name}>{value}</{name}>"),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(body in vec(any::<u8>(), 0..400), is_get in any::<bool>(), query in any::<String>()) {
        let query = [("msg_signature", &query), ("timestamp", &query), ("echostr", &query)]
            .map(|(name, value)| (name.to_owned(), value.clone()));
        let headers = signed(&body);
        for source in sources() {
            for headers in [&headers[..], &query, &[]] {
                let arrival = Arrival { is_get, secret: SECRET, query: &query, headers, body: &body };
                let _ = source.read(arrival, RECEIVED);
            }
        }
    }

    #[test]
    fn any_text_that_was_opened_is_refused_or_read(text in any::<String>(), inner in "[<>/a-c&;!\\[\\]\" ]{0,60}") {
        for text in [&text, &inner, &format!("<xml>{inner}</xml>"), &format!("<xml><InfoType>{text}</InfoType></xml>")] {
            let _ = wecom::read(text, RECEIVED);
            let _ = wecom::encrypted(text);
        }
    }

    #[test]
    fn any_json_is_read(value in anything()) {
        let is_object = value.is_object();
        for source in &sources()[..3] {
            let body = value.to_string();
            if is_object {
                events(source, body.as_bytes());
            }
        }
    }

    #[test]
    fn nothing_of_the_vendors_shape_is_dropped(index in any::<Index>(), changes in changes()) {
        for (file, source) in ["quntool.txt", "guid.txt", "yunxin.txt"].into_iter().zip(&sources()) {
            events(source, changed(pick(file, &index), &changes).to_string().as_bytes());
        }
        let originals = originals("wecom.txt");
        let read = wecom::read(&originals[index.index(originals.len())], RECEIVED).expect("readable");
        let root = Map::from_iter([("r".to_owned(), changed(read.drafts[0].data.clone(), &changes))]);
        // Names that are none make no XML.
        let mut text = String::new();
        xml(&root["r"], "xml", &mut text);
        if let Ok(read) = wecom::read(&text, RECEIVED) {
            prop_assert_eq!(read.drafts.len(), 1);
            prop_assert!(EVENTS.contains(&read.drafts[0].event));
        } else {
            let is_plain = |name: &str| !name.is_empty() && !name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let mut paths = Vec::new();
            members(&root["r"], &[], &mut paths);
            let is_list = root["r"].as_object().is_none_or(Map::is_empty);
            prop_assert!(is_list || paths.iter().flatten().any(|name| !is_plain(name)) || text.contains('\u{0}'), "{}", text);
        }
    }

    #[test]
    fn secrets_are_never_published_and_personal_data_only_when_configured(
        index in any::<Index>(),
        places in vec((any::<Index>(), any::<Index>(), any::<bool>()), 1..6),
        personal_data in any::<bool>(),
    ) {
        for (file, mut source) in ["quntool.txt", "guid.txt", "yunxin.txt"].into_iter().zip(sources()) {
            source.personal_data = personal_data;
            let names: Vec<&str> = if personal_data {
                redact::SECRETS.into()
            } else {
                [&redact::SECRETS[..], &redact::PERSONAL[..]].concat()
            };
            let mut original = pick(file, &index);
            let mut paths = vec![vec!["data".to_owned()]];
            members(&original, &[], &mut paths);
            for (place, name, is_upper) in &places {
                let name = names[name.index(names.len())];
                let name = if *is_upper { name.to_ascii_uppercase() } else { name.to_owned() };
                let mut path = paths[place.index(paths.len())].clone();
                path.push(name);
                change(&mut original, &path, Some(&json!([{ "deep": CANARY }])));
            }
            for event in events(&source, original.to_string().as_bytes()) {
                let said = serde_json::to_string(&event).expect("JSON");
                prop_assert!(!said.contains(CANARY), "{}", said);
            }
        }
    }
}
