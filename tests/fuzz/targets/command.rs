//! Commands: the first line is what followed `<base>/request/`, all else is the payload.

use super::request::settings;
use super::{fault, json};
use crate::{log, plant};
use sendbridge::intake::{PacketMeta, Settings, parse_command};
use sendbridge::model::{
    BUILT_IN_KINDS, Call, CallFile, CallRule, CallRules, Code, Command, CommandRequest, Fault, Input, Reply, Ticket,
};
use sendbridge::publisher::payload;
use std::sync::LazyLock;

pub const WORDS: &str = r#"
    "account" "corp" "sender" "conversation" "id" "tag" "all" "reason" "duration" "until" "state" "limit" "after"
    "transaction" "by" "expiresAt" "interval" "perHour" "reset" "level" "dryRun" "blockFor" "msgId" "hold" "on" "path"
    "method" "query" "body" "file" "timeout" "url" "base64" "name" true false null {} [] "sent" "failed" "idle" "held"
    "queued" "in_doubt" "info" "debug" "GET" "POST" "PUT" "DELETE" "/contact/remark" "/file/upload" "/msg/text"
    "%2fmsg"
    "/gnapi/open/msg/text" "http://h/a.png" "aGVsbG8=" "1h" "90s" "2026-01-31T08:30:00Z" "\u0041" "" "␠" 1000 1001 1 0
    account/list account/get corp/list corp/get hold/list message/get message/list message/cancel message/retry
    message/resolve pause resume limits/get limits/set directory/refresh sender/call drain log/level health info
"#;

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| settings(256 * 1024));

/// What is documented, and whatever is no path of sending.
static RULES: LazyLock<[CallRules; 2]> = LazyLock::new(|| {
    let everything = CallRule::parse("/*").expect("a rule");
    [CallRules::default(), CallRules { rules: vec![everything], sends: vec![Box::from("/own/send")] }]
});

/// A question to every command.
pub fn seeds() -> Vec<Vec<u8>> {
    Command::NAMES.iter().map(|name| format!("{name}\n{{}}").into_bytes()).collect()
}

fn read(name: &str, retain: bool, payload: &[u8]) -> CommandRequest {
    let given = Some(Ticket { generation: 3, packet: 7 });
    let meta = PacketMeta { qos: 1, ticket: given, retain, ..PacketMeta::default() };
    let input = parse_command(&SETTINGS, name, meta, payload);
    let Input::Command { ticket, request } = input else { panic!("no command: {input:?}") };
    assert_eq!(ticket, given);
    *request
}

pub fn check(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let name = String::from_utf8_lossy(&input[..end]);
    let payload = input.get(end + 1..).unwrap_or_default();
    let request = read(&name, false, payload);
    assert_eq!(request, read(&name, false, payload), "read twice, and differently");
    assert_eq!(&*request.origin.name, &*name);
    check_echo(&request, payload);
    match &request.command {
        Ok(command) => check_command(&name, command, &request, payload),
        Err(refused) => check_refusal(&request, refused),
    }
    let retained = read(&name, true, payload).command.expect_err("retained is refused");
    assert_eq!(retained.code, Code::Retained);
    for planted in plant::planted(payload) {
        let (request, log) = log::logged(|| read(&name, false, &planted));
        assert!(!plant::is_in(&log), "the log repeats the content: {log}");
        match request.command {
            Ok(Command::SenderCall(call)) => check_call(&call),
            Ok(_) => {}
            Err(refused) => fault::check_silent(&refused),
        }
    }
}

/// The transaction of the reply is the one that came, as it was written.
fn check_echo(request: &CommandRequest, payload: &[u8]) {
    let Some(transaction) = request.origin.transaction.as_deref() else { return };
    assert!(transaction.len() <= 256);
    let Some(members) = json::members(payload) else {
        // Another reader gives up at half a surrogate pair, where ours reads on to tell whom the refusal is for.
        assert!(request.command.is_err(), "taken, and no other reader can read it");
        return;
    };
    let given = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("transaction")).expect("it came");
    assert_eq!(given.1.get(), transaction);
}

fn check_refusal(request: &CommandRequest, refused: &Fault) {
    fault::check(refused);
    let reply = payload::reply(&Reply { origin: request.origin.clone(), result: Err(refused.clone()) });
    let said = json::members(&reply).expect("a reply is JSON");
    assert!(reply.len() <= 4096, "a reply of {} bytes", reply.len());
    let transaction = said.get("transaction").map(|raw| raw.get());
    assert_eq!(transaction, request.origin.transaction.as_deref(), "echoed as it was written");
}

fn check_command(name: &str, command: &Command, request: &CommandRequest, payload: &[u8]) {
    assert!(Command::NAMES.contains(&name), "{name:?}");
    assert!(!(command.is_change() && payload.is_empty()), "nothing is changed by an empty payload");
    if let Command::SenderCall(call) = command {
        check_call(call);
    }
    if payload.is_empty() {
        return;
    }
    let spread = read(name, false, &json::spread(payload));
    assert_eq!(spread.fingerprint, request.fingerprint, "white space does not count");
    assert_eq!((&spread.origin, spread.expires_at), (&request.origin, request.expires_at));
    // The body of a call is passed on with its white space.
    if !matches!(command, Command::SenderCall(_)) {
        assert_eq!(spread.command.as_ref(), Ok(command));
    }
}

/// Whatever is called, it is a plain path that sends nothing.
fn check_call(call: &Call) {
    if let Some(CallFile::Inline { name, .. } | CallFile::Url { name: Some(name), .. }) = &call.content.file {
        assert!(!name.contains(['/', '\\']) && !name.chars().any(char::is_control), "{name:?}");
    }
    for rules in &*RULES {
        match rules.plan(call.method, &call.path, &call.content) {
            Ok(planned) => {
                let path = planned.path.to_ascii_lowercase();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
                assert!(path.starts_with('/') && path.chars().all(is_plain), "{path}");
                assert!(!path.contains("//") && !path.contains("/.") && !path.contains("./"), "{path}");
                let sends = BUILT_IN_KINDS.iter().map(|(_, path)| *path).chain(rules.sends.iter().map(|own| &**own));
                let ends_in_send = |send: &str| path.ends_with(&send.to_ascii_lowercase());
                assert!(!path.starts_with("/msg/") && !path.starts_with("/gnapi/open/msg/"), "{path}");
                let first = path.split('/').count();
                assert!(first > 3 || !sends.into_iter().any(ends_in_send), "it sends: {path}");
            }
            Err(refused) => {
                fault::check(&refused);
                fault::check_silent(&refused);
            }
        }
    }
}
