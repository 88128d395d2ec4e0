//! A JSON object with places for the columns of a row.
//!
//! `{{column}}` inside a string becomes the row's text, and a whole string `"{{=column}}"` the row's JSON. Everything
//! else stays as it was written.

use super::json::{Members, checked, quote, unquote};
use std::collections::BTreeSet;
use std::fmt;

/// Why a text is no template, or a row does not fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplateError {
    NotAnObject { error: String },
    Unclosed { string: String },
    Missing { column: String },
    NotJson { column: String, error: String },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject { error } => write!(f, "the template is no JSON object: {error}"),
            Self::Unclosed { string } => write!(f, "the template has {{{{ without }}}} in {string:?}"),
            Self::Missing { column } => write!(f, "the template wants the column {column:?}, which is not there"),
            Self::NotJson { column, error } => {
                write!(f, "the column {column:?} must be JSON for the template: {error}")
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// JSON text that stays.
    Text(String),
    /// Text of a column, inside a string.
    Column(String),
    /// JSON of a column.
    Json(String),
}

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is no JSON object, or opens a place that it does not close.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        Members::parse(text).map_err(|error| TemplateError::NotAnObject { error: error.to_string() })?;
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find('"') {
            let (before, from) = rest.split_at(begin);
            let (string, after) = from.split_at(string_length(from));
            push_text(&mut pieces, before);
            push_string(&mut pieces, string)?;
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Self { pieces })
    }

    /// The columns that it has places for.
    pub(super) fn columns(&self) -> BTreeSet<&str> {
        self.pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Column(name) | Piece::Json(name) => Some(name.as_str()),
                Piece::Text(_) => None,
            })
            .collect()
    }

    /// The object for a row, whose columns `text_of` knows.
    ///
    /// # Errors
    /// When the row has no such column, or one that must be JSON and is not.
    pub(super) fn fill(&self, text_of: &dyn Fn(&str) -> Option<String>) -> Result<Members, TemplateError> {
        let mut filled = String::new();
        let missing = |name: &str| TemplateError::Missing { column: name.to_owned() };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Column(name) => {
                    let quoted = quote(&text_of(name).ok_or_else(|| missing(name))?);
                    filled.push_str(&quoted[1..quoted.len() - 1]);
                }
                Piece::Json(name) => {
                    let text = text_of(name).ok_or_else(|| missing(name))?;
                    let json = checked(&text)
                        .map_err(|error| TemplateError::NotJson { column: name.clone(), error: error.to_string() })?;
                    filled.push_str(&json);
                }
            }
        }
        Members::parse(&filled).map_err(|error| TemplateError::NotAnObject { error: error.to_string() })
    }
}

/// How many bytes the JSON string takes that the text begins with, in a text that is JSON.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        Some(Piece::Column(_) | Piece::Json(_)) | None => pieces.push(Piece::Text(text.to_owned())),
    }
}

fn push_string(pieces: &mut Vec<Piece>, string: &str) -> Result<(), TemplateError> {
    let Some(meaning) = unquote(string).filter(|meaning| meaning.contains("{{")) else {
        push_text(pieces, string);
        return Ok(());
    };
    if let Some(name) = meaning.strip_prefix("{{=").and_then(|rest| rest.strip_suffix("}}"))
        && !name.contains("}}")
    {
        pieces.push(Piece::Json(name.trim().to_owned()));
        return Ok(());
    }
    push_text(pieces, "\"");
    let mut rest = meaning.as_str();
    while let Some((before, from)) = rest.split_once("{{") {
        let Some((name, after)) = from.split_once("}}") else {
            return Err(TemplateError::Unclosed { string: meaning.clone() });
        };
        push_escaped(pieces, before);
        pieces.push(Piece::Column(name.trim().to_owned()));
        rest = after;
    }
    push_escaped(pieces, rest);
    push_text(pieces, "\"");
    Ok(())
}

/// The inside of a JSON string.
fn push_escaped(pieces: &mut Vec<Piece>, text: &str) {
    let quoted = quote(text);
    push_text(pieces, &quoted[1..quoted.len() - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(template: &str, row: &[(&str, &str)]) -> Result<String, TemplateError> {
        let text_of = |name: &str| row.iter().find(|(own, _)| *own == name).map(|(_, text)| (*text).to_owned());
        Template::parse(template)?.fill(&text_of).map(|members| members.to_string())
    }

    #[test]
    fn places_are_filled_and_the_rest_stays() {
        let template = r#"{ "content": "Dear {{ name }}, {{name}}!", "n": 9007199254740993, "list": ["{{=ids}}"] }"#;
        let row = [("name", "A \"B\" \\ {{x}}\n"), ("ids", " [1, 2] ")];
        let expected =
            r#"{"content":"Dear A \"B\" \\ {{x}}\n, A \"B\" \\ {{x}}\n!","n":9007199254740993,"list":[[1, 2]]}"#;
        assert_eq!(fill(template, &row).as_deref(), Ok(expected));
        let columns = Template::parse(template).expect("a template");
        assert_eq!(columns.columns().into_iter().collect::<Vec<_>>(), ["ids", "name"]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        assert!(matches!(fill("[]", &[]), Err(TemplateError::NotAnObject { .. })));
        assert!(matches!(fill(r#"{"a":"{{b"}"#, &[]), Err(TemplateError::Unclosed { .. })));
        assert_eq!(fill(r#"{"a":"{{b}}"}"#, &[]), Err(TemplateError::Missing { column: "b".to_owned() }));
        assert!(matches!(fill(r#"{"a":"{{=b}}"}"#, &[("b", "x,y")]), Err(TemplateError::NotJson { .. })));
        assert!(matches!(fill(r#"{"a":"{{=b}}"}"#, &[("b", r#"1,"wxId":2"#)]), Err(TemplateError::NotJson { .. })));
    }

    proptest! {
        #[test]
        fn no_text_escapes_from_its_place(text in ".*", around in "[^{}]*") {
            let template = format!("{{\"a\":{}}}", quote(&format!("{around}{{{{b}}}}{around}")));
            let filled = Template::parse(&template).expect("a template").fill(&|_| Some(text.clone())).expect("it fits");
            prop_assert_eq!(filled.0.len(), 1);
            prop_assert_eq!(unquote(&filled.0[0].1), Some(format!("{around}{text}{around}")));
        }

        #[test]
        fn no_template_panics(text in ".*") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.fill(&|_| Some(text.clone()));
            }
        }
    }
}
