//! From flags, a template and a row to the payload of one message.
//!
//! What is said twice is said by the more particular one: a row goes before a flag, a flag before the template.

use super::json::{Members, checked, quote};
use super::options::MessageOptions;
use super::table::{Cells, Row};
use super::template::{Template, TemplateError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// Fields that must be numbers: cells and flags of them are written without quotes.
const NUMBERS: [&str; 2] = ["bridge.priority", "feed_type"];
/// Fields that must be lists: cells and flags of them are JSON.
const LISTS: [&str; 1] = ["atList"];
const BRIDGE: &str = "bridge.";
/// After a name: the value is JSON.
const JSON_MARK: &str = ":=";

/// Why a message cannot be composed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ComposeError {
    Template(TemplateError),
    NotANumber { field: String },
    NotJson { field: String, error: String },
    NoEqualSign { flag: &'static str, text: String },
    NoSuchColumn { column: String },
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(error) => error.fmt(f),
            Self::NotANumber { field } => write!(f, "{field} must be a number: write it with digits only"),
            Self::NotJson { field, error } => write!(f, "{field} must be JSON: {error}"),
            Self::NoEqualSign { flag, text } => write!(f, "{flag} {text:?} has no =: write it like name=value"),
            Self::NoSuchColumn { column } => write!(f, "--map names the column {column:?}, which is not there"),
        }
    }
}

/// A name and how its text is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    name: String,
    is_json: bool,
}

impl Target {
    fn parse(text: &str) -> Self {
        match text.strip_suffix(JSON_MARK) {
            Some(name) => Self { name: name.to_owned(), is_json: true },
            None => Self { name: text.to_owned(), is_json: false },
        }
    }

    /// The JSON of a text for this field.
    fn json(&self, text: &str) -> Result<String, ComposeError> {
        let is = |known: &&str| known.eq_ignore_ascii_case(&self.name);
        let field = || self.name.clone();
        let json = || checked(text).map_err(|error| ComposeError::NotJson { field: field(), error: error.to_string() });
        if self.is_json || LISTS.iter().any(is) {
            return json();
        }
        if NUMBERS.iter().any(is) {
            let number = json().map_err(|_| ComposeError::NotANumber { field: field() })?;
            let is_number = number.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            return if is_number { Ok(number) } else { Err(ComposeError::NotANumber { field: field() }) };
        }
        // Whole seconds, which the bridge takes as a number only.
        let is_seconds = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if self.name.eq_ignore_ascii_case("bridge.ttl") && is_seconds {
            return json();
        }
        Ok(quote(text))
    }
}

/// How every message is made.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    template: Option<Template>,
    /// From flags, in their order, as JSON.
    given: Vec<(String, String)>,
    /// What becomes of each column; `None` leaves it out.
    map: BTreeMap<String, Option<Target>>,
    columns: Vec<String>,
}

impl Recipe {
    /// `columns` are the names of a CSV's columns; none for JSONL and for one message.
    ///
    /// # Errors
    /// The flag, the column or the template that cannot be used.
    pub(super) fn new(
        options: &MessageOptions,
        template: Option<&str>,
        map: &[String],
        columns: Vec<String>,
    ) -> Result<Self, ComposeError> {
        let template = template.map(Template::parse).transpose().map_err(ComposeError::Template)?;
        let mut mapped = BTreeMap::new();
        if let (Some(template), false) = (&template, columns.is_empty()) {
            for name in template.columns() {
                if !has(&columns, name) {
                    return Err(ComposeError::Template(TemplateError::Missing { column: name.to_owned() }));
                }
            }
        }
        for name in template.iter().flat_map(Template::columns) {
            mapped.insert(name.to_ascii_lowercase(), None);
        }
        for text in map {
            let (column, field) =
                text.split_once('=').ok_or_else(|| ComposeError::NoEqualSign { flag: "--map", text: text.clone() })?;
            if !columns.is_empty() && !has(&columns, column) {
                return Err(ComposeError::NoSuchColumn { column: column.to_owned() });
            }
            mapped.insert(column.to_ascii_lowercase(), (!field.is_empty()).then(|| Target::parse(field)));
        }
        Ok(Self { template, given: given(options)?, map: mapped, columns })
    }

    /// Adds everything that messages are made of beside their rows to a digest.
    pub(super) fn digest_into(&self, digest: &mut Sha256) {
        // Their own words for themselves tell any two apart.
        digest.update(format!("{:?}{:?}{:?}", self.template, self.given, self.map));
    }

    /// The message of a row, or of the flags alone. Its id is left to the caller when nobody names one.
    ///
    /// # Errors
    /// What of the row does not fit.
    pub(super) fn compose(&self, row: Option<&Row>) -> Result<Members, ComposeError> {
        let mut members = match &self.template {
            Some(template) => {
                let text_of = |name: &str| row.and_then(|row| row.text(&self.columns, name));
                template.fill(&text_of).map_err(ComposeError::Template)?
            }
            None => Members::default(),
        };
        let mut bridge = match members.remove("bridge") {
            Some(own) => wishes(&own)?,
            None => Members::default(),
        };
        for (name, json) in &self.given {
            put(&mut members, &mut bridge, name, json.clone())?;
        }
        if let Some(row) = row {
            self.add_row(row, &mut members, &mut bridge)?;
        }
        if members.get("type").is_none() {
            members.set("type", quote("text"));
        }
        if !bridge.0.is_empty() {
            members.set("bridge", bridge.to_string());
        }
        Ok(members)
    }

    fn add_row(&self, row: &Row, members: &mut Members, bridge: &mut Members) -> Result<(), ComposeError> {
        match &row.cells {
            Cells::Texts(texts) => {
                for (column, text) in self.columns.iter().zip(texts).filter(|(_, text)| !text.is_empty()) {
                    if let Some(target) = self.target(column) {
                        put(members, bridge, &target.name, target.json(text)?)?;
                    }
                }
            }
            Cells::Object(own) => {
                for (name, json) in &own.0 {
                    if let Some(target) = self.target(name) {
                        put(members, bridge, &target.name, json.clone())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn target(&self, column: &str) -> Option<Target> {
        match self.map.get(&column.to_ascii_lowercase()) {
            Some(mapped) => mapped.clone(),
            None => Some(Target::parse(column)),
        }
    }
}

fn has(columns: &[String], name: &str) -> bool {
    columns.iter().any(|column| column.eq_ignore_ascii_case(name))
}

fn put(members: &mut Members, bridge: &mut Members, name: &str, json: String) -> Result<(), ComposeError> {
    let is_wish = name.get(..BRIDGE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(BRIDGE));
    if is_wish {
        bridge.set(&name[BRIDGE.len()..], json);
    } else if name.eq_ignore_ascii_case("bridge") {
        for (name, json) in wishes(&json)?.0 {
            bridge.set(&name, json);
        }
    } else {
        members.set(name, json);
    }
    Ok(())
}

fn wishes(json: &str) -> Result<Members, ComposeError> {
    Members::parse(json)
        .map_err(|_| ComposeError::NotJson { field: "bridge".to_owned(), error: "it is no object".to_owned() })
}

/// What the flags say.
fn given(options: &MessageOptions) -> Result<Vec<(String, String)>, ComposeError> {
    let flags = [
        ("wxId", &options.account),
        ("conversationId", &options.to),
        ("content", &options.text),
        ("type", &options.kind),
        ("bridge.priority", &options.priority),
        ("bridge.ttl", &options.ttl),
        ("bridge.notBefore", &options.not_before),
        ("bridge.onDoubt", &options.on_doubt),
        ("bridge.tag", &options.tag),
    ];
    let mut given = Vec::new();
    for (name, text) in flags {
        if let Some(text) = text {
            given.push((name.to_owned(), Target::parse(name).json(text)?));
        }
    }
    for text in &options.field {
        let (name, value) =
            text.split_once('=').ok_or_else(|| ComposeError::NoEqualSign { flag: "--field", text: text.clone() })?;
        let target = match name.strip_suffix(':') {
            Some(name) => Target { name: name.to_owned(), is_json: true },
            None => Target { name: name.to_owned(), is_json: false },
        };
        given.push((target.name.clone(), target.json(value)?));
    }
    if let Some(id) = &options.id {
        given.push(("id".to_owned(), quote(id)));
    }
    Ok(given)
}
