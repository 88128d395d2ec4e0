//! Tests of the room: everything through the public surface, but for the lack of room, which needs the store.

mod audit;
mod damage;
mod effects;
mod erasing;
mod generate;
mod histories;
mod judging;
mod listing;
mod model;
mod opening;
mod pruning;
mod questions;
mod room;
mod story;

use super::{Batch, Journal, Settings};
use crate::model::{
    Account, Corp, Message, MessageId, OnDoubt, Options, Origin, Outcome, Record, Request, Seq, State, Time, Verdict,
};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

/// When the tests begin: late enough that a week before it is still a time.
const START: Time = Time::from_millis(1_700_000_000_000);

fn settings(directory: &Path) -> Settings {
    Settings {
        path: directory.join("journal").join("sendbridge.db"),
        retention: 7 * 24 * HOUR,
        body_retention: HOUR,
        dedup_window: HOUR,
        low_space_bytes: 0,
    }
}

/// In memory where that is to be had: these tests are about what is written, not about the disk.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a directory for the test")
}

fn open(directory: &Path) -> Journal {
    Journal::open(settings(directory)).expect("a journal")
}

fn replayed(journal: &Journal, now: Time) -> Vec<Record> {
    let mut records = Vec::new();
    journal.replay(now, |record| records.push(record)).expect("a replay");
    records
}

async fn commit(journal: &Journal, records: Vec<Record>) {
    journal.commit(Batch { records, ..Batch::default() }).await.expect("a commit");
}

/// Copies the files of an open journal as a crash would leave them, without the shared memory, which a power cut loses.
fn copy_as_after_a_crash(from: &Path, to: &Path) {
    let (from, to) = (settings(from).path, settings(to).path);
    std::fs::create_dir_all(to.parent().expect("a directory")).expect("a directory for the copy");
    std::fs::copy(&from, &to).expect("a copy");
    let log = |path: &Path| path.with_extension("db-wal");
    std::fs::copy(log(&from), log(&to)).expect("a copy of the log");
}

fn message(seq: u64, received_at: Time) -> Message {
    let body = Bytes::from(format!("{{\"wxId\":\"account-{}\",\"content\":\"text {seq}\"}}", seq % 3));
    Message {
        seq: Seq(seq),
        received_at,
        expires_at: received_at + 24 * HOUR,
        not_before: None,
        priority: 4,
        on_doubt: OnDoubt::Report,
        body_bytes: u32::try_from(body.len()).expect("a short body"),
        retry: None,
        request: Request {
            id: MessageId::from_json(&format!("\"id-{seq}\"")),
            kind: Arc::from("text"),
            account: Account::new(&format!("account-{}", seq % 3)),
            conversation: Box::from("S:1_2"),
            origin: Origin::default(),
            options: Options::default(),
            fingerprint: [7; 16],
            shown: None,
            body,
        },
    }
}

fn accepted(seq: u64, received_at: Time) -> Record {
    Record::Accepted(Arc::new(message(seq, received_at)))
}

fn attempted(seq: u64, attempt: u32, at: Time) -> Record {
    let account = Account::new(&format!("account-{}", seq % 3));
    let corp = Corp::new("corp");
    Record::Attempted { seq: Seq(seq), attempt, at, account, corp, possibly_duplicate: attempt > 1 }
}

fn ended(seq: u64, attempt: u32, at: Time) -> Record {
    let verdict = Verdict::Confirmed { msg_id: Some(Box::from(format!("msg-{seq}"))) };
    Record::Ended { seq: Seq(seq), attempt, at, verdict }
}

fn finished(seq: u64, at: Time) -> Record {
    let msg_id = Some(Box::from(format!("msg-{seq}")));
    let outcome = Outcome { state: State::Sent, at, msg_id, fault: None, attempts: 1, possibly_duplicate: false };
    Record::Finished { seq: Seq(seq), outcome }
}

fn answered(seq: u64) -> Record {
    Record::Answered { seq: Seq(seq), known_from: None }
}

/// All that happens to a message that is sent at once.
fn life(seq: u64, at: Time) -> Vec<Record> {
    vec![accepted(seq, at), attempted(seq, 1, at), ended(seq, 1, at), finished(seq, at), answered(seq)]
}

/// Something that a vendor's system reports.
fn event() -> crate::model::Event {
    crate::model::Event {
        event: "account/login",
        phase: None,
        source: "main".to_owned(),
        system: crate::model::System::Quntool,
        id: "00".to_owned(),
        at: START,
        received_at: START,
        instance: None,
        account: Some("1".to_owned()),
        corp: None,
        conversation: None,
        actor: None,
        targets: Vec::new(),
        original_type: "user_login".to_owned(),
        data: serde_json::Value::Null,
        withheld: Vec::new(),
    }
}
