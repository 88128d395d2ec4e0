//! How much room the journal takes, and how much there is.

use super::Journal;
use std::path::{Path, PathBuf};

/// Bytes on the journal's file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Of the database and its write-ahead log together.
    pub journal_bytes: u64,
    /// What a user without privileges may still write.
    pub free_bytes: u64,
}

impl Journal {
    /// Asks the file system, which answers from memory. What it does not tell is zero.
    pub fn space(&self) -> Space {
        let path = &self.settings.path;
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let free_bytes = rustix::fs::statvfs(directory.unwrap_or(Path::new(".")))
            .map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize));
        Space { journal_bytes: bytes(path) + bytes(&PathBuf::from(log)), free_bytes }
    }
}
