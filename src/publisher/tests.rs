use super::*;
use crate::model::{Alarm, Code, Fault, Origin, Refusal, Time};

fn refusal(number: u64) -> Publication {
    let fault = Fault::new(Code::InvalidJson, "no JSON");
    let refusal = Refusal { id: None, account: None, origin: Origin::default(), fault };
    Publication::Refusal { number, refusal: Arc::new(refusal) }
}

fn alarm() -> Alarm {
    Alarm { what: "storage_low", about: Box::from("store"), message: Box::default(), at: Time::default() }
}

#[tokio::test]
async fn an_answer_without_room_waits_and_a_notice_without_room_is_counted() {
    let (answers, mut answers_due) = mpsc::channel(1);
    let (notices, _notices_due) = mpsc::channel(1);
    let (replies, _replies_due) = mpsc::channel(1);
    let (board, dropped) = (Arc::default(), Arc::default());
    let (reported, _reported_due) = mpsc::channel(1);
    let publisher = Publisher { answers, reported, notices, replies, board, dropped };
    for number in 1..=3 {
        publisher.publish(refusal(number));
        publisher.publish(Publication::Alarm(alarm()));
        publisher.publish(Publication::Holds(Vec::new(), Vec::new()));
    }
    let mut numbers = Vec::new();
    for _ in 1..=3 {
        let Some(Publication::Refusal { number, .. }) = answers_due.recv().await else { panic!("an answer is gone") };
        numbers.push(number);
    }
    numbers.sort_unstable();
    assert_eq!((numbers, publisher.dropped()), (vec![1, 2, 3], 2));
    assert!(publisher.board.take().is_some() && publisher.board.take().is_none(), "the latest word, once");
}
