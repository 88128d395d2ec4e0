//! What the bridge says is held to its schemas, and what is committed is what the types give.

use jsonschema::Validator;
use sendbridge::cli::schema;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Set to write the committed documents anew.
const REWRITE: &str = "SENDBRIDGE_REWRITE";

static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let files = schema::files().into_iter();
    files.map(|(file, schema)| (file.trim_end_matches(".json").to_owned(), validator(&schema))).collect()
});

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::options().should_validate_formats(true).build(schema).expect("a schema")
}

/// Whether something that the bridge said is what its schema lets it say.
///
/// # Errors
/// What is wrong with it.
pub fn check(topic: &str, payload: &[u8]) -> Result<(), String> {
    let Some(name) = schema::payload_on(topic) else { return Ok(()) };
    let is_cleared = payload.is_empty() && ["AccountReport", "CorpReport"].contains(&name.as_str());
    if is_cleared {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(payload).map_err(|error| format!("{topic}: no JSON: {error}"))?;
    let validator = VALIDATORS.get(&name).ok_or_else(|| format!("{topic}: no schema {name}"))?;
    let wrong: Vec<String> =
        validator.iter_errors(&said).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{topic} is not as {name} says: {wrong:#?}\n{said}")) }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

#[test]
fn the_committed_documents_are_what_the_types_give() {
    if std::env::var_os(REWRITE).is_some() {
        let _ = fs::remove_dir_all(deploy().join("schemas"));
        schema::write_into(&deploy()).expect("written");
    }
    let stale = format!("run this test with {REWRITE}=1 and commit deploy/");
    let kept = fs::read_to_string(deploy().join("asyncapi.json")).unwrap_or_default();
    assert!(kept == schema::pretty(&schema::document()), "deploy/asyncapi.json is stale: {stale}");
    let mut names: Vec<String> = fs::read_dir(deploy().join("schemas"))
        .expect("deploy/schemas")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut files = schema::files();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names, files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), "{stale}");
    for (name, schema) in files {
        let kept = fs::read_to_string(deploy().join("schemas").join(&name)).expect("text");
        assert!(kept == schema::pretty(&schema), "deploy/schemas/{name} is stale: {stale}");
    }
}

#[test]
fn the_program_prints_and_writes_them() {
    let run = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_sendbridge")).args(arguments).output().expect("it");
    let printed = run(&["schema"]);
    assert!(printed.status.success());
    assert_eq!(String::from_utf8_lossy(&printed.stdout), schema::pretty(&schema::document()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new");
    assert!(run(&["schema", "--into", path.to_str().expect("text")]).status.success());
    assert_eq!(fs::read(path.join("asyncapi.json")).expect("written"), printed.stdout);
    assert_eq!(fs::read_dir(path.join("schemas")).expect("written").count(), schema::files().len());
    let nowhere = run(&["schema", "--into", "/dev/null/x"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stdout).contains("cannot write"));
}

/// Every place that something in a document points to.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_points_nowhere_outside_of_itself_and_tells_of_every_command() {
    let document = schema::document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let path = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is elsewhere"));
        assert!(document.pointer(path).is_some(), "{reference} is nothing");
    }
    let channels = document["channels"].as_object().expect("channels");
    let addresses: Vec<&str> = channels.values().filter_map(|channel| channel["address"].as_str()).collect();
    for command in sendbridge::model::Command::NAMES {
        for side in ["request", "response"] {
            assert!(addresses.contains(&format!("sendbridge/{side}/{command}").as_str()), "{side} {command}");
        }
    }
    let commands = document["operations"].as_object().expect("operations").values();
    let replied = commands.filter(|operation| operation["reply"]["channel"]["$ref"].is_string()).count();
    assert_eq!(replied, sendbridge::model::Command::NAMES.len() + 2);
}

#[test]
fn a_schema_tells_what_does_not_belong() {
    let good = br#"{"state":"online"}"#;
    assert_eq!(check("sendbridge/state", good), Ok(()));
    let holds = br#"{"holds":[{"id":1,"scope":{"all":true},"reason":"r","by":null,"since":"2026-01-01T00:00:00.000Z","until":null}],"blocks":[]}"#;
    assert_eq!(check("sendbridge/hold", holds), Ok(()));
    let answer = br#"{"id":1,"error":{"code":"EXPIRED","message":"m","retryable":true,"attempts":1}}"#;
    assert_eq!(check("SendMessageResp/shop", answer), Ok(()));
    assert_eq!(check("sendbridge/account/1", b""), Ok(()));
    assert_eq!(check("somewhere/else", b"text"), Ok(()));
    for (topic, payload) in [
        ("sendbridge/state", r#"{"state":"there"}"#),
        ("sendbridge/state", r#"{"state":"online","since":1}"#),
        ("sendbridge/state", "online"),
        ("sendbridge/state", ""),
        ("sendbridge/hold", r#"{"holds":[]}"#),
        (
            "sendbridge/hold",
            r#"{"holds":[{"id":1,"scope":{},"reason":"r","by":null,"since":"now","until":null}],"blocks":[]}"#,
        ),
        ("SendMessageResp", r#"{"id":1,"msgId":"1","error":{}}"#),
        ("SendMessageResp", r#"{"id":1,"error":{"code":"NO","message":"m","retryable":true}}"#),
        ("SendMessageResp", r#"{"id":null,"msgId":"1"}"#),
        ("sendbridge/alarm", r#"{"what":"nothing","about":"a","message":"m","at":"2026-01-01T00:00:00.000Z"}"#),
        ("sendbridge/response/pause", r#"{"status":"ok","data":{}}"#),
        ("sendbridge/response/no/such", r#"{"status":"ok","data":{}}"#),
    ] {
        assert!(check(topic, payload.as_bytes()).is_err(), "{topic} {payload}");
    }
}

/// Alarms are words in many places; the schema has to know them all.
#[test]
fn every_alarm_that_the_source_raises_has_its_word_in_the_schema() {
    let mut raised = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            for begin in ["alarm(", "alarm_book(", "alarm_room(", "Alarm { what: "] {
                for (at, _) in text.match_indices(begin) {
                    let rest = text[at + begin.len()..].trim_start();
                    if let Some(word) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                        raised.push(word.to_owned());
                    }
                }
            }
        }
    }
    raised.sort();
    raised.dedup();
    assert!(raised.len() > 5, "{raised:?}");
    for word in raised {
        assert!(sendbridge::model::ALARMS.contains(&word.as_str()), "{word} is missing in ALARMS");
    }
}
