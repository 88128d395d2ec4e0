//! The story that a journal tells is the same before and after its messages move to the history, but for what that loses.

use super::{HOUR, START, accepted, attempted, commit, directory, life, message, open};
use crate::journal::{Arrival, Made};
use crate::model::{Account, Corp, Record, Seq, State};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn arrivals_and_attempts_are_told_in_their_order() {
    let directory = directory();
    let journal = open(directory.path());
    let later = START + Duration::from_secs(5);
    let mut scheduled = message(2, later);
    scheduled.not_before = Some(later + HOUR);
    scheduled.priority = 9;
    let records = [life(1, START), vec![Record::Accepted(Arc::new(scheduled)), accepted(3, later)]].concat();
    commit(&journal, [records, vec![attempted(3, 1, later)]].concat()).await;
    let story = |journal: &crate::journal::Journal| journal.reader().expect("a reader").story().expect("a story");
    let before = story(&journal);
    let first = Arrival {
        seq: Seq(1),
        account: Account::new("account-1"),
        received_at: START,
        expires_at: Some(START + 24 * HOUR),
        not_before: None,
        priority: Some(4),
        fate: Some(State::Sent),
    };
    assert_eq!(before.arrivals[0], first);
    assert_eq!((before.arrivals[1].priority, before.arrivals[1].not_before), (Some(9), Some(later + HOUR)));
    assert_eq!((before.arrivals.len(), before.arrivals[2].fate), (3, None));
    let made = Made {
        seq: Seq(3),
        account: Account::new("account-0"),
        corp: Corp::new("corp"),
        started_at: later,
        ended_at: None,
        written: true,
        confirmed: false,
    };
    assert_eq!(before.attempts[1], made);
    assert!(before.attempts[0].confirmed);
    assert_eq!(before.corps.len(), 2, "{:?}", before.corps);

    journal.prune(START + 2 * HOUR).await.expect("a pass");
    let after = story(&journal);
    let lost = Arrival { expires_at: None, not_before: None, priority: None, ..first };
    assert_eq!(after.arrivals[0], lost);
    assert_eq!((&after.arrivals[1..], &after.attempts), (&before.arrivals[1..], &before.attempts));
}
