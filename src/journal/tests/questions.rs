use super::{HOUR, START, accepted, attempted, commit, directory, ended, life, message, open};
use crate::model::{Account, Doubt, MessageId, Record, Seq, State, Verdict};
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
