//! What an audit counts, and each of its limits from both sides: a boundary that moves by one is a promise that changes.

use super::{START, accepted, answered, attempted, commit, directory, ended, finished, life, open};
use crate::journal::{Audit, AuditLimits, Violation};
use crate::model::{Account, Corp, Doubt, NotSent, Outcome, Record, Seq, State, Time, Verdict};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);
const HOUR: Duration = super::HOUR;
const INSTANT: Duration = Duration::from_nanos(1);

/// What was done to the file by hand before the audit.
async fn audited_after(records: Vec<Record>, sql: &str, limits: &AuditLimits<'_>) -> Audit {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, records).await;
    let path = super::settings(directory.path()).path;
    rusqlite::Connection::open(path).expect("the file").execute_batch(sql).expect("a change");
    journal.reader().expect("a reader").audit(limits).expect("an audit")
}

async fn audited(records: Vec<Record>, per_hour: u32, from_request: bool) -> Audit {
    let limits = AuditLimits { interval: &|_| INTERVAL, per_hour: &|_| per_hour, from_request };
    audited_after(records, "", &limits).await
}

fn tried(seq: u64, started_at: Time, ended_at: Time) -> Vec<Record> {
    vec![accepted(seq, START), attempted(seq, 1, started_at), ended(seq, 1, ended_at)]
}

fn ends(seq: u64, attempt: u32, at: Time, verdict: Verdict) -> Record {
    Record::Ended { seq: Seq(seq), attempt, at, verdict }
}

fn not_sent(why: NotSent) -> Verdict {
    Verdict::NotSent { why, detail: Box::default() }
}

fn doubted() -> Verdict {
    Verdict::Unknown { why: Doubt::Timeout, detail: Box::default() }
}

fn ends_as(seq: u64, state: State, possibly_duplicate: bool) -> Record {
    let outcome = Outcome { state, at: START, msg_id: None, fault: None, attempts: 1, possibly_duplicate };
    Record::Finished { seq: Seq(seq), outcome }
}

#[tokio::test]
async fn every_message_is_counted_in_one_state_and_what_is_open_too() {
    let failed = |seq| {
        let refused = ends(seq, 1, START + seq as u32 * INTERVAL, not_sent(NotSent::Offline));
        vec![accepted(seq, START), attempted(seq, 1, START + seq as u32 * INTERVAL), refused]
    };
    let mut records = [life(1, START), life(2, START), failed(4), failed(5), failed(7)].concat();
    // Two with an end that the broker does not have, two of them perhaps twice, two that go on.
    records.extend([
        ends_as(4, State::Failed, true),
        ends_as(5, State::Expired, true),
        ends_as(7, State::Failed, false),
    ]);
    records.extend([answered(7), accepted(8, START), accepted(9, START)]);
    let found = audited(records, 99, false).await;
    assert!(found.held() && found.is_balanced(), "{found:?}");
    assert_eq!((found.messages, found.open, found.unanswered, found.possibly_duplicate), (7, 2, 2, 2));
    let states: Vec<_> = found.states.into_iter().collect();
    assert_eq!(states, [(State::Sent, 2), (State::Failed, 2), (State::Expired, 1)]);
    assert_eq!((found.attempts, found.doubts, found.doubts_open, found.violations_total), (5, 0, 0, 0));
}

#[tokio::test]
async fn what_is_kept_twice_and_what_is_kept_nowhere_make_the_counts_wrong() {
    let limits = AuditLimits { interval: &|_| INTERVAL, per_hour: &|_| 9, from_request: false };
    let sound = || [life(1, START), life(2, START)].concat();
    let gone = audited_after(sound(), "DELETE FROM message WHERE seq = 1", &limits).await;
    assert_eq!((gone.violations.clone(), gone.is_balanced()), (vec![Violation::EndWithoutMessage(Seq(1))], false));
    // A promise that was broken otherwise says nothing about the counts.
    let quick = audited([life(1, START), life(4, START)].concat(), 9, false).await;
    assert_eq!((quick.violations.len(), quick.held(), quick.is_balanced()), (1, false, true));
    let uncounted = Audit { messages: 1, ..Audit::default() };
    assert!(!uncounted.is_balanced() && Audit { open: 1, ..uncounted }.is_balanced());
}

#[tokio::test]
async fn a_hundred_violations_are_kept_and_all_are_counted() {
    let records = (0..102).flat_map(|index| life(1 + 3 * index, START)).collect();
    let found = audited(records, 999, false).await;
    assert_eq!((found.violations.len(), found.violations_total), (100, 101));
}

#[tokio::test]
async fn the_smallest_gap_is_kept_of_each_account_and_of_all() {
    let second = Duration::from_secs(1);
    let (one, two) = (Account::new("account-1"), Account::new("account-2"));
    // Of account 1: 3 s, 2 s, 1 s; of account 2: 1 s, 4 s. The first of two that are as small is named.
    let starts = [(1, 0), (2, 0), (5, 1), (4, 3), (7, 5), (8, 5), (10, 6)];
    let records = starts.into_iter().flat_map(|(seq, at)| life(seq, START + at * second)).collect();
    let found = audited(records, 99, false).await;
    assert_eq!(found.smallest_gap, Some((second, two.clone())));
    assert_eq!(found.gaps.into_iter().collect::<Vec<_>>(), [(one, second), (two, second)]);
    assert!(found.violations.is_empty() && found.gaps_unjudged == 0);
}

#[tokio::test]
async fn a_gap_counts_from_an_end_or_from_a_start_and_not_at_all_where_the_clock_was_set_back() {
    let long = [tried(1, START, START + INTERVAL), tried(4, START + INTERVAL, START + INTERVAL)].concat();
    let account = Account::new("account-1");
    let at_once =
        Violation::Gap { account: account.clone(), gap: Duration::ZERO, interval: INTERVAL, at: START + INTERVAL };
    let found = audited(long.clone(), 9, false).await;
    assert_eq!((found.violations, found.gaps_unjudged), (vec![at_once], 0));
    let found = audited(long, 9, true).await;
    assert_eq!((found.violations, found.smallest_gap), (vec![], Some((INTERVAL, account))));
    // Twice before the end of the send before: nobody knows what the gap was.
    let back = |seq, by| tried(seq, START + 2 * INTERVAL - by, START + 3 * INTERVAL);
    let set_back = [tried(1, START, START + 2 * INTERVAL), back(4, INSTANT)].concat();
    let found = audited([set_back, back(7, INTERVAL)].concat(), 9, false).await;
    assert_eq!((found.violations, found.gaps_unjudged, found.smallest_gap), (vec![], 2, None));
}

#[tokio::test]
async fn only_what_reached_the_sender_counts_for_the_hour() {
    let waits = Some(INTERVAL);
    let used = [
        (not_sent(NotSent::Connect), 0),
        (not_sent(NotSent::Busy { retry_after: waits }), 1),
        (not_sent(NotSent::TooFrequent { retry_after: None }), 1),
        (not_sent(NotSent::Temporary { retry_after: waits }), 1),
        (not_sent(NotSent::Offline), 1),
        (not_sent(NotSent::Unauthorized), 1),
        (doubted(), 1),
        (Verdict::Confirmed { msg_id: None }, 1),
    ];
    for (verdict, sends) in used {
        let records = vec![accepted(1, START), attempted(1, 1, START), ends(1, 1, START, verdict.clone())];
        let found = audited(records, 9, false).await;
        assert_eq!(found.hours.values().sum::<u32>(), sends, "{verdict:?}");
        assert_eq!(found.doubts, u64::from(verdict == doubted()), "{verdict:?}");
    }
}

#[tokio::test]
async fn the_fullest_hour_is_kept_of_each_company_and_of_all() {
    let of = |corp: &'static str, seq: u64, at: Time| {
        let Record::Attempted { seq, attempt, at, account, possibly_duplicate, .. } = attempted(seq, 1, at) else {
            unreachable!()
        };
        let made = Record::Attempted { seq, attempt, at, account, corp: Corp::new(corp), possibly_duplicate };
        vec![accepted(seq.0, START), made, ended(seq.0, 1, at)]
    };
    let late = START + 2 * HOUR;
    let records = [
        of("quiet", 1, START),
        of("busy", 2, START + INTERVAL),
        of("busy", 3, START + INTERVAL),
        of("busy", 4, START + INTERVAL),
        of("quiet", 5, late),
        of("busy", 6, late),
        // As many as in the fullest hour: the first one is named.
        of("quiet", 7, late + INTERVAL),
        of("quiet", 8, late + INTERVAL),
    ];
    let found = audited(records.concat(), 3, false).await;
    assert!(found.held(), "{found:?}");
    assert_eq!(found.largest_hour, Some((3, Corp::new("busy"))));
    assert_eq!(found.hours.into_iter().collect::<Vec<_>>(), [(Corp::new("busy"), 3), (Corp::new("quiet"), 3)]);
}

#[tokio::test]
async fn an_end_is_held_against_every_attempt_and_where_none_is_left_it_is_believed() {
    let worked = || Verdict::Confirmed { msg_id: None };
    let tried = |verdict, state| {
        vec![accepted(1, START), attempted(1, 1, START), ends(1, 1, START, verdict), ends_as(1, state, false)]
    };
    let cases = [
        (worked(), State::Sent, vec![]),
        (worked(), State::Failed, vec![Violation::FailedInDoubt(Seq(1), State::Failed)]),
        (doubted(), State::Failed, vec![Violation::FailedInDoubt(Seq(1), State::Failed)]),
        (not_sent(NotSent::Offline), State::Failed, vec![]),
        (not_sent(NotSent::Offline), State::Sent, vec![Violation::SentUnproven(Seq(1))]),
        (not_sent(NotSent::Offline), State::Unresolved, vec![Violation::UnresolvedProven(Seq(1))]),
        (worked(), State::Unresolved, vec![Violation::UnresolvedProven(Seq(1))]),
        (doubted(), State::Unresolved, vec![]),
    ];
    let limits = AuditLimits { interval: &|_| INTERVAL, per_hour: &|_| 9, from_request: false };
    for (verdict, state, violations) in cases {
        let found = audited_after(tried(verdict.clone(), state), "", &limits).await;
        assert_eq!(found.violations, violations, "{verdict:?} {state:?}");
        // Of an old message the attempts are gone before its end is: nothing is left to judge it by.
        let found = audited_after(tried(verdict, state), "DELETE FROM attempt", &limits).await;
        assert_eq!((found.violations, found.messages), (vec![], 1), "{state:?}");
    }
    // One in doubt that worked when it was repeated is told as sent, and may be there twice.
    let twice = |flagged| {
        let Record::Attempted { seq, attempt, at, account, corp, .. } = attempted(1, 2, START + INTERVAL) else {
            unreachable!()
        };
        let again = Record::Attempted { seq, attempt, at, account, corp, possibly_duplicate: flagged };
        let first = vec![accepted(1, START), attempted(1, 1, START), ends(1, 1, START, doubted()), again];
        [first, vec![ended(1, 2, START + INTERVAL), finished(1, START + INTERVAL)]].concat()
    };
    let found = audited_after(twice(true), "", &limits).await;
    assert_eq!((found.violations.len(), found.perhaps_twice), (0, 1));
    assert_eq!(found.doubt_fates.into_iter().collect::<Vec<_>>(), [(State::Sent, 1)]);
}

#[test]
fn a_violation_names_what_it_is_about_and_what_is_wrong() {
    let (account, corp) = (Account::new("a"), Corp::new("c"));
    let gap = Violation::Gap { account, gap: Duration::from_millis(499), interval: INTERVAL, at: START };
    let hour = Violation::Hour { corp, sends: 4, limit: 3, until: START };
    let said = [
        (gap, vec!["\"a\"", "499 ms", "500 ms"]),
        (hour, vec!["\"c\"", "4 sends", "limit is 3"]),
        (Violation::SentUnproven(Seq(7)), vec!["message 7", "no attempt was confirmed"]),
        (Violation::FailedInDoubt(Seq(7), State::Failed), vec!["message 7", "failed", "may have worked"]),
        (Violation::RequestTwice(Seq(7), 2), vec!["message 7", "request 2", "more than once"]),
        (Violation::EffectTwice(Seq(7)), vec!["message 7", "more than once", "without the flag"]),
    ];
    for (violation, words) in said {
        let text = violation.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}
