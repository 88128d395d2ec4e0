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
    assert_eq!(listed(&reader, &all, &[State::Queued], &page(9, None)), (vec![8], None));
    assert_eq!(listed(&reader, &all, &[State::Queued, State::Sending], &page(9, None)), (vec![8, 7], None));
    let of_one = Selection { account: Some(Account::new("account-2")), ..Selection::default() };
    assert_eq!(listed(&reader, &of_one, &[State::Sent], &page(9, None)), (vec![5, 2], None));
    let none = Selection { tag: Some(Box::from("no such")), ..Selection::default() };
    assert_eq!(listed(&reader, &none, &[], &page(9, None)), (vec![], None));
    let wanted = Wanted { selection: &all, members: &BTreeSet::new(), states: &[] };
    for after in ["", "m", "x1", "m0", "m-1", "m1x", "你"] {
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

/// No index leads from an id to its rows: a search looks at so many, and says that it left some out.
#[tokio::test]
async fn a_search_takes_the_newest_rows_and_those_that_the_engine_knows_and_says_whether_that_is_all() {
    const ROWS_MAX: u64 = 200_000;
    let directory = directory();
    let journal = open(directory.path());
    let same_id =
        |seq: u64| Record::Accepted(Arc::new(Message { request: message(1, START).request, ..message(seq, START) }));
    let reader = journal.reader().expect("a reader");
    let found = |known: &[Seq]| {
        let found = reader.find(&id(1), None, known).expect("an answer");
        (found.rows.iter().map(|row| row.seq.0).collect::<Vec<_>>(), found.complete)
    };
    assert_eq!(found(&[]), (vec![], true));
    commit(&journal, vec![same_id(1), same_id(ROWS_MAX)]).await;
    assert_eq!(found(&[]), (vec![1, ROWS_MAX], true));
    commit(&journal, vec![same_id(ROWS_MAX + 1)]).await;
    assert_eq!(found(&[]), (vec![ROWS_MAX, ROWS_MAX + 1], false));
    assert_eq!(found(&[Seq(1)]), (vec![1, ROWS_MAX, ROWS_MAX + 1], false));
    // In the history as well.
    let directory = super::directory();
    let journal = open(directory.path());
    commit(&journal, [life(1, START), life(2, START), life(3, START)].concat()).await;
    journal.prune(START + 2 * HOUR).await.expect("a pass");
    let file = rusqlite::Connection::open(super::settings(directory.path()).path).expect("the file");
    let of = |seq: u64| journal.reader().expect("a reader").find(&id(seq), None, &[]).expect("an answer");
    file.execute("UPDATE history SET n = 200000 WHERE seq = 3", []).expect("an edit");
    assert_eq!((of(1).rows.len(), of(1).complete), (1, true));
    file.execute("UPDATE history SET n = 200001 WHERE seq = 3", []).expect("an edit");
    assert_eq!((of(1).rows.len(), of(2).rows.len(), of(2).complete), (0, 1, false));
}

/// It keeps the flag of what went before, and has it as soon as an attempt has it.
#[tokio::test]
async fn what_is_under_way_is_shown_with_the_flag_of_its_last_attempt() {
    let directory = directory();
    let journal = open(directory.path());
    let retry = Some(Retry { of: Seq(1), possibly_duplicate: true, in_doubt: false });
    let inherited = Record::Accepted(Arc::new(Message { retry, ..message(3, START) }));
    let records = vec![
        accepted(1, START),
        attempted(1, 1, START),
        accepted(2, START),
        attempted(2, 1, START),
        ended(2, 1, START),
        attempted(2, 2, START),
        inherited,
        attempted(3, 1, START),
    ];
    commit(&journal, records).await;
    let reader = journal.reader().expect("a reader");
    let flagged = |seq| reader.find(&id(seq), None, &[]).expect("an answer").rows[0].possibly_duplicate;
    assert_eq!((flagged(1), flagged(2), flagged(3)), (false, true, true));
}

/// A page that looked at as many rows as one question may is not full, and the next one goes on behind them.
#[tokio::test]
async fn a_list_that_would_look_for_too_long_says_where_to_go_on() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    journal.prune(START + 2 * HOUR).await.expect("a pass");
    const OTHERS: &str =
        "INSERT INTO history (seq, id, account, kind, received_at, state, at, attempts, possibly_duplicate)
        WITH RECURSIVE count (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM count WHERE n < 50001)
        SELECT n, n, 'other', 'text', 0, 'sent', 0, 1, 0 FROM count";
    let file = rusqlite::Connection::open(super::settings(directory.path()).path).expect("the file");
    file.execute(OTHERS, []).expect("rows");
    let reader = journal.reader().expect("a reader");
    let selection = Selection { account: Some(Account::new("account-1")), ..Selection::default() };
    let wanted = Wanted { selection: &selection, members: &BTreeSet::new(), states: &[] };
    let first = reader.list(wanted, &Page { limit: 9, after: None }).expect("an answer").expect("a page");
    assert_eq!((first.rows.len(), first.complete), (0, false));
    let rest = Page { limit: 9, after: first.next.map(String::into_boxed_str) };
    let last = reader.list(wanted, &rest).expect("an answer").expect("a page");
    assert_eq!((last.rows.len(), last.complete, last.next), (1, true, None));
}
