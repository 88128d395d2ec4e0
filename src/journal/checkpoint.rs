//! Writes the log back into the database, nearly all of it beside the commits.
//!
//! Whoever writes back some thousand pages and syncs them waits for tens of milliseconds. Here a connection of its own
//! does it, on a thread of its own, while commits go on. What they add meanwhile is little, and the writer does that
//! part itself: only a log that is written back to its end begins anew.
//!
//! A log that was not written back, or not to its end, is as durable as before: lack of room, or somebody who reads,
//! only makes it longer, and it is tried again when it has grown by as much once more. Any other failure is a disk that
//! cannot be relied on, and the writer stops.

use crate::crash;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// Pages that wait to be written back from which on it is done: 4 MB, as SQLite does. More would take room on a disk
/// that is nearly full, fewer would write the same pages more often.
pub(super) const PAGES_MIN: u32 = 1000;

/// Pages that the writer writes back itself: some milliseconds.
const PAGES_SHORT: u32 = 128;

/// After so many rounds beside the commits the writer does what is left, however much it is.
const ROUNDS_MAX: u32 = 4;

/// A log of so many pages is not left to grow: commits wait until it is written back to its end. 16 MB.
const PAGES_MAX: u32 = 4 * PAGES_MIN;

/// The log as it stands, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Log {
    pages: u32,
    written_back: u32,
}

impl Log {
    fn waiting(self) -> u32 {
        self.pages.saturating_sub(self.written_back)
    }

    /// Whether another round beside the commits, after so many, is worth it.
    fn takes_another(self, rounds: u32) -> bool {
        self.waiting() > PAGES_SHORT && self.pages < PAGES_MAX && rounds < ROUNDS_MAX
    }

    /// Only looks.
    fn look(connection: &Connection) -> Result<Self, rusqlite::Error> {
        Self::ask(connection, "PRAGMA wal_checkpoint(NOOP)")
    }

    /// Writes back what no reader still needs and nobody else is writing back. `None` where that has to wait.
    fn write_back(connection: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        crash::at("writing_back");
        let log = match Self::ask(connection, "PRAGMA wal_checkpoint(PASSIVE)") {
            Err(error) if can_wait(&error) => return Ok(None),
            log => log?,
        };
        crash::at("written_back");
        Ok(Some(log))
    }

    fn ask(connection: &Connection, sql: &str) -> Result<Self, rusqlite::Error> {
        connection.prepare_cached(sql)?.query_row([], |row| {
            // SQLite says -1 where there is no log.
            let pages = |column| row.get(column).map(|pages: i64| u32::try_from(pages).unwrap_or_default());
            Ok(Self { pages: pages(1)?, written_back: pages(2)? })
        })
    }
}

/// Whether this says nothing against the disk, but that it has no room, or that another has the file at this moment.
fn can_wait(error: &rusqlite::Error) -> bool {
    let codes = [ErrorCode::DiskFull, ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
    error.sqlite_error_code().is_some_and(|code| codes.contains(&code))
}

/// How a round ended.
type End = Result<(), rusqlite::Error>;

/// Decides when the log is written back. Belongs to the writer, which tells it of every commit.
pub(super) struct Checkpoints {
    /// `None` only while it is being dropped.
    rounds: Option<SyncSender<()>>,
    ended: Receiver<End>,
    thread: Option<JoinHandle<()>>,
    /// Rounds of this checkpoint, of which the last one may be under way. Zero where there is none.
    round: u32,
    is_under_way: bool,
    /// The length of the log when a checkpoint last left something of it: somebody was reading, or there was no room.
    left_at: u32,
    /// The length of the log after the last commit of the writer's connection. More than any log has until there was
    /// one: an earlier life may have left a long one.
    length: Arc<AtomicU32>,
}

impl Checkpoints {
    /// `connection` is a second one to the same file, and may write.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (rounds, asked) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            while asked.recv().is_ok() {
                if end.send(Log::write_back(&connection).map(drop)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            rounds: Some(rounds),
            ended,
            thread: Some(thread),
            round: 0,
            is_under_way: false,
            left_at: 0,
            length: Arc::new(AtomicU32::new(u32::MAX)),
        })
    }

    /// Has SQLite say after each commit over `writer` how long the log is, so that a short one need not be looked at:
    /// a look costs half as much as a small commit. To be called behind all settings of the connection, one of which
    /// undoes it.
    ///
    /// # Errors
    /// When there is no memory: nothing else has changed, and the log is looked at after each commit.
    pub(super) fn watch(&self, writer: &mut Connection) -> Result<(), rusqlite::Error> {
        let length = Arc::clone(&self.length);
        writer.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            length.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// To be called after every transaction of the writer's `connection`, when nobody waits for it any more.
    ///
    /// # Errors
    /// The disk failed: nobody knows what is there.
    pub(super) fn tend(&mut self, connection: &Connection) -> End {
        if self.round == 0 && self.length.load(Ordering::Relaxed) < PAGES_MIN {
            return Ok(());
        }
        let log = Log::look(connection)?;
        if self.is_under_way {
            let Some(end) = self.wait_for_end(log.pages >= PAGES_MAX) else { return Ok(()) };
            self.is_under_way = false;
            end?;
        }
        if self.round > 0 {
            self.go_on(connection)
        } else if log.waiting() >= PAGES_MIN && self.has_grown(log) {
            self.begin_round(connection)
        } else {
            Ok(())
        }
    }

    /// A round has ended: another one, or the end of all.
    fn go_on(&mut self, connection: &Connection) -> End {
        let log = Log::look(connection)?;
        if log.takes_another(self.round) { self.begin_round(connection) } else { self.end(connection) }
    }

    fn begin_round(&mut self, connection: &Connection) -> End {
        self.round += 1;
        self.is_under_way = self.rounds.as_ref().is_some_and(|rounds| rounds.try_send(()).is_ok());
        if self.is_under_way { Ok(()) } else { self.end(connection) }
    }

    fn end(&mut self, connection: &Connection) -> End {
        self.round = 0;
        self.left_at = match Log::write_back(connection)? {
            Some(log) if log.waiting() == 0 => 0,
            Some(log) => log.pages,
            None => Log::look(connection)?.pages,
        };
        Ok(())
    }

    /// Whether there is more to do than what could not be done before.
    fn has_grown(&self, log: Log) -> bool {
        log.pages < self.left_at || log.pages >= self.left_at + PAGES_MIN
    }

    /// How the round under way ended, if it did; `waits` until it does. A thread that is gone has ended its round too,
    /// and the writer does what that did not.
    fn wait_for_end(&self, waits: bool) -> Option<End> {
        let end = if waits { self.ended.recv().map_err(TryRecvError::from) } else { self.ended.try_recv() };
        match end {
            Ok(end) => Some(end),
            Err(TryRecvError::Disconnected) => Some(Ok(())),
            Err(TryRecvError::Empty) => None,
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.rounds = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::schema;
    use rusqlite::ffi::{SQLITE_BUSY, SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE, SQLITE_LOCKED};
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A file with a table, and what the writer has.
    struct File {
        directory: TempDir,
        writer: Connection,
        checkpoints: Checkpoints,
    }

    impl File {
        fn new() -> Self {
            let directory = TempDir::new().expect("a directory");
            let mut writer = Connection::open(path(&directory)).expect("a file");
            writer.execute_batch(schema::BEFORE_TABLES).expect("a log");
            writer.execute_batch(schema::FOR_WRITER).expect("a writer");
            writer.execute_batch("CREATE TABLE kept (n INTEGER PRIMARY KEY, what BLOB NOT NULL)").expect("a table");
            let second = Connection::open(path(&directory)).expect("a second connection");
            second.execute_batch(schema::FOR_CHECKPOINTS).expect("a second connection");
            let checkpoints = Checkpoints::start(second).expect("a thread");
            checkpoints.watch(&mut writer).expect("a hook");
            Self { directory, writer, checkpoints }
        }

        /// One transaction of at least so many pages.
        fn write(&self, pages: u32) {
            let bytes = pages * 4096;
            self.writer.execute("INSERT INTO kept (what) VALUES (zeroblob(?1))", [bytes]).expect("a commit");
        }

        /// The same, and what follows from it.
        fn commit(&mut self, pages: u32) -> Log {
            self.write(pages);
            self.checkpoints.tend(&self.writer).expect("a disk that works");
            self.log()
        }

        fn log(&self) -> Log {
            Log::look(&self.writer).expect("a look")
        }

        /// Commits until the log has begun anew. It ends, because with too many pages waiting a commit waits too.
        fn until_anew(&mut self) {
            let mut before = self.log().pages;
            loop {
                let log = self.commit(1);
                if log.pages < before {
                    return;
                }
                before = log.pages;
            }
        }
    }

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    fn path(directory: &TempDir) -> PathBuf {
        directory.path().join("kept.db")
    }

    #[test]
    fn a_short_log_is_left_alone() {
        let mut file = File::new();
        let log = file.commit(PAGES_MIN / 2);
        assert_eq!(log.written_back, 0);
        assert!(!file.checkpoints.is_under_way);
    }

    #[test]
    fn a_log_that_an_earlier_life_left_long_is_written_back() {
        let mut file = File::new();
        file.write(2 * PAGES_MIN);
        let second = Connection::open(path(&file.directory)).expect("a second connection");
        file.checkpoints = Checkpoints::start(second).expect("a thread");
        file.checkpoints.watch(&mut file.writer).expect("a hook");
        file.checkpoints.tend(&file.writer).expect("a disk that works");
        assert!(file.checkpoints.is_under_way);
    }

    #[test]
    fn the_length_of_the_log_is_known_without_a_look() {
        let mut file = File::new();
        for pages in [1, 10, PAGES_MIN / 2, PAGES_MIN] {
            file.write(pages);
            assert_eq!(file.checkpoints.length.load(Ordering::Relaxed), file.log().pages);
        }
        file.checkpoints.tend(&file.writer).expect("a disk that works");
        assert!(file.checkpoints.is_under_way);
    }

    #[test]
    fn a_long_log_is_written_back_beside_the_commits_and_begins_anew() {
        let mut file = File::new();
        file.commit(PAGES_MIN);
        assert!(file.checkpoints.is_under_way);
        for _ in 0..3 {
            file.until_anew();
            assert!(!file.checkpoints.is_under_way);
            assert!(file.commit(PAGES_MIN).pages < 2 * PAGES_MIN);
        }
        let kept: u32 = Connection::open(path(&file.directory))
            .and_then(|reader| reader.query_row("SELECT count(*) FROM kept", [], |row| row.get(0)))
            .expect("a count");
        let written: u32 = file.writer.query_row("SELECT max(n) FROM kept", [], |row| row.get(0)).expect("a number");
        assert_eq!(kept, written);
    }

    #[test]
    fn commits_wait_rather_than_let_the_log_grow_for_ever() {
        let mut file = File::new();
        let longest = (0..20).map(|_| file.commit(PAGES_MIN)).map(|log| log.pages).max();
        assert!(longest <= Some(PAGES_MAX + PAGES_MIN + 100), "{longest:?}");
    }

    #[test]
    fn what_somebody_reads_stays_in_the_log_and_is_tried_again_when_it_has_grown() {
        let mut file = File::new();
        let reader = Connection::open(path(&file.directory)).expect("a reader");
        reader.execute_batch("BEGIN; SELECT count(*) FROM kept").expect("a look");
        file.commit(PAGES_MIN);
        while file.checkpoints.is_under_way || file.checkpoints.round > 0 {
            file.commit(1);
        }
        let left_at = file.checkpoints.left_at;
        assert!(left_at >= PAGES_MIN);
        assert!(file.log().written_back < 100);
        file.commit(1);
        assert!(!file.checkpoints.is_under_way);
        reader.execute_batch("COMMIT").expect("an end");
        file.commit(PAGES_MIN);
        file.until_anew();
        file.commit(1);
        assert_eq!(file.checkpoints.left_at, 0);
    }

    #[test]
    fn only_lack_of_room_and_others_that_have_the_file_are_waited_for() {
        assert!([SQLITE_FULL, SQLITE_BUSY, SQLITE_LOCKED].map(failure).iter().all(can_wait));
        assert!(![SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC].map(failure).iter().any(can_wait));
    }

    /// After a round that left so many pages of a log of so many: whether another one is begun beside the commits.
    fn another_round_is_begun(pages: u32, left: u32, round: u32) -> bool {
        let mut file = File::new();
        file.write(pages - left);
        // Where nobody reads, a commit begins the log anew.
        let reader = Connection::open(path(&file.directory)).expect("a reader");
        reader.execute_batch("BEGIN; SELECT count(*) FROM kept").expect("a look");
        Log::write_back(&file.writer).expect("a disk that works");
        file.write(left);
        reader.execute_batch("COMMIT").expect("an end");
        file.checkpoints.round = round;
        file.checkpoints.go_on(&file.writer).expect("a disk that works");
        let is_begun = file.checkpoints.is_under_way;
        assert_eq!(file.checkpoints.round, if is_begun { round + 1 } else { 0 });
        assert!(is_begun || file.log().waiting() == 0);
        is_begun
    }

    #[test]
    fn another_round_follows_one_that_left_much() {
        assert!(another_round_is_begun(PAGES_MIN, PAGES_MIN / 2, 1));
        assert!(!another_round_is_begun(PAGES_MIN, PAGES_SHORT / 2, 1));
    }

    #[test]
    fn a_round_is_not_worth_it_for_a_little_or_where_commits_wait_or_for_ever() {
        let takes_another = |pages, waiting, rounds| Log { pages, written_back: pages - waiting }.takes_another(rounds);
        assert!(takes_another(PAGES_MAX - 1, PAGES_SHORT + 1, ROUNDS_MAX - 1));
        assert!(!takes_another(PAGES_MAX, PAGES_SHORT + 1, ROUNDS_MAX - 1));
        assert!(!takes_another(PAGES_MAX - 1, PAGES_SHORT, ROUNDS_MAX - 1));
        assert!(!takes_another(PAGES_MAX - 1, PAGES_SHORT + 1, ROUNDS_MAX));
    }

    #[test]
    fn one_who_has_the_file_is_waited_for_and_a_log_that_cannot_be_read_is_told() {
        let file = File::new();
        file.write(PAGES_SHORT);
        file.writer.execute_batch("BEGIN; SELECT count(*) FROM kept").expect("a transaction");
        assert_eq!(Log::write_back(&file.writer).expect("no failure"), None);
        file.writer.execute_batch("COMMIT").expect("an end");
        let log = std::fs::OpenOptions::new().write(true).open(path(&file.directory).with_extension("db-wal"));
        log.and_then(|log| log.set_len(8192)).expect("a log that was cut off");
        assert!(Log::write_back(&file.writer).is_err());
    }

    #[test]
    fn a_log_that_began_anew_or_grew_by_as_much_once_more_is_written_back() {
        let mut file = File::new();
        file.checkpoints.left_at = 3 * PAGES_MIN;
        let grown = [3 * PAGES_MIN - 1, 3 * PAGES_MIN, 4 * PAGES_MIN - 1, 4 * PAGES_MIN]
            .map(|pages| file.checkpoints.has_grown(Log { pages, written_back: 0 }));
        assert_eq!(grown, [true, false, false, true]);
    }

    #[test]
    fn a_round_that_failed_is_told() {
        let mut file = File::new();
        let (end, ended) = sync_channel(1);
        file.checkpoints.ended = ended;
        (file.checkpoints.round, file.checkpoints.is_under_way) = (1, true);
        file.checkpoints.tend(&file.writer).expect("it has not ended");
        end.send(Err(failure(SQLITE_IOERR_FSYNC))).expect("somebody listens");
        assert!(file.checkpoints.tend(&file.writer).is_err());
    }

    #[test]
    fn without_its_thread_the_writer_does_it_alone() {
        let mut file = File::new();
        file.checkpoints.rounds = None;
        let log = file.commit(PAGES_MIN);
        assert_eq!(log.waiting(), 0);
    }
}
