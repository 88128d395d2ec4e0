//! File systems of our own: one in an image that can lose power.

use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Runs a program, and returns what it said when it failed or is not there.
pub fn run(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
}

/// The first of the files that a package puts below `/usr/lib/<architecture>/`.
pub fn library(name: &str) -> Result<String, String> {
    let folders = std::fs::read_dir("/usr/lib").map_err(|error| error.to_string())?;
    let places = folders.filter_map(Result::ok).map(|folder| folder.path().join(name));
    let found = places.into_iter().find(|path| path.exists());
    Ok(found.ok_or_else(|| format!("there is no {name}"))?.display().to_string())
}

/// ext4 in a file, mounted. Unmounted when dropped.
pub struct LoopDisk {
    directory: TempDir,
}

impl LoopDisk {
    /// # Errors
    /// Why the system does not let us.
    pub fn make(mib: u64) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("mounted")).expect("a directory");
        let disk = Self { directory };
        let image = disk.image();
        run(&["truncate", "-s", &format!("{mib}M"), &image])?;
        run(&["mkfs.ext4", "-q", "-F", &image])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> String {
        self.directory.path().join("image").display().to_string()
    }

    fn mounted(&self) -> String {
        self.directory.path().join("mounted").display().to_string()
    }

    /// # Errors
    /// When it is not whole, or the system does not let us.
    pub fn mount(&self) -> Result<(), String> {
        run(&["mount", "-o", "loop", &self.image(), &self.mounted()]).map(drop)
    }

    pub fn unmount(&self) {
        run(&["umount", &self.mounted()]).expect("nobody uses it any more");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("mounted").join(name)
    }

    /// Takes a copy of all that has reached the disk by now. What is only in memory is not in it.
    pub fn copy(&self) {
        let (image, copy) = (self.image(), format!("{}.copy", self.image()));
        run(&["cp", "--sparse=always", &image, &copy]).expect("a copy");
    }

    /// What is on the disk after a loss of power at the time of the copy.
    pub fn become_copy(&self) {
        self.unmount();
        std::fs::rename(format!("{}.copy", self.image()), self.image()).expect("the copy");
        self.mount().expect("it can be mounted after a loss of power");
    }

    /// Mounts it again in place: `ro`, `rw`, or `abort`, after which it refuses every write like a disk that failed.
    ///
    /// # Errors
    /// When it is in use, or the system does not let us.
    pub fn remount(&self, option: &str) -> Result<(), String> {
        run(&["mount", "-o", &format!("remount,{option}"), &self.mounted()]).map(drop)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Not there when it never was; and with the last user of it gone it goes by itself.
        let _ = Command::new("umount").arg("-l").arg(self.mounted()).output();
    }
}

/// A column of texts of a journal that a crash left behind, or why it cannot be read.
pub fn texts(journal: &Path, sql: &str) -> Result<BTreeSet<String>, rusqlite::Error> {
    let connection = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(sql)?;
    let texts = statement.query_map([], |row| row.get(0))?;
    texts.collect()
}

/// The ids of all messages that a journal knows.
pub fn kept(journal: &Path) -> Result<BTreeSet<String>, rusqlite::Error> {
    let ids = texts(journal, "SELECT id FROM message UNION SELECT id FROM history")?;
    Ok(ids.iter().map(|id| serde_json::from_str(id).expect("a string")).collect())
}

/// The ids of all messages that were requested at least once.
pub fn attempted(journal: &Path) -> Result<BTreeSet<String>, rusqlite::Error> {
    const SQL: &str = "SELECT m.id FROM attempt a JOIN message m ON m.seq = a.seq
        UNION SELECT h.id FROM attempt a JOIN history h ON h.seq = a.seq";
    let ids = texts(journal, SQL)?;
    Ok(ids.iter().map(|id| serde_json::from_str(id).expect("a string")).collect())
}
