//! The configuration in force, defaults and environment included, secrets left out.

use super::files::HIDDEN;
use super::schema::{Key, ROOT, Shape};
use super::settings::choices::{self, word};
use super::settings::{AccountOf, Callback, Config, CorpLimit, Limits, Messages, Mqtt, Secret, Sender, Sign};
use super::units::{show_duration, show_size};
use crate::model::{Account, Corp};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

/// As TOML, which can be loaded again once its secrets are filled in. Keys without a value are left out.
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    if let Value::Object(root) = effective_json(config) {
        write_table(&mut text, &root, ROOT, "");
    }
    text
}

/// The same as JSON, with the names and units of the file.
pub fn effective_json(config: &Config) -> Value {
    let Config { mqtt, topics, messages, senders, accounts, limits, store, http, callbacks, broker, log } = config;
    let whole = json!({
        "mqtt": mqtt_json(mqtt),
        "topics": {
            "send": topics.send,
            "answer": topics.answer,
            "base": topics.base,
            "reply_topics": topics.reply_topics,
            "events": word(choices::EVENTS, &topics.events),
            "health_interval": show_duration(topics.health_interval),
            "status_per_second": topics.status_per_second,
            "status_accounts": topics.status_accounts,
            "status_idle": show_duration(topics.status_idle),
        },
        "messages": messages_json(messages),
        "senders": senders.iter().map(sender_json).collect::<Vec<_>>(),
        "accounts": accounts.iter().map(account_json).collect::<Vec<_>>(),
        "limits": limits_json(limits),
        "store": {
            "path": shown(&store.path),
            "retention": show_duration(store.retention),
            "body_retention": show_duration(store.body_retention),
            "low_space": show_size(store.low_space),
        },
        "http": { "listen": http.listen.to_string() },
        "callbacks": callbacks.iter().map(callback_json).collect::<Vec<_>>(),
        "broker": { "listen": broker.listen.map(|address| address.to_string()) },
        "log": { "level": word(choices::LEVEL, &log.level), "format": word(choices::FORMAT, &log.format) },
    });
    without_nulls(whole)
}

fn mqtt_json(mqtt: &Mqtt) -> Value {
    let (password, password_file) = secret_json(mqtt.password.as_ref());
    json!({
        "url": mqtt.url,
        "client_id": mqtt.client_id,
        "keep_alive": show_duration(mqtt.keep_alive),
        "receive_maximum": mqtt.receive_maximum,
        "broker_backlog_alarm": mqtt.broker_backlog_alarm,
        "broker_clients_alarm": mqtt.broker_clients_alarm,
        "broker_memory_alarm": show_size(mqtt.broker_memory_alarm),
        "username": mqtt.username,
        "password": password,
        "password_file": password_file,
        "ca_file": mqtt.ca.as_ref().map(|pem| shown(&pem.file)),
        "client_cert_file": mqtt.client.as_ref().map(|client| shown(&client.certificate.file)),
        "client_key_file": mqtt.client.as_ref().and_then(|client| client.key.file.as_deref()).map(shown),
    })
}

fn messages_json(messages: &Messages) -> Value {
    json!({
        "max_message": show_size(messages.max_message),
        "ttl": show_duration(messages.ttl),
        "dedup_window": show_duration(messages.dedup_window),
        "id_conflict": word(choices::ID_CONFLICT, &messages.id_conflict),
        "on_doubt": word(choices::ON_DOUBT, &messages.on_doubt),
        "doubt_window": show_duration(messages.doubt_window),
        "max_resends": messages.max_resends,
        "queue_messages": messages.queue_messages,
        "queue_bytes": show_size(messages.queue_bytes),
        "queue_time": messages.queue_time.map_or_else(|| "off".to_owned(), show_duration),
        "unknown_account_grace": show_duration(messages.unknown_account_grace),
    })
}

fn sender_json(sender: &Sender) -> Value {
    let (api_key, api_key_file) = secret_json(Some(&sender.api_key));
    json!({
        "name": sender.name.as_str(),
        "kind": word(choices::SENDER_KIND, &sender.kind),
        "url": sender.url,
        "api_key": api_key,
        "api_key_file": api_key_file,
        "ca_file": sender.ca.as_ref().map(|pem| shown(&pem.file)),
        "timeout": show_duration(sender.timeout),
        "connect_timeout": show_duration(sender.connect_timeout),
        "connections": sender.connections,
        "reuse_idle": show_duration(sender.reuse_idle),
        "directory_refresh": show_duration(sender.directory_refresh),
        "busy_means_not_done": sender.busy_means_not_done,
        "default_corp": sender.default_corp.as_ref().map(|corp| corp.as_str()),
        "temporary": signs_json(&sender.temporary),
        "offline": signs_json(&sender.offline),
        "unknown": signs_json(&sender.unknown),
        "types": sender.types,
    })
}

fn signs_json(signs: &[Sign]) -> Value {
    let shown = signs.iter().map(|sign| match sign {
        Sign::Code(code) => json!(code),
        Sign::Word(word) => json!(word),
    });
    Value::Array(shown.collect())
}

fn account_json(account: &AccountOf) -> Value {
    json!({
        "account": account.account.as_str(),
        "corp": account.corp.as_str(),
        "sender": account.sender.as_str(),
    })
}

fn limits_json(limits: &Limits) -> Value {
    json!({
        "account_interval": show_duration(limits.account_interval),
        "corp_per_hour": limits.corp.per_hour,
        "corp_reserve": format!("{}%", limits.corp.reserve),
        "corp_burst": limits.corp.burst,
        "measured_from": word(choices::MEASURED_FROM, &limits.measured_from),
        "cool_down": show_duration(limits.cool_down),
        "cool_down_max": show_duration(limits.cool_down_max),
        "corp": limits.corps.iter().map(|(corp, limit)| corp_json(corp, limit)).collect::<Vec<_>>(),
        "account": limits.accounts.iter().map(|(account, span)| interval_json(account, *span)).collect::<Vec<_>>(),
    })
}

fn corp_json(corp: &Corp, limit: &CorpLimit) -> Value {
    json!({
        "corp": corp.as_str(),
        "per_hour": limit.per_hour,
        "reserve": format!("{}%", limit.reserve),
        "burst": limit.burst,
    })
}

fn interval_json(account: &Account, span: Duration) -> Value {
    json!({ "account": account.as_str(), "interval": show_duration(span) })
}

fn callback_json(callback: &Callback) -> Value {
    let (secret, secret_file) = secret_json(Some(&callback.secret));
    json!({
        "name": callback.name,
        "kind": word(choices::CALLBACK_KIND, &callback.kind),
        "sender": callback.sender.as_str(),
        "secret": secret,
        "secret_file": secret_file,
    })
}

/// The key itself, hidden, or the file it came from: never both, because the two exclude each other.
fn secret_json(secret: Option<&Secret>) -> (Option<&'static str>, Option<String>) {
    match secret {
        None => (None, None),
        Some(Secret { file: Some(file), .. }) => (None, Some(shown(file))),
        Some(Secret { file: None, .. }) => (Some(HIDDEN), None),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// TOML has no null, and a key that is not set is best not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Writes in the order of the schema: first the values, then the tables, as TOML demands.
fn write_table(text: &mut String, table: &Map<String, Value>, keys: &[Key], path: &str) {
    for key in keys {
        if let (Shape::Value | Shape::Secret | Shape::Free, Some(value)) = (&key.shape, table.get(key.name)) {
            text.push_str(&format!("{} = {}\n", key.name, toml_value(value)));
        }
    }
    for key in keys {
        let inner = super::schema::join(path, key.name);
        match (&key.shape, table.get(key.name)) {
            (Shape::Table(keys), Some(Value::Object(entries))) => {
                text.push_str(&format!("\n[{inner}]\n"));
                write_table(text, entries, keys, &inner);
            }
            (Shape::Tables { keys, .. }, Some(Value::Array(items))) => {
                for item in items.iter().filter_map(Value::as_object) {
                    text.push_str(&format!("\n[[{inner}]]\n"));
                    write_table(text, item, keys, &inner);
                }
            }
            (Shape::Table(_) | Shape::Tables { .. } | Shape::Value | Shape::Secret | Shape::Free, _) => (),
        }
    }
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::String(text) => toml_text(text),
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", shown.join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let shown: Vec<String> =
                entries.iter().map(|(name, value)| format!("{} = {}", toml_text(name), toml_value(value))).collect();
            format!("{{ {} }}", shown.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
