use super::{
    HOUR, START, accepted, answered, attempted, commit, directory, ended, event, finished, life, message, open,
    replayed, settings,
};
use crate::journal::{Batch, CommitError, Journal, Pruned, Suspect, UnknownCause};
use crate::model::{
    Block, Callback, Code, CommandOrigin, Fault, Hold, HoldId, LastNumbers, Origin, Record, Refusal, Retry, Scope,
    Selection, Seq, Time, Verdict,
};
use rusqlite::Connection;
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn count(directory: &Path, table: &str) -> i64 {
    let file = Connection::open(settings(directory).path).expect("the file");
    file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a count")
}

async fn prune(journal: &Journal, now: Time) -> Pruned {
    journal.prune(now).await.expect("a pass")
}

#[tokio::test]
async fn a_message_moves_to_the_history_once_nobody_needs_it_live() {
    let directory = directory();
    let journal = open(directory.path());
    let later = START + 30 * MINUTE;
    let unanswered = vec![accepted(2, START), attempted(2, 1, START), ended(2, 1, START), finished(2, START)];
    commit(&journal, [life(1, START), unanswered, vec![accepted(3, START)], life(4, later)].concat()).await;

    assert_eq!(prune(&journal, START + HOUR).await, Pruned::default());
    let now = START + HOUR + 2 * MINUTE;
    let before = replayed(&journal, now);
    let pruned = prune(&journal, now).await;
    assert_eq!(pruned, Pruned { bodies_erased: 2, messages_moved: 1, ..Pruned::default() });
    assert_eq!(replayed(&journal, now), before);
    assert_eq!(count(directory.path(), "history"), 1);
    assert_eq!(count(directory.path(), "message"), 3);
    assert_eq!(count(directory.path(), "outcome"), 2);

    // The body of the unanswered one is gone, its answer is still due, and closing it lets it go.
    let batch = Batch {
        records: vec![answered(2)],
        load: vec![Seq(2), Seq(3), Seq(4)],
        load_answers: vec![Seq(2), Seq(99)],
        load_events: Vec::new(),
        anchor: None,
    };
    let committed = journal.commit(batch).await.expect("a commit");
    assert_eq!(committed.messages, [message(3, START), message(4, later)]);
    // Its answer can be made all the same.
    assert_eq!(committed.answers.len(), 1);
    assert_eq!(committed.answers[0].message.seq, Seq(2));
    assert_eq!(committed.answers[0].outcome.as_ref().map(|outcome| outcome.state), Some(crate::model::State::Sent));
    assert_eq!(prune(&journal, now).await.messages_moved, 1);
    let file = Connection::open(settings(directory.path()).path).expect("the file");
    let row: (String, String, String) = file
        .query_row("SELECT id, state, finished FROM messages WHERE seq = 2", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("a row");
    assert_eq!(row, ("\"id-2\"".to_owned(), "sent".to_owned(), "2023-11-14T22:13:20.000Z".to_owned()));
}

#[tokio::test]
async fn a_message_that_was_answered_late_stays_for_a_window_from_then_on() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, vec![accepted(1, START), attempted(1, 1, START), ended(1, 1, START), finished(1, START)]).await;
    let late = START + 2 * HOUR;
    commit(&journal, vec![Record::Answered { seq: Seq(1), known_from: Some(late) }]).await;
    // A repeat is answered within that window, and changes nothing about it.
    let again = Record::Readdressed { seq: Seq(1), reply_to: None, again: true };
    assert_eq!(prune(&journal, late + HOUR).await.messages_moved, 0);
    commit(&journal, vec![again, answered(1)]).await;
    let replay = replayed(&journal, late + HOUR - MINUTE);
    assert_eq!(replay.last(), Some(&Record::Answered { seq: Seq(1), known_from: Some(late) }));
    assert_eq!(replayed(&journal, late + HOUR), []);
    assert_eq!(prune(&journal, late + HOUR + MINUTE).await.messages_moved, 0);
    assert_eq!(prune(&journal, late + HOUR + 2 * MINUTE).await.messages_moved, 1);
}

#[tokio::test]
async fn attempts_of_messages_that_are_gone_still_count_for_the_hour() {
    let directory = directory();
    let mut settings = settings(directory.path());
    // What counts for the hour is kept for longer than anything else, if that must be.
    (settings.dedup_window, settings.body_retention, settings.retention) = (MINUTE, MINUTE, MINUTE);
    let journal = Journal::open(settings).expect("a journal");
    commit(&journal, [life(1, START), life(2, START + 10 * MINUTE)].concat()).await;
    let spent = |journal: &Journal, now| {
        let is_spent = |record: &Record| {
            let Record::Spent { account, corp, ended_at } = record else { return None };
            Some((account.to_string(), corp.to_string(), ended_at.since(START)))
        };
        replayed(journal, now).iter().filter_map(is_spent).collect::<Vec<_>>()
    };
    let now = START + HOUR;
    let of = |seq: u64, after| (format!("account-{seq}"), "corp".to_owned(), after);
    assert_eq!(spent(&journal, now), [of(1, Duration::ZERO), of(2, 10 * MINUTE)]);
    assert_eq!(prune(&journal, now).await.messages_moved, 2);
    assert_eq!(spent(&journal, now), [of(1, Duration::ZERO), of(2, 10 * MINUTE)]);
    assert_eq!(spent(&journal, now + MINUTE), [of(2, 10 * MINUTE)]);
    assert_eq!(prune(&journal, START + 119 * MINUTE).await.attempts_removed, 0);
}

#[tokio::test]
async fn an_attempt_without_an_end_counts_as_made_now() {
    let directory = directory();
    let mut settings = settings(directory.path());
    settings.dedup_window = MINUTE;
    let journal = Journal::open(settings).expect("a journal");
    commit(&journal, vec![accepted(1, START), attempted(1, 1, START), finished(1, START), answered(1)]).await;
    let now = START + 5 * MINUTE;
    assert!(matches!(&replayed(&journal, now)[..], [Record::Spent { ended_at, .. }] if *ended_at == now));
}

#[tokio::test]
async fn everything_goes_after_its_retention_but_numbers_and_what_is_live() {
    let directory = directory();
    let journal = open(directory.path());
    let fault = Fault::new(Code::InvalidJson, "no");
    let refusal = Arc::new(Refusal { id: None, account: None, origin: Origin::default(), fault });
    let hold = |id| {
        let (scope, reason) = (Scope::All, Box::from("a test"));
        Record::Held(Hold { id: HoldId(id), scope, reason, by: None, since: START, until: None })
    };
    let block = |id| {
        let (id, selection, until) = (HoldId(id), Selection::default(), START + HOUR);
        Record::Blocked(Block { id, selection, reason: None, by: None, since: START, until })
    };
    let origin = CommandOrigin { name: Box::from("pause"), reply_to: None, transaction: None, by: None };
    let doubt = Verdict::Unknown { why: crate::model::Doubt::Timeout, detail: Box::from("") };
    let others = vec![
        // Waits for a person, however long that takes; its attempt may not be forgotten.
        accepted(1, START),
        attempted(1, 1, START),
        Record::Ended { seq: Seq(1), attempt: 1, at: START, verdict: doubt },
        Record::Refused { number: 5, at: START, refusal },
        Record::RefusalAnswered { number: 5 },
        hold(3),
        hold(4),
        Record::Released { hold: HoldId(4), at: START, by: None },
        Record::Commanded { at: START, origin, fingerprint: [1; 16], reply: Box::from("{}") },
        block(5),
        block(6),
        Record::Unblocked { block: HoldId(6), at: START, by: None },
    ];
    commit(&journal, others).await;
    for first in (2..2602).step_by(100) {
        commit(&journal, (first..first + 100).flat_map(|seq| life(seq, START)).collect()).await;
    }
    let soon = START + 2 * HOUR;
    let expected = Pruned { bodies_erased: 2600, messages_moved: 2600, ..Pruned::default() };
    assert_eq!(prune(&journal, soon).await, expected);
    let late = START + 7 * 24 * HOUR + MINUTE;
    let expected = Pruned { attempts_removed: 2600, history_removed: 2600, others_removed: 3, ..Pruned::default() };
    assert_eq!(prune(&journal, late).await, expected);
    assert_eq!(replayed(&journal, late).len(), 5, "a hold, a block, a message, its attempt and the end of it");

    // All rows with the highest numbers are gone.
    let rows =
        ["message", "attempt", "refusal", "hold", "block", "history"].map(|table| count(directory.path(), table));
    assert_eq!(rows, [1, 1, 0, 1, 1, 0]);
    let last = LastNumbers { seq: Seq(2601), refusal: 5, hold: 6, event: 0 };
    journal.close().await.expect("a clean end");
    assert_eq!(open(directory.path()).last_numbers(), last);
}

/// What a retry inherits and what a callback proved are needed for as long as their message may be retried.
#[tokio::test]
async fn what_is_kept_beside_messages_goes_after_its_own_time_and_each_is_counted() {
    let directory = directory();
    let journal = open(directory.path());
    let retried = |seq| {
        let mut again = message(seq, START);
        again.retry = Some(Retry { of: Seq(1), possibly_duplicate: false, in_doubt: false });
        let proven = Record::Proven { seq: Seq(seq), at: START, msg_id: None };
        [vec![Record::Accepted(Arc::new(again)), proven], life(seq, START).split_off(1)].concat()
    };
    let callback = |key| {
        let callback = Callback { sender: None, key: [key; 16], events: vec![event()], signals: Vec::new() };
        let number = u64::from(key);
        [Record::Reported { number, at: START, callback: Arc::new(callback) }, Record::EventPublished { number }]
    };
    let callbacks = (1..=3).flat_map(callback).collect();
    commit(&journal, [life(1, START), retried(2), retried(3), callbacks].concat()).await;
    for suspect in 1..=5 {
        journal.accuse(Suspect::Delivery(suspect), START).await.expect("a row");
    }
    let week = 7 * 24 * HOUR;
    let pruned = prune(&journal, START + 2 * HOUR).await;
    assert_eq!((pruned.messages_moved, pruned.others_removed), (3, 3), "callbacks are known for an hour");
    assert_eq!(prune(&journal, START + week + MINUTE).await.others_removed, 5, "suspects");
    let month = 31 * 24 * HOUR;
    assert_eq!(prune(&journal, START + week + month - MINUTE).await.others_removed, 0);
    assert_eq!(prune(&journal, START + week + month + MINUTE).await.others_removed, 2 + 2);
    assert_eq!(["retry", "proof", "poison", "callback"].map(|table| count(directory.path(), table)), [0; 4]);
}

/// Ends do not lie in their order: behind many that are young an old one may come.
#[tokio::test]
async fn a_pass_looks_at_all_ends_however_many_are_not_due() {
    let directory = directory();
    let journal = open(directory.path());
    let young = |first: u64| (first..first + 100).flat_map(|seq| life(seq, START + 2 * HOUR)).collect();
    for first in (1..1001).step_by(100) {
        commit(&journal, young(first)).await;
    }
    commit(&journal, life(1001, START)).await;
    assert_eq!(prune(&journal, START + 2 * HOUR).await.messages_moved, 1);
}

/// They are repeated from there for as long as their transactions are known.
#[tokio::test]
async fn of_orders_each_that_is_old_goes_and_each_that_is_young_stays() {
    let ordered = |at| {
        let origin = CommandOrigin { name: Box::from("pause"), reply_to: None, transaction: None, by: None };
        Record::Commanded { at, origin, fingerprint: [1; 16], reply: Box::from("{}") }
    };
    let late = START + 7 * 24 * HOUR + MINUTE;
    for (old, young) in [(999, 1), (1000, 1), (1500, 0)] {
        let directory = directory();
        let journal = open(directory.path());
        let old_ones = (0..old).map(|_| ordered(START));
        commit(&journal, old_ones.chain((0..young).map(|_| ordered(late))).collect()).await;
        assert_eq!(prune(&journal, late).await.others_removed, old);
        assert_eq!(count(directory.path(), "command"), young);
    }
}

/// Going on would make worse what is wrong already.
#[tokio::test]
async fn an_end_without_its_message_stops_the_pass() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    let file = Connection::open(settings(directory.path()).path).expect("the file");
    file.execute("DELETE FROM message", []).expect("an edit");
    let stopped = journal.prune(START + 2 * HOUR).await;
    assert!(
        matches!(stopped, Err(CommitError::Unknown(UnknownCause::Contradiction { record: "outcome", number: 1 }))),
        "{stopped:?}"
    );
}

#[tokio::test]
async fn a_pass_that_fails_with_nobody_waiting_is_told_to_the_next_who_commits() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    let file = Connection::open(settings(directory.path()).path).expect("the file");
    file.execute("DELETE FROM message", []).expect("an edit");
    journal.start_pruning(START + 2 * HOUR);
    // Some commits may come before the pass.
    let told = loop {
        if let Err(told) = journal.commit(Batch::default()).await {
            break told;
        }
    };
    let contradiction = UnknownCause::Contradiction { record: "outcome", number: 1 };
    assert_eq!(told.to_string(), CommitError::Unknown(contradiction).to_string());
    let refused = journal.commit(Batch::default()).await;
    assert!(matches!(refused, Err(CommitError::Unknown(UnknownCause::Stopped))), "{refused:?}");
}

#[tokio::test]
async fn a_pass_that_nobody_waits_for_is_made_all_the_same() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    journal.start_pruning(START + 2 * HOUR);
    // By itself this one finds nothing to move: it joins the other, or comes after it.
    prune(&journal, START).await;
    assert_eq!(count(directory.path(), "history"), 1);
}

#[tokio::test]
async fn the_file_shrinks_after_a_flood_and_commits_go_on_meanwhile() {
    let directory = directory();
    let journal = open(directory.path());
    let count: u64 = 6000;
    for first in (1..count).step_by(500) {
        let flood = (first..first + 500).flat_map(|seq| {
            let mut life = life(seq, START);
            if let Some(Record::Accepted(message)) = life.first_mut() {
                Arc::make_mut(message).request.body = vec![b'x'; 6000].into();
            }
            life
        });
        commit(&journal, flood.collect()).await;
    }
    let now = START + 2 * HOUR;
    journal.start_pruning(now);
    // A second request joins the pass that is running, and commits are served in between.
    let committed = Cell::new(0);
    let pass = async {
        let pruned = journal.prune(now).await.expect("a pass");
        (pruned, committed.get())
    };
    let commits = async {
        for seq in count + 1..count + 50 {
            commit(&journal, life(seq, now)).await;
            committed.set(committed.get() + 1);
        }
    };
    let ((pruned, meanwhile), ()) = tokio::join!(pass, commits);
    // The first is asked for before the pass has done anything, and may be back although all others had to wait for the
    // end: each of them is asked for once the one before is back.
    assert!(meanwhile > 1, "{meanwhile} of 49 commits before the pass was over");
    assert_eq!(pruned.messages_moved, count);
    assert_eq!(replayed(&journal, now).len(), 49 * 5);
    journal.close().await.expect("a clean end");
    let bytes = std::fs::metadata(settings(directory.path()).path).expect("the file").len();
    assert!(bytes < 24_000_000, "{bytes} of what was more than 48,000,000");
}

/// Twice would take two places of the hour, and not at all would give one back.
#[tokio::test]
async fn an_attempt_is_replayed_with_its_message_or_by_itself_and_never_both() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    let told = |now| {
        let (mut with_message, mut alone) = (0, 0);
        for record in replayed(&journal, now) {
            with_message += u32::from(matches!(record, Record::Attempted { .. }));
            alone += u32::from(matches!(record, Record::Spent { .. }));
        }
        (with_message, alone)
    };
    // The window in which a repeat is known ends with the hour, and the attempt counts a moment longer.
    let instant = Duration::from_nanos(1);
    assert_eq!((told(START + HOUR - instant), told(START + HOUR)), ((1, 0), (0, 1)));
}
