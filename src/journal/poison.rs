//! What ended the process while it was being handled, and how often: written at a crash, and read at a start.
//!
//! Counted per version of the program, because a newer one may have mended it.

use super::UnknownCause;
use super::codec::time_in;
use crate::model::{Seq, Time};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::fmt;

/// In a table of its own, made where it is missing: journals of before go on being read.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS poison (
    what TEXT PRIMARY KEY, version TEXT NOT NULL, times INTEGER NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Something that was being handled when the process had to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspect {
    /// A delivery, by a digest of what it asks for: it was not acknowledged, so it comes again.
    Delivery(u128),
    /// A message that the journal has.
    Message(Seq),
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivery(digest) => write!(f, "delivery {digest:032x}"),
            Self::Message(seq) => write!(f, "message {seq}"),
        }
    }
}

impl Suspect {
    fn parse(text: &str) -> Option<Self> {
        let (kind, key) = text.split_once(' ')?;
        match kind {
            "delivery" => u128::from_str_radix(key, 16).ok().map(Self::Delivery),
            "message" => key.parse().ok().map(|seq| Self::Message(Seq(seq))),
            _ => None,
        }
    }
}

/// How often each was named under this version of the program.
pub(super) fn read(connection: &Connection) -> Result<BTreeMap<Suspect, u32>, rusqlite::Error> {
    connection.execute(TABLE, [])?;
    let mut statement = connection.prepare("SELECT what, times FROM poison WHERE version = ?1")?;
    let mut rows = statement.query([VERSION])?;
    let mut suspects = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // What nobody of this version wrote accuses nobody.
        if let Some(suspect) = Suspect::parse(row.get_ref(0)?.as_str()?) {
            suspects.insert(suspect, row.get(1)?);
        }
    }
    Ok(suspects)
}

/// Names what was being handled once more.
pub(super) fn note(connection: &Connection, suspect: Suspect, at: Time) -> Result<(), UnknownCause> {
    const SQL: &str = "INSERT INTO poison (what, version, times, at) VALUES (?1, ?2, 1, ?3) ON CONFLICT (what) DO
        UPDATE SET times = CASE version WHEN excluded.version THEN times + 1 ELSE 1 END,
        version = excluded.version, at = excluded.at";
    connection.execute(SQL, params![suspect.to_string(), VERSION, time_in(at)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_another_version_starts_anew() {
        let connection = Connection::open_in_memory().expect("a database");
        assert_eq!(read(&connection).expect("a table"), BTreeMap::new());
        let (delivery, message) = (Suspect::Delivery(u128::MAX - 1), Suspect::Message(Seq(7)));
        for suspect in [delivery, message, delivery] {
            note(&connection, suspect, Time::from_millis(1)).expect("a row");
        }
        assert_eq!(read(&connection).expect("rows"), BTreeMap::from([(delivery, 2), (message, 1)]));
        connection.execute("UPDATE poison SET version = '0.0.1'", []).expect("rows");
        assert_eq!(read(&connection).expect("rows"), BTreeMap::new());
        note(&connection, delivery, Time::from_millis(2)).expect("a row");
        assert_eq!(read(&connection).expect("rows"), BTreeMap::from([(delivery, 1)]));
    }
}
