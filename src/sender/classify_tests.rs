use super::*;

/// 2023-11-14T22:13:20Z.
const NOW: Time = Time::from_millis(1_700_000_000_000);

fn rules() -> Rules {
    Rules {
        busy_means_not_done: false,
        temporary: vec![Sign::parse("7001"), Sign::parse("系统繁忙")],
        offline: vec![Sign::parse("7002"), Sign::parse("logged out")],
        unknown: vec![Sign::parse("-7003"), Sign::parse("处理超时")],
    }
}

fn answer(status: u16, body: &str) -> Verdict {
    answer_with(status, None, body)
}

fn answer_with(status: u16, retry_after: Option<&str>, body: &str) -> Verdict {
    let retry_after = retry_after.map(|header| Bytes::copy_from_slice(header.as_bytes()));
    let body = AnswerBody::Whole(Bytes::copy_from_slice(body.as_bytes()));
    classify(Observed::Answer { status, retry_after, body }, &rules(), NOW)
}

/// The class of a verdict with the reason, without the free text.
fn class(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Confirmed { msg_id } => format!("confirmed {}", msg_id.as_deref().unwrap_or("-")),
        Verdict::Refused { sender } => format!("refused {} {:?} {}", sender.http, sender.code, sender.msg),
        Verdict::NotSent { why, .. } => format!("not sent {}", why.as_str()),
        Verdict::Unknown { why: Doubt::Status(status), .. } => format!("unknown status {status}"),
        Verdict::Unknown { why: Doubt::Code(code), .. } => format!("unknown code {code}"),
        Verdict::Unknown { why, .. } => format!("unknown {}", why.as_str()),
    }
}

#[test]
fn what_ends_before_an_answer() {
    let detail = || Box::from("why");
    let connect = classify(Observed::ConnectFailed { detail: detail() }, &rules(), NOW);
    assert_eq!(connect, Verdict::NotSent { why: NotSent::Connect, detail: detail() });
    assert_eq!(class(&classify(Observed::TimedOut, &rules(), NOW)), "unknown timeout");
    let broken = classify(Observed::Broken { detail: detail() }, &rules(), NOW);
    assert_eq!(broken, Verdict::Unknown { why: Doubt::Reset, detail: detail() });
}

#[test]
fn why_an_answer_cannot_be_read_is_told_in_our_words() {
    let long = "a text of the server".repeat(100);
    for body in [format!("\"{long}\""), format!("{{\"code\":\"{long}\"}}")] {
        let body = AnswerBody::Whole(Bytes::from(body));
        let verdict = classify(Observed::Answer { status: 200, retry_after: None, body }, &rules(), NOW);
        let Verdict::Unknown { why: Doubt::Unreadable, detail } = verdict else { panic!("{verdict:?}") };
        assert!(detail.len() < 200 && !detail.contains("text of"), "{detail}");
    }
}

#[test]
fn a_status_that_is_no_success() {
    let table = [
        (101, "", "unknown status 101"),
        (301, "", "unknown status 301"),
        (307, r#"{"code":0,"data":{"msgId":"a"}}"#, "unknown status 307"),
        (400, "", "refused 400 None "),
        (400, "bad title", "refused 400 None bad title"),
        (400, r#"{"code":12,"msg":"bad title"}"#, "refused 400 Some(12) bad title"),
        (400, r#"{"code":12,"msg":"企微不在线"}"#, "not sent offline"),
        (400, r#"{"code":7001,"msg":""}"#, "not sent temporary"),
        (400, r#"{"code":-7003,"msg":""}"#, "unknown code -7003"),
        // A refusal that also says "done" is a refusal: the status is not taken back by the body.
        (404, r#"{"code":0,"msg":"x"}"#, r#"refused 404 None {"code":0,"msg":"x"}"#),
        (401, r#"{"code":0,"data":{"msgId":"a"}}"#, "not sent unauthorized"),
        (403, "", "not sent unauthorized"),
        (429, "", "not sent too_frequent"),
        (500, r#"{"code":0,"data":{"msgId":"a"}}"#, "unknown status 500"),
        (500, r#"{"code":1,"msg":"账号不在线"}"#, "unknown status 500"),
        (502, "", "unknown status 502"),
        (503, "", "unknown status 503"),
        (504, "", "unknown status 504"),
        (599, "", "unknown status 599"),
    ];
    for (status, body, expected) in table {
        assert_eq!(class(&answer(status, body)), expected, "{status} {body}");
    }
}

#[test]
fn a_success_that_says_done() {
    let table = [
        (r#"{"msg":"","code":0,"data":{"msgId":"3c2bbad6-2766"}}"#, "confirmed 3c2bbad6-2766"),
        (r#" {"data":{"msgId":"a","more":[1,{"code":5}]},"code":0,"more":null} "#, "confirmed a"),
        (r#"{"code":0,"data":{"msgId":"\u00e9"}}"#, "confirmed é"),
        (r#"{"code":0,"data":{"msgId":90071992547409931}}"#, "confirmed 90071992547409931"),
        (r#"{"code":0}"#, "confirmed -"),
        (r#"{"code":0,"data":null}"#, "confirmed -"),
        (r#"{"code":0,"data":{}}"#, "confirmed -"),
        (r#"{"code":0,"data":{"msgId":null}}"#, "confirmed -"),
        (r#"{"code":0,"data":{"msgId":" "}}"#, "confirmed -"),
        (r#"{"code":0,"data":{"msgId":{"a":1}}}"#, "confirmed -"),
        (r#"{"code":0,"data":{"msgId":"a","msgId":"b"}}"#, "confirmed -"),
        (r#"{"code":0,"data":"text"}"#, "confirmed -"),
        (r#"{"code":0,"data":[]}"#, "confirmed -"),
        // The words are only for people, so their type decides nothing.
        (r#"{"code":0,"msg":5,"data":{"msgId":"a"}}"#, "confirmed a"),
        // No list speaks about a code of 0.
        (r#"{"code":0,"msg":"系统繁忙","data":{"msgId":"a"}}"#, "confirmed a"),
    ];
    for (body, expected) in table {
        assert_eq!(class(&answer(200, body)), expected, "{body}");
    }
    let long = format!(r#"{{"code":0,"data":{{"msgId":"{}"}}}}"#, "x".repeat(MSG_ID_BYTES_MAX + 1));
    assert_eq!(class(&answer(200, &long)), "confirmed -");
}

#[test]
fn a_success_that_cannot_be_read() {
    let table = [
        "",
        "<html>ok</html>",
        "{",
        r#"{"code":0"#,
        r#"{"code":0}{"code":0}"#,
        r#"{"code":0,"code":0}"#,
        r#"{"code":1,"code":0}"#,
        r#"{"code":"0"}"#,
        r#"{"code":0.0}"#,
        r#"{"code":0e0}"#,
        r#"{"code":-0}"#,
        r#"{"code":null}"#,
        r#"{"code":true}"#,
        r#"{"code":99999999999999999999}"#,
        r#"{"msg":"","data":{"msgId":"a"}}"#,
        r#"{"Code":0}"#,
        "null",
        "0",
        r#""code""#,
        r#"[{"code":0}]"#,
    ];
    for body in table {
        assert_eq!(class(&answer(200, body)), "unknown unreadable", "{body}");
    }
    let latin = AnswerBody::Whole(Bytes::from_static(b"{\"code\":0,\"data\":{\"msgId\":\"\xe9\"}}"));
    let verdict = classify(Observed::Answer { status: 200, retry_after: None, body: latin }, &rules(), NOW);
    assert_eq!(class(&verdict), "unknown unreadable");
}

#[test]
fn a_success_with_another_code() {
    let table = [
        (r#"{"code":1,"msg":"no such conversation"}"#, "refused 200 Some(1) no such conversation"),
        (r#"{"code":-1,"data":null}"#, "refused 200 Some(-1) "),
        (r#"{"code":1,"msg":7}"#, "refused 200 Some(1) 7"),
        (r#"{"code":-1000999,"msg":"Abnormal request frequency"}"#, "not sent too_frequent"),
        (r#"{"code":1,"msg":"发送失败:账号不在线"}"#, "not sent offline"),
        (r#"{"code":1,"msg":"\u4f01\u5fae\u4e0d\u5728\u7ebf"}"#, "not sent offline"),
        (r#"{"code":7002,"msg":""}"#, "not sent offline"),
        (r#"{"code":1,"msg":"was logged out"}"#, "not sent offline"),
        (r#"{"code":7001,"msg":""}"#, "not sent temporary"),
        (r#"{"code":1,"msg":"系统繁忙,请稍后"}"#, "not sent temporary"),
        (r#"{"code":-7003,"msg":"账号不在线"}"#, "unknown code -7003"),
        (r#"{"code":7001,"msg":"处理超时"}"#, "unknown code 7001"),
    ];
    for (body, expected) in table {
        assert_eq!(class(&answer(200, body)), expected, "{body}");
    }
    let until = answer_with(200, Some("5"), r#"{"code":7001,"msg":""}"#);
    let waits = Some(Duration::from_secs(5));
    assert!(matches!(until, Verdict::NotSent { why: NotSent::Temporary { retry_after }, .. } if retry_after == waits));
    // The operator's lists win over what is built in.
    let moved = Rules { unknown: vec![Sign::Code(CODE_TOO_FREQUENT)], ..Rules::default() };
    let body = AnswerBody::Whole(Bytes::from_static(br#"{"code":-1000999,"msg":""}"#));
    let verdict = classify(Observed::Answer { status: 200, retry_after: None, body }, &moved, NOW);
    assert_eq!(class(&verdict), "unknown code -1000999");
    // An empty entry is in every text; it must not match any.
    assert!(!Sign::parse("  ").matches(1, "anything"));
}

#[test]
fn a_body_that_is_not_whole_is_only_missed_where_it_decides() {
    let cut = || AnswerBody::Cut { why: Doubt::Unreadable, detail: Box::from("cut") };
    let late = || AnswerBody::Cut { why: Doubt::Timeout, detail: Box::from("late") };
    let table = [
        (200, cut(), "unknown unreadable"),
        (200, late(), "unknown timeout"),
        (200, AnswerBody::TooLarge, "unknown unreadable"),
        (400, cut(), "refused 400 None "),
        (400, AnswerBody::TooLarge, "refused 400 None "),
        (401, cut(), "not sent unauthorized"),
        (429, late(), "not sent too_frequent"),
        (500, cut(), "unknown status 500"),
    ];
    for (status, body, expected) in table {
        let name = format!("{status} {body:?}");
        let verdict = classify(Observed::Answer { status, retry_after: None, body }, &rules(), NOW);
        assert_eq!(class(&verdict), expected, "{name}");
    }
}

#[test]
fn busy_is_proof_only_with_a_wish_for_another_try_or_the_operators_word() {
    let why = |verdict| match verdict {
        Verdict::NotSent { why, .. } => Some(why),
        Verdict::Confirmed { .. } | Verdict::Refused { .. } | Verdict::Unknown { .. } => None,
    };
    let wait = Some(Duration::from_secs(5));
    assert_eq!(why(answer_with(503, Some("5"), "")), Some(NotSent::Busy { retry_after: wait }));
    assert_eq!(why(answer_with(503, Some("soon"), "")), Some(NotSent::Busy { retry_after: None }));
    assert_eq!(why(answer_with(503, None, "")), None);
    assert_eq!(why(answer_with(429, Some("5"), "")), Some(NotSent::TooFrequent { retry_after: wait }));
    assert_eq!(why(answer_with(429, Some("soon"), "")), Some(NotSent::TooFrequent { retry_after: None }));
    let frequent = answer_with(200, Some("5"), r#"{"code":-1000999}"#);
    assert_eq!(why(frequent), Some(NotSent::TooFrequent { retry_after: wait }));
    let stated = Rules { busy_means_not_done: true, ..Rules::default() };
    let observed = Observed::Answer { status: 503, retry_after: None, body: AnswerBody::Whole(Bytes::new()) };
    assert_eq!(why(classify(observed, &stated, NOW)), Some(NotSent::Busy { retry_after: None }));
}

#[test]
fn retry_after_in_every_form() {
    let seconds = |wait| Some(Duration::from_secs(wait));
    let table = [
        ("0", seconds(0)),
        ("5", seconds(5)),
        (" 5 ", seconds(5)),
        ("3601", seconds(3600)),
        ("1000000000", seconds(3600)),
        ("99999999999999999999999999", seconds(3600)),
        ("-5", seconds(0)),
        ("Tue, 14 Nov 2023 22:13:50 GMT", seconds(30)),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", seconds(30)),
        ("Tue Nov 14 22:13:50 2023", seconds(30)),
        ("Tue, 14 Nov 2023 22:13:00 GMT", seconds(0)),
        ("Fri, 14 Nov 2053 22:13:00 GMT", seconds(3600)),
        ("Sun, 06 Nov 1904 08:49:37 GMT", seconds(0)),
        ("1e9", None),
        ("5.5", None),
        ("-", None),
        ("", None),
        ("tomorrow", None),
        ("\u{4e94}", None),
    ];
    for (header, expected) in table {
        assert_eq!(read_retry_after(header.as_bytes(), NOW), expected, "{header}");
    }
    assert_eq!(read_retry_after(b"\xff", NOW), None);
}

#[test]
fn long_words_are_cut_between_characters() {
    let body = format!(r#"{{"code":1,"msg":"{}"}}"#, "好".repeat(WORDS_CHARS_MAX + 1));
    let Verdict::Refused { sender } = answer(200, &body) else { panic!("not refused") };
    assert_eq!(sender.msg.chars().count(), WORDS_CHARS_MAX);
}

/// Bodies that are nearly the API's: its own pieces in any order.
fn body() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let pieces = [
        "{",
        "}",
        "[",
        ",",
        ":",
        "\"code\"",
        "\"msg\"",
        "\"data\"",
        "\"msgId\"",
        "0",
        "-1000999",
        "1",
        "\"a\"",
        "null",
        "\"账号不在线\"",
        "{\"code\":0",
        "\"data\":{\"msgId\":\"a\"}}",
        " ",
        "\\",
        "\u{feff}",
    ];
    let pieces = proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..12);
    prop_oneof![pieces.prop_map(|pieces| pieces.concat().into_bytes()), proptest::collection::vec(any::<u8>(), 0..64),]
}

proptest::proptest! {
    #[test]
    fn only_a_whole_success_with_a_plain_zero_confirms(
        status in 100_u16..1000,
        retry_after in proptest::option::of(".{0,40}"),
        body in body(),
    ) {
        let observed = Observed::Answer {
            status,
            retry_after: retry_after.map(Bytes::from),
            body: AnswerBody::Whole(Bytes::from(body.clone())),
        };
        if let Verdict::Confirmed { .. } = classify(observed, &rules(), NOW) {
            proptest::prop_assert!((200..300).contains(&status));
            let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            proptest::prop_assert_eq!(value["code"].as_i64(), Some(0));
        }
    }
}
