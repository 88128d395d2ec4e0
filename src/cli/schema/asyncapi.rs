//! The AsyncAPI 3.0 document. Its operations are the bridge's: it receives messages and commands, and sends the rest.

use super::channels::{self, Channel, Direction};
use super::payloads;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) fn document() -> Value {
    let channels = channels::all();
    let mut operations = Map::new();
    for channel in &channels {
        // A reply is part of the operation that it replies to.
        if !channels.iter().any(|other| other.reply.as_ref() == Some(&channel.key)) {
            operations.insert(operation_key(channel), operation(channel, &channels));
        }
    }
    let by_payload: BTreeMap<&str, &Channel> =
        channels.iter().map(|channel| (channel.payload.as_str(), channel)).collect();
    let messages: Map<String, Value> =
        by_payload.into_iter().map(|(name, channel)| (name.to_owned(), message(name, channel))).collect();
    let shown: Map<String, Value> = channels.iter().map(|channel| (channel.key.clone(), describe(channel))).collect();
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:sendbridge",
        "info": {
            "title": "sendbridge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Takes chat messages over MQTT, keeps them safe, paces them within the platform's limits, \
                            sends them, and answers. Topics are shown by their default names, which the configuration \
                            can change: the retained info has those in force.",
            "tags": [{ "name": "mqtt" }],
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "localhost:1883",
                "protocol": "mqtt",
                "protocolVersion": "5",
                "description": "The broker that the bridge is connected to. Publishers may speak MQTT 3.1.1 or 5.",
            },
        },
        "channels": shown,
        "operations": operations,
        "components": { "messages": messages, "schemas": payloads::definitions() },
    })
}

fn operation_key(channel: &Channel) -> String {
    let verb = match channel.direction {
        Direction::In => "receive",
        Direction::Out => "send",
    };
    let mut letters = channel.key.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase()).into_iter();
    verb.chars().chain(first).chain(letters).collect()
}

fn describe(channel: &Channel) -> Value {
    let mut messages = Map::new();
    messages.insert(channel.payload.clone(), json!({ "$ref": format!("#/components/messages/{}", channel.payload) }));
    let mut shown = json!({
        "address": channel.address,
        "description": channel.description,
        "messages": messages,
    });
    if !channel.parameters.is_empty() {
        let parameters: Map<String, Value> = channel
            .parameters
            .iter()
            .map(|parameter| {
                let mut shown = json!({ "description": parameter.description });
                if !parameter.words.is_empty() {
                    shown["enum"] = json!(parameter.words);
                }
                (parameter.name.to_owned(), shown)
            })
            .collect();
        shown["parameters"] = Value::Object(parameters);
    }
    shown
}

fn operation(channel: &Channel, channels: &[Channel]) -> Value {
    let action = match channel.direction {
        Direction::In => "receive",
        Direction::Out => "send",
    };
    let mut shown = json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{}", channel.key) },
        "summary": channel.description,
        "messages": [message_of(channel)],
        "bindings": { "mqtt": { "qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0" } },
    });
    let reply = channel.reply.as_ref().and_then(|key| channels.iter().find(|other| other.key == *key));
    if let Some(reply) = reply {
        shown["reply"] = json!({
            "channel": { "$ref": format!("#/channels/{}", reply.key) },
            "messages": [message_of(reply)],
        });
    }
    shown
}

fn message_of(channel: &Channel) -> Value {
    json!({ "$ref": format!("#/channels/{}/messages/{}", channel.key, channel.payload) })
}

fn message(name: &str, channel: &Channel) -> Value {
    let mut shown = json!({
        "name": name,
        "title": name,
        "summary": channel.description,
        "contentType": "application/json",
        "payload": { "$ref": format!("#/components/schemas/{name}") },
    });
    if let Some(location) = channel.correlation {
        shown["correlationId"] = json!({
            "location": location,
            "description": "echoed as it was written; with an MQTT 5 response topic the correlation data come back too",
        });
    }
    shown
}
