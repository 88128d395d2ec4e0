use super::*;
use crate::model::{Alarm, Code, Fault, InfoLimits, Origin, Refusal, Seq, Time};
use crate::mqtt::BrokerUrl;

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
    let (board, drops) = (Arc::default(), Drops::default());
    let (reported, _reported_due) = mpsc::channel(1);
    let publisher = Publisher { answers, reported, notices, replies, board, drops };
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

/// A desk whose broker is not there.
fn desk(inputs: mpsc::Sender<Input>) -> Desk {
    let url = BrokerUrl::parse("mqtt://127.0.0.1:1").expect("a URL");
    let topics = Topics::new(&["SendMessage".to_owned()], "SendMessageResp", "sendbridge", &[]).expect("valid");
    let info = InfoReport {
        version: String::new(),
        features: Vec::new(),
        limits: InfoLimits {
            max_message_bytes: 1,
            account_interval_ms: 1,
            corp_per_hour: 1,
            ttl_ms: 1,
            dedup_window_ms: 1,
            queue_messages: 1,
            queue_bytes: 1,
        },
        topics: topics.report(),
        types: Vec::new(),
        commands: Vec::new(),
        config: serde_json::Value::Null,
    };
    let (outlet, _) = mqtt::connect_outgoing(&mqtt::Settings::new(url, "desk"), None, |_| {}).expect("no certificates");
    Desk::new(Arc::new(topics), info, Arc::default(), outlet, (watch::channel(false).0, inputs), Drops::default())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_handed_out_again_is_over_with_its_new_publishes_alone() {
    let (inputs, mut told) = mpsc::channel(4);
    let mut desk = desk(inputs);
    let what = Outgoing::Answer(Seq(1));
    let hand_out = |desk: &mut Desk, tokens: [u64; 2]| {
        desk.open.extend(tokens.map(|token| (token, what)));
        desk.parts.insert(what, Parts { open: 2, refused: None });
    };
    hand_out(&mut desk, [10, 11]);
    desk.try_again(10);
    assert_eq!(told.recv().await, Some(Input::PublishAgain { what }));
    hand_out(&mut desk, [20, 21]);
    // The broker was slow with the other publish of the first time.
    desk.close(11, None).await;
    desk.close(21, None).await;
    assert!(told.try_recv().is_err(), "one of its topics does not have it yet");
    desk.close(20, None).await;
    assert_eq!(told.try_recv(), Ok(Input::Published { what, refused: None }));
}
