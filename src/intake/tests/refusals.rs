//! Commands that are none, and what their replies say.

use super::commands::{command, command_with, refusal};
use super::*;
use crate::model::{Command, Page, Selection};

#[test]
fn says_what_is_wrong_with_lists_and_limits() {
    let states = "queued, sending, in_doubt, sent, delivered, undelivered, failed, unresolved, expired, cancelled";
    let limit = "limit limit must be a whole number from 1 to 1000: write it without quotes";
    assert_refused(&[
        ("account/list", r#"{"limit":0}"#, limit.into()),
        ("account/list", r#"{"limit":1001}"#, limit.into()),
        ("account/list", r#"{"limit":"5"}"#, limit.into()),
        ("account/list", r#"{"limit":1e2}"#, limit.into()),
        ("account/list", r#"{"state":"busy"}"#, "state state is not known: use idle, sending, waiting, held".into()),
        ("message/list", r#"{"state":["sent","gone"]}"#, format!("state state is not known: use {states}")),
        (
            "limits/get",
            r#"{"account":"w","corp":"c"}"#,
            "corp account and corp exclude each other: an account's own limit is its interval".into(),
        ),
        ("limits/set", "{}", "- limits/set needs to know whose limit: add account or corp".into()),
        (
            "limits/set",
            r#"{"account":"w"}"#,
            "interval interval is required of an account: add it, such as \"1s\", or reset".into(),
        ),
        (
            "limits/set",
            r#"{"account":"w","perHour":5}"#,
            "perHour perHour is a limit of a corp: use interval, or name the corp".into(),
        ),
        (
            "limits/set",
            r#"{"corp":"c","interval":"1s"}"#,
            "interval interval is a limit of an account: use perHour, or name the account".into(),
        ),
        (
            "limits/set",
            r#"{"corp":"c","perHour":0}"#,
            "perHour perHour must be a whole number from 1 on: write it without quotes".into(),
        ),
        (
            "limits/set",
            r#"{"corp":"c","perHour":5,"reset":true}"#,
            "reset reset excludes interval and perHour: send one of them".into(),
        ),
        (
            "limits/set",
            r#"{"corp":"c","reset":true,"duration":"1h"}"#,
            "duration duration means nothing with reset: leave it out".into(),
        ),
        (
            "message/cancel",
            r#"{"dryRun":true}"#,
            "- message/cancel needs to know which messages: add id, account, conversation, corp or tag".into(),
        ),
        (
            "message/cancel",
            r#"{"tag":"t","blockFor":"31d"}"#,
            "blockFor blockFor must be 30 days at most: block again when they are over".into(),
        ),
        ("message/resolve", r#"{"id":1}"#, "state state is required: add sent or failed".into()),
        (
            "message/resolve",
            r#"{"id":1,"state":"sent","reason":"r"}"#,
            "reason reason goes with state failed: leave it out, or say that it failed".into(),
        ),
        (
            "message/resolve",
            r#"{"id":1,"state":"failed","msgId":"M"}"#,
            "msgId msgId goes with state sent: leave it out, or say that it was sent".into(),
        ),
        ("log/level", r#"{"level":"loud"}"#, "level level is not known: use error, warn, info, debug, trace".into()),
        ("log/level", "{}", "level level is required: add error, warn, info, debug, trace".into()),
        ("drain", r#"{"on":1}"#, "on on must be true or false, not a number: write it without quotes".into()),
    ]);
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
        ("health", r#"{"x":1}"#, "x health has no \"x\": use transaction, by, expiresAt".into()),
        ("health", r#"{"all":true}"#, "all health has no \"all\": use transaction, by, expiresAt".into()),
        (
            "resume",
            r#"{"all":true,"reason":"x"}"#,
            "reason resume has no \"reason\": use all, sender, corp, account, conversation, hold, transaction, by, expiresAt"
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

#[test]
fn an_empty_payload_is_a_question_and_no_order() {
    assert_eq!(command("health", "").command, Ok(Command::Health));
    assert_eq!(
        command("message/list", "").command,
        Ok(Command::MessageList {
            selection: Selection::default(),
            states: Vec::new(),
            page: Page { limit: 100, after: None }
        })
    );
    let empty = "INVALID_JSON - drain changes something, and the payload is empty: publish {} to have it done";
    assert_eq!(refusal("drain", ""), empty);
    assert_eq!(command("drain", "{}").command, Ok(Command::Drain { on: true }));
    // What needs more than nothing says what.
    assert!(refusal("pause", "").contains("pause needs to know what to pause"), "{}", refusal("pause", ""));
}
