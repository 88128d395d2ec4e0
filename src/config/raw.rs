//! What was written: the file as a tree in which every value knows its line.
//!
//! Nothing here can be printed, because it holds secrets as they were written.

use super::problem::{Origin, Problem};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// A value and where it came from.
pub(super) struct Node {
    pub origin: Origin,
    pub value: Raw,
}

pub(super) enum Raw {
    Text(String),
    /// From the environment, where everything is text: its reader knows what it should be.
    Variable(String),
    /// Saturated, because no key has a use for more.
    Integer(i128),
    Float,
    Boolean(bool),
    Datetime,
    List(Vec<Node>),
    Table(Table),
}

impl Raw {
    /// The text, from the file or the environment.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) | Self::Variable(text) = self { Some(text) } else { None }
    }

    pub fn as_list(&self) -> Option<&[Node]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    pub fn as_table(&self) -> Option<&Table> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    pub fn as_table_mut(&mut self) -> Option<&mut Table> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    /// What it is, for a message that expected something else.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Variable(_) => "a text from the environment",
            Self::Integer(_) => "an integer",
            Self::Float => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

#[derive(Default)]
pub(super) struct Table {
    pub entries: BTreeMap<String, Entry>,
}

/// A key with its value; the key's own place is where an unknown key is reported.
pub(super) struct Entry {
    pub key_origin: Origin,
    pub node: Node,
}

/// Reads TOML.
///
/// # Errors
/// Every syntax error the parser finds. Nothing else is reported with them, because what follows a syntax error is
/// guesswork.
pub(super) fn parse(file: &Arc<str>, text: &str) -> Result<Table, Vec<Problem>> {
    let lines = Lines::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(lines.table(root.get_ref()));
    }
    let problem = |error: &toml::de::Error| Problem {
        origin: lines.origin(&error.span().unwrap_or(0..0)),
        key: String::new(),
        message: format!("not TOML: {}", error.message().replace('\n', ", ")),
    };
    let mut problems: Vec<Problem> = errors.iter().map(problem).collect();
    problems.sort();
    Err(problems)
}

/// Where each line begins, so that an offset becomes a line without reading the file again.
struct Lines<'a> {
    file: &'a Arc<str>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a Arc<str>, text: &str) -> Self {
        let starts = text.match_indices('\n').map(|(offset, _)| offset + 1).collect();
        Self { file, starts }
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let line = self.starts.partition_point(|start| *start <= span.start) + 1;
        Origin::File { file: Arc::clone(self.file), line: Some(line) }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let key_origin = self.origin(&key.span());
            let node = self.node(value.get_ref(), &value.span());
            entries.insert(key.get_ref().to_string(), Entry { key_origin, node });
        }
        Table { entries }
    }

    fn node(&self, value: &DeValue<'_>, span: &Range<usize>) -> Node {
        let value = match value {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(integer) => Raw::Integer(saturated(integer.as_str(), integer.radix())),
            DeValue::Float(_) => Raw::Float,
            DeValue::Boolean(flag) => Raw::Boolean(*flag),
            DeValue::Datetime(_) => Raw::Datetime,
            DeValue::Array(items) => {
                Raw::List(items.iter().map(|item| self.node(item.get_ref(), &item.span())).collect())
            }
            DeValue::Table(table) => Raw::Table(self.table(table)),
        };
        Node { origin: self.origin(span), value }
    }
}

fn saturated(digits: &str, radix: u32) -> i128 {
    let limit = if digits.starts_with('-') { i128::MIN } else { i128::MAX };
    i128::from_str_radix(digits, radix).unwrap_or(limit)
}
