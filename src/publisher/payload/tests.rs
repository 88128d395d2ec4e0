use super::*;
use crate::model::{
    AccountReport, AccountState, CommandOrigin, Corp, HoldId, OnDoubt, Options, Origin, Request, Sender, SenderName,
    Seq, Time,
};
use std::sync::Arc;

const AT: Time = Time::from_millis(1_700_000_000_123);

fn text(payload: &Bytes) -> &str {
    std::str::from_utf8(payload).expect("UTF-8")
}

fn outcome(state: State, fault: Option<Fault>) -> Outcome {
    Outcome { state, at: AT, msg_id: None, fault, attempts: 1, possibly_duplicate: false }
}

fn message() -> Message {
    Message {
        seq: Seq(42),
        received_at: AT,
        expires_at: AT,
        not_before: None,
        priority: 4,
        on_doubt: OnDoubt::Report,
        body_bytes: 8,
        retry: None,
        request: Request {
            id: MessageId::from_json(r#""a\u0062""#),
            kind: Arc::from("roomAt"),
            account: Account::new("168"),
            conversation: Box::from("R:1"),
            origin: Origin::default(),
            options: Options::default(),
            fingerprint: [0; 16],
            shown: None,
            body: Bytes::from_static(b"\"secret\""),
        },
    }
}

fn event(state: Option<State>) -> SendEvent {
    SendEvent { at: AT, seq: Some(Seq(42)), state, attempt: 0, possibly_duplicate: false, refusal: None, outcome: None }
}

#[test]
fn an_answer_has_two_keys_when_it_was_sent() {
    let id = MessageId::from_json(r#""1234567""#);
    let mut sent = outcome(State::Sent, None);
    sent.possibly_duplicate = true;
    assert_eq!(text(&answer(&id, &sent)), r#"{"id":"1234567","msgId":null}"#);
    for state in [State::Sent, State::Delivered, State::Undelivered] {
        let sent = Outcome { state, msg_id: Some(Box::from("7B8D35DA-1D52")), ..sent.clone() };
        assert_eq!(text(&answer(&id, &sent)), r#"{"id":"1234567","msgId":"7B8D35DA-1D52"}"#);
    }
}

#[test]
fn an_answer_echoes_any_id_exactly() {
    let sent = outcome(State::Sent, None);
    for id in [r#""wx\u0049\/\ud83d\ude00""#, "1e999", "12345678901234567890.10", "-0", "\"\u{202E}\""] {
        assert_eq!(text(&answer(&MessageId::from_json(id), &sent)), format!(r#"{{"id":{id},"msgId":null}}"#));
    }
}

#[test]
fn an_answer_says_what_went_wrong() {
    let id = MessageId::from_json("7");
    let mut fault = Fault::new(Code::Refused, "the sender refused it");
    fault.sender = Some(Sender { http: 200, code: Some(-5), msg: Box::from("参数\"错误\n") });
    assert_eq!(
        text(&answer(&id, &outcome(State::Failed, Some(fault.clone())))),
        r#"{"id":7,"error":{"code":"REFUSED","message":"the sender refused it","retryable":false,"sender":{"http":200,"code":-5,"msg":"参数\"错误\n"},"attempts":1}}"#
    );
    fault.sender = Some(Sender { http: 400, code: None, msg: Box::from("") });
    let mut failed = outcome(State::Unresolved, Some(fault));
    failed.possibly_duplicate = true;
    failed.attempts = 3;
    assert_eq!(
        text(&answer(&id, &failed)),
        r#"{"id":7,"error":{"code":"REFUSED","message":"the sender refused it","retryable":false,"sender":{"http":400,"code":null,"msg":""},"possiblyDuplicate":true,"attempts":3}}"#
    );
    assert_eq!(
        text(&answer(&id, &outcome(State::Expired, Some(Fault::new(Code::Expired, "too late"))))),
        r#"{"id":7,"error":{"code":"EXPIRED","message":"too late","retryable":true,"attempts":1}}"#
    );
    assert_eq!(
        text(&answer(&id, &outcome(State::Cancelled, None))),
        r#"{"id":7,"error":{"code":"INTERNAL","message":"the reason is not known: ask for it with message/get","retryable":true,"attempts":1}}"#
    );
}

#[test]
fn a_refusal_has_a_null_id_when_there_was_none() {
    let fault = Fault::of_field(Code::InvalidField, "title", "title must not be blank: fill it in");
    let mut refused = Refusal { id: None, account: None, origin: Origin::default(), fault };
    assert_eq!(
        text(&refusal(&refused)),
        r#"{"id":null,"error":{"code":"INVALID_FIELD","message":"title must not be blank: fill it in","retryable":false,"field":"title"}}"#
    );
    refused.id = Some(MessageId::from_json(r#""1""#));
    refused.fault = Fault::new(Code::QueueFull, "full");
    assert_eq!(
        text(&refusal(&refused)),
        r#"{"id":"1","error":{"code":"QUEUE_FULL","message":"full","retryable":true}}"#
    );
}

#[test]
fn an_event_tells_of_a_message_without_its_content() {
    let plain = send_event(&event(Some(State::Queued)), Some(&message()));
    assert_eq!(
        text(&plain),
        r#"{"seq":42,"id":"a\u0062","account":"168","conversation":"R:1","type":"roomAt","state":"queued","at":"2023-11-14T22:13:20.123Z","attempt":0}"#
    );
    let mut message = message();
    message.request.origin.weak = true;
    message.request.options.tag = Some(Box::from("上午"));
    let mut fault = Fault::new(Code::Refused, "no");
    fault.sender = Some(Sender { http: 200, code: Some(1), msg: Box::from("x") });
    let mut ended = event(Some(State::Failed));
    ended.attempt = 2;
    ended.possibly_duplicate = true;
    ended.outcome = Some(Arc::new(Outcome { msg_id: Some(Box::from("M")), ..outcome(State::Failed, Some(fault)) }));
    assert_eq!(
        text(&send_event(&ended, Some(&message))),
        r#"{"seq":42,"id":"a\u0062","account":"168","conversation":"R:1","type":"roomAt","state":"failed","at":"2023-11-14T22:13:20.123Z","attempt":2,"possiblyDuplicate":true,"msgId":"M","error":{"code":"REFUSED","message":"no","retryable":false,"sender":{"http":200,"code":1,"msg":"x"}},"tag":"上午","weak":true}"#
    );
}

#[test]
fn an_event_tells_of_a_rejected_request() {
    let mut rejected = event(None);
    rejected.seq = None;
    rejected.refusal = Some(Arc::new(Refusal {
        id: Some(MessageId::from_json("1")),
        account: Some(Account::new("168")),
        origin: Origin { weak: true, ..Origin::default() },
        fault: Fault::of_field(Code::UnknownType, "type", "type is not known"),
    }));
    assert_eq!(
        text(&send_event(&rejected, None)),
        r#"{"seq":null,"id":1,"account":"168","conversation":null,"type":null,"state":"rejected","at":"2023-11-14T22:13:20.123Z","attempt":0,"error":{"code":"UNKNOWN_TYPE","message":"type is not known","retryable":false,"field":"type"},"weak":true}"#
    );
}

#[test]
fn a_reply_carries_the_transaction_only_if_there_was_one() {
    let origin = CommandOrigin { name: Box::from("health"), reply_to: None, transaction: None, by: None };
    let mut done = Reply { origin, result: Ok(serde_json::json!({"queued": 3})) };
    assert_eq!(text(&reply(&done)), r#"{"status":"ok","data":{"queued":3}}"#);
    done.origin.transaction = Some(Box::from(r#""a\u0062""#));
    assert_eq!(text(&reply(&done)), r#"{"status":"ok","data":{"queued":3},"transaction":"a\u0062"}"#);
    done.result = Err(Fault::of_field(Code::InvalidField, "id", "id is required"));
    assert_eq!(
        text(&reply(&done)),
        r#"{"status":"error","error":{"code":"INVALID_FIELD","message":"id is required"},"data":{},"transaction":"a\u0062"}"#
    );
    done.origin.transaction = None;
    assert_eq!(
        text(&reply(&done)),
        r#"{"status":"error","error":{"code":"INVALID_FIELD","message":"id is required"},"data":{}}"#
    );
}

#[test]
fn holds_name_their_scope_as_the_command_does() {
    assert_eq!(text(&holds(&[], &[])), r#"{"holds":[],"blocks":[]}"#);
    let of = |scope| Hold { id: HoldId(1), scope, reason: Box::from("r"), by: None, since: AT, until: None };
    for (scope, wanted) in [
        (Scope::All, r#"{"all":true}"#),
        (Scope::Sender(SenderName::new("main")), r#"{"sender":"main"}"#),
        (Scope::Corp(Corp::new("c")), r#"{"corp":"c"}"#),
        (Scope::Account(Account::new("w")), r#"{"account":"w"}"#),
        (Scope::Conversation(Account::new("w"), Box::from("R:1")), r#"{"account":"w","conversation":"R:1"}"#),
    ] {
        assert_eq!(
            text(&holds(&[of(scope)], &[])),
            format!(
                r#"{{"holds":[{{"id":1,"scope":{wanted},"reason":"r","by":null,"since":"2023-11-14T22:13:20.123Z","until":null}}],"blocks":[]}}"#
            )
        );
    }
    let mut ordered = of(Scope::All);
    ordered.by = Some(Box::from("ops"));
    ordered.until = Some(AT);
    let both = holds(&[ordered.clone(), ordered], &[]);
    assert_eq!(
        text(&both)
            .matches(r#""by":"ops","since":"2023-11-14T22:13:20.123Z","until":"2023-11-14T22:13:20.123Z"}"#)
            .count(),
        2
    );
}

#[test]
fn alarms_and_states_are_short() {
    let raised = Alarm { what: "sender_unauthorized", about: Box::from("main"), message: Box::from("check"), at: AT };
    assert_eq!(
        text(&alarm(&raised)),
        r#"{"what":"sender_unauthorized","about":"main","message":"check","at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(text(&state("online")), r#"{"state":"online"}"#);
    assert_eq!(text(&state("stopped")), r#"{"state":"stopped"}"#);
}

#[test]
fn a_block_names_its_selection_as_the_command_does() {
    let block = Block {
        id: HoldId(2),
        selection: Selection {
            id: Some(MessageId::from_json("1.0")),
            tag: Some(Box::from("t")),
            ..Selection::of_id(MessageId::from_json("1.0"), Some(Account::new("w")))
        },
        reason: None,
        by: None,
        since: AT,
        until: AT,
    };
    assert_eq!(
        text(&holds(&[], &[block])),
        r#"{"holds":[],"blocks":[{"id":2,"selection":{"id":1.0,"account":"w","tag":"t"},"reason":null,"by":null,"since":"2023-11-14T22:13:20.123Z","until":"2023-11-14T22:13:20.123Z"}]}"#
    );
}

#[test]
fn a_status_is_its_report_and_nothing_when_it_goes_away() {
    let report = AccountReport {
        at: AT,
        account: Account::new("168"),
        corp: None,
        sender: None,
        state: AccountState::Held,
        reason: Some("paused".to_owned()),
        hold: Some(1),
        until: None,
        queued: 1,
        sending: 0,
        in_doubt: 0,
        next_send_at: None,
        drain_eta: Some(AT),
        sent_last_hour: 2,
        interval_ms: 500,
    };
    let shown = status(&Status::Account(Account::new("168"), Some(Box::new(report))));
    assert_eq!(
        text(&shown),
        r#"{"at":"2023-11-14T22:13:20.123Z","account":"168","corp":null,"sender":null,"state":"held","reason":"paused","hold":1,"queued":1,"sending":0,"inDoubt":0,"nextSendAt":null,"drainEta":"2023-11-14T22:13:20.123Z","sentLastHour":2,"intervalMs":500}"#
    );
    assert!(status(&Status::Account(Account::new("168"), None)).is_empty());
    assert!(status(&Status::Corp(Corp::new("c"), None)).is_empty());
}
