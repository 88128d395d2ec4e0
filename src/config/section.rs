//! Reads the values of one table. A wrong value is reported and its default returned, so that the walk goes on and
//! one pass finds every mistake.

use super::problem::{Origin, Problems};
use super::raw::{Node, Raw, Table};
use super::schema::join;
use super::units;
use super::words;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A table of the file, or the place where it would be.
pub(super) struct Section<'a> {
    path: String,
    origin: Origin,
    table: Option<&'a Table>,
}

impl<'a> Section<'a> {
    pub fn root(table: &'a Table, origin: Origin) -> Self {
        Self { path: String::new(), origin, table: Some(table) }
    }

    /// The full name of a key, as reports name it.
    pub fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Where a key is written; where its table is, if it is not.
    pub fn origin(&self, name: &str) -> Origin {
        self.get(name).map_or(&self.origin, |node| &node.origin).clone()
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn is_text(&self, name: &str, expected: &str) -> bool {
        self.get(name).is_some_and(|node| node.value.as_text() == Some(expected))
    }

    fn get(&self, name: &str) -> Option<&'a Node> {
        self.table?.entries.get(name).map(|entry| &entry.node)
    }

    pub fn error(&self, name: &str, message: impl Into<String>, problems: &mut Problems) {
        problems.error(self.origin(name), self.key(name), message);
    }

    pub fn warn(&self, name: &str, message: impl Into<String>, problems: &mut Problems) {
        problems.warn(self.origin(name), self.key(name), message);
    }

    /// Reports a contradiction, unless one of the two keys is wrong by itself.
    pub fn contradiction(&self, name: &str, other: &str, message: impl Into<String>, problems: &mut Problems) {
        if !problems.blames(&self.key(name)) && !problems.blames(&self.key(other)) {
            let place = if self.has(name) { name } else { other };
            problems.error(self.origin(place), self.key(name), message);
        }
    }

    pub fn missing(&self, name: &str, message: &str, problems: &mut Problems) {
        problems.error(self.origin.clone(), self.key(name), format!("missing; {message}"));
    }

    /// `[name]`; its shape is checked elsewhere.
    pub fn section(&self, name: &str) -> Section<'a> {
        let table = self.get(name).and_then(|node| node.value.as_table());
        Section { path: self.key(name), origin: self.origin(name), table }
    }

    /// `[[name]]`; their shape is checked elsewhere.
    pub fn sections(&self, name: &str) -> Vec<Section<'a>> {
        let path = self.key(name);
        let mut found = Vec::new();
        for (index, node) in self.nodes(name).into_iter().flatten().enumerate() {
            if let Raw::Table(table) = &node.value {
                let path = format!("{path}[{index}]");
                found.push(Section { path, origin: node.origin.clone(), table: Some(table) });
            }
        }
        found
    }

    /// The elements of a list, or `None` where there is no list.
    pub fn nodes(&self, name: &str) -> Option<&'a [Node]> {
        self.get(name)?.value.as_list()
    }

    /// A text that is not empty and has no control characters.
    pub fn text(&self, name: &str, problems: &mut Problems) -> Option<String> {
        let node = self.get(name)?;
        match text_of(node, "a text in quotes") {
            Ok(text) => Some(text.to_owned()),
            Err(message) => {
                self.error(name, message, problems);
                None
            }
        }
    }

    pub fn text_or(&self, name: &str, default: &str, problems: &mut Problems) -> String {
        self.text(name, problems).unwrap_or_else(|| default.to_owned())
    }

    /// A list of texts, each as [`Section::text`].
    pub fn texts(&self, name: &str, default: &[&str], problems: &mut Problems) -> Vec<String> {
        self.list(name, default, false, problems)
    }

    /// The same, where an empty text means something.
    pub fn texts_or_empty(&self, name: &str, problems: &mut Problems) -> Vec<String> {
        self.list(name, &[], true, problems)
    }

    fn list(&self, name: &str, default: &[&str], may_be_empty: bool, problems: &mut Problems) -> Vec<String> {
        let default = || default.iter().map(|text| (*text).to_owned()).collect();
        let Some(node) = self.get(name) else { return default() };
        let items = match &node.value {
            Raw::List(items) => items,
            Raw::Text(text) | Raw::Variable(text) => {
                self.error(name, format!("expected a list, found a text; write [{text:?}]"), problems);
                return default();
            }
            Raw::Integer(_) | Raw::Float | Raw::Boolean(_) | Raw::Datetime | Raw::Table(_) => {
                self.error(name, format!("expected a list of texts, found {}", node.value.kind()), problems);
                return default();
            }
        };
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match text_of(item, "a text in quotes") {
                Ok(text) => found.push(text.to_owned()),
                Err(_) if may_be_empty && matches!(&item.value, Raw::Text(text) if text.is_empty()) => {
                    found.push(String::new());
                }
                Err(message) => problems.error(item.origin.clone(), format!("{}[{index}]", self.key(name)), message),
            }
        }
        found
    }

    /// A table whose keys the operator chose, with the texts in it.
    pub fn free(&self, name: &str, problems: &mut Problems) -> Vec<(String, String)> {
        let Some(node) = self.get(name) else { return Vec::new() };
        let inner = self.section(name);
        let Some(table) = inner.table else {
            let message = format!("expected a table, found {}; write {{ note = \"/msg/note\" }}", node.value.kind());
            self.error(name, message, problems);
            return Vec::new();
        };
        let names = table.entries.keys();
        names.filter_map(|key| Some((key.clone(), inner.text(key, problems)?))).collect()
    }

    pub fn flag(&self, name: &str, default: bool, problems: &mut Problems) -> bool {
        let Some(node) = self.get(name) else { return default };
        match &node.value {
            Raw::Boolean(flag) => return *flag,
            Raw::Variable(text) if text == "true" => return true,
            Raw::Variable(text) if text == "false" => return false,
            Raw::Text(_) | Raw::Variable(_) => self.error(name, "write true or false, without quotes", problems),
            Raw::Integer(_) | Raw::Float | Raw::Datetime | Raw::List(_) | Raw::Table(_) => {
                self.error(name, format!("expected true or false, found {}", node.value.kind()), problems);
            }
        }
        default
    }

    pub fn integer(&self, name: &str, range: RangeInclusive<i64>, problems: &mut Problems) -> Option<i64> {
        let node = self.get(name)?;
        let number = match &node.value {
            Raw::Integer(number) => Some(*number),
            Raw::Variable(text) => text.trim().parse().ok(),
            Raw::Text(_) | Raw::Float | Raw::Boolean(_) => None,
            Raw::Datetime | Raw::List(_) | Raw::Table(_) => None,
        };
        let Some(number) = number else {
            let message = format!("expected a whole number without quotes, found {}", node.value.kind());
            self.error(name, message, problems);
            return None;
        };
        match i64::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                self.error(name, out_of_range(number, range.start(), range.end()), problems);
                None
            }
        }
    }

    /// An integer as the unsigned type it is kept in, whose bounds `range` must not exceed.
    pub fn count<T: TryFrom<i64>>(
        &self,
        name: &str,
        default: T,
        range: RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> T {
        self.integer(name, range, problems).and_then(|number| T::try_from(number).ok()).unwrap_or(default)
    }

    pub fn duration(
        &self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
        problems: &mut Problems,
    ) -> Duration {
        let Some(node) = self.get(name) else { return default };
        let read = match &node.value {
            Raw::Text(text) | Raw::Variable(text) => units::duration(text),
            Raw::Integer(number) => Err(units::no_unit(&number.to_string())),
            Raw::Float | Raw::Boolean(_) | Raw::Datetime | Raw::List(_) | Raw::Table(_) => {
                Err(format!("expected a duration such as \"30s\", found {}", node.value.kind()))
            }
        };
        let (least, most) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
        match read {
            Ok(span) if range.contains(&span) => return span,
            Ok(span) => self.error(name, out_of_range(units::show_duration(span), least, most), problems),
            Err(message) => self.error(name, message, problems),
        }
        default
    }

    pub fn size(&self, name: &str, default: u64, range: RangeInclusive<u64>, problems: &mut Problems) -> u64 {
        let Some(node) = self.get(name) else { return default };
        let read = match &node.value {
            Raw::Text(text) | Raw::Variable(text) => units::size(text),
            Raw::Integer(number) => Err(units::no_size_unit(&number.to_string())),
            Raw::Float | Raw::Boolean(_) | Raw::Datetime | Raw::List(_) | Raw::Table(_) => {
                Err(format!("expected a size such as \"256KiB\", found {}", node.value.kind()))
            }
        };
        let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
        match read {
            Ok(bytes) if range.contains(&bytes) => return bytes,
            Ok(bytes) => self.error(name, out_of_range(units::show_size(bytes), least, most), problems),
            Err(message) => self.error(name, message, problems),
        }
        default
    }

    pub fn percent(&self, name: &str, default: u8, most: u8, problems: &mut Problems) -> u8 {
        let Some(node) = self.get(name) else { return default };
        let read = match &node.value {
            Raw::Text(text) | Raw::Variable(text) => units::percent(text),
            Raw::Integer(number) => Err(format!("{number} has no unit; write \"{number}%\"")),
            Raw::Float | Raw::Boolean(_) | Raw::Datetime | Raw::List(_) | Raw::Table(_) => {
                Err(format!("expected a share such as \"2%\", found {}", node.value.kind()))
            }
        };
        match read {
            Ok(share) if share <= most => return share,
            Ok(share) => self.error(name, format!("{share}% is out of range; 0% to {most}%"), problems),
            Err(message) => self.error(name, message, problems),
        }
        default
    }

    /// One of the given words.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&'static str, T)], default: T, problems: &mut Problems) -> T {
        let Some(text) = self.text(name, problems) else { return default };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        let near = words::nearest(&text.to_ascii_lowercase(), choices.iter().map(|(word, _)| *word));
        let meant = near.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
        let only = if words.len() == 1 { "only" } else { "one of" };
        self.error(name, format!("{text:?} is not known; {only} {}{meant}", words.join(", ")), problems);
        default
    }

    /// An IP address with a port. Names are not taken, because they can mean another address tomorrow.
    pub fn address(&self, name: &str, problems: &mut Problems) -> Option<SocketAddr> {
        let text = match &self.get(name)?.value {
            Raw::Integer(port) => port.to_string(),
            Raw::Text(_)
            | Raw::Variable(_)
            | Raw::Float
            | Raw::Boolean(_)
            | Raw::Datetime
            | Raw::List(_)
            | Raw::Table(_) => self.text(name, problems)?,
        };
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let sample = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(8790)));
        let message = format!("{text:?} is not an address; write an IP address and a port, such as \"{sample}\"");
        self.error(name, message, problems);
        None
    }
}

/// A value that must be a text, not empty, without control characters.
///
/// # Errors
/// What is wrong with it.
pub(super) fn text_of<'a>(node: &'a Node, expected: &str) -> Result<&'a str, String> {
    match &node.value {
        Raw::Text(text) | Raw::Variable(text) => {
            if text.trim().is_empty() {
                return Err("must not be empty; leave the key out for its default".to_owned());
            }
            if text.chars().any(char::is_control) {
                return Err("must not contain control characters or line breaks".to_owned());
            }
            Ok(text)
        }
        Raw::Integer(number) => Err(format!("expected {expected}, found an integer; write \"{number}\"")),
        Raw::Float | Raw::Boolean(_) | Raw::Datetime | Raw::List(_) | Raw::Table(_) => {
            Err(format!("expected {expected}, found {}", node.value.kind()))
        }
    }
}

fn out_of_range(value: impl Display, least: impl Display, most: impl Display) -> String {
    format!("{value} is out of range; {least} to {most}")
}
