//! Lack of room, provoked by SQLite's own limit of pages: it refuses with the same error as a full disk.

use super::{START, accepted, directory, life, open, replayed, settings};
use crate::journal::checkpoint::Checkpoints;
use crate::journal::writer::Store;
use crate::journal::{Batch, CommitError, Journal, UnknownCause, open as opening};
use crate::model::{LastNumbers, Record};
use bytes::Bytes;
use std::sync::Arc;

fn limit_pages(store: &Store, pages: i64) {
    store.connection.pragma_update(None, "max_page_count", pages).expect("a limit");
}

fn large(seq: u64) -> Record {
    let mut message = super::message(seq, START);
    message.request.body = Bytes::from(vec![b'x'; 100_000]);
    Record::Accepted(Arc::new(message))
}

#[test]
fn a_refused_commit_leaves_nothing_behind_and_the_next_one_works_when_there_is_room() {
    let directory = directory();
    let settings = settings(directory.path());
    let opened = opening::open(&settings.path).expect("a journal");
    let checkpoints = Checkpoints::start(opened.checkpoints).expect("a thread");
    let mut store = Store::new(opened.connection, checkpoints, opened.lock, settings, opened.last_numbers);
    let batch = |records| Batch { records, ..Batch::default() };
    store.commit(&batch(life(1, START))).expect("a commit");

    limit_pages(&store, 40);
    for _ in 0..3 {
        let refused = store.commit(&batch(vec![accepted(2, START), large(3), large(4)]));
        assert!(matches!(refused, Err(CommitError::Full)), "{refused:?}");
    }
    // What fits still goes, under the numbers that the refused batch did not use up.
    store.commit(&batch(vec![accepted(2, START)])).expect("a commit");
    assert!(matches!(store.commit(&batch(vec![large(3), large(4)])), Err(CommitError::Full)));
    limit_pages(&store, 100_000);
    store.commit(&batch(vec![large(3), large(4)])).expect("a commit");

    let sound: String = store.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(sound, "ok");
    drop(store);
    let journal = open(directory.path());
    assert_eq!(journal.last_numbers(), LastNumbers { seq: crate::model::Seq(4), ..LastNumbers::default() });
    assert_eq!(replayed(&journal, START).len(), life(1, START).len() + 3);
}

#[tokio::test]
async fn the_log_stays_short_whatever_is_written() {
    let directory = directory();
    let journal = open(directory.path());
    let log = settings(directory.path()).path.with_extension("db-wal");
    for seq in 1..=200 {
        super::commit(&journal, vec![large(2 * seq), large(2 * seq + 1)]).await;
        let bytes = std::fs::metadata(&log).expect("a log").len();
        assert!(bytes < 20_000_000, "{bytes} bytes after {seq} commits of 200,000");
    }
}

#[tokio::test]
async fn an_empty_batch_tells_whether_the_disk_has_room() {
    let directory = directory();
    let mut settings = settings(directory.path());
    settings.low_space_bytes = u64::MAX;
    let journal = Journal::open(settings).expect("a journal");
    assert!(journal.commit(Batch::default()).await.expect("a look").low_space);
}

/// Pages of the file that hold nothing, after a message with a large body was erased.
async fn free_pages(low_space_bytes: u64) -> i64 {
    let directory = directory();
    let settings = super::Settings { low_space_bytes, ..settings(directory.path()) };
    let path = settings.path.clone();
    let journal = Journal::open(settings).expect("a journal");
    let mut records = life(1, START);
    records[0] = large(1);
    super::commit(&journal, records).await;
    let pruned = journal.prune(START + 2 * super::HOUR).await.expect("a pass");
    assert_eq!(pruned.bodies_erased, 1);
    journal.close().await.expect("a clean end");
    let connection = rusqlite::Connection::open(path).expect("a file");
    connection.pragma_query_value(None, "freelist_count", |row| row.get(0)).expect("a count")
}

#[tokio::test]
async fn free_pages_are_kept_for_the_next_messages_and_given_back_where_space_is_low() {
    assert!(free_pages(0).await > 20);
    assert_eq!(free_pages(u64::MAX).await, 0);
}

#[tokio::test]
async fn a_journal_that_was_removed_while_open_takes_nothing_more() {
    let directory = directory();
    let journal = open(directory.path());
    std::fs::remove_file(settings(directory.path()).path).expect("a removed journal");
    let refused = journal.commit(Batch { records: vec![accepted(1, START)], ..Batch::default() }).await;
    assert!(matches!(refused, Err(CommitError::Unknown(UnknownCause::Replaced))), "{refused:?}");
}

#[test]
fn space_that_was_low_has_to_become_clearly_more() {
    let directory = directory();
    let settings = settings(directory.path());
    let opened = opening::open(&settings.path).expect("a journal");
    let checkpoints = Checkpoints::start(opened.checkpoints).expect("a thread");
    let mut store = Store::new(opened.connection, checkpoints, opened.lock, settings, opened.last_numbers);
    let mut is_low = |low_space_bytes| {
        store.settings.low_space_bytes = low_space_bytes;
        store.commit(&Batch::default()).expect("a look").low_space
    };
    let disk = rustix::fs::statvfs(directory.path()).expect("a file system");
    let free = disk.f_bavail * disk.f_frsize;
    // A little less than there is would do before it was low, and does not after.
    let nearly = free / 17 * 16;
    assert_eq!([nearly, u64::MAX, nearly, free / 2, nearly].map(&mut is_low), [false, true, true, false, false]);
}
