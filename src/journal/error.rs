//! What can go wrong, and what is certain when it did.

use crate::model::Seq;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a journal was not opened. Its files are as they were.
#[derive(Debug)]
pub enum OpenError {
    /// A directory or file could not be made or read.
    File { path: PathBuf, error: io::Error },
    /// Another process has it.
    Locked { path: PathBuf },
    /// The linked SQLite can corrupt a write-ahead log.
    OldSqlite { found: String },
    /// It is no SQLite database, or one of another program.
    NotAJournal { path: PathBuf },
    /// A newer version of the program wrote it.
    Newer { path: PathBuf, found: i64, known: i64 },
    /// It ends before the one that was here: an old backup, or a copy.
    Older { path: PathBuf, last: Seq, noted: Seq, mark: PathBuf },
    /// Its structure is damaged; `finding` is the first thing that SQLite found.
    Damaged { path: PathBuf, finding: String },
    /// SQLite could not open, read or write it.
    Database { path: PathBuf, error: rusqlite::Error },
    /// The writer's thread could not be started.
    Thread { error: io::Error },
}

impl OpenError {
    /// Whether it stays so until a person acts. A lock is let go of by the process that holds it.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::OldSqlite { .. }
            | Self::NotAJournal { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. } => true,
            Self::File { error, .. } => {
                matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                )
            }
            Self::Locked { .. } | Self::Database { .. } | Self::Thread { .. } => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "cannot use {path:?}: {error}"),
            Self::Locked { path } => write!(
                f,
                "another process holds the lock {path:?}; one process per journal: stop it, or give this one its own store.path"
            ),
            Self::OldSqlite { found } => {
                write!(f, "SQLite {found} can corrupt a write-ahead log; build with 3.51.3 or later")
            }
            Self::NotAJournal { path } => write!(
                f,
                "{path:?} is not a journal of this program; nothing was changed: choose another store.path, or move the file away"
            ),
            Self::Newer { path, found, known } => write!(
                f,
                "{path:?} has schema {found} and this version knows up to {known}; nothing was changed: run the newer version"
            ),
            Self::Older { path, last, noted, mark } => write!(
                f,
                "{path:?} ends with message {last} and the journal that was here with message {noted}: it is an old backup, and what was sent since would be sent again; nothing was changed: put the newer one back, or remove {mark:?} to go on with this one all the same"
            ),
            Self::Damaged { path, finding } => write!(
                f,
                "{path:?} is damaged ({finding}); nothing was changed: copy it with its -wal file, then restore a backup or run `sqlite3 FILE .recover`"
            ),
            Self::Database { path, error } => write!(f, "cannot open the journal {path:?}: {error}"),
            Self::Thread { error } => write!(f, "cannot start the journal's thread: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { error, .. } | Self::Thread { error } => Some(error),
            Self::Database { error, .. } => Some(error),
            Self::Locked { .. }
            | Self::OldSqlite { .. }
            | Self::NotAJournal { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. } => None,
        }
    }
}

/// The journal could not be read, or holds what this version does not understand.
#[derive(Debug)]
pub struct ReadError {
    /// What was being read.
    pub what: &'static str,
    pub error: rusqlite::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {} from the journal: {}", self.what, self.error)
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A value in the file that no version known to us writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    pub column: &'static str,
    pub found: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {} holds {:?}", self.column, self.found)
    }
}

impl std::error::Error for BadValue {}

/// Why a batch was not committed.
#[derive(Debug)]
pub enum CommitError {
    /// No room on the disk. Certain: nothing of the batch happened, and the journal goes on working.
    Full,
    /// Not certain, or a contradiction: stop, and recover from disk.
    Unknown(UnknownCause),
}

/// What went wrong in a commit of which nobody knows whether it happened.
#[derive(Debug)]
pub enum UnknownCause {
    /// SQLite failed.
    Database(rusqlite::Error),
    /// A record speaks of a row that is not there, or that is in another state. A bug, here or in the engine.
    Contradiction { record: &'static str, number: u64 },
    /// A number does not fit the file's 63 bits.
    TooLarge { record: &'static str, number: u64 },
    /// The file was removed or replaced while it was open.
    Replaced,
    /// An earlier commit failed, or the writer is gone.
    Stopped,
}

impl From<rusqlite::Error> for UnknownCause {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl UnknownCause {
    /// Whether SQLite refused for lack of room, before anything of the transaction could become durable.
    pub(super) fn is_lack_of_room(&self) -> bool {
        match self {
            Self::Database(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Contradiction { .. } | Self::TooLarge { .. } | Self::Replaced | Self::Stopped => false,
        }
    }
}

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::Contradiction { record, number } => {
                write!(f, "the record {record} of number {number} contradicts the journal")
            }
            Self::TooLarge { record, number } => write!(f, "the number {number} of the record {record} is too large"),
            Self::Replaced => f.write_str(
                "the journal's file was removed or replaced while it was open: put it back, or start with a new one",
            ),
            Self::Stopped => f.write_str("the journal stopped after an earlier failure"),
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the disk is full; nothing was committed"),
            Self::Unknown(cause) => write!(f, "nobody knows whether the commit happened: {cause}"),
        }
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unknown(UnknownCause::Database(error)) => Some(error),
            Self::Unknown(
                UnknownCause::Contradiction { .. }
                | UnknownCause::TooLarge { .. }
                | UnknownCause::Replaced
                | UnknownCause::Stopped,
            )
            | Self::Full => None,
        }
    }
}
