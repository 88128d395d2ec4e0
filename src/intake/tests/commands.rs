use super::*;
use crate::intake::command::{FIELDS, Kind};
use crate::model::{
    Account, AccountState, Code, Command, CommandRequest, Corp, HoldFilter, HoldId, LimitChange, LimitScope, LogLevel,
    MessageId, Page, Scope, Selection, SenderName, Settled, State, Time,
};

pub(super) fn command(name: &str, payload: &str) -> CommandRequest {
    command_with(meta(), name, payload.as_bytes())
}

pub(super) fn command_with(meta: PacketMeta, name: &str, payload: &[u8]) -> CommandRequest {
    let wanted = meta.ticket;
    let input = parse_command(&settings(), name, meta, payload);
    let Input::Command { ticket, request } = input else { panic!("{name} gave {input:?}") };
    assert_eq!(ticket, wanted);
    *request
}

fn understood(name: &str, payload: &str) -> Command {
    command(name, payload).command.unwrap_or_else(|fault| panic!("{name} {payload}: {fault}"))
}

fn pause(scope: Scope, duration: Option<u64>, until: Option<&str>) -> Command {
    let duration = duration.map(Duration::from_secs);
    Command::Pause { scope, reason: Box::from("why"), duration, until: until.and_then(Time::parse_rfc3339) }
}

#[test]
fn understands_every_command() {
    let account = || Account::new("w");
    for (name, payload, wanted) in [
        ("health", "", Command::Health),
        ("health", "{}", Command::Health),
        ("account/get", r#"{"account":"w"}"#, Command::AccountGet { account: account() }),
        ("message/get", r#"{"id":"1"}"#, Command::MessageGet { id: MessageId::from_json(r#""1""#), account: None }),
        (
            "message/get",
            r#"{"Id":1,"ACCOUNT":"w"}"#,
            Command::MessageGet { id: MessageId::from_json("1"), account: Some(account()) },
        ),
        ("message/cancel", r#"{"id":1}"#, cancel(false)),
        ("message/cancel", r#"{"id":1,"account":null,"dryRun":true}"#, cancel(true)),
        ("message/cancel", r#"{"id":1,"dryRun":false}"#, cancel(false)),
        ("pause", r#"{"all":true,"reason":"why"}"#, pause(Scope::All, None, None)),
        (
            "pause",
            r#"{"sender":"main","reason":"why","duration":"5m"}"#,
            pause(Scope::Sender(SenderName::new("main")), Some(300), None),
        ),
        ("pause", r#"{"corp":"c","reason":"why","duration":90}"#, pause(Scope::Corp(Corp::new("c")), Some(90), None)),
        (
            "pause",
            r#"{"account":"w","reason":"why","until":"2026-01-01T00:00:00Z"}"#,
            pause(Scope::Account(account()), None, Some("2026-01-01T00:00:00Z")),
        ),
        (
            "pause",
            r#"{"account":"w","conversation":"R:1","reason":"why"}"#,
            pause(Scope::Conversation(account(), Box::from("R:1")), None, None),
        ),
        ("resume", r#"{"all":true}"#, Command::Resume { scope: Scope::All }),
        (
            "resume",
            r#"{"account":"w","conversation":"R:1"}"#,
            Command::Resume { scope: Scope::Conversation(account(), Box::from("R:1")) },
        ),
        ("resume", r#"{"hold":7}"#, Command::ResumeHold { hold: HoldId(7) }),
        ("resume", r#"{"hold":"7"}"#, Command::ResumeHold { hold: HoldId(7) }),
    ] {
        assert_eq!(understood(name, payload), wanted, "{name} {payload}");
    }
}

fn cancel(dry_run: bool) -> Command {
    let selection = Selection::of_id(MessageId::from_json("1"), None);
    Command::MessageCancel { selection, dry_run, block_for: None, reason: None }
}

fn page(limit: usize, after: Option<&str>) -> Page {
    Page { limit, after: after.map(Box::from) }
}

fn holds([sender, corp, account]: [Option<&str>; 3], page: Page) -> Command {
    let (corp, account) = (corp.map(Corp::new), account.map(Account::new));
    Command::HoldList { filter: HoldFilter { sender: sender.map(SenderName::new), corp, account }, page }
}

#[test]
fn understands_every_question() {
    let account = || Account::new("w");
    let corp = || Corp::new("c");
    for (name, payload, wanted) in [
        ("info", "", Command::Info),
        ("account/list", "", Command::AccountList { corp: None, state: None, page: page(100, None) }),
        (
            "account/list",
            r#"{"corp":"c","state":"held","limit":1000,"after":"w1"}"#,
            Command::AccountList { corp: Some(corp()), state: Some(AccountState::Held), page: page(1000, Some("w1")) },
        ),
        ("corp/list", r#"{"limit":1}"#, Command::CorpList { page: page(1, None) }),
        ("corp/get", r#"{"corp":"c"}"#, Command::CorpGet { corp: corp() }),
        ("hold/list", r#"{"after":"7"}"#, holds([None; 3], page(100, Some("7")))),
        ("hold/list", r#"{"after":7}"#, holds([None; 3], page(100, Some("7")))),
        (
            "hold/list",
            r#"{"sender":"main","corp":"c","account":"a"}"#,
            holds(["main", "c", "a"].map(Some), page(100, None)),
        ),
        ("limits/get", "{}", Command::LimitsGet { scope: None }),
        ("limits/get", r#"{"account":"w"}"#, Command::LimitsGet { scope: Some(LimitScope::Account(account())) }),
        ("limits/get", r#"{"corp":"c"}"#, Command::LimitsGet { scope: Some(LimitScope::Corp(corp())) }),
        ("directory/refresh", "", Command::DirectoryRefresh { sender: None }),
        (
            "directory/refresh",
            r#"{"sender":"main"}"#,
            Command::DirectoryRefresh { sender: Some(SenderName::new("main")) },
        ),
        (
            "message/list",
            "",
            Command::MessageList { selection: Selection::default(), states: vec![], page: page(100, None) },
        ),
        (
            "message/list",
            r#"{"tag":"t","conversation":"R:1","state":["sent","failed","sent"],"limit":5}"#,
            Command::MessageList {
                selection: Selection {
                    tag: Some(Box::from("t")),
                    conversation: Some(Box::from("R:1")),
                    ..Selection::default()
                },
                states: vec![State::Sent, State::Failed],
                page: page(5, None),
            },
        ),
        (
            "message/list",
            r#"{"state":"in_doubt"}"#,
            Command::MessageList {
                selection: Selection::default(),
                states: vec![State::InDoubt],
                page: page(100, None),
            },
        ),
    ] {
        assert_eq!(understood(name, payload), wanted, "{name} {payload}");
        assert!(!wanted.is_change(), "{name}");
    }
}

#[test]
fn understands_every_order() {
    let account = || Account::new("w");
    let id = || MessageId::from_json("1");
    let everything = Selection {
        id: Some(id()),
        account: Some(account()),
        conversation: Some(Box::from("R:1")),
        corp: Some(Corp::new("c")),
        tag: Some(Box::from("t")),
    };
    for (name, payload, wanted) in [
        (
            "message/cancel",
            r#"{"id":1,"account":"w","conversation":"R:1","corp":"c","tag":"t","blockFor":"30d","reason":"wrong"}"#,
            Command::MessageCancel {
                selection: everything,
                dry_run: false,
                block_for: Some(Duration::from_secs(30 * 86400)),
                reason: Some(Box::from("wrong")),
            },
        ),
        ("message/retry", r#"{"id":1}"#, Command::MessageRetry { id: id(), account: None }),
        (
            "message/resolve",
            r#"{"id":1,"account":"w","state":"sent","msgId":"M"}"#,
            Command::MessageResolve {
                id: id(),
                account: Some(account()),
                settled: Settled::Sent { msg_id: Some(Box::from("M")) },
            },
        ),
        (
            "message/resolve",
            r#"{"id":1,"state":"failed","reason":"asked the customer"}"#,
            Command::MessageResolve {
                id: id(),
                account: None,
                settled: Settled::Failed { reason: Some(Box::from("asked the customer")) },
            },
        ),
    ] {
        assert_eq!(understood(name, payload), wanted, "{name} {payload}");
        assert!(wanted.is_change(), "{name}");
    }
    assert!(!cancel(true).is_change(), "a rehearsal changes nothing");
}

#[test]
fn understands_every_order_about_the_whole() {
    let account = || Account::new("w");
    let limits = |scope, change, duration: Option<u64>| Command::LimitsSet {
        scope,
        change,
        duration: duration.map(Duration::from_secs),
        until: None,
    };
    for (name, payload, wanted) in [
        (
            "limits/set",
            r#"{"account":"w","interval":"2s","duration":"1h"}"#,
            limits(LimitScope::Account(account()), LimitChange::Interval(Duration::from_secs(2)), Some(3600)),
        ),
        (
            "limits/set",
            r#"{"corp":"c","perHour":20000}"#,
            limits(LimitScope::Corp(Corp::new("c")), LimitChange::PerHour(20000), None),
        ),
        (
            "limits/set",
            r#"{"corp":"c","reset":true}"#,
            limits(LimitScope::Corp(Corp::new("c")), LimitChange::Configured, None),
        ),
        ("drain", "{}", Command::Drain { on: true }),
        ("drain", r#"{"on":false}"#, Command::Drain { on: false }),
        (
            "log/level",
            r#"{"level":"debug","duration":"5m"}"#,
            Command::LogLevel { level: LogLevel::Debug, duration: Some(Duration::from_secs(300)) },
        ),
    ] {
        assert_eq!(understood(name, payload), wanted, "{name} {payload}");
        assert!(wanted.is_change(), "{name}");
    }
}

/// A payload that its command takes, for every command.
fn minimal(name: &str) -> &'static str {
    match name {
        "account/get" => r#""account":"w""#,
        "corp/get" => r#""corp":"c""#,
        "limits/set" => r#""corp":"c","perHour":1"#,
        "log/level" => r#""level":"info""#,
        "message/cancel" | "message/get" | "message/retry" => r#""id":1"#,
        "message/resolve" => r#""id":1,"state":"sent""#,
        "pause" => r#""all":true,"reason":"why""#,
        "resume" => r#""all":true"#,
        "sender/call" => r#""path":"/a""#,
        _ => "",
    }
}

#[test]
fn reads_every_field_that_it_says_it_takes() {
    for (name, fields) in FIELDS {
        understood(name, &format!("{{{}}}", minimal(name)));
        for field in fields {
            let is_any_of = |kinds: &[Kind]| kinds.contains(&field.kind);
            let takes_objects = is_any_of(&[Kind::Id, Kind::Query, Kind::Json, Kind::File]);
            let value = match (takes_objects, field.kind == Kind::Json) {
                (false, _) => r#"{"no":"such"}"#,
                (true, false) => "[]",
                (true, true) => "5",
            };
            let others = match (name, field.name) {
                ("pause" | "resume", "conversation") => r#""account":"w""#,
                ("pause", "reason") => r#""all":true"#,
                ("pause", "duration" | "until") | ("resume", "hold") => minimal(name),
                ("limits/set", "account" | "corp") | ("pause" | "resume", _) => "",
                ("limits/set", "interval") => r#""account":"w""#,
                ("limits/set", "perHour" | "reset") => r#""corp":"c""#,
                ("message/resolve", "state") => r#""id":1"#,
                (_, own) if minimal(name).contains(&format!("\"{own}\"")) => "",
                _ => minimal(name),
            };
            let comma = if others.is_empty() { "" } else { "," };
            let payload = format!("{{{others}{comma}\"{}\":{value}}}", field.name);
            let said = refusal(name, &payload);
            assert!(said.starts_with(&format!("INVALID_FIELD {} ", field.name)), "{name} {payload}: {said}");
        }
    }
}

#[test]
fn says_until_when_it_is_worth_doing() {
    let at = Time::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
    let request = command("health", r#"{"expiresAt":"2026-01-01T00:00:00Z"}"#);
    assert_eq!((request.expires_at, request.message_expiry), (Some(at), None));
    assert!(request.has_expired(at) && !request.has_expired(at - Duration::from_secs(1)));
    let left = PacketMeta { expiry: Some(Duration::from_secs(1)), ..meta() };
    assert!(!command_with(left, "health", b"").has_expired(at));
    let late = PacketMeta { expiry: Some(Duration::ZERO), ..meta() };
    assert!(command_with(late, "health", b"").has_expired(at));
    assert_eq!(command("health", r#"{"expiresAt":"soon"}"#).command.expect_err("soon").code, Code::InvalidField);
}

#[test]
fn the_same_order_has_the_same_fingerprint_whoever_gives_it() {
    let of = |name: &str, payload: &str| command(name, payload).fingerprint;
    let first = of("pause", r#"{"all":true,"reason":"why","transaction":1,"by":"a"}"#);
    assert_eq!(first, of("pause", r#"{"Reason":"why", "all":true,"expiresAt":"2026-01-01T00:00:00Z"}"#));
    assert_ne!(first, of("pause", r#"{"all":true,"reason":"why not"}"#));
    assert_ne!(of("drain", r#"{"all":true}"#), of("resume", r#"{"all":true}"#));
}

#[test]
fn understands_exactly_the_known_names() {
    for name in Command::NAMES {
        assert!(!refusal_code(name).starts_with("UNKNOWN_COMMAND"), "{name}");
    }
    let known = Command::NAMES.join(", ");
    for name in ["", "Pause", "pause/", "shutdown", "message"] {
        let wanted = format!("UNKNOWN_COMMAND - command is not known: use one of {known}");
        assert_eq!(refusal(name, "{}"), wanted, "{name}");
    }
}

#[test]
fn echoes_the_transaction_and_keeps_the_way_back() {
    let transaction = |payload: &str| command("health", payload).origin.transaction;
    for raw in [r#""a\u0062""#, "1.0", "true", r#""""#] {
        let payload = format!(r#"{{"transaction":{raw}}}"#);
        assert_eq!(transaction(&payload).as_deref(), Some(raw));
    }
    assert_eq!(transaction(r#"{"transaction":null}"#), None);
    assert_eq!(transaction(r#"{"transaction":1,"unknown":2}"#).as_deref(), Some("1"), "also when it is refused");
    assert_eq!(transaction(r#"{"transaction":1,"Transaction":2}"#), None);
    let long = format!(r#"{{"transaction":"{}"}}"#, "x".repeat(255));
    assert_eq!(transaction(&long), None);
    assert_eq!(
        refusal("health", &long),
        "INVALID_FIELD transaction transaction is 257 bytes long, at most 256 are allowed: shorten it"
    );
    let asked = PacketMeta { response_topic: Some("reply/x".to_owned()), ..meta() };
    let request = command_with(asked, "pause", br#"{"by":"ops"}"#);
    assert_eq!(request.origin.reply_to.expect("allowed").topic.as_ref(), "reply/x");
    assert_eq!(request.origin.by.as_deref(), Some("ops"));
    let asked = PacketMeta { response_topic: Some("sendbridge/request/pause".to_owned()), ..meta() };
    assert_eq!(command_with(asked, "health", b"").origin.reply_to, None);
}

pub(super) fn refusal(name: &str, payload: &str) -> String {
    let fault = command(name, payload).command.expect_err(payload);
    format!("{} {} {}", fault.code.as_str(), fault.field.as_deref().unwrap_or("-"), fault.message)
}

pub(super) fn refusal_code(name: &str) -> &'static str {
    match command(name, "[]").command {
        Ok(_) => panic!("a list is no command"),
        Err(fault) => fault.code.as_str(),
    }
}
