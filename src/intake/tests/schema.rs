//! The schemas and the parsers are held against each other: what one lets through, the other does.

use super::*;
use crate::intake::command::{COMMON, FIELDS, Field, Kind};
use crate::intake::schema::{SendMessage, command};
use crate::intake::{options, parse_command};
use crate::model::{Command, Fault};
use jsonschema::Validator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::options().should_validate_formats(true).build(schema).expect("a schema")
}

fn of_messages() -> (Value, Validator) {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<SendMessage>().to_value();
    let validator = validator(&schema);
    (schema, validator)
}

fn parse(payload: &str) -> Input {
    parse_request(&settings(), None, meta(), payload.as_bytes())
}

fn both_take(validator: &Validator, message: &Value, wanted: bool) {
    assert_eq!(validator.is_valid(message), wanted, "the schema: {message}");
    let taken = matches!(parse(&message.to_string()), Input::Request { .. });
    assert_eq!(taken, wanted, "the parser: {message}");
}

/// Values of every JSON type, and some on the border.
fn samples() -> Vec<Value> {
    vec![
        json!("text"),
        json!(""),
        json!(" "),
        json!(7),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(false),
        json!([]),
        json!(["x"]),
        json!({}),
        Value::Null,
        json!("2026-01-31T08:30:00+08:00"),
        json!("90s"),
    ]
}

#[test]
fn every_type_is_taken_and_refused_alike() {
    let (schema, validator) = of_messages();
    let choices = schema["oneOf"].as_array().expect("a choice per type");
    assert_eq!(choices.len(), crate::model::BUILT_IN_KINDS.len() + 1);
    for (kind, _) in crate::model::BUILT_IN_KINDS {
        let choice = choices.iter().find(|choice| choice["title"] == kind).expect("its choice");
        let names: Vec<&str> = choice["required"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
        let fields: Vec<&str> = names.iter().copied().filter(|name| !["id", "type", "wxId"].contains(name)).collect();
        let mut message = json!({ "id": "1", "type": kind, "wxId": "168" });
        for name in &fields {
            let value = match choice["properties"][name]["type"].as_str() {
                Some("integer") => json!(4),
                Some("array") => json!(["0"]),
                _ if *name == "conversationId" => json!("R:1"),
                _ => json!("x"),
            };
            message[*name] = value;
        }
        both_take(&validator, &message, true);
        for name in &names {
            let mut without = message.clone();
            without.as_object_mut().expect("an object").remove(*name);
            both_take(&validator, &without, false);
            for sample in samples().into_iter().filter(|_| !["type", "conversationId"].contains(name)) {
                let mut other = message.clone();
                other[*name] = sample;
                let taken = matches!(parse(&other.to_string()), Input::Request { .. });
                assert_eq!(validator.is_valid(&other), taken, "{name} of {kind}: {other}");
            }
        }
        message["somethingElse"] = json!({ "a": [1] });
        both_take(&validator, &message, true);
    }
}

#[test]
fn what_every_message_has_is_taken_and_refused_alike() {
    let (_, validator) = of_messages();
    let good = json!({ "id": "1", "type": "text", "wxId": "168", "conversationId": "S:1_2", "content": "x" });
    let long = |length: usize| json!("x".repeat(length));
    for (name, value) in [
        ("wxId", json!(" 168")),
        ("wxId", json!("168 ")),
        ("wxId", json!("1 8")),
        ("wxId", long(128)),
        ("wxId", long(129)),
        ("id", long(128)),
        ("id", long(129)),
        ("conversationId", long(256)),
        ("conversationId", long(257)),
        ("conversationId", json!(" ")),
        ("conversationId", json!(1)),
        ("bridge", Value::Null),
        ("bridge", json!([])),
        ("bridge", json!({ "prio": 1 })),
    ] {
        let mut message = good.clone();
        message[name] = value;
        let taken = matches!(parse(&message.to_string()), Input::Request { .. });
        assert_eq!(validator.is_valid(&message), taken, "{message}");
    }
    let mut group = good.clone();
    group["type"] = json!("roomAt");
    group["atList"] = json!(["0"]);
    both_take(&validator, &group, false);
    group["conversationId"] = json!("R:1");
    both_take(&validator, &group, true);
}

#[test]
fn every_option_is_taken_and_refused_alike() {
    let (schema, validator) = of_messages();
    let known = schema["definitions"]["BridgeOptions"]["properties"].as_object().expect("its options");
    let mut names = options::NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(known.keys().map(String::as_str).collect::<Vec<_>>(), names);
    assert!(known.values().all(Value::is_object), "each has a schema: {known:?}");
    let good = json!({ "id": "1", "type": "text", "wxId": "168", "conversationId": "S:1_2", "content": "x" });
    let words = [json!("report"), json!("resend"), json!("hold"), json!(9), json!(10)];
    for name in options::NAMES {
        for value in samples().into_iter().chain(words.clone()) {
            // What a duration looks like, a schema cannot say.
            if name == "ttl" && value.is_string() && value != json!("90s") {
                continue;
            }
            let mut message = good.clone();
            message["bridge"] = json!({ name: value });
            let taken = matches!(parse(&message.to_string()), Input::Request { .. });
            assert_eq!(validator.is_valid(&message), taken, "{message}");
        }
    }
}

/// What is good for a field.
fn good(field: &Field) -> Value {
    match field.kind {
        Kind::Name | Kind::Text | Kind::Id | Kind::Scalar => json!("x"),
        Kind::True | Kind::Flag => json!(true),
        Kind::Count | Kind::Hold => json!(1),
        Kind::Duration => json!("90s"),
        Kind::Moment => json!("2126-01-31T08:30:00+08:00"),
        Kind::Word(words) | Kind::Words(words) => json!(words[0]),
    }
}

/// Why the parser refuses a command, if it does.
fn fault_of(name: &str, request: &Map<String, Value>) -> Option<Fault> {
    let payload = Value::Object(request.clone()).to_string();
    let input = parse_command(&settings(), name, PacketMeta::default(), payload.as_bytes());
    let Input::Command { request, .. } = input else { panic!("a command") };
    request.command.err()
}

#[test]
fn every_field_of_every_command_is_known_to_both() {
    for (name, own) in FIELDS {
        let validator = validator(&command(name).to_value());
        let required: Map<String, Value> =
            own.iter().filter(|field| field.is_required).map(|field| (field.name.to_owned(), good(field))).collect();
        assert!(validator.is_valid(&Value::Object(required.clone())), "{name}");
        for field in own.iter().chain(&COMMON) {
            let mut request = required.clone();
            request.insert(field.name.to_owned(), good(field));
            assert!(validator.is_valid(&Value::Object(request.clone())), "{name}: {request:?}");
            let is_unknown = fault_of(name, &request).is_some_and(|fault| fault.message.contains("has no"));
            assert!(!is_unknown, "{name} does not know {}", field.name);
            if field.is_required {
                request.remove(field.name);
                assert!(!validator.is_valid(&Value::Object(request.clone())), "{name} without {}", field.name);
                assert!(fault_of(name, &request).is_some(), "{name} without {}", field.name);
            }
            for sample in samples() {
                request.insert(field.name.to_owned(), sample);
                // The other way round does not hold: a schema cannot tell what goes with what.
                let is_valid = validator.is_valid(&Value::Object(request.clone()));
                assert!(is_valid || fault_of(name, &request).is_some(), "{name} takes {request:?}");
            }
        }
        let mut request = required.clone();
        request.insert("somethingElse".to_owned(), json!(1));
        assert!(!validator.is_valid(&Value::Object(request.clone())), "{name}");
        assert!(fault_of(name, &request).is_some(), "{name}");
    }
    assert_eq!(FIELDS.map(|(name, _)| name), Command::NAMES);
}
