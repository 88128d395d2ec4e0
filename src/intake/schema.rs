//! What may be sent to the bridge, as JSON Schemas: made from the tables that the parsers read by.
//!
//! Two things JSON Schema cannot say: names match without regard to case, and two names that differ only in case are
//! refused.

use super::command::{COMMON, FIELDS, Field, Kind};
use super::field::NAME_BYTES_MAX;
use super::options;
use super::rules::{CONVERSATION_BYTES_MAX, RULES, Rule, Shape};
use crate::model::MessageId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A message to send: one of the built-in types, or one that the configuration adds.
pub struct SendMessage;

impl JsonSchema for SendMessage {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("SendMessage")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut choices: Vec<Schema> = RULES.iter().map(|rule| built_in(rule, generator)).collect();
        let known = RULES.map(|rule| rule.kind);
        let mut other = message(generator, json!({ "type": "string", "not": { "enum": known } }));
        other.insert("title".to_owned(), json!("a type that the configuration adds"));
        choices.push(other);
        json_schema!({
            "description": "A message to send. Everything but id, type and bridge is forwarded byte for byte, also \
                            what is not named here. Names match without regard to case.",
            "oneOf": choices,
        })
    }
}

fn built_in(rule: &Rule, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = message(generator, json!({ "const": rule.kind }));
    schema.insert("title".to_owned(), json!(rule.kind));
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.extend(rule.required.iter().map(|(name, _)| json!(name)));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.extend(rule.required.iter().map(|(name, shape)| ((*name).to_owned(), shape_schema(*shape))));
        if rule.kind == "roomAt" {
            properties.insert("conversationId".to_owned(), conversation("^R:"));
        }
    }
    schema
}

/// What every message has; `kind` is the schema of its type.
fn message(generator: &mut SchemaGenerator, kind: Value) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "id": generator.subschema_for::<MessageId>(),
            "type": kind,
            "wxId": {
                "type": "string",
                "maxLength": NAME_BYTES_MAX,
                "pattern": r"^\S(.*\S)?$",
                "description": "the account that sends",
            },
            "conversationId": conversation(r"\S"),
            "bridge": generator.subschema_for::<BridgeOptions>(),
        },
        "required": ["id", "type", "wxId", "conversationId"],
        "additionalProperties": true,
    })
}

fn conversation(pattern: &str) -> Value {
    json!({ "type": "string", "maxLength": CONVERSATION_BYTES_MAX, "pattern": pattern })
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Written => json!({ "type": "string", "minLength": 1 }),
        Shape::Filled => json!({ "type": "string", "pattern": r"\S" }),
        Shape::Integer => json!({ "type": "integer" }),
        Shape::Number => json!({ "type": ["number", "string"] }),
        Shape::List => json!({ "type": "array" }),
    }
}

/// `bridge`: what a publisher asks of us and not of the sender.
pub struct BridgeOptions;

impl JsonSchema for BridgeOptions {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("BridgeOptions")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let properties: Map<String, Value> =
            options::NAMES.iter().map(|name| ((*name).to_owned(), option_schema(name))).collect();
        json_schema!({
            "type": ["object", "null"],
            "description": "What is asked of the bridge; never forwarded. null is as good as leaving it out. \
                            ttl and expiresAt exclude each other.",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

fn option_schema(name: &str) -> Value {
    match name {
        "priority" => json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 9, "description": "9 goes first" }),
        "notBefore" | "expiresAt" => json!({ "type": ["string", "null"], "format": "date-time" }),
        "ttl" => json!({
            "type": ["string", "integer", "null"],
            "minimum": 1,
            "minLength": 1,
            "description": "a duration such as \"90s\" or \"24h\", or whole seconds",
        }),
        "onDoubt" => json!({
            "enum": ["report", "resend", "hold", null],
            "description": "what to do when nobody can know whether it was sent",
        }),
        "tag" => json!({ "type": ["string", "null"], "maxLength": NAME_BYTES_MAX }),
        // The test over all names holds that none comes here.
        _ => json!(false),
    }
}

/// The schema of a command's request. Nothing is required of an unknown one.
pub fn command(name: &str) -> Schema {
    let own = FIELDS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, fields)| fields);
    let fields = || own.iter().chain(&COMMON);
    let properties: Map<String, Value> = fields().map(|field| (field.name.to_owned(), field_schema(field))).collect();
    let required: Vec<&str> = fields().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema = json_schema!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

fn field_schema(field: &Field) -> Value {
    let mut schema = kind_schema(field.kind);
    if field.name == "after" {
        // The next page of holds begins after a number, which may be written as one.
        schema["type"] = json!(["string", "integer"]);
    }
    if field.is_required {
        return schema;
    }
    // `null` is as good as leaving it out.
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(one) => *one = json!([one.take(), "null"]),
        None => {}
    }
    schema
}

fn kind_schema(kind: Kind) -> Value {
    let types = match kind.json_types() {
        [one] => json!(one),
        several => json!(several),
    };
    let mut schema = json!({ "type": types });
    let more = match kind {
        Kind::Name => json!({ "pattern": r"\S" }),
        Kind::Text | Kind::Flag => json!({}),
        Kind::Id => json!({ "minLength": 1, "maxLength": NAME_BYTES_MAX }),
        Kind::Scalar => json!({ "description": "echoed as it was written; a change is made once per transaction" }),
        Kind::True => json!({ "enum": [true] }),
        Kind::Count => json!({ "minimum": 1 }),
        Kind::Hold => json!({ "minimum": 0, "pattern": r"^[0-9]+$" }),
        Kind::Duration => {
            json!({ "minimum": 1, "minLength": 1, "description": "such as \"90s\" or \"24h\", or whole seconds" })
        }
        Kind::Moment => json!({ "format": "date-time" }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => json!({
            "description": "one word, or a list of them",
            "if": { "type": "string" },
            "then": { "enum": words },
            "items": { "type": "string", "enum": words },
        }),
    };
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
    schema
}
