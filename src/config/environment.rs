//! Lays environment variables over the file: `SENDBRIDGE__MQTT__URL` is `mqtt.url`, and
//! `SENDBRIDGE__SENDERS__0__API_KEY` or `SENDBRIDGE__SENDERS__MAIN__API_KEY` is `api_key` of one sender.
//!
//! The prefix ends in two underscores on purpose: what an orchestrator sets for a service of our name
//! (`SENDBRIDGE_PORT`) has one, and is none of ours.

use super::problem::{Origin, Problems};
use super::raw::{Entry, Node, Raw, Table};
use super::schema::{self, Key, ROOT, Shape};
use super::words;
use std::ffi::OsString;
use std::sync::Arc;

const PREFIX: &str = "SENDBRIDGE__";

/// A key may come by itself or from a file. What the environment says of one replaces what the file says of the other.
const PAIRS: [(&str, &str); 6] = [
    ("password", "password_file"),
    ("api_key", "api_key_file"),
    ("secret", "secret_file"),
    ("app_secret", "app_secret_file"),
    ("token", "token_file"),
    ("aes_key", "aes_key_file"),
];

pub(super) fn overlay(
    root: &mut Table,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Problems,
) {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        match value.into_string() {
            Ok(value) => variables.push((name.to_owned(), value)),
            Err(_) => problems.error(Origin::Variable(Arc::from(name)), String::new(), "its value is not UTF-8"),
        }
    }
    // Elements are appended one after the other, so the tenth must come after the second.
    variables.sort_by_cached_key(|(name, _)| order(name));
    for (name, value) in variables {
        let origin = Origin::Variable(Arc::from(name.as_str()));
        let segments: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        let setting = Setting { origin: origin.clone(), value };
        if let Err(message) = setting.put(root, ROOT, &segments, "") {
            problems.error(origin, String::new(), message);
        }
    }
}

fn order(name: &str) -> Vec<(u64, String)> {
    let number = |segment: &str| segment.parse().unwrap_or(u64::MAX);
    name.split("__").map(|segment| (number(segment), segment.to_owned())).collect()
}

struct Setting {
    origin: Origin,
    value: String,
}

impl Setting {
    /// Puts the value where the segments lead.
    ///
    /// # Errors
    /// What is wrong with the name of the variable.
    fn put(&self, table: &mut Table, keys: &'static [Key], segments: &[String], path: &str) -> Result<(), String> {
        let Some((name, rest)) = segments.split_first() else {
            return Err(format!("names the table {path} and no key in it; add __ and one of {}", names(keys)));
        };
        let key = schema::find(keys, name).ok_or_else(|| unknown(name, keys, path))?;
        let inner = schema::join(path, name);
        match &key.shape {
            Shape::Value | Shape::Secret => match rest {
                [] => {
                    let secret = matches!(key.shape, Shape::Secret);
                    let text = Raw::Variable(self.value.clone());
                    self.set(table, name, if secret { text } else { list_or_text(&self.value, &self.origin) });
                    Ok(())
                }
                [_, ..] => Err(format!("{inner} is a value; nothing may follow it in the name")),
            },
            Shape::Free => match rest {
                [free] => {
                    self.set(self.table(table, name)?, free, Raw::Variable(self.value.clone()));
                    Ok(())
                }
                [] | [_, ..] => Err(format!("{inner} is a table; write one key of it, such as {}__NOTE", self.name())),
            },
            Shape::Table(keys) => self.put(self.table(table, name)?, keys, rest, &inner),
            Shape::Tables { identity, keys } => self.put_element(table, (name, identity), keys, rest, &inner),
        }
    }

    fn put_element(
        &self,
        table: &mut Table,
        (name, identity): (&str, &str),
        keys: &'static [Key],
        segments: &[String],
        path: &str,
    ) -> Result<(), String> {
        let Some((which, rest)) = segments.split_first() else {
            return Err(format!("{path} is a list; say which by number or {identity}, such as {}__0", self.name()));
        };
        let list = self.entry(table, name, || Raw::List(Vec::new()));
        let Raw::List(items) = &mut list.value else {
            return Err(format!("{path} is not a list in the file"));
        };
        let known = items.iter().position(|item| is_called(item, identity, which));
        let number = which.parse::<usize>().ok().filter(|number| *number <= items.len());
        let Some(index) = known.or(number) else {
            return Err(format!(
                "there is no {path} whose {identity} is {which:?}, and {} of them by number, counted from 0",
                items.len()
            ));
        };
        if index == items.len() {
            items.push(Node { origin: self.origin.clone(), value: Raw::Table(Table::default()) });
        }
        let element = items[index].value.as_table_mut().ok_or_else(|| not_a_table(path))?;
        self.put(element, keys, rest, &format!("{path}[{index}]"))
    }

    fn set(&self, table: &mut Table, name: &str, value: Raw) {
        for (plain, file) in PAIRS {
            let other = if name == plain { file } else { plain };
            let replaced = name == plain || name == file;
            let in_file = |entry: &Entry| matches!(entry.node.origin, Origin::File { .. });
            if replaced && table.entries.get(other).is_some_and(in_file) {
                table.entries.remove(other);
            }
        }
        let node = Node { origin: self.origin.clone(), value };
        table.entries.insert(name.to_owned(), Entry { key_origin: self.origin.clone(), node });
    }

    fn table<'t>(&self, table: &'t mut Table, name: &str) -> Result<&'t mut Table, String> {
        let node = self.entry(table, name, || Raw::Table(Table::default()));
        node.value.as_table_mut().ok_or_else(|| not_a_table(name))
    }

    fn entry<'t>(&self, table: &'t mut Table, name: &str, empty: fn() -> Raw) -> &'t mut Node {
        let entry = table.entries.entry(name.to_owned()).or_insert_with(|| Entry {
            key_origin: self.origin.clone(),
            node: Node { origin: self.origin.clone(), value: empty() },
        });
        &mut entry.node
    }

    fn name(&self) -> String {
        self.origin.to_string()
    }
}

fn not_a_table(path: &str) -> String {
    format!("{path} is not a table in the file")
}

/// Lists are written as in TOML; everything else is the text itself, whatever its reader makes of it.
fn list_or_text(value: &str, origin: &Origin) -> Raw {
    if !value.trim_start().starts_with('[') {
        return Raw::Variable(value.to_owned());
    }
    let file = Arc::from("");
    let Ok(mut table) = super::raw::parse(&file, &format!("value = {value}")) else {
        return Raw::Variable(value.to_owned());
    };
    match table.entries.remove("value").map(|entry| entry.node.value) {
        Some(Raw::List(mut items)) => {
            for item in &mut items {
                item.origin = origin.clone();
            }
            Raw::List(items)
        }
        Some(_) | None => Raw::Variable(value.to_owned()),
    }
}

/// Whether the element's identity is `which`, as far as the name of a variable can spell it.
fn is_called(item: &Node, identity: &str, which: &str) -> bool {
    let entry = item.value.as_table().and_then(|table| table.entries.get(identity));
    let Some(text) = entry.and_then(|entry| entry.node.value.as_text()) else { return false };
    let spelled = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    spelled.eq(which.chars())
}

fn names(keys: &[Key]) -> String {
    let names: Vec<String> = keys.iter().map(|key| key.name.to_ascii_uppercase()).collect();
    names.join(", ")
}

fn unknown(name: &str, keys: &[Key], path: &str) -> String {
    let place = if path.is_empty() { "the configuration" } else { path };
    let meant = match words::nearest(name, keys.iter().map(|key| key.name)) {
        Some(near) => format!("did you mean {}?", near.to_ascii_uppercase()),
        None => format!("it has {}", names(keys)),
    };
    format!("there is no {} in {place}; {meant}", name.to_ascii_uppercase())
}
