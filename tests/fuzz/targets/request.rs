//! Messages to send: whatever a publisher writes on the send topic.

use super::{fault, json};
use crate::{log, plant};
use sendbridge::intake::{PacketMeta, Settings, parse_request};
use sendbridge::model::{Code, Input, Lifetime, OnDoubt, Options, Refusal, Request, Ticket, Time};
use sendbridge::mqtt::topics::Topics;
use sendbridge::publisher::payload;
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, LazyLock};

pub const WORDS: &str = r#"
    "id" "type" "wxId" "conversationId" "content" "bridge" "priority" "notBefore" "ttl" "expiresAt" "onDoubt" "tag"
    "text" "image" "personCard" "link" "file" "video" "miniProgram" "roomAt" "gif" "videoNum" "voice" "quote"
    "miniProgramById" "videoNumById" "moments" "fileUrl" "title" "url" "atList" "R:1" "S:1_2" "report" "resend" "hold"
    "90s" "24h" "2026-01-31T08:30:00+08:00" "9999-12-31T23:59:60Z" "ID" "wxid" "\u0069d" "Bridge" null true false
    {} [] , : { } [ ] "" "␠" {"ttl":"1h"} "feed_type" "serverId" "miniProgramId" "videoNumId" "nickName" 584554y 1ns
"#;

/// Names that are not forwarded.
const RESERVED: [&str; 3] = ["id", "type", "bridge"];

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| settings(256 * 1024));

/// The topics of the default configuration.
pub fn settings(max_message: usize) -> Settings {
    let send = ["SendMessage".to_owned(), "SendMessage/+".to_owned()];
    let reply_topics = ["SendMessageResp/#".to_owned(), "reply/#".to_owned()];
    let topics = Topics::new(&send, "SendMessageResp", "sendbridge", &reply_topics).expect("the defaults are valid");
    Settings { max_message, extra_types: vec![Arc::from("moments")], topics: Arc::new(topics) }
}

/// A message of every type.
pub fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(crate::ROOT).join("tests/data/requests");
    super::files(&folder).into_iter().map(|(_, payload)| payload).collect()
}

fn meta() -> PacketMeta {
    let ticket = Some(Ticket { generation: 3, packet: 7 });
    PacketMeta { qos: 1, ticket, ..PacketMeta::default() }
}

/// Reads it; every delivery gives exactly one input, with its ticket.
fn read(settings: &Settings, meta: PacketMeta, payload: &[u8]) -> Result<Request, Box<Refusal>> {
    let given = meta.ticket;
    let input = parse_request(settings, Some("app"), meta, payload);
    if let Input::Request { ticket, request } = input {
        assert_eq!(ticket, given);
        return Ok(*request);
    }
    let Input::Refused { ticket, refusal } = input else { panic!("neither a message nor a refusal: {input:?}") };
    assert_eq!(ticket, given);
    Err(refusal)
}

pub fn check(payload: &[u8]) {
    let first = read(&SETTINGS, meta(), payload);
    assert_eq!(first, read(&SETTINGS, meta(), payload), "read twice, and differently");
    match &first {
        Ok(request) => check_request(request, payload),
        Err(refusal) => check_refusal(refusal),
    }
    let id = match &first {
        Ok(request) => Some(&request.id),
        Err(refusal) => refusal.id.as_ref(),
    };
    let retained = read(&SETTINGS, PacketMeta { retain: true, ..meta() }, payload).expect_err("retained is refused");
    assert_eq!((retained.fault.code, retained.id.as_ref()), (Code::Retained, id));
    if let Some(bytes) = payload.len().checked_sub(1) {
        let large = read(&settings(bytes), meta(), payload).expect_err("larger than allowed");
        assert_eq!((large.fault.code, large.id.as_ref()), (Code::TooLarge, id));
        fault::check(&large.fault);
    }
    for planted in plant::planted(payload) {
        let (read, log) = log::logged(|| read(&SETTINGS, meta(), &planted));
        assert!(!plant::is_in(&log), "the log repeats the content: {log}");
        if let Err(refusal) = read {
            fault::check_silent(&refusal.fault);
        }
    }
}

fn check_refusal(refusal: &Refusal) {
    fault::check(&refusal.fault);
    let names_field = refusal.fault.field.is_some();
    let has_none = matches!(refusal.fault.code, Code::InvalidJson | Code::TooLarge | Code::Retained);
    assert!(names_field || has_none, "no field: {:?}", refusal.fault);
    let answer = payload::refusal(refusal);
    assert!(answer.len() <= 4096, "an answer of {} bytes", answer.len());
    let said = json::members(&answer).expect("an answer is JSON");
    let id = refusal.id.as_ref().map_or("null", |id| id.as_json());
    assert_eq!(said["id"].get(), id, "the id is echoed as it was written");
}

fn check_request(request: &Request, payload: &[u8]) {
    // A number may be too large for whoever reads it as one.
    let raw = request.id.as_json();
    let plain: String = if raw.starts_with('"') { serde_json::from_str(raw).expect("a text") } else { raw.to_owned() };
    for (name, bytes_max) in [(plain.as_str(), 128), (request.account.as_str(), 128), (&*request.conversation, 256)] {
        assert!(!name.is_empty() && name.len() <= bytes_max, "{name:?}");
    }
    assert!(!plain.chars().chain(request.account.as_str().chars()).any(char::is_control));
    assert!(request.options.priority.is_none_or(|priority| priority <= 9));
    check_forwarded(request, payload);
    let again = written(request);
    let mut read_again = read(&SETTINGS, meta(), again.as_bytes()).expect("what was accepted is accepted again");
    // Times are written with milliseconds.
    read_again.options = in_millis(read_again.options);
    let wanted = Request { options: in_millis(request.options.clone()), ..request.clone() };
    assert_eq!(read_again, wanted, "written and read again");
    let spread = read(&SETTINGS, meta(), &json::spread(payload)).expect("white space does not count");
    assert_eq!((spread.fingerprint, &spread.options), (request.fingerprint, &request.options));
}

/// What is forwarded is what was written, to the byte, without what is for us.
fn check_forwarded(request: &Request, payload: &[u8]) {
    assert!(request.body.len() <= payload.len());
    let mut wanted = json::members(payload).expect("another reader takes it, too");
    wanted.retain(|name, _| !RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)));
    let forwarded = json::members(&request.body).expect("another reader takes what is forwarded");
    assert_eq!(json::texts(&forwarded), json::texts(&wanted));
}

/// The request as a publisher would write it.
fn written(request: &Request) -> String {
    let Options { priority, not_before, lifetime, message_expiry, on_doubt, tag } = &request.options;
    assert_eq!(*message_expiry, None, "nobody set one");
    let mut bridge = serde_json::Map::new();
    if let Some(priority) = priority {
        bridge.insert("priority".to_owned(), Value::from(*priority));
    }
    if let Some(time) = not_before {
        bridge.insert("notBefore".to_owned(), Value::from(time.to_string()));
    }
    match lifetime {
        Some(Lifetime::For(span)) => {
            bridge.insert("ttl".to_owned(), Value::from(humantime::format_duration(*span).to_string()));
        }
        Some(Lifetime::Until(time)) => {
            bridge.insert("expiresAt".to_owned(), Value::from(time.to_string()));
        }
        None => {}
    }
    if let Some(on_doubt) = on_doubt {
        let word = match on_doubt {
            OnDoubt::Report => "report",
            OnDoubt::Resend => "resend",
            OnDoubt::Hold => "hold",
        };
        bridge.insert("onDoubt".to_owned(), Value::from(word));
    }
    if let Some(tag) = tag {
        bridge.insert("tag".to_owned(), Value::from(&**tag));
    }
    let body = std::str::from_utf8(&request.body).expect("text");
    let rest = body.strip_prefix('{').expect("an object");
    let bridge = Value::Object(bridge);
    format!("{{\"id\":{},\"type\":\"{}\",\"bridge\":{bridge},{rest}", request.id.as_json(), request.kind)
}

fn in_millis(options: Options) -> Options {
    let cut = |time: Time| Time::from_millis(time.as_millis());
    let lifetime = options.lifetime.map(|lifetime| match lifetime {
        Lifetime::For(span) => Lifetime::For(span),
        Lifetime::Until(time) => Lifetime::Until(cut(time)),
    });
    Options { not_before: options.not_before.map(cut), lifetime, ..options }
}
