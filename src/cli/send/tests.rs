//! From a list to what would be published.

use super::compose::{ComposeError, Recipe};
use super::options::{MessageOptions, Options};
use super::plan::{Item, Planner};
use super::table::{Flaw, Format, Table};
use super::template::TemplateError;
use super::{intake_settings, topics};
use clap::Parser;
use proptest::prelude::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(flags: &[&str]) -> Options {
    Line::try_parse_from([&["send"], flags].concat()).expect("good flags").options
}

struct Setup<'a> {
    flags: &'a [&'a str],
    template: Option<&'a str>,
    map: &'a [&'a str],
    jsonl: bool,
}

const PLAIN: Setup<'_> = Setup { flags: &[], template: None, map: &[], jsonl: false };

fn recipe(setup: &Setup<'_>, columns: Vec<String>) -> Result<Recipe, ComposeError> {
    let map: Vec<String> = setup.map.iter().map(|text| (*text).to_owned()).collect();
    Recipe::new(&options(setup.flags).message, setup.template, &map, columns)
}

fn plan(setup: &Setup<'_>, bytes: &[u8]) -> (Vec<Item>, Vec<Flaw>) {
    plan_named(setup, bytes, "list.csv")
}

fn plan_named(setup: &Setup<'_>, bytes: &[u8], file_name: &str) -> (Vec<Item>, Vec<Flaw>) {
    let options = options(setup.flags);
    let format = if setup.jsonl { Format::Jsonl } else { Format::Csv { delimiter: b',' } };
    let table = Table::read(bytes, format).expect("a table");
    let recipe = recipe(setup, table.columns).expect("a recipe");
    let (topics, _) = topics(&options, "s").expect("topics");
    let intake = intake_settings(&options.message, &topics);
    let planner = Planner { recipe: &recipe, intake: &intake, suffix: "s", file_name };
    let (items, mut flaws) = planner.plan(&table.rows);
    flaws.extend(table.flaws);
    (items, flaws)
}

fn payload(item: &Item) -> &str {
    std::str::from_utf8(&item.payload).expect("text")
}

#[test]
fn columns_are_fields_and_numbers_stay_what_they_are() {
    let csv = "wxId,conversationId,content,id,bridge.priority,bridge.ttl,extra,n:=\n\
               1688850407900545,S:1_2,007,9007199254740993,9,3600,,9007199254740993\n";
    let (items, flaws) = plan(&PLAIN, csv.as_bytes());
    assert_eq!(flaws, []);
    let expected = r#"{"wxId":"1688850407900545","conversationId":"S:1_2","content":"007","id":"9007199254740993","n":9007199254740993,"type":"text","bridge":{"priority":9,"ttl":3600}}"#;
    assert_eq!(payload(&items[0]), expected);
    assert_eq!((items[0].row, items[0].priority, items[0].account.as_str()), (2, 9, "1688850407900545"));
    assert_eq!(items[0].id, r#""9007199254740993""#);
}

#[test]
fn a_row_goes_before_a_flag_and_a_flag_before_the_template() {
    let setup = Setup {
        flags: &["--account", "flag", "--priority", "8", "--field", "list:=[1]", "--ttl", "1h"],
        template: Some(
            r#"{"wxId":"t","CONTENT":"Dear {{name}}","type":"text","bridge":{"priority":1,"tag":"t"},"deep":{"a":[1.0,"{{=n}}"]}}"#,
        ),
        map: &["to=conversationId", "note="],
        jsonl: false,
    };
    let (items, flaws) = plan(&setup, b"to,name,n,note\nS:1_2,\"A \"\"B\"\"\",2e400,x\n");
    assert_eq!(flaws, []);
    let id = &items[0].id;
    let expected = format!(
        r#"{{"wxId":"flag","CONTENT":"Dear A \"B\"","type":"text","deep":{{"a":[1.0,2e400]}},"list":[1],"conversationId":"S:1_2","bridge":{{"priority":8,"tag":"t","ttl":"1h"}},"id":{id}}}"#
    );
    // The wishes come last but for an id that was made up.
    assert_eq!(payload(&items[0]), expected);
}

#[test]
fn objects_are_forwarded_as_they_are() {
    let setup = Setup { flags: &["--account", "7", "--text", "hi"], jsonl: true, ..PLAIN };
    let lines = "{\"conversationId\":\"S:1\",\"x\":1.50,\"id\":12345678901234567890}\n\
                 {\"conversationId\":\"S:1\",\"bridge\":{\"tag\":\"a\"},\"bridge.priority\":2,\"id\":\"b\"}\n";
    let (items, flaws) = plan(&setup, lines.as_bytes());
    assert_eq!(flaws, []);
    let first =
        r#"{"wxId":"7","content":"hi","conversationId":"S:1","x":1.50,"id":12345678901234567890,"type":"text"}"#;
    assert_eq!(payload(&items[0]), first);
    assert_eq!(items[0].id, "12345678901234567890");
    assert!(payload(&items[1]).ends_with(r#""bridge":{"tag":"a","priority":2}}"#), "{}", payload(&items[1]));
}

#[test]
fn what_the_bridge_would_refuse_is_told_with_row_and_field() {
    let csv = "wxId,conversationId,content,id,bridge.priority\n\
               1,S:1,ok,a,\n,S:1,no account,b,\n1,S:1,,c,\n1,S:1,same id,a,\n1,S:1,x,d,high\n1,S:1,x,e,12\n";
    let (items, flaws) = plan(&PLAIN, csv.as_bytes());
    assert_eq!(items.len(), 1);
    let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    for (flaw, words) in flaws.iter().zip([
        "row 3: INVALID_FIELD: wxId is required",
        "row 4: INVALID_FIELD: content is required",
        "row 5: id \"a\" is the id of row 2 too",
        "row 6: bridge.priority must be a number",
        "row 7: INVALID_FIELD: bridge.priority must be a whole number",
    ]) {
        assert!(flaw.starts_with(words), "{flaw}");
    }
    assert_eq!(flaws.len(), 5);
}

#[test]
fn a_second_reading_makes_the_same_ids_and_equal_rows_are_two_messages() {
    let csv = b"wxId,conversationId,content\n1,S:1,x\n1,S:1,x\n1,S:1,y\n";
    let ids = |csv: &[u8], name: &str| -> Vec<String> {
        plan_named(&PLAIN, csv, name).0.into_iter().map(|item| item.id).collect()
    };
    let first = ids(csv, "list.csv");
    assert_eq!(first, ids(csv, "list.csv"));
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    // A row put in before changes no other.
    let longer = ids(b"wxId,conversationId,content\n9,S:9,new\n1,S:1,x\n1,S:1,x\n1,S:1,y\n", "list.csv");
    assert_eq!(longer[1..], first);
    assert!(ids(csv, "other.csv").iter().all(|id| !first.contains(id)));
}

#[test]
fn what_cannot_be_used_is_named() {
    let columns = || vec!["a".to_owned()];
    let error = |setup: &Setup<'_>| recipe(setup, columns()).expect_err("wrong");
    let missing = TemplateError::Missing { column: "b".to_owned() };
    assert_eq!(error(&Setup { template: Some(r#"{"x":"{{b}}"}"#), ..PLAIN }), ComposeError::Template(missing));
    assert_eq!(error(&Setup { map: &["b=c"], ..PLAIN }), ComposeError::NoSuchColumn { column: "b".to_owned() });
    assert!(matches!(error(&Setup { map: &["a"], ..PLAIN }), ComposeError::NoEqualSign { flag: "--map", .. }));
    assert!(matches!(
        error(&Setup { flags: &["--field", "x"], ..PLAIN }),
        ComposeError::NoEqualSign { flag: "--field", .. }
    ));
    assert!(matches!(error(&Setup { flags: &["--field", "x:=}"], ..PLAIN }), ComposeError::NotJson { .. }));
    assert!(matches!(error(&Setup { flags: &["--priority", "x"], ..PLAIN }), ComposeError::NotANumber { .. }));
}

#[test]
fn flags_alone_make_a_message() {
    let MessageOptions { .. } = options(&[]).message;
    let flags =
        ["--account", "W", "--to", "R:1", "--type", "roomAt", "--field", "atList:=[\"0\"]", "--field", "content=a=b"];
    let setup = Setup { flags: &flags, ..PLAIN };
    let members = recipe(&setup, Vec::new()).expect("a recipe").compose(None).expect("a message");
    let expected = r#"{"wxId":"W","conversationId":"R:1","type":"roomAt","atList":["0"],"content":"a=b"}"#;
    assert_eq!(members.to_string(), expected);
    assert!(Line::try_parse_from(["send", "--id", "1", "--file", "x"]).is_err(), "one id for many messages");
}

proptest! {
    #[test]
    fn any_bytes_are_planned_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), jsonl in any::<bool>()) {
        let whole = [b"wxId,conversationId,content,id\n1,S:1,".as_slice(), &bytes].concat();
        let bytes = if jsonl { bytes } else { whole };
        let format = if jsonl { Format::Jsonl } else { Format::Csv { delimiter: b',' } };
        if Table::read(&bytes, format).is_ok() {
            plan(&Setup { jsonl, ..PLAIN }, &bytes);
        }
    }

    #[test]
    fn every_cell_arrives_as_it_was(content in "\\PC+", id in "[a-zA-Z0-9]{1,40}") {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["wxId", "conversationId", "content", "id"]).expect("memory");
        writer.write_record(["1", "S:1", &content, &id]).expect("memory");
        let (items, flaws) = plan(&PLAIN, &writer.into_inner().expect("memory"));
        prop_assert_eq!(flaws, []);
        let read: serde_json::Value = serde_json::from_slice(&items[0].payload).expect("JSON");
        prop_assert_eq!(read["content"].as_str(), Some(content.as_str()));
        prop_assert_eq!(read["id"].as_str(), Some(id.as_str()));
    }
}
