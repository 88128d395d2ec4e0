//! What a run says at its end: figures, and what it could not do.
//!
//! Lines go to the file that `SENDBRIDGE_REPORT` names, which `tests/root/run` shows, and to standard error.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;

/// One measured or counted thing.
pub fn figure(key: &str, value: impl Display) {
    say(&format!("figure: {key} = {value}"));
}

/// A row of the table of faults that this machine cannot show, and why.
pub fn skipped(row: &str, what: &str, why: &str) {
    say(&format!("skipped: {row} {what} ({})", why.trim().replace('\n', "; ")));
}

fn say(line: &str) {
    eprintln!("{line}");
    if let Ok(path) = std::env::var("SENDBRIDGE_REPORT") {
        let mut file = File::options().append(true).create(true).open(path).expect("the report");
        writeln!(file, "{line}").expect("the report");
    }
}

/// How often, from the environment: a release asks for more than a change.
pub fn count(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}
