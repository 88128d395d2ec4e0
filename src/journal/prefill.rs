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
/// Of the room that there is, the log takes no more than the part with this number.
const ROOM_PART: u64 = 64;

/// So long is a log when it is written back.
pub(super) const LOG_BYTES: u64 = HEADER_BYTES + PAGES_MIN as u64 * FRAME_BYTES;

/// Writes zeros behind what is in the log at `path`. SQLite takes them for the rest of an older log, because no
/// checksum is zero there: it reads none of them. Only where there is room in plenty; where it cannot be done the log
/// grows as it is used.
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
