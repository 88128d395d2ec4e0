use super::*;
use crate::intake::object::Object;
use crate::model::Code;
use proptest::prelude::*;

/// JSON text with white space where it may be, kept as text because no writer would spell it like that.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("9007199254740993".to_owned()),
        Just("1.10".to_owned()),
        Just("-0.0e-99".to_owned()),
        Just(r#""\ud83d\ude00\/\u0041""#.to_owned()),
        Just(r#""\\\"""#.to_owned()),
        any::<f64>().prop_map(|number| serde_json::to_string(&number).expect("a number or null")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {}]", items.join(" ,\n"))),
            prop::collection::vec(("[a-z\\\\]{0,3}", inner), 0..4).prop_map(|members| {
                let name = |text: &str| serde_json::to_string(text).expect("a string");
                let members: Vec<String> =
                    members.iter().map(|(text, value)| format!("{}\t: {value}", name(text))).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A name as some writers spell it: with escapes that mean the same.
fn spelled(name: &str, escape_every: usize) -> String {
    let characters: String = name
        .chars()
        .enumerate()
        .map(|(position, character)| match position % escape_every {
            0 => format!("\\u{:04x}", u32::from(character)),
            _ => character.to_string(),
        })
        .collect();
    format!("\"{characters}\"")
}

proptest! {
    #[test]
    fn any_bytes_give_one_input_with_its_ticket(payload in prop::collection::vec(any::<u8>(), 0..200), retain: bool) {
        let given = PacketMeta { retain, ..meta() };
        let input = parse_request(&settings(), None, given.clone(), &payload);
        let (Input::Refused { ticket, .. } | Input::Request { ticket, .. }) = input else {
            return Err(TestCaseError::fail("not about a message"));
        };
        prop_assert_eq!(ticket, given.ticket);
        let command = parse_command(&settings(), "pause", given, &payload);
        prop_assert!(matches!(command, Input::Command { .. }), "not a command");
    }

    #[test]
    fn damaged_messages_give_one_input(at in 0_usize..78, byte: u8, bridge in json()) {
        let mut payload = text_with(&format!(",\"bridge\":{bridge}")).into_bytes();
        payload[at] = byte;
        let input = parse_request(&settings(), None, meta(), &payload);
        prop_assert!(matches!(input, Input::Request { .. } | Input::Refused { .. }), "not about a message");
    }

    #[test]
    fn every_member_is_forwarded_as_it_was_written(values in prop::collection::vec(json(), 0..8), escape_every in 1_usize..5) {
        let members: Vec<(String, &String)> = values
            .iter()
            .enumerate()
            .map(|(position, value)| (spelled(&format!("xéy{position}"), escape_every), value))
            .collect();
        let extra: String = members.iter().map(|(name, value)| format!(" ,\n{name} : {value}\t")).collect();
        let request = accepted(&text_with(&extra));
        let mut wanted = r#"{"wxId":"w","conversationId":"S:a_b","content":"c""#.to_owned();
        for (name, value) in &members {
            wanted = format!("{wanted},{name}:{value}");
        }
        wanted.push('}');
        prop_assert_eq!(std::str::from_utf8(&request.body), Ok(wanted.as_str()));
    }

    #[test]
    fn case_and_escapes_of_names_do_not_matter(upper in prop::collection::vec(any::<bool>(), 14), escape_every in 1_usize..9) {
        let vary = |name: &str| {
            let name: String = name
                .chars()
                .zip(&upper)
                .map(|(character, &upper)| if upper { character.to_ascii_uppercase() } else { character })
                .collect();
            spelled(&name, escape_every)
        };
        let payload = format!(
            r#"{{{}:"1",{}:"text",{}:"w",{}:"S:a_b",{}:"c",{}:{{{}:3}}}}"#,
            vary("id"), vary("type"), vary("wxid"), vary("conversationid"), vary("content"), vary("bridge"), vary("priority")
        );
        let request = accepted(&payload);
        prop_assert_eq!(request.options.priority, Some(3));
        prop_assert_eq!(request.fingerprint, accepted(&text_with("")).fingerprint);
        let body = format!(r#"{{{}:"w",{}:"S:a_b",{}:"c"}}"#, vary("wxid"), vary("conversationid"), vary("content"));
        prop_assert_eq!(std::str::from_utf8(&request.body), Ok(body.as_str()));
        let twice = payload.replacen('{', &format!("{{{}:\"v\",", vary("wxid")), 1);
        prop_assert!(refused(&twice).starts_with("INVALID_FIELD "));
    }

    #[test]
    fn no_refusal_repeats_what_a_message_says(content in "[g-z]{12,40}", cut in 1_usize..60) {
        let payload = format!(r#"{{"id":"1","content":"{content}","type":"text","wxId":5}}"#);
        prop_assert!(!refused(&payload).contains(&content));
        let cut = &payload[..payload.len() - cut.min(payload.len() - 12)];
        prop_assert!(!refused(cut).contains(&content[..12.min(content.len())]));
    }
}

/// Whether every reader of JSON takes it, as far as one of them can tell.
fn is_read_by_others(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

proptest! {
    #[test]
    fn takes_exactly_the_json_that_others_read(
        value in json(),
        at: prop::sample::Index,
        length in 0_usize..3,
        patch in prop::sample::select(vec!["", "\"", "\\", "\\ud83d", "\\ude00", "[", "]", "{", "}", ",", ":", "0", "-", "\n", "\0", "é"]),
    ) {
        let mut text = format!("{{\"a\":{value}}}");
        let mut start = at.index(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = (start + length).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        text.replace_range(start..end, patch);
        let object = Object::parse(text.as_bytes()).and_then(|object| object.check());
        let is_repeated = matches!(&object, Err(fault) if fault.code == Code::InvalidField);
        let is_out_of_range = serde_json::from_str::<serde_json::Value>(&text)
            .is_err_and(|error| error.to_string().starts_with("number out of range"));
        prop_assume!(!is_repeated && !is_out_of_range);
        prop_assert_eq!(object.is_ok(), is_read_by_others(&text), "{}", text);
    }

    #[test]
    fn nesting_is_counted_like_others_count_it(levels in 100_usize..150) {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let object = Object::parse(text.as_bytes()).and_then(|object| object.check());
        prop_assert_eq!(object.is_ok(), is_read_by_others(&text));
    }
}
