//! The mutants that cargo-mutants names.

use serde_json::Value;
use std::path::Path;

/// Line and column, both from 1 on.
pub type Place = (usize, usize);

/// The byte at which a place begins.
fn offset(source: &str, (line, column): Place) -> usize {
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let text = source[before..].chars().take(column - 1).map(char::len_utf8);
    before + text.sum::<usize>()
}

/// What kind of thing a mutant changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Genre {
    BinaryOperator,
    FnValue,
    MatchArm,
    MatchArmGuard,
    StructField,
    UnaryOperator,
}

#[derive(Clone)]
pub struct Mutant {
    /// Its place in the list, from 1 on.
    pub number: usize,
    pub file: String,
    pub place: Place,
    end: Place,
    pub genre: Genre,
    pub replacement: String,
    /// With file, line and column.
    pub name: String,
    /// The same for as long as its line of source is: the name without the place, and that line.
    pub lasting_name: String,
}

impl Mutant {
    /// The source with this mutant alone.
    pub fn change(&self, source: &str) -> String {
        let (start, end) = (offset(source, self.place), offset(source, self.end));
        format!("{}{}{}", &source[..start], self.replacement, &source[end..])
    }
}

fn genre(text: &str) -> Genre {
    match text {
        "BinaryOperator" => Genre::BinaryOperator,
        "FnValue" => Genre::FnValue,
        "MatchArm" => Genre::MatchArm,
        "MatchArmGuard" => Genre::MatchArmGuard,
        "StructField" => Genre::StructField,
        "UnaryOperator" => Genre::UnaryOperator,
        other => panic!("nothing here makes mutants of the genre {other}"),
    }
}

/// Reads what `cargo mutants --list --json` printed about the source below `root`.
pub fn read(json: &str, root: &Path) -> Vec<Mutant> {
    let listed: Vec<Value> = serde_json::from_str(json).expect("cargo-mutants lists in JSON");
    let mutant = |(index, value): (usize, &Value)| {
        let text = |key: &str| value[key].as_str().expect("a mutant has its words").to_owned();
        let number = |side: &str, key: &str| value["span"][side][key].as_u64().expect("a mutant has a place") as usize;
        let place = |side: &str| (number(side, "line"), number(side, "column"));
        let (file, name, place, end) = (text("file"), text("name"), place("start"), place("end"));
        let source = std::fs::read_to_string(root.join(&file)).expect("a mutant has a file");
        let line = source.lines().nth(place.0 - 1).expect("a mutant has a line").trim();
        let what =
            name.strip_prefix(&format!("{file}:{}:{}: ", place.0, place.1)).expect("a name begins with its place");
        let lasting_name = format!("{file}: {what}: {line}");
        let (genre, replacement) = (genre(&text("genre")), text("replacement"));
        Mutant { number: index + 1, place, end, genre, replacement, lasting_name, file, name }
    };
    listed.iter().enumerate().map(mutant).collect()
}
