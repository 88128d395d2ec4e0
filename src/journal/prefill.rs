//! Gives the write-ahead log its usual length at the start.
//!
//! A file that grows with a commit has more to sync than one that is written over: its length, and where its new blocks
//! are. SQLite writes its log over once that was written back, so a log has cost that much until then.

use super::checkpoint::PAGES_MIN;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A page and the header of its frame, as SQLite writes them (<https://sqlite.org/fileformat2.html#walformat>).
const FRAME_BYTES: u64 = 4096 + 24;
/// What is before the first frame.
const HEADER_BYTES: u64 = 32;
/// Written at once.
const CHUNK_BYTES: u64 = 64 * 1024;
/// The log takes less than one part in so many of the free room.
const ROOM_PART: u64 = 64;

/// So long is a log when it is written back.
const LOG_BYTES: u64 = HEADER_BYTES + PAGES_MIN as u64 * FRAME_BYTES;

/// Writes zeros behind what is in the log at `path`, unless it is that long already. SQLite reads none of them: a frame
/// of page 0 ends the log (`walDecodeFrame`), as the rest of an older log does. Only where there is room in plenty;
/// where it cannot be done the log grows as it is used.
pub(super) fn prefill(path: &Path) {
    // Not an error: nothing rests on it.
    let _ = extend(path);
}

fn extend(path: &Path) -> io::Result<()> {
    let log = OpenOptions::new().write(true).open(path)?;
    let (from, to) = (log.metadata()?.len(), LOG_BYTES);
    if from >= to || !has_plenty(&log)? {
        return Ok(());
    }
    let zeros = [0; CHUNK_BYTES as usize];
    let mut at = from;
    while at < to {
        let chunk = usize::try_from((to - at).min(CHUNK_BYTES)).unwrap_or_default();
        log.write_all_at(&zeros[..chunk], at)?;
        at += chunk as u64;
    }
    log.sync_all()
}

fn has_plenty(log: &File) -> io::Result<bool> {
    let space = rustix::fs::fstatvfs(log)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize) / ROOM_PART > LOG_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// What a log of `content` is after it.
    fn prefilled(content: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, content).expect("a log");
        prefill(&path);
        std::fs::read(&path).expect("the log")
    }

    #[test]
    fn a_log_keeps_what_is_in_it_and_gets_its_usual_length() {
        let log = prefilled(b"frames");
        assert_eq!(log.len() as u64, LOG_BYTES);
        assert!(log.starts_with(b"frames") && log[6..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_longer_log_is_left_alone_and_none_is_made() {
        let long = vec![1; LOG_BYTES as usize + 1];
        assert_eq!(prefilled(&long), long);
        let directory = tempfile::tempdir().expect("a directory");
        prefill(&directory.path().join("log"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    /// All that was committed before and after it is there for whoever has only the files.
    #[test]
    fn sqlite_reads_what_is_before_the_zeros_and_writes_over_them() {
        let (directory, copy) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let path = directory.path().join("kept.db");
        let writer = Connection::open(&path).expect("a file");
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE kept (n INTEGER)").expect("a table");
        writer.execute_batch("INSERT INTO kept VALUES (1)").expect("a commit");
        let log = path.with_extension("db-wal");
        prefill(&log);
        writer.execute_batch("INSERT INTO kept VALUES (2)").expect("a commit");
        assert_eq!(std::fs::metadata(&log).expect("a log").len(), LOG_BYTES);
        for suffix in ["db", "db-wal"] {
            let file = path.with_extension(suffix);
            std::fs::copy(&file, copy.path().join(file.file_name().expect("a name"))).expect("a copy");
        }
        let reader = Connection::open(copy.path().join("kept.db")).expect("the copy");
        let sum: i64 = reader.query_row("SELECT sum(n) FROM kept", [], |row| row.get(0)).expect("a sum");
        assert_eq!(sum, 3);
    }
}
