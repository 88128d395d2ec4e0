use super::*;
use crate::model::{Account, Command, CommandRequest, Corp, HoldId, MessageId, Scope, Selection, SenderName, Time};

fn command(name: &str, payload: &str) -> CommandRequest {
    command_with(meta(), name, payload.as_bytes())
}

fn command_with(meta: PacketMeta, name: &str, payload: &[u8]) -> CommandRequest {
    let wanted = meta.ticket;
    let input = parse_command(&settings(), name, meta, payload);
    let Input::Command { ticket, request } = input else { panic!("{name} gave {input:?}") };
    assert_eq!(ticket, wanted);
    *request
}

fn understood(name: &str, payload: &str) -> Command {
    command(name, payload).command.unwrap_or_else(|fault| panic!("{name} {payload}: {fault}"))
}

fn refusal(name: &str, payload: &str) -> String {
    let fault = command(name, payload).command.expect_err(payload);
    format!("{} {} {}", fault.code.as_str(), fault.field.as_deref().unwrap_or("-"), fault.message)
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

fn refusal_code(name: &str) -> &'static str {
    match command(name, "[]").command {
        Ok(_) => panic!("a list is no command"),
        Err(fault) => fault.code.as_str(),
    }
}

/// Commands with their payload and the field and message of their refusal.
fn assert_refused(cases: &[(&str, &str, String)]) {
    for (name, payload, wanted) in cases {
        assert_eq!(refusal(name, payload), format!("INVALID_FIELD {wanted}"), "{name} {payload}");
    }
}

#[test]
fn says_what_is_wrong_with_any_command() {
    assert_refused(&[
        ("health", r#"{"x":1}"#, "x health has no \"x\": use transaction, by".into()),
        ("health", r#"{"all":true}"#, "all health has no \"all\": use transaction, by".into()),
        (
            "resume",
            r#"{"all":true,"reason":"x"}"#,
            "reason resume has no \"reason\": use all, sender, corp, account, conversation, hold, transaction, by"
                .into(),
        ),
        ("health", r#"{"by":1}"#, "by by must be a string, not a number: write it in quotes".into()),
        ("health", r#"{"by":"a\nb"}"#, "by by must not contain control characters: remove them".into()),
        (
            "health",
            r#"{"by":"a","BY":"b"}"#,
            "by \"by\" and \"BY\" are one name, because case does not count: send only one of them".into(),
        ),
        (
            "health",
            r#"{"transaction":{}}"#,
            "transaction transaction must be a string, a number, true or false, not an object: choose one value".into(),
        ),
    ]);
    assert_eq!(
        refusal("health", "{"),
        "INVALID_JSON - payload is not valid JSON, EOF while parsing an object at line 1 column 1: send one JSON object"
    );
}

#[test]
fn says_what_is_wrong_with_a_pause() {
    let scopes = "all, sender, corp, account, or account with conversation";
    let duration =
        "duration duration must be a duration above zero: write it like \"90s\" or \"24h\", or as whole seconds";
    let together = "conversation conversation goes with account and nothing else: add the account that it belongs to";
    assert_refused(&[
        ("pause", r#"{"reason":"why"}"#, format!("- pause needs to know what to pause: add {scopes}")),
        ("pause", r#"{"all":false,"reason":"why"}"#, "all all must be true, or left out: name what is meant".into()),
        (
            "pause",
            r#"{"all":true}"#,
            "reason reason is required: say why, for those who find the queue standing".into(),
        ),
        ("pause", r#"{"all":true,"reason":" "}"#, "reason reason must not be blank: fill it in".into()),
        (
            "pause",
            r#"{"all":true,"corp":"c","reason":"why"}"#,
            format!("corp all and corp exclude each other: send one of {scopes}"),
        ),
        ("pause", r#"{"conversation":"R:1","reason":"why"}"#, together.into()),
        ("pause", r#"{"all":true,"conversation":"R:1","reason":"why"}"#, together.into()),
        ("pause", r#"{"account":"","reason":"why"}"#, "account account must not be blank: fill it in".into()),
        (
            "pause",
            r#"{"account":"w","conversation":" ","reason":"why"}"#,
            "conversation conversation must not be blank: fill it in".into(),
        ),
        ("pause", r#"{"all":true,"reason":"why","duration":"0s"}"#, duration.into()),
        (
            "pause",
            r#"{"all":true,"reason":"why","until":"later"}"#,
            "until until must be an RFC 3339 time: write it like \"2026-01-31T08:30:00+08:00\"".into(),
        ),
        (
            "pause",
            r#"{"all":true,"reason":"why","until":"2026-01-01T00:00:00Z","duration":5}"#,
            "duration duration and until exclude each other: send one".into(),
        ),
    ]);
    let long = format!(r#"{{"all":true,"reason":"{}"}}"#, "x".repeat(1025));
    assert_eq!(
        refusal("pause", &long),
        "INVALID_FIELD reason reason is 1025 bytes long, at most 1024 are allowed: shorten it"
    );
}

#[test]
fn says_what_is_wrong_with_other_commands() {
    let scopes = "all, sender, corp, account, or account with conversation";
    assert_refused(&[
        ("resume", "{}", format!("- resume needs to know what to resume: add hold, {scopes}")),
        ("resume", r#"{"hold":1,"all":true}"#, format!("hold hold excludes every other scope: send hold, or {scopes}")),
        ("resume", r#"{"hold":-1}"#, "hold hold must be the number of a hold: take it from the hold topic".into()),
        ("resume", r#"{"hold":"+1"}"#, "hold hold must be the number of a hold: take it from the hold topic".into()),
        ("message/get", "{}", "id id is required: add the id of the message".into()),
        (
            "message/get",
            r#"{"id":[]}"#,
            "id id must be a string or a number, not a list: choose one per message".into(),
        ),
        (
            "message/cancel",
            r#"{"id":1,"dryRun":"yes"}"#,
            "dryRun dryRun must be true or false, not a string: write it without quotes".into(),
        ),
        ("account/get", "{}", "account account is required: add the wxId of the account".into()),
    ]);
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

#[test]
fn refuses_retained_and_large_commands() {
    let retained = command_with(PacketMeta { retain: true, ..meta() }, "health", br#"{"transaction":5}"#);
    assert_eq!(
        retained.command.expect_err("retained").to_string(),
        "RETAINED: retained commands are never done: publish without the retain flag"
    );
    assert_eq!(retained.origin.transaction.as_deref(), Some("5"));
    let large = command_with(meta(), "health", &vec![b' '; 256 * 1024 + 1]);
    assert_eq!(
        large.command.expect_err("large").to_string(),
        "TOO_LARGE: payload is 262145 bytes long, at most 262144 are allowed: shorten it"
    );
}
