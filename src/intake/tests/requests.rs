use super::*;
use crate::intake::rules::{RULES, Shape};
use crate::model::{Code, Lifetime};

fn fixture(kind: &str) -> String {
    let path = format!("{}/tests/data/requests/{kind}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn takes_the_documented_message_and_forwards_it_verbatim() {
    let payload = r#"{"wxId":"1688850407900545","conversationId":"S:1688850407900545_7881301954974667","content":"你好啊","type":"text","id":"1234567"}"#;
    let request = accepted(payload);
    assert_eq!(request.id.as_json(), r#""1234567""#);
    assert_eq!(&*request.kind, "text");
    assert_eq!(request.account.as_str(), "1688850407900545");
    assert_eq!(&*request.conversation, "S:1688850407900545_7881301954974667");
    assert_eq!(request.options, Default::default());
    assert!(!request.origin.weak);
    assert_eq!(
        std::str::from_utf8(&request.body),
        Ok(r#"{"wxId":"1688850407900545","conversationId":"S:1688850407900545_7881301954974667","content":"你好啊"}"#)
    );
}

#[test]
fn forwards_strange_spellings_byte_for_byte() {
    let payload = " {\"ID\" : 12345678901234567890.10e+5 ,\n\"Type\":\"TEXT\",\t\"wx\\u0049d\" :\"\\u0077\", \
        \"conversationid\":\"S:1\\/2\",\"CONTENT\":\"\\ud83d\\ude00\\n\",\"big\":9007199254740993,\"f\":1.10,\
        \"n\":null,\"deep\": { \"a\" : [ 1 , 2 ] },\"Bridge\":{\"priority\":9}}\r\n";
    let request = accepted(payload);
    assert_eq!(request.id.as_json(), "12345678901234567890.10e+5");
    assert_eq!(request.account.as_str(), "w");
    assert_eq!(&*request.conversation, "S:1/2");
    assert_eq!(request.options.priority, Some(9));
    assert_eq!(
        std::str::from_utf8(&request.body),
        Ok("{\"wx\\u0049d\":\"\\u0077\",\"conversationid\":\"S:1\\/2\",\"CONTENT\":\"\\ud83d\\ude00\\n\",\
            \"big\":9007199254740993,\"f\":1.10,\"n\":null,\"deep\":{ \"a\" : [ 1 , 2 ] }}")
    );
}

#[test]
fn takes_one_of_every_type_and_misses_each_required_field() {
    for rule in &RULES {
        let kind = rule.kind;
        let payload = fixture(kind);
        assert_eq!(&*accepted(&payload).kind, kind);
        let required = rule.required.iter().map(|&(name, _)| name).chain(["wxId", "conversationId"]);
        for name in required {
            let without = rename(&payload, name);
            assert_eq!(refused(&without), format!("INVALID_FIELD {name} {name} is required for type {kind}: add it"));
        }
    }
}

/// The payload with the member of that name called otherwise.
fn rename(payload: &str, name: &str) -> String {
    let lower = payload.to_ascii_lowercase();
    let at = lower.find(&format!("\"{}\":", name.to_ascii_lowercase())).unwrap_or_else(|| panic!("no {name}"));
    format!("{}\"x{}", &payload[..at], &payload[at + 1..])
}

/// The payload with another value for the member of that name.
fn revalue(payload: &str, name: &str, value: &str) -> String {
    let renamed = rename(payload, name);
    let end = renamed.rfind('}').expect("an object");
    format!("{},\"{name}\":{value}}}", &renamed[..end])
}

#[test]
fn refuses_required_fields_of_another_json_type() {
    for rule in &RULES {
        let payload = fixture(rule.kind);
        for &(name, shape) in rule.required {
            let wanted = match shape {
                Shape::Text | Shape::Written | Shape::Filled => {
                    format!("{name} must be a string, not null: write it in quotes")
                }
                Shape::Integer => {
                    format!("{name} must be a whole number, not null: write it with digits only and without quotes")
                }
                Shape::Number => {
                    format!("{name} must be a number or a string, not null: take it from the sender's list")
                }
                Shape::List => {
                    format!(r#"{name} must be a list, not null: write it like ["id"], or ["0"] for everybody"#)
                }
            };
            assert_eq!(refused(&revalue(&payload, name, "null")), format!("INVALID_FIELD {name} {wanted}"));
        }
    }
}

/// Payloads with the field and the message of their refusal.
fn assert_refused(cases: &[(String, &str)]) {
    for (payload, wanted) in cases {
        assert_eq!(refused(payload), format!("INVALID_FIELD {wanted}"), "{payload}");
    }
}

#[test]
fn says_what_is_wrong_with_a_type() {
    let text = text_with("");
    let known = "text, image, personCard, link, file, video, miniProgram, roomAt, gif, videoNum, voice, quote, \
        miniProgramById, videoNumById, moments";
    for (payload, wanted) in [
        (rename(&text, "type"), format!("INVALID_FIELD type type is required: add one of {known}")),
        (
            revalue(&text, "type", "1"),
            format!("INVALID_FIELD type type must be a string, not a number: use one of {known}"),
        ),
        (revalue(&text, "type", r#""secret""#), format!("UNKNOWN_TYPE type type is not known: use one of {known}")),
    ] {
        assert_eq!(refused(&payload), wanted);
    }
}

#[test]
fn says_what_is_wrong_with_an_id() {
    let long = "é".repeat(65);
    let text = text_with("");
    assert_refused(&[
        (rename(&text, "id"), "id id is required: add a string or a number, another one per message"),
        (revalue(&text, "id", "null"), "id id must be a string or a number, not null: choose one per message"),
        (revalue(&text, "id", "[1]"), "id id must be a string or a number, not a list: choose one per message"),
        (revalue(&text, "id", "true"), "id id must be a string or a number, not true or false: choose one per message"),
        (revalue(&text, "id", "{}"), "id id must be a string or a number, not an object: choose one per message"),
        (revalue(&text, "id", r#""""#), "id id must not be empty: choose one per message"),
        (revalue(&text, "id", r#""a\u0000""#), "id id must not contain control characters: remove them"),
        (revalue(&text, "id", r#""a\u0085""#), "id id must not contain control characters: remove them"),
        (revalue(&text, "id", &format!("\"{long}\"")), "id id is 130 bytes long, at most 128 are allowed: shorten it"),
        (revalue(&text, "id", &"1".repeat(129)), "id id is 129 bytes long, at most 128 are allowed: shorten it"),
    ]);
}

#[test]
fn says_what_is_wrong_with_an_account_or_conversation() {
    let long = "é".repeat(65);
    let text = text_with("");
    assert_refused(&[
        (
            revalue(&text, "wxId", "1688850407900545"),
            "wxId wxId must be a string, not a number: write it in quotes, \
            because a number beyond 2^53 loses digits on its way",
        ),
        (revalue(&text, "wxId", "null"), "wxId wxId must be a string, not null: write it in quotes"),
        (revalue(&text, "wxId", r#"" \u3000""#), "wxId wxId must not be blank: fill it in"),
        (revalue(&text, "wxId", r#""a\n""#), "wxId wxId must not contain control characters: remove them"),
        (
            revalue(&text, "wxId", &format!("\"{long}\"")),
            "wxId wxId is 130 bytes long, at most 128 are allowed: shorten it",
        ),
        (revalue(&text, "conversationId", r#""""#), "conversationId conversationId must not be blank: fill it in"),
        (
            revalue(&text, "conversationId", "[]"),
            "conversationId conversationId must be a string, not a list: write it in quotes",
        ),
        (
            revalue(&text, "conversationId", &format!("\"{}\"", "x".repeat(257))),
            "conversationId conversationId is 257 bytes long, at most 256 are allowed: shorten it",
        ),
    ]);
}

#[test]
fn says_what_is_wrong_with_the_fields_of_a_type() {
    let text = text_with("");
    assert_refused(&[
        (revalue(&text, "content", r#""""#), "content content must not be empty: fill it in"),
        (revalue(&text, "content", "5"), "content content must be a string, not a number: write it in quotes"),
        (revalue(&fixture("link"), "title", r#""  ""#), "title title must not be blank: fill it in"),
        (
            revalue(&fixture("roomAt"), "conversationId", r#""S:1_2""#),
            "conversationId conversationId must begin with \
            R: for type roomAt: only groups can be sent to with atList",
        ),
        (
            revalue(&fixture("roomAt"), "atList", r#""0""#),
            r#"atList atList must be a list, not a string: write it like ["id"], or ["0"] for everybody"#,
        ),
        (
            revalue(&fixture("videoNum"), "feed_type", "4.0"),
            "feed_type feed_type must be a whole number, not this \
            number: write it with digits only and without quotes",
        ),
        (
            revalue(&fixture("videoNum"), "feed_type", r#""4""#),
            "feed_type feed_type must be a whole number, not a \
            string: write it with digits only and without quotes",
        ),
        (
            revalue(&fixture("miniProgramById"), "miniProgramId", "[]"),
            "miniProgramId miniProgramId must be a number or \
            a string, not a list: take it from the sender's list",
        ),
    ]);
}

#[test]
fn lets_pass_what_the_sender_does_not_forbid() {
    let text = text_with("");
    for payload in [
        revalue(&text, "id", "1e999"),
        revalue(&text, "id", "-0"),
        revalue(&text, "id", "\"\u{202E}abc\""),
        revalue(&text, "id", &format!("\"{}\"", "x".repeat(128))),
        revalue(&text, "type", r#""Moments""#),
        revalue(&text, "type", r#""MINIPROGRAM""#).replace(
            "content",
            "username\":\"\",\"appid\":\"\",\"appname\":\
            \"\",\"appicon\":\"\",\"title\":\"\",\"page_path\":\"\",\"cover_path",
        ),
        revalue(&text, "content", r#"" ""#),
        text_with(r#","desc":null,"unknown":{"a":[]},"quote":5,"":0"#),
        revalue(&fixture("miniProgramById"), "miniProgramId", r#""7""#),
        revalue(&fixture("roomAt"), "atList", "[]"),
        revalue(&fixture("image"), "fileUrl", r#""""#),
    ] {
        accepted(&payload);
    }
    assert_eq!(accepted(&revalue(&text, "id", "1e999")).id.as_json(), "1e999");
    assert_eq!(&*accepted(&revalue(&text, "type", r#""Moments""#)).kind, "moments");
}

#[test]
fn refuses_names_that_differ_in_case_only() {
    let message = |one: &str, other: &str| {
        format!(
            "INVALID_FIELD {one} \"{one}\" and \"{other}\" are one name, because case does not count: send only one of them"
        )
    };
    assert_eq!(refused(&text_with(r#","WXID":"v""#)), message("wxId", "WXID"));
    assert_eq!(refused(&text_with(r#","wxId":"w""#)), message("wxId", "wxId"));
    assert_eq!(refused(&text_with(r#","wx\u0049D":"v""#)), message("wxId", "wxID"));
    assert_eq!(refused(&text_with(r#","x":1,"X":2"#)), message("x", "X"));
    assert_eq!(refused(&text_with(r#","a\"":1,"A\"":2"#)), message("a\\\"", "A\\\""));
    for pair in [
        "\"conver\u{17f}ationId\":\"S:x_y\"",
        "\"CONVER\u{17f}ATIONID\":\"S:x_y\"",
        "\"k\":1,\"\u{212a}\":2",
        "\"\u{445}\":1,\"\u{425}\":2",
    ] {
        let said = refused(&text_with(&format!(",{pair}")));
        assert!(said.starts_with("INVALID_FIELD") && said.contains("are one name"), "{pair}: {said}");
    }
    accepted(&text_with(r#","名称":"a","名稱":"b","straße":1,"strasse":2"#));
    let long = "y".repeat(65);
    let cut = format!("{}…", "y".repeat(64));
    assert_eq!(refused(&text_with(&format!(r#","{long}":1,"{long}":2"#))), message(&cut, &cut));
    let twice = refused_bytes(meta(), text_with(r#","Id":"2""#).as_bytes());
    assert_eq!(twice.id, None, "nobody knows which of the two it is");
    let other = refused_bytes(meta(), text_with(r#","x":1,"X":2"#).as_bytes());
    assert_eq!(other.id.expect("readable").as_json(), r#""1""#);
}

#[test]
fn refuses_what_is_no_json_object_without_repeating_it() {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let half = |line: &str| {
        format!(
            "INVALID_JSON - payload has half a surrogate pair at {line}: send whole characters, \\uD83D alone is none"
        )
    };
    for (payload, wanted) in [
        (String::new(), "INVALID_JSON - payload is not valid JSON, EOF while parsing a value at line 1 column 0: send one JSON object".to_owned()),
        ("[1]".into(), "INVALID_JSON - payload is not a JSON object: put the fields between { and }".into()),
        ("\"secret\"".into(), "INVALID_JSON - payload is not a JSON object: put the fields between { and }".into()),
        ("null".into(), "INVALID_JSON - payload is not a JSON object: put the fields between { and }".into()),
        ("secret".into(), "INVALID_JSON - payload is not valid JSON, expected value at line 1 column 1: send one JSON object".into()),
        (format!("{} x", text_with("")), "INVALID_JSON - payload is not valid JSON, trailing characters at line 1 column 76: send one JSON object".into()),
        (text_with(",\n"), "INVALID_JSON - payload is not valid JSON, trailing comma at line 2 column 1: send one JSON object".into()),
        (text_with(r#","a":01"#), "INVALID_JSON - payload is not valid JSON, invalid number at line 1 column 80: send one JSON object".into()),
        (text_with(",\"a\":\"\n\""), "INVALID_JSON - payload is not valid JSON, control character (\\u0000-\\u001F) found while parsing a string at line 1 column 79: send one JSON object".into()),
        (text_with(",\n\"a\":\"\\ud83d\""), half("line 2 column 6")),
        (text_with(",\n\"a\":\"x\\udE00\\ud83d\""), half("line 2 column 7")),
        (text_with(",\n\"a\":\"\\ud83d\\u0041\""), half("line 2 column 6")),
        (text_with(",\n\"\\ud83d\":1"), half("line 2 column 2")),
        (text_with(&format!(",\n\"a\":{}", deep(127))), "INVALID_JSON - payload is nested deeper than 127 levels at line 2 column 131: send a flatter object".into()),
        (text_with(&format!(",\n\"a\":{}", deep(20_000))), "INVALID_JSON - payload is nested deeper than 127 levels at line 2 column 131: send a flatter object".into()),
        ("[".repeat(20_000), "INVALID_JSON - payload is not a JSON object: put the fields between { and }".into()),
    ] {
        assert_eq!(refused(&payload), wanted, "{payload}");
    }
    accepted(&text_with(&format!(",\"a\":{}", deep(126))));
    accepted(&text_with(r#","a":"\\ud83d\ud83d\ude00""#));
    let open = format!("{{\"a\":{}", "{\"a\":".repeat(20_000));
    assert!(refused(&open).starts_with("INVALID_JSON - payload is not valid JSON, EOF"), "no stack is used up");
}

#[test]
fn refuses_bytes_that_are_no_text() {
    let refusal = |payload: &[u8]| {
        let fault = refused_bytes(meta(), payload).fault;
        assert_eq!(fault.code, Code::InvalidJson);
        fault.message.to_string()
    };
    assert_eq!(refusal(b"{\"a\":\"\xFF\"}"), "payload is not UTF-8 at byte 6: encode it as UTF-8");
    assert_eq!(refusal(b"{\"a\":\"\xED\xA0\x80\"}"), "payload is not UTF-8 at byte 6: encode it as UTF-8");
    assert_eq!(refusal(b"\xEF\xBB\xBF{}"), "payload begins with a byte order mark: send UTF-8 without it");
    assert_eq!(
        refusal(b"{\0\"a\":1}"),
        "payload is not valid JSON, key must be a string at line 1 column 2: send one JSON object"
    );
}

#[test]
fn refuses_retained_and_large_payloads_with_their_id() {
    let retained = refused_bytes(PacketMeta { retain: true, ..meta() }, text_with("").as_bytes());
    assert_eq!(
        retained.fault.to_string(),
        "RETAINED: retained messages are never sent: publish without the retain flag"
    );
    assert_eq!(retained.id.expect("readable").as_json(), r#""1""#);
    assert_eq!(retained.account.expect("readable").as_str(), "w");
    let broken = refused_bytes(PacketMeta { retain: true, ..meta() }, b"{");
    assert_eq!(broken.fault.code, Code::Retained);
    assert_eq!(broken.id, None);

    let fill = |bytes: usize| {
        let spare = bytes - text_with(r#","x":"""#).len();
        text_with(&format!(r#","x":"{}""#, "x".repeat(spare)))
    };
    accepted(&fill(256 * 1024));
    let large = refused_bytes(meta(), fill(256 * 1024 + 1).as_bytes());
    assert_eq!(
        large.fault.to_string(),
        "TOO_LARGE: payload is 262145 bytes long, at most 262144 are allowed: send large content as a file"
    );
    assert_eq!(large.id.expect("readable").as_json(), r#""1""#);
    let absurd = refused_bytes(meta(), fill(1024 * 1024 + 1).as_bytes());
    assert_eq!(absurd.fault.code, Code::TooLarge);
    assert_eq!(absurd.id, None);
}

#[test]
fn a_refusal_has_the_id_only_where_it_is_one() {
    let refusal = refused_bytes(meta(), br#"{"id":"7","type":"text"}"#);
    assert_eq!(refusal.id.expect("readable").as_json(), r#""7""#);
    assert_eq!(refusal.account, None);
    assert_eq!(refused_bytes(meta(), br#"{"id":"\u0000","type":"text"}"#).id, None);
    assert_eq!(refused_bytes(meta(), br#"{"id":["7"],"type":"text"}"#).id, None);
    let half = refused_bytes(meta(), br#"{"id":"7","content":"\ud83d"}"#);
    assert_eq!(half.id.expect("readable").as_json(), r#""7""#);
    assert_eq!(refused_bytes(meta(), br#"{"id":"\ud83d"}"#).id, None);
}

#[test]
fn keeps_the_way_back_only_where_it_is_allowed() {
    let asked = |topic: &str| PacketMeta {
        qos: 0,
        response_topic: Some(topic.to_owned()),
        correlation: Some(Bytes::from_static(b"\x00\xFF")),
        ticket: None,
        ..PacketMeta::default()
    };
    let allowed = accepted_with(asked("reply/me"), &text_with(""));
    assert!(allowed.origin.weak);
    let wanted = ReplyTo { topic: Box::from("reply/me"), correlation: Some(Bytes::from_static(b"\x00\xFF")) };
    assert_eq!(allowed.origin.reply_to.as_ref(), Some(&wanted));
    let own = ReplyTo { topic: Box::from("reply/app1/me"), ..wanted };
    assert_eq!(refused_bytes(asked("reply/app1/me"), b"").origin.reply_to, Some(own));
    assert_eq!(refused_bytes(asked("reply/me"), b"").origin.reply_to, None, "it is another publisher's");
    let long = format!("reply/{}", "x".repeat(1024));
    for topic in ["SendMessage", "reply/#", "elsewhere", "", &long] {
        assert_eq!(accepted_with(asked(topic), &text_with("")).origin.reply_to, None, "{topic}");
    }
    let heavy = PacketMeta { correlation: Some(Bytes::from(vec![0; 1025])), ..asked("reply/me") };
    assert_eq!(
        accepted_with(heavy, &text_with("")).origin.reply_to,
        None,
        "a message of some bytes would carry it along"
    );
}

#[test]
fn the_fingerprint_counts_what_is_sent_and_nothing_else() {
    let same = accepted(r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","content":"a b","x":[1,"\" "]}"#);
    for payload in [
        r#"{"x":[1,"\" "],"content":"a b","conversationId":"c","wxId":"w","type":"text","id":"2"}"#,
        r#"{ "ID":1, "TYPE":"TEXT", "WXID":"w", "conversationID":"c", "content":"a b", "X":[ 1 , "\" " ] }"#,
        r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","content":"a b","x":[1,"\" "],"bridge":{"ttl":5}}"#,
        r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","c\u006fntent":"a b","x":[1,"\" "]}"#,
    ] {
        assert_eq!(accepted(payload).fingerprint, same.fingerprint, "{payload}");
    }
    for payload in [
        r#"{"id":"1","type":"moments","wxId":"w","conversationId":"c","content":"a b","x":[1,"\" "]}"#,
        r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","content":"ab","x":[1,"\" "]}"#,
        r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","content":"a b","x":[1,"\""]}"#,
        r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","content":"a b","x":[1.0,"\" "]}"#,
        r#"{"id":"1","type":"text","wxId":"w","conversationId":"c","content":"a b"}"#,
    ] {
        assert_ne!(accepted(payload).fingerprint, same.fingerprint, "{payload}");
    }
}

#[test]
fn the_message_expiry_is_a_lifetime() {
    let expiring = PacketMeta { expiry: Some(Duration::from_secs(60)), ..meta() };
    let options = |members: &str| accepted_with(expiring.clone(), &text_with(members)).options;
    assert_eq!(options("").lifetime, Some(Lifetime::For(Duration::from_secs(60))));
    assert_eq!(options(r#","bridge":{"ttl":30}"#).lifetime, Some(Lifetime::For(Duration::from_secs(30))));
    assert_eq!(options(r#","bridge":{"ttl":90}"#).lifetime, Some(Lifetime::For(Duration::from_secs(60))));
    let both = options(r#","bridge":{"expiresAt":"2026-01-01T00:00:00Z"}"#);
    assert_eq!(both.message_expiry, Some(Duration::from_secs(60)));
    assert!(matches!(both.lifetime, Some(Lifetime::Until(_))));
}

/// What tells two messages from one that comes again is the id. The fingerprint is about the content: it tells a repeat
/// from an id that is used for something else.
#[test]
fn one_content_under_two_ids_is_two_requests_of_one_fingerprint() {
    let payload = |id: &str, content: &str| {
        accepted(&format!(r#"{{"wxId":"1","conversationId":"S:1","content":"{content}","type":"text","id":"{id}"}}"#))
    };
    let (first, other) = (payload("a", "hello"), payload("b", "hello"));
    assert_ne!(first.id, other.id);
    assert_eq!((first.fingerprint, &first.body), (other.fingerprint, &other.body));
    let (again, changed) = (payload("a", "hello"), payload("a", "hello!"));
    assert_eq!((&again.id, again.fingerprint), (&first.id, first.fingerprint));
    assert_eq!(changed.id, first.id);
    assert_ne!(changed.fingerprint, first.fingerprint);
}
