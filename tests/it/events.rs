//! Events of messages against a real Mosquitto: left out where nobody subscribes, and all of them heard where somebody does.

use crate::bridge::DEADLINE;
use crate::mosquitto::Mosquitto;
use crate::proxy::Proxy;
use crate::publisher::{Publisher as Listener, Seen};
use crate::statuses::info;
use sendbridge::model::{BrokerFact, Input, Publication, SendEvent, Seq, State, Time};
use sendbridge::mqtt::topics::Topics;
use sendbridge::mqtt::{BrokerUrl, Settings};
use sendbridge::publisher;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Fewer than the publisher lets wait.
const MESSAGES: u64 = 1000;
/// More than leave without a question, and fewer than Mosquitto keeps for one who is slow to listen.
const HEARD: u64 = 250;
const STATES: [State; 3] = [State::Queued, State::Sending, State::Sent];

fn event(seq: u64, state: State) -> Publication {
    let event = SendEvent {
        at: Time::from_millis(1_700_000_000_123),
        seq: Some(Seq(seq)),
        state: Some(state),
        attempt: 1,
        possibly_duplicate: false,
        refusal: None,
        outcome: None,
    };
    Publication::Event { event, message: None }
}

/// What was heard of the messages from this number on.
fn heard(seen: &Seen, from: u64) -> Vec<(u64, String)> {
    let of = |topic: &str| topic.strip_prefix("sendbridge/event/send/").map(str::to_owned);
    let heard = seen.all.iter().filter_map(|heard| Some((heard.json()["seq"].as_u64()?, of(&heard.topic)?)));
    heard.filter(|(seq, _)| *seq >= from).collect()
}

/// All of it runs on this thread, so that what is published without a wait is there at once.
#[tokio::test]
async fn events_that_nobody_hears_are_left_out_and_whoever_listens_hears_all_of_them() {
    let broker = Mosquitto::start(&[]);
    let proxy = Proxy::start(broker.port(), 0, 1, 1).await;
    let url = BrokerUrl::parse(&proxy.url()).expect("a URL");
    let settings = Settings { watch_broker: true, ..Settings::new(url, "bridge") };
    let topics = Topics::new(&["SendMessage".to_owned()], "SendMessageResp", "sendbridge", &[]).expect("valid");
    let (inputs_set, mut inputs) = mpsc::channel(1000);
    let (connected, _) = watch::channel(false);
    let info = info(&topics);
    let (publisher, running) =
        publisher::start(&settings, Arc::new(topics), info, 100, inputs_set, connected).expect("no certificates");
    let known = async { while !matches!(inputs.recv().await, Some(Input::Broker(BrokerFact::Version(_)))) {} };
    tokio::time::timeout(DEADLINE, known).await.expect("the broker says which one it is");

    let last = Listener::connect(broker.port(), &["sendbridge/event/send/expired"]).await;
    let before = proxy.carried_up();
    for seq in 1..=MESSAGES {
        STATES.iter().for_each(|state| publisher.publish(event(seq, *state)));
    }
    // Events leave in their order, so whoever hears this one knows that the others have left, or never will.
    publisher.publish(event(MESSAGES, State::Expired));
    last.wait("the last event", |seen| !seen.all.is_empty()).await;
    let sent = proxy.carried_up() - before;
    assert!(sent < 20 * MESSAGES, "{sent} bytes were sent for what nobody hears");

    let listener = Listener::connect(broker.port(), &["sendbridge/event/send/+"]).await;
    for seq in MESSAGES + 1..=MESSAGES + HEARD {
        STATES.iter().for_each(|state| publisher.publish(event(seq, *state)));
    }
    let all = 3 * HEARD as usize;
    listener.wait("all of them", |seen| heard(seen, MESSAGES + 1).len() >= all).await;
    let each = |seq| STATES.map(|state| (seq, state.as_str().to_owned()));
    let wanted: Vec<_> = (MESSAGES + 1..=MESSAGES + HEARD).flat_map(each).collect();
    assert!(heard(&listener.seen(), 0) == wanted, "once each, in their order, and nothing of before");
    assert_eq!(publisher.dropped(), 0);
    running.stop().await;
}
