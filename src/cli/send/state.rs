//! What lies beside the results file: to which input it belongs, and which rows may be with the bridge.
//!
//! A row is noted here, durably, before its message is published. So a row that is not noted was never published, and
//! one that is noted and has no answer may have been sent. Whoever holds the file's lock is the only one to send.

use crate::model::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;

/// To what a results file belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    /// A digest of everything that the messages are made of.
    pub(super) input: String,
    pub(super) file: String,
    pub(super) suffix: String,
    pub(super) rows: usize,
    pub(super) started_at: Time,
}

impl Header {
    pub(super) fn new(input: String, file: String, suffix: String, rows: usize, started_at: Time) -> Self {
        Self { version: VERSION, input, file, suffix, rows, started_at }
    }
}

/// Why a run cannot have its state.
#[derive(Debug)]
pub(super) enum StateError {
    Io { path: PathBuf, error: io::Error },
    Locked { path: PathBuf },
    Unreadable { path: PathBuf },
    OtherInput { path: PathBuf, file: String },
    OtherSuffix { path: PathBuf, suffix: String },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Locked { path } => {
                write!(f, "{}: another run writes these results; wait for its end", path.display())
            }
            Self::Unreadable { path } => {
                write!(f, "{}: not the state of a run; choose another --results", path.display())
            }
            Self::OtherInput { path, file } => write!(
                f,
                "{}: these results belong to another input ({file:?}, or its content, template or flags were others); \
                 choose another --results",
                path.display()
            ),
            Self::OtherSuffix { path, suffix } => write!(
                f,
                "{}: this run began with --suffix {suffix}, without which the bridge would not know its messages",
                path.display()
            ),
        }
    }
}

/// The state of a run, locked.
pub(super) struct State {
    file: File,
    path: PathBuf,
    /// When each row was first published, or was about to be.
    published: BTreeMap<u64, Time>,
    /// Whether the run began earlier.
    pub(super) is_resumed: bool,
}

impl State {
    /// Where the state of a results file lies.
    pub(super) fn path_for(results: &Path) -> PathBuf {
        let mut name = results.as_os_str().to_owned();
        name.push(".state");
        PathBuf::from(name)
    }

    /// Takes the lock, and begins a run or goes on with it.
    ///
    /// # Errors
    /// [`StateError`]; nothing is changed then.
    pub(super) fn open(results: &Path, header: &Header) -> Result<Self, StateError> {
        let path = Self::path_for(results);
        let failed = |error| StateError::Io { path: path.clone(), error };
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked { path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        // What a crash cut off was not durable, so its rows were not published.
        let whole = text.rfind('\n').map_or(0, |position| position + 1);
        text.truncate(whole);
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut lines = text.lines();
        let Some(first) = lines.next() else {
            let mut state = Self { file, path: path.clone(), published: BTreeMap::new(), is_resumed: false };
            let line = serde_json::to_string(header).unwrap_or_default();
            state.append(&format!("{line}\n")).map_err(failed)?;
            return Ok(state);
        };
        let Ok(found) = serde_json::from_str::<Header>(first) else { return Err(StateError::Unreadable { path }) };
        if found.version != VERSION {
            return Err(StateError::Unreadable { path });
        }
        if found.input != header.input {
            return Err(StateError::OtherInput { path, file: found.file });
        }
        if found.suffix != header.suffix {
            return Err(StateError::OtherSuffix { path, suffix: found.suffix });
        }
        let Some(published) = lines.map(mark).collect() else { return Err(StateError::Unreadable { path }) };
        Ok(Self { file, path, published, is_resumed: true })
    }

    /// When a row was first published, if it was.
    pub(super) fn published_at(&self, row: u64) -> Option<Time> {
        self.published.get(&row).copied()
    }

    /// Notes rows that are about to be published. Durable on return; those that are noted already keep their time.
    ///
    /// # Errors
    /// When the file cannot be written: then none of them may be published.
    pub(super) fn note(&mut self, rows: &[u64], now: Time) -> Result<(), StateError> {
        let mut text = String::new();
        let mut fresh = Vec::new();
        for row in rows.iter().filter(|row| !self.published.contains_key(row)) {
            text.push_str(&format!("{row} {}\n", now.as_millis()));
            fresh.push(*row);
        }
        if !fresh.is_empty() {
            self.append(&text).map_err(|error| StateError::Io { path: self.path.clone(), error })?;
            self.published.extend(fresh.into_iter().map(|row| (row, now)));
        }
        Ok(())
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

fn mark(line: &str) -> Option<(u64, Time)> {
    let (row, millis) = line.split_once(' ')?;
    Some((row.parse().ok()?, Time::from_millis(millis.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn header(input: &str, suffix: &str) -> Header {
        Header::new(input.to_owned(), "list.csv".to_owned(), suffix.to_owned(), 3, NOW)
    }

    #[test]
    fn what_was_noted_is_known_after_a_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let results = folder.path().join("r.csv");
        let mut state = State::open(&results, &header("a", "s")).map_err(|error| error.to_string()).expect("a state");
        assert!(!state.is_resumed);
        state.note(&[2, 3], NOW).map_err(|error| error.to_string()).expect("room");
        state.note(&[3, 4], NOW + std::time::Duration::from_secs(9)).map_err(|error| error.to_string()).expect("room");
        assert!(matches!(State::open(&results, &header("a", "s")), Err(StateError::Locked { .. })));
        drop(state);
        let path = State::path_for(&results);
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, format!("{text}5 17000")).expect("room");
        let state = State::open(&results, &header("a", "s")).map_err(|error| error.to_string()).expect("a state");
        assert!(state.is_resumed);
        assert_eq!((state.published_at(2), state.published_at(3), state.published_at(5)), (Some(NOW), Some(NOW), None));
        assert_eq!(state.published_at(4), Some(NOW + std::time::Duration::from_secs(9)));
    }

    #[test]
    fn another_input_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let results = folder.path().join("r.csv");
        drop(State::open(&results, &header("a", "s")));
        assert!(matches!(State::open(&results, &header("b", "s")), Err(StateError::OtherInput { .. })));
        assert!(matches!(State::open(&results, &header("a", "t")), Err(StateError::OtherSuffix { .. })));
        std::fs::write(State::path_for(&results), "something else\n").expect("room");
        assert!(matches!(State::open(&results, &header("a", "s")), Err(StateError::Unreadable { .. })));
    }
}
