//! Beside the receiver's own ledger an audit finds what the journal alone cannot know, and nothing else.

use super::{HOUR, START, accepted, attempted, commit, directory, ended, finished, life, message, open};
use crate::journal::{Audit, Effects, Journal, Ledger, Violation};
use crate::model::{Doubt, Outcome, Receipt, Record, Retry, Seq, State, Verdict};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// What the receiver saw: message, attempt, arrivals, effects.
fn ledger(seen: &[(u64, u32, u32, u32)]) -> Ledger {
    let entry = |&(seq, attempt, arrivals, effects)| ((Seq(seq), attempt), Effects { arrivals, effects });
    seen.iter().map(entry).collect()
}

fn compared(journal: &Journal, seen: &[(u64, u32, u32, u32)]) -> Vec<Violation> {
    let mut audit = Audit::default();
    journal.reader().expect("a reader").audit_effects(&ledger(seen), &mut audit).expect("a comparison");
    assert_eq!(audit.violations_total, audit.violations.len() as u64);
    audit.violations
}

async fn found(records: Vec<Record>, seen: &[(u64, u32, u32, u32)]) -> Vec<Violation> {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, records).await;
    compared(&journal, seen)
}

/// One attempt of which nobody knows whether it worked, and an end.
fn ends_as(seq: u64, state: State, possibly_duplicate: bool) -> Vec<Record> {
    let verdict = Verdict::Unknown { why: Doubt::Timeout, detail: Box::default() };
    let outcome = Outcome { state, at: START, msg_id: None, fault: None, attempts: 1, possibly_duplicate };
    vec![
        accepted(seq, START),
        attempted(seq, 1, START),
        Record::Ended { seq: Seq(seq), attempt: 1, at: START, verdict },
        Record::Finished { seq: Seq(seq), outcome },
    ]
}

/// A second life of message 1, whose attempt is confirmed.
fn second_life(seq: u64, in_doubt: bool) -> Vec<Record> {
    let mut again = message(seq, START);
    again.retry = Some(Retry { of: Seq(1), possibly_duplicate: in_doubt, in_doubt });
    vec![Record::Accepted(Arc::new(again)), attempted(seq, 1, START), ended(seq, 1, START), finished(seq, START)]
}

fn receipt(seq: u64, state: State) -> Record {
    Record::Receipt { seq: Seq(seq), receipt: Receipt { state, at: START, error: 0, text: None } }
}

#[tokio::test]
async fn a_sound_journal_agrees_with_the_receiver() {
    let records = [
        life(1, START),
        // An answer that got lost, and one of which nobody will ever know.
        ends_as(2, State::Sent, false),
        ends_as(3, State::Unresolved, false),
        ends_as(4, State::Unresolved, false),
        ends_as(5, State::Failed, false),
        // Under way.
        vec![accepted(6, START), attempted(6, 1, START), accepted(7, START)],
    ];
    let seen = [(1, 1, 1, 1), (2, 1, 1, 1), (3, 1, 1, 1), (5, 1, 1, 0), (6, 1, 1, 1)];
    assert_eq!(found(records.concat(), &seen).await, []);
}

#[tokio::test]
async fn what_is_called_sent_has_taken_effect() {
    let delivered = [life(2, START), vec![receipt(2, State::Delivered)]].concat();
    let records = || [life(1, START), delivered.clone()].concat();
    assert_eq!(found(records(), &[(1, 1, 1, 1), (2, 1, 1, 1)]).await, []);
    let without = [Violation::SentWithoutEffect(Seq(1)), Violation::SentWithoutEffect(Seq(2))];
    assert_eq!(found(records(), &[(1, 1, 1, 0)]).await, without);
}

#[tokio::test]
async fn what_the_sender_calls_undelivered_need_not_have_taken_effect() {
    let records = || [life(1, START), vec![receipt(1, State::Undelivered)]].concat();
    assert_eq!(found(records(), &[(1, 1, 1, 0)]).await, []);
    // The sender may also err.
    assert_eq!(found(records(), &[(1, 1, 1, 1)]).await, []);
}

#[tokio::test]
async fn what_is_called_not_sent_has_taken_no_effect() {
    for state in [State::Failed, State::Expired, State::Cancelled] {
        assert_eq!(found(ends_as(1, state, false), &[(1, 1, 1, 0)]).await, [], "{state:?}");
        let found = found(ends_as(1, state, false), &[(1, 1, 1, 1)]).await;
        assert_eq!(found, [Violation::EffectDenied(Seq(1), state)]);
    }
}

#[tokio::test]
async fn what_took_effect_twice_has_the_flag() {
    // Two attempts, one effect each, and one attempt with two effects: nobody tells them apart in a chat.
    let twice = |flagged| [ends_as(1, State::Sent, flagged), vec![attempted(1, 2, START)]].concat();
    for seen in [[(1, 1, 1, 1), (1, 2, 1, 1)], [(1, 1, 1, 2), (1, 2, 1, 0)]] {
        assert_eq!(found(twice(true), &seen).await, []);
        assert_eq!(found(twice(false), &seen).await, [Violation::EffectTwice(Seq(1))]);
    }
}

#[tokio::test]
async fn a_request_that_is_not_recorded_is_found_and_so_is_one_that_came_twice() {
    let sound = [(1, 1, 1, 1), (3, 1, 1, 1)];
    let records = || [life(1, START), vec![accepted(2, START)], life(3, START)].concat();
    assert_eq!(found(records(), &sound).await, []);
    // Another attempt of one that is over, one of a message that waits, and one of a message that never was.
    let seen = [&sound[..], &[(1, 2, 1, 0), (2, 1, 1, 0), (4, 1, 1, 0)]].concat();
    let unknown = [(1, 2), (2, 1), (4, 1)].map(|(seq, attempt)| Violation::RequestUnknown(Seq(seq), attempt));
    assert_eq!(found(records(), &seen).await, unknown);
    assert_eq!(found(records(), &[(1, 1, 2, 1), (3, 1, 1, 1)]).await, [Violation::RequestTwice(Seq(1), 1)]);
}

#[tokio::test]
async fn what_a_life_before_did_proves_the_next_one_where_it_is_in_doubt() {
    let lives = |in_doubt| [ends_as(1, State::Unresolved, false), second_life(2, in_doubt)].concat();
    let seen = [(1, 1, 1, 1), (2, 1, 1, 0)];
    assert_eq!(found(lives(true), &seen).await, []);
    assert_eq!(found(lives(false), &seen).await, [Violation::SentWithoutEffect(Seq(2))]);
}

#[tokio::test]
async fn what_is_older_than_kept_is_not_judged() {
    let directory = directory();
    let journal = open(directory.path());
    let week = 7 * 24 * HOUR;
    commit(&journal, [vec![accepted(1, START)], life(2, START)].concat()).await;
    let seen = [(2, 1, 1, 1)];
    // In the history, which keeps what was said longer than what was tried.
    journal.prune(START + HOUR + 2 * MINUTE).await.expect("a pass");
    assert_eq!(compared(&journal, &seen), []);
    assert_eq!(compared(&journal, &[]), [Violation::SentWithoutEffect(Seq(2))]);
    // All that ended is gone. What waits is kept, and with it what it tried.
    journal.prune(START + week + HOUR).await.expect("a pass");
    assert_eq!(compared(&journal, &[]), [], "it is gone");
    assert_eq!(compared(&journal, &seen), []);
    let unknown = |seq| Violation::RequestUnknown(Seq(seq), 1);
    assert_eq!(compared(&journal, &[(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]), [unknown(1), unknown(3)]);
    // The same where something ended since.
    commit(&journal, life(3, START + week)).await;
    journal.prune(START + week + 2 * HOUR).await.expect("a pass");
    assert_eq!(compared(&journal, &[(2, 1, 1, 1), (3, 1, 1, 1)]), []);
    assert_eq!(compared(&journal, &[(1, 1, 1, 0), (3, 1, 1, 1), (4, 1, 1, 1)]), [unknown(1), unknown(4)]);
}
