use super::{HOUR, START, accepted, attempted, commit, directory, ended, life, message, open};
use crate::journal::Reader;
use crate::journal::list::Wanted;
use crate::model::{Account, Doubt, Message, MessageId, Page, Record, Retry, Selection, Seq, State, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;

fn id(seq: u64) -> MessageId {
    MessageId::from_json(&format!("\"id-{seq}\""))
}

#[tokio::test]
async fn a_message_is_found_wherever_it_lies() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    journal.prune(START + 2 * HOUR).await.expect("a pass");
    let later = START + 2 * HOUR;
    let same_id = |seq: u64, account: &str| {
        let mut message = message(seq, later);
        message.request.id = id(1);
        message.request.account = Account::new(account);
        Record::Accepted(Arc::new(message))
    };
    let doubt = Verdict::Unknown { why: Doubt::Timeout, detail: Box::from("10 s") };
    commit(
        &journal,
        vec![
            same_id(2, "account-1"),
            same_id(3, "another"),
            attempted(3, 1, later),
            Record::Ended { seq: Seq(3), attempt: 1, at: later, verdict: doubt.clone() },
            accepted(4, later),
        ],
    )
    .await;

    let reader = journal.reader().expect("a reader");
    let found = reader.find(&id(1), None, &[Seq(3)]).expect("an answer");
    assert!(found.complete);
    let states: Vec<_> = found.rows.iter().map(|row| (row.seq.0, row.state, row.answered)).collect();
    assert_eq!(states, [(1, State::Sent, true), (2, State::Queued, false), (3, State::InDoubt, false)]);
    assert_eq!(found.rows[0].msg_id.as_deref(), Some("msg-1"));
    assert_eq!(found.rows[0].finished_at, Some(START));
    assert_eq!(found.rows[0].attempts[0].end, Some((START, confirmed())));
    assert_eq!(found.rows[2].attempts[0].end, Some((later, doubt)));

    let of_one = reader.find(&id(1), Some(&Account::new("another")), &[]).expect("an answer");
    assert_eq!(of_one.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), [3]);
    assert_eq!(reader.find(&id(99), None, &[]).expect("an answer").rows, []);

    // A reader sees what is committed after it was opened.
    commit(&journal, vec![attempted(4, 1, later)]).await;
    assert_eq!(reader.find(&id(4), None, &[]).expect("an answer").rows[0].state, State::Sending);
    commit(&journal, vec![ended(4, 1, later)]).await;
    assert!(reader.find(&id(4), None, &[]).expect("an answer").rows[0].attempts[0].end.is_some());
}

fn confirmed() -> Verdict {
    Verdict::Confirmed { msg_id: Some(Box::from("msg-1")) }
}

fn listed(reader: &Reader, selection: &Selection, states: &[State], page: &Page) -> (Vec<u64>, Option<String>) {
    let wanted = Wanted { selection, members: &BTreeSet::new(), states };
    let listed = reader.list(wanted, page).expect("an answer").expect("a page");
    assert!(listed.complete);
    (listed.rows.iter().map(|row| row.seq.0).collect(), listed.next)
}

#[tokio::test]
async fn a_list_goes_from_the_newest_to_the_history_page_by_page() {
    let directory = directory();
    let journal = open(directory.path());
    let later = START + 2 * HOUR;
    for seq in 1..=4 {
        commit(&journal, life(seq, START)).await;
    }
    journal.prune(later).await.expect("a pass");
    for seq in 5..=6 {
        commit(&journal, life(seq, later)).await;
    }
    commit(&journal, vec![accepted(7, later), attempted(7, 1, later), accepted(8, later)]).await;
    let reader = journal.reader().expect("a reader");
    let page = |limit: usize, after: Option<String>| Page { limit, after: after.map(String::into_boxed_str) };
    let all = Selection::default();
    let (first, next) = listed(&reader, &all, &[], &page(3, None));
    assert_eq!(first, [8, 7, 6]);
    let (second, next) = listed(&reader, &all, &[], &page(3, next));
    assert_eq!(second, [5, 4, 3]);
    assert_eq!(listed(&reader, &all, &[], &page(3, next)), (vec![2, 1], None));
    assert_eq!(listed(&reader, &all, &[State::Sending], &page(9, None)), (vec![7], None));
    assert_eq!(listed(&reader, &all, &[State::Queued, State::Sending], &page(9, None)), (vec![8, 7], None));
    let of_one = Selection { account: Some(Account::new("account-2")), ..Selection::default() };
    assert_eq!(listed(&reader, &of_one, &[State::Sent], &page(9, None)), (vec![5, 2], None));
    let none = Selection { tag: Some(Box::from("no such")), ..Selection::default() };
    assert_eq!(listed(&reader, &none, &[], &page(9, None)), (vec![], None));
    let wanted = Wanted { selection: &all, members: &BTreeSet::new(), states: &[] };
    for after in ["", "m", "x1", "m-1", "m1x", "你"] {
        assert_eq!(reader.list(wanted, &page(1, Some(after.to_owned()))).expect("an answer"), None, "{after}");
    }
}

#[tokio::test]
async fn what_can_be_sent_again_comes_with_its_text_until_that_is_erased() {
    let directory = directory();
    let journal = open(directory.path());
    let retry = Some(Retry { of: Seq(1), possibly_duplicate: true, in_doubt: true });
    let again = Message { retry, request: message(1, START).request, ..message(2, START) };
    let mut records = life(1, START);
    records.extend([Record::Accepted(Arc::new(again.clone())), attempted(2, 1, START)]);
    commit(&journal, records).await;
    let reader = journal.reader().expect("a reader");
    let (kept, gone) = reader.find_kept(&id(1), None, &[]).expect("an answer");
    let shown: Vec<_> = kept.iter().map(|kept| (kept.message.seq.0, kept.has_body(), kept.doubted)).collect();
    assert_eq!((shown, gone), (vec![(1, true, false), (2, true, true)], false));
    assert_eq!((kept[1].message.retry, &kept[1].message.request.body), (retry, &again.request.body));
    assert!(kept[0].outcome.is_some() && kept[1].outcome.is_none());
    // The first is moved to the history, the second still waits.
    journal.prune(START + 3 * HOUR).await.expect("a pass");
    let (kept, gone) = reader.find_kept(&id(1), None, &[]).expect("an answer");
    assert_eq!((kept.len(), kept[0].message.retry, gone), (1, retry, true));
}
