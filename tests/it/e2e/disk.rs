//! What is on the bridge's disk, and a disk that is small enough to be filled.

use crate::report::skipped;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Reads a column of texts from a journal, also of one that a crash left behind.
pub(super) fn texts(journal: &Path, sql: &str) -> BTreeSet<String> {
    let connection = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a journal");
    let mut statement = connection.prepare(sql).expect("SQL");
    let texts = statement.query_map([], |row| row.get(0)).expect("rows");
    texts.map(|text| text.expect("a text")).collect()
}

/// The ids of all messages that were ever accepted and are not in the history yet, as JSON.
pub(super) fn accepted(journal: &Path) -> BTreeSet<String> {
    texts(journal, "SELECT id FROM message")
}

/// The ids of the messages that an attempt was begun for, as JSON.
pub(super) fn attempted(journal: &Path) -> BTreeSet<String> {
    texts(journal, "SELECT m.id FROM attempt a JOIN message m ON m.seq = a.seq")
}

/// The ids of the messages whose attempt has begun and not ended, as JSON.
pub(super) fn in_flight(journal: &Path) -> BTreeSet<String> {
    texts(journal, "SELECT m.id FROM attempt a JOIN message m ON m.seq = a.seq WHERE a.ended_at IS NULL")
}

/// The ids of the messages whose answer is due and not closed, as JSON.
pub(super) fn unanswered(journal: &Path) -> BTreeSet<String> {
    texts(journal, "SELECT m.id FROM outcome o JOIN message m ON m.seq = o.seq WHERE o.answered = 0")
}

/// A file system in memory.
pub(super) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// `None`, with the reason in the report, where the system does not let us mount.
    pub(super) fn mount(mib: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"])
            .arg(directory.path())
            .output();
        let reason = match mounted {
            Ok(output) if output.status.success() => return Some(Self { directory }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        skipped("47, 79", "a full disk, which needs a file system of its own", &reason);
        None
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let space = rustix::fs::statvfs(self.directory.path()).expect("it is mounted");
        space.f_bavail * space.f_frsize
    }

    /// Fills it with something else until so much is free.
    pub(super) fn fill_to(&self, free_bytes: u64) {
        let mut ballast = File::options().append(true).create(true).open(self.path("ballast")).expect("a file");
        let block = vec![0; 4096];
        // The bridge writes too, so the last of it may fail.
        while self.free_bytes() > free_bytes && ballast.write_all(&block).is_ok() {}
    }

    pub(super) fn empty(&self) {
        std::fs::remove_file(self.path("ballast")).expect("the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is in it goes with it; where that fails, the system's own end takes care of it.
        let _ = Command::new("umount").arg("-l").arg(self.directory.path()).status();
    }
}
