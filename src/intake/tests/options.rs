use super::*;
use crate::model::{Lifetime, OnDoubt, Options, Time};

fn options(bridge: &str) -> Options {
    accepted(&text_with(&format!(r#","bridge":{bridge}"#))).options
}

#[test]
fn reads_every_option_in_whatever_case() {
    let read = options(
        r#"{"Priority":0,"NOTBEFORE":"2026-01-31T08:30:00+08:00","TTL":"24h","ondoubt":"resend","tag":"上午"}"#,
    );
    let wanted = Options {
        priority: Some(0),
        not_before: Time::parse_rfc3339("2026-01-31T00:30:00Z"),
        lifetime: Some(Lifetime::For(Duration::from_secs(86_400))),
        message_expiry: None,
        on_doubt: Some(OnDoubt::Resend),
        tag: Some(Box::from("上午")),
    };
    assert_eq!(read, wanted);
    assert_eq!(options(r#"{"ttl":90}"#).lifetime, Some(Lifetime::For(Duration::from_secs(90))));
    assert_eq!(options(r#"{"ttl":"90s"}"#).lifetime, Some(Lifetime::For(Duration::from_secs(90))));
    let until = Time::parse_rfc3339("2026-01-31T00:30:00Z").map(Lifetime::Until);
    assert_eq!(options(r#"{"expiresAt":"2026-01-31T00:30:00Z"}"#).lifetime, until);
    assert_eq!(options(r#"{"onDoubt":"report"}"#).on_doubt, Some(OnDoubt::Report));
    assert_eq!(options(r#"{"onDoubt":"hold"}"#).on_doubt, Some(OnDoubt::Hold));
    for nothing in ["null", "{}", r#"{"priority":null,"ttl":null,"expiresAt":null,"tag":null}"#] {
        assert_eq!(options(nothing), Options::default(), "{nothing}");
    }
}

#[test]
fn says_what_is_wrong_with_an_option() {
    let names = "priority, notBefore, ttl, expiresAt, onDoubt, tag";
    let priority = "bridge.priority bridge.priority must be a whole number from 0 to 9: 9 goes first";
    let ttl =
        "bridge.ttl bridge.ttl must be a duration above zero: write it like \"90s\" or \"24h\", or as whole seconds";
    let time = |name: &str| {
        format!("bridge.{name} bridge.{name} must be an RFC 3339 time: write it like \"2026-01-31T08:30:00+08:00\"")
    };
    let doubt = "bridge.onDoubt bridge.onDoubt is not known: use report, resend or hold";
    for (bridge, wanted) in [
        ("[]", format!("bridge bridge must be an object, not a list: use {names}")),
        ("1", format!("bridge bridge must be an object, not a number: use {names}")),
        (r#"{"prio":1}"#, format!("bridge.prio bridge has no \"prio\": use {names}")),
        (r#"{"\u202e":1}"#, format!("bridge.\\u{{202e}} bridge has no \"\\u{{202e}}\": use {names}")),
        (
            r#"{"ttl":1,"TTL":2}"#,
            "bridge.ttl \"ttl\" and \"TTL\" are one name, because case does not count: send only one of them".into(),
        ),
        (r#"{"priority":10}"#, priority.into()),
        (r#"{"priority":-1}"#, priority.into()),
        (r#"{"priority":"4"}"#, priority.into()),
        (r#"{"priority":4.0}"#, priority.into()),
        (r#"{"ttl":0}"#, ttl.into()),
        (r#"{"ttl":"0s"}"#, ttl.into()),
        (r#"{"ttl":-5}"#, ttl.into()),
        (r#"{"ttl":1.5}"#, ttl.into()),
        (r#"{"ttl":"90"}"#, ttl.into()),
        (r#"{"ttl":"99999999999999999999y"}"#, ttl.into()),
        (r#"{"ttl":99999999999999999999}"#, ttl.into()),
        (r#"{"ttl":["90s"]}"#, ttl.into()),
        (
            r#"{"ttl":1,"expiresAt":"2026-01-01T00:00:00Z"}"#,
            "bridge.ttl bridge.ttl and bridge.expiresAt exclude each other: send one".into(),
        ),
        (r#"{"expiresAt":"tomorrow"}"#, time("expiresAt")),
        (r#"{"notBefore":1700000000}"#, time("notBefore")),
        (r#"{"notBefore":"2026-01-01T00:00:00"}"#, time("notBefore")),
        (r#"{"onDoubt":"retry"}"#, doubt.into()),
        (r#"{"onDoubt":1}"#, doubt.into()),
        (r#"{"tag":1}"#, "bridge.tag bridge.tag must be a string, not a number: write it in quotes".into()),
        (r#"{"tag":"a\tb"}"#, "bridge.tag bridge.tag must not contain control characters: remove them".into()),
    ] {
        assert_eq!(
            refused(&text_with(&format!(r#","bridge":{bridge}"#))),
            format!("INVALID_FIELD {wanted}"),
            "{bridge}"
        );
    }
    let long = format!(r#","bridge":{{"tag":"{}"}}"#, "x".repeat(129));
    assert_eq!(
        refused(&text_with(&long)),
        "INVALID_FIELD bridge.tag bridge.tag is 129 bytes long, at most 128 are allowed: shorten it"
    );
}
