//! Which keys exist. Unknown keys, environment variables, the documented file and the effective configuration are
//! all held against this one table, in the order in which a person reads them.

use super::problem::Problems;
use super::raw::{Node, Raw, Table};
use super::words;

/// What may stand under a key.
pub(super) enum Shape {
    /// A value or a list of values; its reader knows which.
    Value,
    /// A value that is never shown.
    Secret,
    /// `[name]`
    Table(&'static [Key]),
    /// `[[name]]`, whose elements are told apart by the value of one key.
    Tables { identity: &'static str, keys: &'static [Key] },
    /// A table whose keys the operator chooses.
    Free,
}

pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
}

const fn value(name: &'static str) -> Key {
    Key { name, shape: Shape::Value }
}

const fn secret(name: &'static str) -> Key {
    Key { name, shape: Shape::Secret }
}

const fn table(name: &'static str, keys: &'static [Key]) -> Key {
    Key { name, shape: Shape::Table(keys) }
}

const fn tables(name: &'static str, identity: &'static str, keys: &'static [Key]) -> Key {
    Key { name, shape: Shape::Tables { identity, keys } }
}

pub(super) const ROOT: &[Key] = &[
    table("mqtt", MQTT),
    table("topics", TOPICS),
    table("messages", MESSAGES),
    tables("senders", "name", SENDERS),
    tables("accounts", "account", ACCOUNTS),
    table("limits", LIMITS),
    table("store", STORE),
    table("http", HTTP),
    tables("callbacks", "name", CALLBACKS),
    table("broker", BROKER),
    table("log", LOG),
];

const MQTT: &[Key] = &[
    value("url"),
    value("client_id"),
    value("keep_alive"),
    value("receive_maximum"),
    value("broker_backlog_alarm"),
    value("broker_clients_alarm"),
    value("broker_memory_alarm"),
    value("username"),
    secret("password"),
    value("password_file"),
    value("ca_file"),
    value("client_cert_file"),
    value("client_key_file"),
];

const TOPICS: &[Key] = &[
    value("send"),
    value("answer"),
    value("base"),
    value("reply_topics"),
    value("events"),
    value("health_interval"),
    value("status_per_second"),
    value("status_accounts"),
    value("status_idle"),
];

const MESSAGES: &[Key] = &[
    value("max_message"),
    value("ttl"),
    value("dedup_window"),
    value("id_conflict"),
    value("on_doubt"),
    value("doubt_window"),
    value("max_resends"),
    value("queue_messages"),
    value("queue_bytes"),
    value("queue_time"),
    value("unknown_account_grace"),
];

const SENDERS: &[Key] = &[
    value("name"),
    value("kind"),
    value("url"),
    secret("api_key"),
    value("api_key_file"),
    value("ca_file"),
    value("timeout"),
    value("connect_timeout"),
    value("connections"),
    value("reuse_idle"),
    value("directory_refresh"),
    value("busy_means_not_done"),
    value("default_corp"),
    value("temporary"),
    value("offline"),
    value("unknown"),
    Key { name: "types", shape: Shape::Free },
];

const ACCOUNTS: &[Key] = &[value("account"), value("corp"), value("sender")];

const LIMITS: &[Key] = &[
    value("account_interval"),
    value("corp_per_hour"),
    value("corp_reserve"),
    value("corp_burst"),
    value("measured_from"),
    value("cool_down"),
    value("cool_down_max"),
    tables("corp", "corp", &[value("corp"), value("per_hour"), value("reserve"), value("burst")]),
    tables("account", "account", &[value("account"), value("interval")]),
];

const STORE: &[Key] = &[value("path"), value("retention"), value("body_retention"), value("low_space")];

const HTTP: &[Key] = &[value("listen")];

const CALLBACKS: &[Key] = &[value("name"), value("kind"), value("sender"), secret("secret"), value("secret_file")];

const BROKER: &[Key] = &[value("listen")];

const LOG: &[Key] = &[value("level"), value("format")];

pub(super) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Every key that takes a value, as `mqtt.url` and `senders[].url`.
pub(super) fn paths(keys: &[Key], prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for key in keys {
        let path = join(prefix, key.name);
        match &key.shape {
            Shape::Value | Shape::Secret | Shape::Free => found.push(path),
            Shape::Table(inner) => found.extend(paths(inner, &path)),
            Shape::Tables { keys, .. } => found.extend(paths(keys, &format!("{path}[]"))),
        }
    }
    found
}

pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// Reports every unknown key and every table that is none; the types of values are left to their readers.
pub(super) fn check(table: &Table, keys: &'static [Key], path: &str, problems: &mut Problems) {
    for (name, entry) in &table.entries {
        let inner = join(path, name);
        match find(keys, name) {
            Some(key) => check_shape(&entry.node, key, &inner, problems),
            None => {
                let message = format!("unknown key{}", suggestion(name, keys, path));
                problems.error(entry.key_origin.clone(), inner, message);
            }
        }
    }
}

fn check_shape(node: &Node, key: &'static Key, path: &str, problems: &mut Problems) {
    match (&key.shape, &node.value) {
        (Shape::Value | Shape::Secret | Shape::Free, _) => (),
        (Shape::Table(keys), Raw::Table(table)) => check(table, keys, path, problems),
        (Shape::Table(_), other) => {
            let message = format!("expected a table, found {}; write it as [{path}]", other.kind());
            problems.error(node.origin.clone(), path.to_owned(), message);
        }
        (Shape::Tables { keys, .. }, Raw::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                match item.value.as_table() {
                    Some(table) => check(table, keys, &path, problems),
                    None => {
                        let message = format!("expected a table, found {}", item.value.kind());
                        problems.error(item.origin.clone(), path, message);
                    }
                }
            }
        }
        (Shape::Tables { .. }, other) => {
            let message = format!("expected a list of tables, found {}; write each as [[{path}]]", other.kind());
            problems.error(node.origin.clone(), path.to_owned(), message);
        }
    }
}

/// `; did you mean …?`, the place where a key of that name belongs, or the keys there are.
fn suggestion(name: &str, keys: &[Key], path: &str) -> String {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    let everywhere = paths(ROOT, "");
    let lower = name.to_ascii_lowercase().replace('-', "_");
    if let Some(near) = words::nearest(&lower, names.iter().copied()) {
        return format!("; did you mean {near:?}?");
    }
    let elsewhere = everywhere.iter().find(|known| known.rsplit('.').next() == Some(lower.as_str()));
    match elsewhere {
        Some(place) => format!("; did you mean {place}?"),
        None if path.is_empty() => format!("; the tables are {}", names.join(", ")),
        None => format!("; the keys here are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_key_once() {
        let mut all = paths(ROOT, "");
        let count = all.len();
        assert!(all.contains(&"mqtt.url".to_owned()));
        assert!(all.contains(&"limits.corp[].per_hour".to_owned()));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
