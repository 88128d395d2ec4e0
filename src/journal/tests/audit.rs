//! An audit finds each promise that a journal shows broken, and nothing else.

use super::{START, accepted, answered, attempted, commit, directory, ended, finished, life, open};
use crate::journal::{Audit, AuditLimits, Violation};
use crate::model::{Account, Corp, Doubt, Outcome, Record, Seq, State, Verdict};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);

async fn audited(records: Vec<Record>, per_hour: u32) -> Audit {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, records).await;
    let limits = AuditLimits { interval: &|_| INTERVAL, per_hour: &|_| per_hour, from_request: false };
    journal.reader().expect("a reader").audit(&limits).expect("an audit")
}

fn unknown(seq: u64, attempt: u32) -> Record {
    let verdict = Verdict::Unknown { why: Doubt::Timeout, detail: Box::default() };
    Record::Ended { seq: Seq(seq), attempt, at: START + attempt * INTERVAL, verdict }
}

fn ends_as(seq: u64, state: State) -> Record {
    let outcome = Outcome { state, at: START, msg_id: None, fault: None, attempts: 1, possibly_duplicate: false };
    Record::Finished { seq: Seq(seq), outcome }
}

#[tokio::test]
async fn a_sound_journal_holds() {
    // Messages 1 and 4 are of one account.
    let found = audited([life(1, START), life(2, START), life(4, START + INTERVAL)].concat(), 3).await;
    assert!(found.held(), "{found:?}");
    assert_eq!((found.messages, found.attempts, found.doubts), (3, 3, 0));
    assert_eq!(found.smallest_gap, Some((INTERVAL, Account::new("account-1"))));
    assert_eq!(found.largest_hour, Some((3, Corp::new("corp"))));
    assert_eq!(found.gaps.into_iter().collect::<Vec<_>>(), [(Account::new("account-1"), INTERVAL)]);
    assert_eq!(found.hours.into_iter().collect::<Vec<_>>(), [(Corp::new("corp"), 3)]);
}

#[tokio::test]
async fn the_fate_of_doubts_is_told_and_what_is_counted_wrongly_too() {
    let mut records = vec![accepted(1, START), attempted(1, 1, START), unknown(1, 1), ends_as(1, State::Unresolved)];
    records.extend([accepted(2, START), attempted(2, 1, START), unknown(2, 1)]);
    let found = audited(records.clone(), 9).await;
    assert_eq!(found.doubt_fates.into_iter().collect::<Vec<_>>(), [(State::Unresolved, 1)]);
    assert_eq!((found.doubts, found.doubts_open, found.perhaps_twice), (2, 1, 0));
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, records).await;
    let path = super::settings(directory.path()).path;
    let by_hand = rusqlite::Connection::open(path).expect("the file");
    by_hand.execute("DELETE FROM message WHERE seq = 1", []).expect("a change");
    let limits = AuditLimits { interval: &|_| INTERVAL, per_hour: &|_| 9, from_request: false };
    let found = journal.reader().expect("a reader").audit(&limits).expect("an audit");
    assert!(!found.is_balanced());
    assert!(found.violations.contains(&Violation::EndWithoutMessage(Seq(1))), "{found:?}");
}

#[tokio::test]
async fn a_gap_that_is_too_small_is_found() {
    let gap = INTERVAL - Duration::from_nanos(1);
    let found = audited([life(1, START), life(4, START + gap)].concat(), 9).await;
    let account = Account::new("account-1");
    assert_eq!(found.violations, [Violation::Gap { account, gap, interval: INTERVAL, at: START + gap }]);
}

#[tokio::test]
async fn an_hour_that_is_too_full_is_found_and_one_beside_it_is_not() {
    let hour = Duration::from_secs(3600);
    let records = |last| [life(1, START), life(2, START + INTERVAL), life(3, last)].concat();
    assert!(audited(records(START + hour + Duration::from_nanos(1)), 2).await.held());
    let found = audited(records(START + hour), 2).await;
    let corp = Corp::new("corp");
    assert_eq!(found.violations, [Violation::Hour { corp, sends: 3, limit: 2, until: START + hour }]);
}

#[tokio::test]
async fn what_was_said_is_held_against_what_was_proven() {
    let end = |records: Vec<Record>| async { audited(records, 9).await.violations };
    let tried = || vec![accepted(1, START), attempted(1, 1, START)];
    let with = |more: Vec<Record>| [tried(), more].concat();
    assert_eq!(end(with(vec![unknown(1, 1), ends_as(1, State::Sent)])).await, [Violation::SentUnproven(Seq(1))]);
    for state in [State::Failed, State::Expired, State::Cancelled] {
        let found = end(with(vec![unknown(1, 1), ends_as(1, state)])).await;
        assert_eq!(found, [Violation::FailedInDoubt(Seq(1), state)]);
    }
    let found = end(with(vec![ended(1, 1, START), ends_as(1, State::Unresolved)])).await;
    assert_eq!(found, [Violation::UnresolvedProven(Seq(1))]);
    assert!(end(with(vec![unknown(1, 1), ends_as(1, State::Unresolved)])).await.is_empty());
    // A callback proves it, and only that it was sent.
    let proven = Record::Proven { seq: Seq(1), at: START, msg_id: None };
    let proven_as = |state| with(vec![unknown(1, 1), proven.clone(), ends_as(1, state)]);
    assert!(end(proven_as(State::Sent)).await.is_empty());
    assert_eq!(end(proven_as(State::Failed)).await, [Violation::FailedInDoubt(Seq(1), State::Failed)]);
}

#[tokio::test]
async fn a_repeat_is_found_unless_it_was_in_doubt_and_flagged() {
    let later = START + 2 * INTERVAL;
    let again = |flagged| {
        let Record::Attempted { seq, attempt, at, account, corp, .. } = attempted(1, 2, later) else { unreachable!() };
        Record::Attempted { seq, attempt, at, account, corp, possibly_duplicate: flagged }
    };
    let records = |first: Record, flagged| {
        vec![
            accepted(1, START),
            attempted(1, 1, START),
            first,
            again(flagged),
            ended(1, 2, later),
            finished(1, later),
            answered(1),
        ]
    };
    assert!(audited(records(unknown(1, 1), true), 9).await.held());
    let found = audited(records(unknown(1, 1), false), 9).await;
    assert_eq!(found.violations, [Violation::RepeatUnflagged(Seq(1))]);
    let found = audited(records(ended(1, 1, START), true), 9).await;
    assert_eq!(found.violations, [Violation::SentAgain(Seq(1))]);
}
