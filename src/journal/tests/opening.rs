use super::{HOUR, START, accepted, commit, copy_as_after_a_crash, directory, life, open, replayed, settings};
use crate::journal::{Anchor, Batch, CommitError, Journal, OpenError, QUICK_CHECK_BYTES_MAX, UnknownCause, check};
use crate::model::{CommandOrigin, Corp, LastNumbers, LimitChange, LimitOverride, LimitScope, Record, Seq};
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    let path = settings(directory.path()).path;
    assert_eq!(mode(path.parent().expect("a directory")), 0o700);
    for suffix in ["db", "db-wal", "db-shm", "db.lock"] {
        assert_eq!(mode(&path.with_extension(suffix)), 0o600, "{suffix}");
    }
}

#[test]
fn what_kept_it_from_being_opened_is_named_as_the_cause() {
    let directory = directory();
    let path = directory.path().join("a file");
    std::fs::write(&path, "").expect("a file");
    let mut settings = settings(directory.path());
    settings.path = path.join("sendbridge.db");
    let error = Journal::open(settings).expect_err("a folder cannot be made in a file");
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
    assert!(std::error::Error::source(&error).is_some_and(|cause| cause.is::<std::io::Error>()));
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_gone() {
    let directory = directory();
    let first = open(directory.path());
    let refused = Journal::open(settings(directory.path()));
    assert!(matches!(refused, Err(OpenError::Locked { .. })), "{refused:?}");
    first.close().await.expect("a clean end");
    drop(open(directory.path()));
    // Dropping waits for the writer, so the lock is free at once.
    drop(open(directory.path()));
}

#[tokio::test]
async fn what_was_committed_survives_a_crash_and_the_anchor_with_it() {
    let (directory, copy) = (directory(), super::directory());
    let journal = open(directory.path());
    assert!(journal.was_clean() && journal.anchor().is_none());
    let anchor =
        Anchor { time: START, boot_id: "a boot".to_owned(), since_boot: Duration::from_millis(1234), wall: START };
    let records = vec![accepted(7, START)];
    let batch = Batch {
        records,
        load: vec![Seq(8), Seq(7)],
        load_answers: vec![Seq(7)],
        load_events: Vec::new(),
        anchor: Some(anchor.clone()),
    };
    let committed = journal.commit(batch).await.expect("a commit");
    assert_eq!(committed.messages, [super::message(7, START)]);
    let mut bare = super::message(7, START);
    bare.request.body = bytes::Bytes::new();
    assert_eq!(committed.answers, [super::super::Answered { message: bare, outcome: None }]);
    assert!(!committed.low_space);

    copy_as_after_a_crash(directory.path(), copy.path());
    let recovered = open(copy.path());
    assert!(!recovered.was_clean());
    assert_eq!(recovered.anchor(), Some(anchor));
    assert_eq!(recovered.last_numbers(), LastNumbers { seq: Seq(7), refusal: 0, hold: 0, event: 0 });
    assert_eq!(replayed(&recovered, START).len(), 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = directory();
    open(directory.path()).close().await.expect("a clean end");
    let path = settings(directory.path()).path;
    Connection::open(&path).and_then(|file| file.pragma_update(None, "user_version", 6)).expect("a newer schema");
    let before = std::fs::read(&path).expect("the file");
    let refused = Journal::open(settings(directory.path()));
    assert!(matches!(refused, Err(OpenError::Newer { found: 6, known: 5, .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn an_old_backup_is_refused_and_left_alone_until_somebody_insists() {
    let directory = directory();
    let path = settings(directory.path()).path;
    let (backup, lock) = (directory.path().join("backup"), path.with_extension("db.lock"));
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    journal.close().await.expect("a clean end");
    std::fs::copy(&path, &backup).expect("a backup");
    let journal = open(directory.path());
    commit(&journal, life(2, START)).await;
    journal.close().await.expect("a clean end");
    open(directory.path()).close().await.expect("it is the newest there is");

    std::fs::copy(&backup, &path).expect("the backup");
    let refused = Journal::open(settings(directory.path()));
    assert!(matches!(refused, Err(OpenError::Older { last: Seq(1), noted: Seq(2), .. })), "{refused:?}");
    assert!(refused.is_err_and(|error| error.is_lasting() && error.to_string().contains("sendbridge.db.lock")));
    assert!(std::fs::read(&path).expect("the file") == std::fs::read(&backup).expect("the file"));

    std::fs::remove_file(&lock).expect("a lock that nobody holds");
    let journal = open(directory.path());
    assert_eq!(journal.last_numbers().seq, Seq(1));
    journal.close().await.expect("a clean end");
    // What cannot be read says nothing, and a journal that is not there is a new one.
    std::fs::write(&lock, "x").expect("a file");
    open(directory.path()).close().await.expect("a clean end");
    std::fs::write(&lock, "                  99\n").expect("a file");
    std::fs::remove_file(&path).expect("a file");
    open(directory.path()).close().await.expect("a clean end");
    open(directory.path()).close().await.expect("a clean end");
}

/// Takes a file back to what version 1 wrote.
fn as_version_one(path: &Path) {
    let back = include_str!("../../../tests/data/journal/back-to-version-1.sql");
    Connection::open(path).and_then(|file| file.execute_batch(back)).expect("an older file");
}

fn tables(path: &Path) -> Vec<String> {
    let file = Connection::open(path).expect("the file");
    let mut statement = file
        .prepare(
            "SELECT name || '(' || group_concat(column) || ')' FROM (SELECT s.name AS name,
        c.name || ' ' || c.type AS column FROM sqlite_schema s JOIN pragma_table_info(s.name) c ORDER BY 1, c.cid)
        GROUP BY name",
        )
        .expect("the schema");
    statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("names")
}

#[tokio::test]
async fn a_file_of_version_one_is_taken_over_and_a_step_that_fails_leaves_it_alone() {
    let directory = directory();
    let path = settings(directory.path()).path;
    let journal = open(directory.path());
    let origin = CommandOrigin { name: "pause".into(), reply_to: None, transaction: Some("1".into()), by: None };
    let done = |fingerprint| Record::Commanded { at: START, origin: origin.clone(), fingerprint, reply: "{}".into() };
    commit(&journal, [life(1, START), vec![done([7; 16])]].concat()).await;
    journal.close().await.expect("a clean end");
    let fresh = tables(&path);
    as_version_one(&path);
    let old = tables(&path);
    assert_ne!(old, fresh);

    // A table of that name cannot be made twice, so no step is taken, and the file stays what it was.
    let in_the_way = Connection::open(&path).expect("the file");
    in_the_way.execute_batch("CREATE TABLE limit_override (x)").expect("a table in the way");
    assert!(matches!(Journal::open(settings(directory.path())), Err(OpenError::Database { .. })));
    let version: i64 = in_the_way.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
    assert_eq!(version, 1);
    in_the_way.execute_batch("DROP TABLE limit_override").expect("out of the way");
    drop(in_the_way);
    assert_eq!(tables(&path), old);

    let journal = open(directory.path());
    // What version 1 kept of a command says nothing of what it was.
    assert_eq!(
        replayed(&journal, START),
        [life(1, START).as_slice(), &[done([0; 16])]].concat().into_iter().map(without_body).collect::<Vec<_>>()
    );
    let set = LimitOverride {
        scope: LimitScope::Corp(Corp::new("corp")),
        change: LimitChange::PerHour(5),
        by: None,
        since: START,
        until: None,
    };
    commit(&journal, vec![Record::LimitSet(set.clone())]).await;
    assert!(replayed(&journal, START).contains(&Record::LimitSet(set)));
    journal.close().await.expect("a clean end");
    assert_eq!(tables(&path), fresh);
}

/// A replay brings no bodies.
fn without_body(record: Record) -> Record {
    let Record::Accepted(message) = record else { return record };
    let mut message = (*message).clone();
    message.request.body = bytes::Bytes::new();
    Record::Accepted(std::sync::Arc::new(message))
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_alone() {
    let directory = directory();
    let path = settings(directory.path()).path;
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    let text = "the diary of somebody else, which is long enough to be taken for a header of a database\n".repeat(20);
    std::fs::write(&path, &text).expect("a file");
    let refused = Journal::open(settings(directory.path()));
    assert!(matches!(refused, Err(OpenError::NotAJournal { .. })), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);

    std::fs::remove_file(&path).expect("removed");
    Connection::open(&path).and_then(|file| file.execute_batch("CREATE TABLE diary (day TEXT)")).expect("a database");
    let before = std::fs::read(&path).expect("the file");
    let refused = Journal::open(settings(directory.path()));
    assert!(matches!(refused, Err(OpenError::NotAJournal { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_kept() {
    let directory = directory();
    let journal = open(directory.path());
    for seq in 0..40 {
        commit(&journal, (1..=25).flat_map(|n| life(seq * 25 + n, START)).collect()).await;
    }
    let path = settings(directory.path()).path;
    check(&path).expect("a sound file");
    journal.close().await.expect("a clean end");
    // As after a crash: a file that was closed well is not looked through.
    Connection::open(&path).and_then(|file| file.execute("UPDATE progress SET clean = 0", [])).expect("an edit");
    let mut bytes = std::fs::read(&path).expect("the file");
    for byte in bytes.iter_mut().skip(20 * 4096) {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, &bytes).expect("damage");
    let refused = Journal::open(settings(directory.path()));
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).expect("the file"), bytes);
    assert!(matches!(check(&path), Err(OpenError::Damaged { .. })));
}

/// Minutes of a start would be a long time without the bridge: `check` looks through a larger one while it is in use.
#[tokio::test]
async fn a_file_is_looked_through_at_a_start_after_a_crash_unless_it_is_large() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    let path = settings(directory.path()).path;
    journal.close().await.expect("a clean end");
    let page: u32 = {
        let file = Connection::open(&path).expect("the file");
        file.execute("UPDATE progress SET clean = 0", []).expect("an edit");
        file.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'body'", [], |row| row.get(0)).expect("a table")
    };
    // Nothing of a start reads this page.
    let mut bytes = std::fs::read(&path).expect("the file");
    let start = (page as usize - 1) * 4096;
    bytes[start..start + 4096].fill(0x5a);
    let with_length = |length: u64| {
        std::fs::write(&path, &bytes).expect("damage");
        std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(length)).expect("a length");
        Journal::open(settings(directory.path())).map(|_| ())
    };
    let small = with_length(QUICK_CHECK_BYTES_MAX);
    assert!(matches!(small, Err(OpenError::Damaged { .. })), "{small:?}");
    with_length(QUICK_CHECK_BYTES_MAX + 4096).expect("a start");
}

#[tokio::test]
async fn a_value_that_nobody_wrote_stops_the_replay() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, vec![accepted(1, START)]).await;
    journal.close().await.expect("a clean end");
    let path = settings(directory.path()).path;
    let file = Connection::open(&path).expect("the file");
    file.execute("UPDATE message SET on_doubt = 'pray'", []).expect("an edit");
    drop(file);
    let error = open(directory.path()).replay(START, |_| ()).expect_err("an unknown word");
    assert!(error.to_string().contains("on_doubt") && error.to_string().contains("pray"), "{error}");
}

#[tokio::test]
async fn a_record_that_contradicts_the_file_stops_the_journal() {
    for (what, record) in [
        ("Attempted", super::attempted(9, 1, START)),
        ("Ended", super::ended(9, 1, START)),
        ("Ended", super::ended(1, 1, START)),
        ("Finished", super::finished(9, START)),
        ("Answered", super::answered(9)),
        ("RefusalAnswered", Record::RefusalAnswered { number: 9 }),
        ("Released", Record::Released { hold: crate::model::HoldId(9), at: START, by: None }),
        ("Unblocked", Record::Unblocked { block: crate::model::HoldId(9), at: START, by: None }),
        ("Readdressed", Record::Readdressed { seq: Seq(9), reply_to: None, again: false }),
    ] {
        let directory = directory();
        let journal = open(directory.path());
        commit(&journal, life(1, START)).await;
        let batch = Batch { records: vec![accepted(2, START), record], ..Batch::default() };
        let error = journal.commit(batch).await.expect_err("a contradiction");
        let CommitError::Unknown(UnknownCause::Contradiction { record, number }) = error else { panic!("{error}") };
        assert_eq!((record, number), (what, if number == 1 { 1 } else { 9 }));
        // Nothing more is taken, and nothing of the batch is on disk.
        let error = journal.commit(Batch { records: vec![accepted(3, START)], ..Batch::default() }).await;
        assert!(matches!(error, Err(CommitError::Unknown(UnknownCause::Stopped))), "{error:?}");
        assert!(journal.close().await.is_err());
        let journal = open(directory.path());
        assert!(!journal.was_clean());
        assert_eq!(replayed(&journal, START).len(), life(1, START).len());
        assert_eq!(journal.last_numbers().seq, Seq(1));
    }
}

#[tokio::test]
async fn an_operator_reads_the_file_while_it_is_in_use() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, [life(1, START), vec![accepted(2, START), super::attempted(2, 1, START)]].concat()).await;
    commit(&journal, vec![accepted(3, START)]).await;
    let file = Connection::open_with_flags(settings(directory.path()).path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the file");
    let mut statement = file.prepare("SELECT state, received FROM messages ORDER BY seq").expect("the view");
    let rows: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect).expect("rows");
    let at = "2023-11-14T22:13:20.000Z".to_owned();
    let expected = [("sent", &at), ("sending", &at), ("queued", &at)];
    assert_eq!(rows, expected.map(|(state, at)| (state.to_owned(), at.clone())));
}

#[tokio::test]
async fn times_move_along_when_the_wall_clock_was_set_and_wishes_stay() {
    let directory = directory();
    let journal = open(directory.path());
    let records = [super::life(1, START), vec![accepted(2, START), super::attempted(2, 1, START)]].concat();
    journal.commit(Batch { records, ..Batch::default() }).await.expect("a commit");
    let (boot_id, since_boot) = ("a boot".to_owned(), Duration::from_secs(9));
    let anchor = Anchor { time: START + HOUR, boot_id, since_boot, wall: START + 2 * HOUR };
    let hour_nanos = i128::try_from(HOUR.as_nanos()).expect("an hour");
    journal.shift_times(hour_nanos, anchor.clone()).await.expect("a shift");
    drop(journal);

    let journal = open(directory.path());
    assert_eq!(journal.anchor(), Some(anchor));
    let records = replayed(&journal, START + HOUR);
    assert!(records.contains(&super::attempted(1, 1, START + HOUR)), "{records:?}");
    assert!(records.contains(&super::ended(1, 1, START + HOUR)), "{records:?}");
    assert!(records.contains(&super::finished(1, START + HOUR)), "{records:?}");
    assert!(records.contains(&super::attempted(2, 1, START + HOUR)), "{records:?}");
    let Some(Record::Accepted(message)) = records.iter().find(|record| matches!(record, Record::Accepted(_))) else {
        panic!("{records:?}")
    };
    assert_eq!(message.expires_at, super::message(1, START).expires_at);
}
