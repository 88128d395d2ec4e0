//! Every payload with its schema.

use crate::intake::schema::{self as requests, SendMessage};
use crate::model::{AccountReport, Command, CorpReport, EVENTS, Event, HealthReport, InfoReport, MessagesReport};
use crate::publisher::payload::{data, wire};
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// One kind of payload.
pub struct Payload {
    /// Of its message in the document, and of its file.
    pub name: String,
    make: Box<dyn Fn(&mut SchemaGenerator) -> Schema + Send + Sync>,
}

impl Payload {
    fn of<T: JsonSchema + 'static>() -> Self {
        Self { name: T::schema_name().into_owned(), make: Box::new(SchemaGenerator::subschema_for::<T>) }
    }

    fn named<T: JsonSchema + 'static>(name: &str) -> Self {
        Self { name: name.to_owned(), make: Box::new(SchemaGenerator::subschema_for::<T>) }
    }

    fn made(name: String, make: impl Fn(&mut SchemaGenerator) -> Schema + Send + Sync + 'static) -> Self {
        Self { name, make: Box::new(make) }
    }

    /// Its schema, with everything that it refers to inside.
    pub fn standalone(&self) -> Value {
        let mut generator = generator("/definitions");
        let mut schema = (self.make)(&mut generator);
        Close.transform(&mut schema);
        let definitions = take_definitions(&mut generator);
        let mut whole = Map::new();
        whole.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        whole.insert("title".to_owned(), json!(self.name));
        match (schema.get("$ref"), schema.as_object()) {
            // Draft 7 ignores whatever stands beside a reference.
            (Some(_), _) => drop(whole.insert("allOf".to_owned(), json!([schema]))),
            (None, Some(members)) => whole.extend(members.clone()),
            (None, None) => {}
        }
        if !definitions.is_empty() {
            whole.insert("definitions".to_owned(), Value::Object(definitions));
        }
        Value::Object(whole)
    }
}

/// The name of a command's request or reply: `message/get` becomes `MessageGetRequest`.
pub(super) fn name_of(command: &str, what: &str) -> String {
    let words = command.split('/').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    });
    words.collect::<String>() + what
}

/// Every payload, each once.
pub(super) fn all() -> Vec<Payload> {
    let mut payloads = vec![
        Payload::of::<SendMessage>(),
        answer(),
        Payload::named::<wire::Event<'static>>("SendEvent"),
        Payload::of::<Event>(),
        Payload::of::<wire::Alarm<'static>>(),
        Payload::of::<wire::BridgeState<'static>>(),
        Payload::of::<InfoReport>(),
        Payload::of::<HealthReport>(),
        Payload::of::<AccountReport>(),
        Payload::of::<CorpReport>(),
        Payload::of::<wire::Holds<'static>>(),
        not_done(),
    ];
    for name in Command::NAMES {
        payloads.push(request(name));
        payloads.push(reply(name));
    }
    payloads
}

fn answer() -> Payload {
    Payload::made("Answer".to_owned(), |generator| {
        let sent = generator.subschema_for::<wire::Sent<'static>>();
        let not_sent = generator.subschema_for::<wire::NotSent<'static>>();
        json_schema!({ "oneOf": [sent, not_sent] })
    })
}

fn not_done() -> Payload {
    Payload::named::<wire::NotDone<'static>>("CommandFailed")
}

fn request(command: &'static str) -> Payload {
    Payload::made(name_of(command, "Request"), move |_| requests::command(command))
}

fn reply(command: &'static str) -> Payload {
    Payload::made(name_of(command, "Reply"), move |generator| {
        let data = data_of(command, generator);
        let done = wire::done(&data, generator);
        let failed = generator.subschema_for::<wire::NotDone<'static>>();
        json_schema!({ "oneOf": [done, failed] })
    })
}

/// The data of the reply to a command.
fn data_of(command: &str, generator: &mut SchemaGenerator) -> Schema {
    match command {
        "account/get" => generator.subschema_for::<data::AccountData>(),
        "account/list" => generator.subschema_for::<data::AccountList>(),
        "corp/get" => generator.subschema_for::<CorpReport>(),
        "corp/list" => generator.subschema_for::<data::CorpList>(),
        "directory/refresh" => generator.subschema_for::<data::RefreshData>(),
        "drain" => generator.subschema_for::<data::DrainData>(),
        "health" => generator.subschema_for::<HealthReport>(),
        "hold/list" => generator.subschema_for::<data::HoldList<'static>>(),
        "info" => generator.subschema_for::<InfoReport>(),
        "limits/get" => {
            let one = generator.subschema_for::<data::OneLimit>();
            let all = generator.subschema_for::<data::AllLimits>();
            json_schema!({ "anyOf": [one, all] })
        }
        "limits/set" => generator.subschema_for::<data::OneLimit>(),
        "log/level" => generator.subschema_for::<data::LogLevelData>(),
        "message/cancel" => generator.subschema_for::<data::CancelData>(),
        "message/get" | "message/list" => generator.subschema_for::<MessagesReport>(),
        "pause" => generator.subschema_for::<data::PauseData<'static>>(),
        "resume" => generator.subschema_for::<data::ResumeData>(),
        "message/resolve" => generator.subschema_for::<data::ResolveData>(),
        "message/retry" => generator.subschema_for::<data::RetryData>(),
        _ => json_schema!({ "type": "object" }),
    }
}

/// What the bridge may say on a topic, by the default names. `None` on topics that are none of its own to speak on.
pub fn payload_on(topic: &str) -> Option<String> {
    let below = |name: &str| topic.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("SendMessageResp").is_some() {
        return Some("Answer".to_owned());
    }
    let rest = topic.strip_prefix("sendbridge/")?;
    let (word, level) = rest.split_once('/').unwrap_or((rest, ""));
    let name = match (word, level) {
        ("response", command) if Command::NAMES.contains(&command) => return Some(name_of(command, "Reply")),
        ("response", _) => "CommandFailed",
        ("state", "") => "BridgeState",
        ("info", "") => "InfoReport",
        ("health", "") => "HealthReport",
        ("account", _) => "AccountReport",
        ("corp", _) => "CorpReport",
        ("hold", "") => "Holds",
        ("event", level) if level.starts_with("send/") => "SendEvent",
        ("event", level) if EVENTS.contains(&level) => "CallbackEvent",
        ("alarm", "") => "Alarm",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Everything that the schemas of the document refer to, and every payload's own, by name.
pub fn definitions() -> Map<String, Value> {
    let mut generator = generator("/components/schemas");
    let payloads: Vec<(String, Schema)> =
        all().into_iter().map(|payload| (payload.name, (payload.make)(&mut generator))).collect();
    let mut definitions = take_definitions(&mut generator);
    for (name, mut schema) in payloads {
        Close.transform(&mut schema);
        // One that has a name of its own is there already.
        let itself = json!(format!("#/components/schemas/{name}"));
        if schema.get("$ref") != Some(&itself) {
            definitions.insert(name, schema.to_value());
        }
    }
    definitions
}

fn generator(definitions_path: &'static str) -> SchemaGenerator {
    // As the bridge writes: what is always there is required.
    let settings = SchemaSettings::draft07().for_serialize();
    settings.with(|settings| settings.definitions_path = definitions_path.into()).into_generator()
}

fn take_definitions(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut definitions = generator.take_definitions(true);
    for definition in definitions.values_mut() {
        if let Ok(schema) = <&mut Schema>::try_from(definition) {
            Close.transform(schema);
        }
    }
    definitions
}

/// Lets objects have the members that are named and no others, so that a schema tells when a payload changes.
#[derive(Clone)]
struct Close;

impl Transform for Close {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(members) = schema.as_object_mut()
            && members.contains_key("properties")
        {
            members.entry("additionalProperties").or_insert(json!(false));
        }
        transform_subschemas(self, schema);
    }
}
