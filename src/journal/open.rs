//! Opens the file and refuses what is not ours, not readable, or not free.

use super::codec::{span_out, time_out, unsigned};
use super::{Anchor, OpenError, Suspect, mark, poison, prefill, schema};
use crate::crash;
use crate::model::LastNumbers;
use crate::model::Seq;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest file whose structure is checked at an open after an unclean stop: about a second of work.
pub const QUICK_CHECK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Older ones can corrupt a write-ahead log when two connections write and checkpoint in the same instant.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// How long a connection waits for a lock that somebody else holds for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Prepared statements that stay prepared; more than there are.
const STATEMENTS_MAX: usize = 64;

pub(super) struct Opened {
    pub(super) connection: Connection,
    /// The one that writes the log back.
    pub(super) checkpoints: Connection,
    pub(super) lock: File,
    pub(super) anchor: Option<Anchor>,
    pub(super) last_numbers: LastNumbers,
    pub(super) was_clean: bool,
    pub(super) suspects: BTreeMap<Suspect, u32>,
}

pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(OpenError::OldSqlite { found: rusqlite::version().to_owned() });
    }
    let lock = lock(path)?;
    create_file(path)?;
    let database = |error: rusqlite::Error| classify(path, error);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(database)?;
    if is_empty(&connection).map_err(database)? {
        connection.execute_batch(schema::BEFORE_TABLES).map_err(database)?;
        create_tables(&connection).map_err(database)?;
        // Whoever took the file away wants to begin anew.
        mark::write(&lock, Seq::default());
    } else {
        let version = check_identity(&connection, path)?;
        check_age(&connection, &lock, path)?;
        upgrade(&connection, version).map_err(database)?;
    }
    // Also for a file that an operator switched to another mode by hand.
    connection.execute_batch("PRAGMA journal_mode = WAL;").map_err(database)?;
    connection.execute_batch(schema::FOR_WRITER).map_err(database)?;
    let checkpoints = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(database)?;
    checkpoints.execute_batch(schema::FOR_CHECKPOINTS).map_err(database)?;
    let (anchor, last_numbers, was_clean) = read_progress(&connection).map_err(database)?;
    if !was_clean && std::fs::metadata(path).is_ok_and(|file| file.len() <= QUICK_CHECK_BYTES_MAX) {
        quick_check(&connection, path)?;
    }
    connection.execute("UPDATE progress SET clean = 0", []).map_err(database)?;
    // The write-ahead log is there by now. SQLite syncs its name too, and does not look whether it could.
    sync_directory(path)?;
    prefill::prefill(&with_suffix(path, "-wal"));
    let suspects = poison::read(&connection).map_err(database)?;
    Ok(Opened { connection, checkpoints, lock, anchor, last_numbers, was_clean, suspects })
}

/// Checks the structure of every page of a journal that may be in use. About a second for each 100 MB, and for as
/// long the write-ahead log cannot shrink.
///
/// # Errors
/// [`OpenError::Damaged`] with the first finding, or why it could not be read.
pub fn check(path: &Path) -> Result<(), OpenError> {
    let connection = open_reader(path).map_err(|error| classify(path, error))?;
    check_identity(&connection, path)?;
    quick_check(&connection, path)
}

/// A read-only connection, which sees what is durable and never holds up the writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute_batch(schema::FOR_READER)?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, rusqlite::Error> {
    // The bundled SQLite takes what begins with `file:` for a URI. An absolute path stays what it is.
    let path = Path::new(".").join(path);
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// Takes the lock that keeps a second process out. It is a file of its own, because closing any handle of the
/// database file would drop the locks that SQLite holds on it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = with_suffix(path, ".lock");
    let failed = |error| OpenError::File { path: lock_path.clone(), error };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| OpenError::File { path: directory.to_owned(), error })?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: lock_path }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Makes an empty file for SQLite where there is none: SQLite would give it the mode of the umask, and its companions
/// get the mode of this one.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::File { path: path.to_owned(), error };
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    sync_directory(path)
}

/// A name that is not durable is lost with all that is behind it.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    crash::at("folder_syncing");
    let synced = File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
    synced.map_err(|error| OpenError::File { path: path.to_owned(), error })?;
    crash::at("folder_synced");
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn is_empty(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

fn create_tables(connection: &Connection) -> Result<(), rusqlite::Error> {
    let sql =
        format!("{} {} PRAGMA application_id = {};", schema::TABLES, schema::STEPS.concat(), schema::APPLICATION_ID);
    change_schema(connection, &sql, ["tables_written", "tables_durable"])
}

/// Takes the steps that a file of this version lacks.
fn upgrade(connection: &Connection, version: i64) -> Result<(), rusqlite::Error> {
    let taken = usize::try_from(version).unwrap_or_default().saturating_sub(1);
    let Some(steps) = schema::STEPS.get(taken..).filter(|steps| !steps.is_empty()) else { return Ok(()) };
    change_schema(connection, &steps.concat(), ["upgrade_written", "upgrade_durable"])
}

/// Makes the file one of our version, all or nothing: a crash in between leaves it as it was, for the next open.
fn change_schema(connection: &Connection, sql: &str, [written, durable]: [&str; 2]) -> Result<(), rusqlite::Error> {
    let version = schema::VERSION;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; BEGIN IMMEDIATE; {sql} PRAGMA user_version = {version};"
    ))?;
    crash::at(written);
    connection.execute_batch("COMMIT;")?;
    crash::at(durable);
    Ok(())
}

/// Returns the version of its schema.
fn check_identity(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application_id = pragma("application_id").map_err(|error| classify(path, error))?;
    if application_id != schema::APPLICATION_ID {
        return Err(OpenError::NotAJournal { path: path.to_owned() });
    }
    let found = pragma("user_version").map_err(|error| classify(path, error))?;
    if found > schema::VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: schema::VERSION });
    }
    Ok(found)
}

/// Refuses a journal that ends before the one that was here.
fn check_age(connection: &Connection, lock: &File, path: &Path) -> Result<(), OpenError> {
    const LAST_SQL: &str = "SELECT max(seq, (SELECT coalesce(max(seq), 0) FROM message)) FROM progress";
    let Some(noted) = mark::read(lock) else { return Ok(()) };
    let last = connection.query_row(LAST_SQL, [], |row| row.get(0)).map_err(|error| classify(path, error))?;
    let last = Seq(unsigned(last));
    if last < noted {
        return Err(OpenError::Older { path: path.to_owned(), last, noted, mark: with_suffix(path, ".lock") });
    }
    Ok(())
}

fn quick_check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let finding: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| classify(path, error))?;
    if finding == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.to_owned(), finding }) }
}

/// Reads where the run before stopped. The tables are asked too, so that a number is never used twice even if
/// somebody edited `progress`.
fn read_progress(connection: &Connection) -> Result<(Option<Anchor>, LastNumbers, bool), rusqlite::Error> {
    const SQL: &str = "SELECT time, boot_id, since_boot, clean,
        max(seq, (SELECT coalesce(max(seq), 0) FROM message)),
        max(refusal, (SELECT coalesce(max(number), 0) FROM refusal)),
        max(hold, (SELECT coalesce(max(id), 0) FROM hold), (SELECT coalesce(max(id), 0) FROM block)),
        max(event, (SELECT coalesce(max(number), 0) FROM event)), coalesce(wall, time)
        FROM progress";
    connection.query_row(SQL, [], |row| {
        let anchor = match row.get::<_, Option<i64>>(0)? {
            Some(time) => Some(Anchor {
                time: time_out(time),
                boot_id: row.get(1)?,
                since_boot: span_out(row.get(2)?),
                wall: time_out(row.get(8)?),
            }),
            None => None,
        };
        let last_numbers = LastNumbers {
            seq: Seq(unsigned(row.get(4)?)),
            refusal: unsigned(row.get(5)?),
            hold: unsigned(row.get(6)?),
            event: unsigned(row.get(7)?),
        };
        Ok((anchor, last_numbers, row.get(3)?))
    })
}

/// Tells a file that is no database, or a damaged one, from any other failure.
fn classify(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAJournal { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, finding: error.to_string() },
        _ => OpenError::Database { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path without a directory lies in the one that the process runs in.
    #[test]
    fn a_name_is_made_durable_where_it_stands() {
        sync_directory(Path::new("sendbridge.db")).expect("the directory of the process");
        let failed = sync_directory(Path::new("/no such directory/sendbridge.db"));
        assert!(matches!(failed, Err(OpenError::File { .. })), "{failed:?}");
    }

    /// What is there already is left as it is; whatever else is in the way is named.
    #[test]
    fn a_file_is_made_where_there_is_none() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let path = directory.path().join("sendbridge.db");
        create_file(&path).expect("a new file");
        std::fs::write(&path, "kept").expect("a text");
        create_file(&path).expect("the same file");
        assert_eq!(std::fs::read(&path).expect("the file"), b"kept");
        let failed = create_file(&path.join("below a file"));
        assert!(matches!(failed, Err(OpenError::File { .. })), "{failed:?}");
    }
}
