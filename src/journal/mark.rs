//! Notes beside the journal how far it was, so that an old backup put in its place is noticed.
//!
//! The lock file holds the number of the last message, written after the commit that made it durable. It is never
//! synced and may be behind, or gone after a power cut, but never ahead: a journal that ends before it has lost
//! messages that it had, and what was sent since would be sent again.

use crate::model::Seq;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The digits of the largest number, and the end of the line.
const BYTES: usize = 21;

/// The number that was noted last; `None` where there is none that can be read.
pub(super) fn read(lock: &File) -> Option<Seq> {
    let mut line = [0; BYTES];
    lock.read_exact_at(&mut line, 0).ok()?;
    std::str::from_utf8(&line).ok()?.trim().parse().ok().map(Seq)
}

/// Notes the number of the last message that is durable, or that there is none.
pub(super) fn write(lock: &File, last: Seq) {
    let line = format!("{:>width$}\n", last.0, width = BYTES - 1);
    // Without it an old backup is not noticed; nothing else rests on it.
    let _ = lock.write_all_at(line.as_bytes(), 0);
}
