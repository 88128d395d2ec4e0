//! What a list selects, what an answer shows of a message, and what the journal tells about itself.

use super::{HOUR, START, accepted, attempted, commit, directory, ended, event, life, message, open, settings};
use crate::journal::list::Wanted;
use crate::journal::{Batch, CommitError, OpenError, ReadError, Suspect, UnknownCause};
use crate::model::{
    Account, AttemptWord, Callback, Code, Corp, Fault, Findings, Lookup, Message, MessageId, NotSent, Outcome, Page,
    Question, Record, Selection, Seq, State, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::sync::Arc;

fn page(limit: usize) -> Page {
    Page { limit, after: None }
}

#[tokio::test]
async fn a_list_holds_what_meets_each_part_of_the_selection_and_nothing_else() {
    let directory = directory();
    let journal = open(directory.path());
    let mut tagged = message(2, START);
    tagged.request.options.tag = Some(Box::from("invoice"));
    tagged.request.conversation = Box::from("R:7");
    commit(&journal, [life(1, START), vec![Record::Accepted(Arc::new(tagged)), accepted(3, START)]].concat()).await;
    let reader = journal.reader().expect("a reader");
    let members = BTreeSet::from([Account::new("account-0"), Account::new("account-1")]);
    let any = Selection::default;
    let cases = [
        (any(), vec![3, 2, 1]),
        (Selection { id: Some(MessageId::from_json("\"id-2\"")), ..any() }, vec![2]),
        (Selection { account: Some(Account::new("account-1")), ..any() }, vec![1]),
        (Selection { corp: Some(Corp::new("corp")), ..any() }, vec![3, 1]),
        (Selection { corp: Some(Corp::new("corp")), account: Some(Account::new("account-2")), ..any() }, vec![]),
        (Selection { tag: Some(Box::from("invoice")), ..any() }, vec![2]),
        (Selection { conversation: Some(Box::from("S:1_2")), ..any() }, vec![3, 1]),
        (Selection { conversation: Some(Box::from("R:7")), tag: Some(Box::from("invoice")), ..any() }, vec![2]),
        (Selection { conversation: Some(Box::from("S:1_2")), tag: Some(Box::from("invoice")), ..any() }, vec![]),
    ];
    for (selection, seqs) in cases {
        let wanted = Wanted { selection: &selection, members: &members, states: &[] };
        let listed = reader.list(wanted, &page(9)).expect("an answer").expect("a page");
        let found: Vec<u64> = listed.rows.iter().map(|row| row.seq.0).collect();
        assert_eq!((found, listed.complete, listed.next), (seqs, true, None), "{selection:?}");
    }
}

/// A page is one MQTT packet, so it ends where its texts get long, and says where to go on.
#[tokio::test]
async fn a_page_of_long_texts_ends_before_it_is_too_large_for_a_packet() {
    let directory = directory();
    let journal = open(directory.path());
    let failed = |seq| {
        let fault = Some(Fault::new(Code::Refused, "x".repeat(100_000)));
        let outcome =
            Outcome { state: State::Failed, at: START, msg_id: None, fault, attempts: 1, possibly_duplicate: false };
        vec![accepted(seq, START), Record::Finished { seq: Seq(seq), outcome }]
    };
    commit(&journal, (1..=8).flat_map(failed).collect()).await;
    let reader = journal.reader().expect("a reader");
    let all = Selection::default();
    let wanted = Wanted { selection: &all, members: &BTreeSet::new(), states: &[] };
    let first = reader.list(wanted, &page(100)).expect("an answer").expect("a page");
    assert_eq!((first.rows.len(), first.complete), (6, true));
    let rest = Page { limit: 100, after: first.next.map(String::into_boxed_str) };
    let last = reader.list(wanted, &rest).expect("an answer").expect("a page");
    assert_eq!((last.rows.len(), last.complete, last.next), (2, true, None));
}

#[tokio::test]
async fn an_id_is_shown_as_it_was_sent_and_as_its_text_where_a_reader_would_change_it() {
    let directory = directory();
    let journal = open(directory.path());
    let shown = [
        ("\"a\"", "\"a\""),
        ("\"\\u4f60\"", "\"你\""),
        ("7", "7"),
        ("-0.5", "-0.5"),
        ("1e2", "\"1e2\""),
        ("123456789012345678901234567890", "\"123456789012345678901234567890\""),
    ];
    let numbered = (1_u64..).zip(shown);
    let with_id = |(seq, (id, _)): (u64, (&str, &str))| {
        let mut message = message(seq, START);
        message.request.id = MessageId::from_json(id);
        Record::Accepted(Arc::new(message))
    };
    commit(&journal, numbered.clone().map(with_id).collect()).await;
    let reader = journal.reader().expect("a reader");
    for (number, (id, shown)) in numbered {
        let question = Question::Get { id: MessageId::from_json(id), account: None, known: Vec::new() };
        let found = reader.answer(&Lookup { number, question });
        let Ok(Findings::Reports(reports)) = found.result else { panic!("{id}: {:?}", found.result) };
        assert_eq!((found.number, reports.messages.len(), reports.complete), (number, 1, true));
        assert_eq!(reports.messages[0].id.to_string(), shown);
    }
}

#[tokio::test]
async fn an_id_is_found_however_it_is_spelled() {
    let directory = directory();
    let journal = open(directory.path());
    let kept = [r#""a\/b""#, r#""a/b""#, r#""a\"b""#, r#""\u0061\u0022b""#, "1e2", r#""1e2""#];
    let with_id = |(seq, id): (u64, &str)| {
        let mut message = message(seq, START);
        message.request.id = MessageId::from_json(id);
        Record::Accepted(Arc::new(message))
    };
    commit(&journal, (1..).zip(kept).map(with_id).collect()).await;
    let reader = journal.reader().expect("a reader");
    let asked = [
        (r#""\u0061/b""#, vec![1, 2]),
        (r#""a/b""#, vec![1, 2]),
        (r#""a\u0022b""#, vec![3, 4]),
        (r#""a\b""#, vec![]),
        ("1e2", vec![5]),
        (r#""1\u00652""#, vec![6]),
        ("100", vec![]),
    ];
    for (id, found) in asked {
        let ask = |question| match reader.answer(&Lookup { number: 1, question }).result {
            Ok(Findings::Reports(reports)) => reports.messages.iter().map(|message| message.seq).collect::<Vec<_>>(),
            other => panic!("{id}: {other:?}"),
        };
        let get = |known: Vec<Seq>| Question::Get { id: MessageId::from_json(id), account: None, known };
        assert_eq!(ask(get(Vec::new())), found, "{id}");
        assert_eq!(ask(get((1..=6).map(Seq).collect())), found, "{id}, by number");
        let selection = Selection::of_id(MessageId::from_json(id), None);
        let list = Question::List { selection, members: BTreeSet::new(), states: Vec::new(), page: page(9) };
        let newest_first = found.into_iter().rev().collect::<Vec<_>>();
        assert_eq!(ask(list), newest_first, "{id}, in a list");
    }
}

#[tokio::test]
async fn an_answer_shows_each_attempt_and_how_it_ended() {
    let directory = directory();
    let journal = open(directory.path());
    let offline = Verdict::NotSent { why: NotSent::Offline, detail: Box::default() };
    let records = vec![
        accepted(1, START),
        attempted(1, 1, START),
        Record::Ended { seq: Seq(1), attempt: 1, at: START, verdict: offline },
        attempted(1, 2, START + HOUR),
    ];
    commit(&journal, records).await;
    let question = Question::Get { id: message(1, START).request.id, account: None, known: vec![Seq(1)] };
    let found = journal.reader().expect("a reader").answer(&Lookup { number: 1, question });
    let Ok(Findings::Reports(reports)) = found.result else { panic!("{:?}", found.result) };
    let report = &reports.messages[0];
    assert_eq!((report.seq, report.state, report.attempts), (1, State::Sending, 2));
    assert_eq!((report.finished_at, report.answered, report.error.is_none()), (None, None, true));
    let history = report.history.as_ref().expect("a history");
    assert_eq!((history[0].result, history[0].why.as_deref()), (AttemptWord::NotSent, Some("offline")));
    assert_eq!((history[0].started_at, history[0].ended_at), (START, Some(START)));
    assert_eq!((history[1].result, history[1].ended_at), (AttemptWord::Open, None));
    commit(&journal, vec![ended(1, 2, START + HOUR)]).await;
}

#[tokio::test]
async fn who_ended_the_process_is_known_at_the_next_start() {
    let directory = directory();
    let journal = open(directory.path());
    assert_eq!(journal.suspects(), &BTreeMap::new());
    let (delivery, message) = (Suspect::Delivery(7), Suspect::Message(Seq(1)));
    for suspect in [delivery, message, delivery] {
        journal.accuse(suspect, START).await.expect("a row");
    }
    journal.close().await.expect("a clean end");
    assert_eq!(open(directory.path()).suspects(), &BTreeMap::from([(delivery, 2), (message, 1)]));
}

#[tokio::test]
async fn the_room_it_takes_is_that_of_the_file_and_its_log() {
    let directory = directory();
    let journal = open(directory.path());
    commit(&journal, life(1, START)).await;
    let path = settings(directory.path()).path;
    let bytes = |extension| std::fs::metadata(path.with_extension(extension)).expect("a file").len();
    let space = journal.space();
    assert!(bytes("db-wal") > 0);
    assert_eq!(space.journal_bytes, bytes("db") + bytes("db-wal"));
    // Others write to the same disk meanwhile.
    let disk = rustix::fs::statvfs(directory.path()).expect("a file system");
    let free = disk.f_bavail * disk.f_frsize;
    assert!(space.free_bytes > free / 2 && space.free_bytes / 2 < free, "{space:?} of {free}");
}

#[tokio::test]
async fn a_story_has_the_company_of_each_account_that_was_located() {
    let directory = directory();
    let journal = open(directory.path());
    let located = Record::Located {
        account: Account::new("silent"),
        corp: Corp::new("elsewhere"),
        sender: crate::model::SenderName::new("main"),
        at: START,
    };
    let connect = Verdict::NotSent { why: NotSent::Connect, detail: Box::default() };
    let busy = Verdict::NotSent { why: NotSent::Busy { retry_after: None }, detail: Box::default() };
    let tried = |seq, verdict| {
        vec![
            accepted(seq, START),
            attempted(seq, 1, START),
            Record::Ended { seq: Seq(seq), attempt: 1, at: START, verdict },
        ]
    };
    commit(&journal, [vec![located], tried(1, connect), tried(2, busy), life(3, START)].concat()).await;
    let story = journal.reader().expect("a reader").story().expect("a story");
    assert_eq!(story.corps.get(&Account::new("silent")), Some(&Corp::new("elsewhere")));
    let reached: Vec<_> = story.attempts.iter().map(|made| (made.written, made.confirmed)).collect();
    assert_eq!(reached, [(false, false), (true, false), (true, true)]);
}

#[test]
fn an_error_says_what_it_is_about_and_keeps_its_cause() {
    let broken = || rusqlite::Error::QueryReturnedNoRows;
    let read = ReadError { what: "attempts", error: broken() };
    assert!(read.to_string().contains("attempts") && read.source().is_some());
    let lost = CommitError::Unknown(UnknownCause::Database(broken()));
    assert!(lost.source().is_some() && lost.to_string().contains(&broken().to_string()));
    assert!(CommitError::Full.source().is_none() && CommitError::Full.to_string().contains("nothing was committed"));
    let said = [
        (UnknownCause::Contradiction { record: "Ended", number: 7 }, vec!["Ended", "7", "contradicts"]),
        (UnknownCause::TooLarge { record: "Held", number: 8 }, vec!["Held", "8", "too large"]),
        (UnknownCause::Replaced, vec!["removed or replaced"]),
        (UnknownCause::Stopped, vec!["stopped after an earlier failure"]),
    ];
    for (cause, words) in said {
        let text = CommitError::Unknown(cause).to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

/// By this the service manager starts the bridge again, or leaves it down until a person acts.
#[test]
fn what_may_pass_by_itself_is_tried_again_and_what_needs_a_person_is_not() {
    use std::io::{Error, ErrorKind};
    let path = || settings(std::path::Path::new("/journal")).path;
    let file = |kind| OpenError::File { path: path(), error: Error::from(kind) };
    let lasting = [
        file(ErrorKind::PermissionDenied),
        file(ErrorKind::ReadOnlyFilesystem),
        file(ErrorKind::NotADirectory),
        file(ErrorKind::IsADirectory),
        OpenError::Newer { path: path(), found: 9, known: 1 },
        OpenError::Damaged { path: path(), finding: "a page".to_owned() },
    ];
    let passing = [
        file(ErrorKind::StorageFull),
        file(ErrorKind::NotFound),
        OpenError::Locked { path: path() },
        OpenError::Database { path: path(), error: rusqlite::Error::QueryReturnedNoRows },
        OpenError::Thread { error: Error::from(ErrorKind::OutOfMemory) },
    ];
    for error in lasting {
        assert!(error.is_lasting(), "{error}");
    }
    for error in passing {
        assert!(!error.is_lasting(), "{error}");
    }
}

/// What a retry needs of a message is whole.
#[tokio::test]
async fn a_message_of_which_only_an_attempt_is_open_is_in_doubt_for_a_retry() {
    let directory = directory();
    let journal = open(directory.path());
    let flagged = Message { retry: None, ..message(2, START) };
    let records = [life(1, START), vec![Record::Accepted(Arc::new(flagged)), attempted(2, 1, START)]].concat();
    commit(&journal, records).await;
    let reader = journal.reader().expect("a reader");
    let doubted = |seq| {
        let (kept, gone) = reader.find_kept(&message(seq, START).request.id, None, &[]).expect("an answer");
        (kept.len(), kept[0].doubted, gone)
    };
    assert_eq!((doubted(1), doubted(2)), ((1, false, false), (1, true, false)));
}

/// An event is published from the disk, as soon as the one before it is out.
#[tokio::test]
async fn events_are_loaded_in_the_order_asked_for_as_long_as_they_are_there() {
    let directory = directory();
    let journal = open(directory.path());
    let callback = |key: u8| Callback { sender: None, key: [key; 16], events: vec![event()], signals: Vec::new() };
    let reported = |key: u8| Record::Reported { number: key.into(), at: START, callback: Arc::new(callback(key)) };
    commit(&journal, (1..=3).map(reported).collect()).await;
    let batch = Batch { load_events: vec![3, 99, 1], ..Batch::default() };
    let events = journal.commit(batch).await.expect("a commit").events;
    let loaded: Vec<_> = events.iter().map(|event| (event.number, &*event.word, event.payload.is_empty())).collect();
    assert_eq!(loaded, [(3, "account/login", false), (1, "account/login", false)]);
}
