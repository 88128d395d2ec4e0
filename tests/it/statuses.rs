//! The publisher's retained topics against a real Mosquitto.

use crate::bridge::DEADLINE;
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher as Listener};
use sendbridge::model::{
    Account, AccountReport, AccountState, Alarm, Corp, Hold, HoldId, InfoLimits, InfoReport, Input, Publication, Scope,
    Status, StatusTopic, Time, TopicReport,
};
use sendbridge::mqtt::topics::Topics;
use sendbridge::mqtt::{BrokerUrl, Settings};
use sendbridge::publisher::{self, Publisher, Running};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const AT: Time = Time::from_millis(1_700_000_000_123);

/// A publisher, and what it tells the bridge.
struct Desk {
    publisher: Publisher,
    running: Running,
    inputs: mpsc::Receiver<Input>,
}

impl Desk {
    fn start(broker: &Mosquitto) -> Self {
        let settings = Settings {
            retry_delay_min: Duration::from_millis(2),
            retry_delay_max: Duration::from_millis(20),
            ..Settings::new(BrokerUrl::parse(&broker.url()).expect("a URL"), "bridge")
        };
        let topics = Topics::new(&["SendMessage".to_owned()], "SendMessageResp", "sendbridge", &[]).expect("valid");
        let (inputs_set, inputs) = mpsc::channel(1000);
        let (connected, _) = watch::channel(false);
        let info = info(&topics);
        let (publisher, running) =
            publisher::start(&settings, Arc::new(topics), info, 100, inputs_set, connected).expect("no certificates");
        Self { publisher, running, inputs }
    }

    async fn input(&mut self) -> Input {
        tokio::time::timeout(DEADLINE, self.inputs.recv()).await.expect("in time").expect("it runs")
    }

    async fn connected(&mut self, wanted: bool) {
        while self.input().await != Input::Connected(wanted) {}
    }
}

pub fn info(topics: &Topics) -> InfoReport {
    let limits = InfoLimits {
        max_message_bytes: 1,
        account_interval_ms: 500,
        corp_per_hour: 50_000,
        ttl_ms: 1,
        dedup_window_ms: 1,
        queue_messages: 1,
        queue_bytes: 1,
    };
    let topics: TopicReport = topics.report();
    let (features, types, commands) = (Vec::new(), Vec::new(), Vec::new());
    InfoReport { version: "0".into(), features, limits, topics, types, commands, config: serde_json::json!({}) }
}

fn account(name: &str, queued: u64) -> Publication {
    let report = AccountReport {
        at: AT,
        account: Account::new(name),
        corp: Some(Corp::new("corp")),
        sender: None,
        state: AccountState::Idle,
        reason: None,
        hold: None,
        until: None,
        queued,
        sending: 0,
        in_doubt: 0,
        next_send_at: None,
        drain_eta: None,
        sent_last_hour: 0,
        interval_ms: 500,
    };
    Publication::Status(Status::Account(Account::new(name), Some(Box::new(report))))
}

fn alarm() -> Publication {
    Publication::Alarm(Alarm { what: "storage_low", about: Box::from("store"), message: Box::from("m"), at: AT })
}

fn hold() -> Publication {
    let (scope, reason) = (Scope::All, Box::from("r"));
    Publication::Holds(vec![Hold { id: HoldId(1), scope, reason, by: None, since: AT, until: None }], Vec::new())
}

const ACCOUNTS: u64 = 300;
const ROUNDS: u64 = 50;

/// The broker takes two publishes at a time, alarms come in a flood, and every account changes again and again.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_on_every_topic_gets_through_a_flood() {
    let broker = Mosquitto::start(&["max_inflight_messages 2"]);
    let mut desk = Desk::start(&broker);
    desk.connected(true).await;
    for round in 0..=ROUNDS {
        for number in 0..ACCOUNTS {
            desk.publisher.publish(account(&number.to_string(), round));
            desk.publisher.publish(alarm());
        }
    }
    assert!(desk.publisher.dropped() > 0, "no flood");
    desk.publisher.publish(Publication::Status(Status::Account(Account::new("0"), None)));
    let listener = Listener::connect(broker.port(), &["sendbridge/account/+"]).await;
    listener
        .wait("the last words", |seen| {
            let last = |number: u64| seen.on(&format!("sendbridge/account/{number}")).last().cloned();
            (1..ACCOUNTS).all(|number| last(number).is_some_and(|heard| heard.json()["queued"] == ROUNDS))
        })
        .await;
    desk.running.stop().await;
    let late = Listener::connect(broker.port(), &["sendbridge/account/+", "sendbridge/info"]).await;
    late.wait("the stored ones", |seen| seen.all.len() as u64 == ACCOUNTS).await;
    let seen = late.seen();
    assert!(seen.all.iter().all(|heard| heard.retain && heard.topic != "sendbridge/account/0"), "one was cleared");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_while_the_broker_was_away_is_said_when_it_is_back() {
    let mut broker = Mosquitto::start(&["persistence false"]);
    let mut desk = Desk::start(&broker);
    desk.connected(true).await;
    desk.publisher.publish(hold());
    let listener = Listener::connect(broker.port(), &["sendbridge/hold"]).await;
    listener.wait("the hold", |seen| !seen.all.is_empty()).await;
    broker.stop();
    desk.connected(false).await;
    desk.publisher.publish(account("1", 1));
    desk.publisher.publish(account("1", 2));
    broker.start_again();
    let late = Listener::connect(broker.port(), &["sendbridge/#"]).await;
    late.wait("all of it", |seen| {
        let has = |topic: &str| seen.on(topic).next().is_some();
        has("sendbridge/hold") && has("sendbridge/info") && has("sendbridge/state") && has("sendbridge/account/1")
    })
    .await;
    let queued: Vec<_> = late.seen().on("sendbridge/account/1").map(|heard| heard.json()["queued"].clone()).collect();
    assert_eq!(queued, [2], "only the last word");
    desk.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_said_before_a_stop() {
    let broker = Mosquitto::start(&["max_inflight_messages 2"]);
    let mut desk = Desk::start(&broker);
    desk.connected(true).await;
    for number in 0..100 {
        desk.publisher.publish(account(&number.to_string(), 1));
    }
    desk.running.stop().await;
    let late = Listener::connect(broker.port(), &["sendbridge/account/+", "sendbridge/state"]).await;
    late.wait("all of them", |seen| seen.all.len() == 101).await;
    let state = late.seen().on("sendbridge/state").next().expect("it was waited for").json();
    assert_eq!(state["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_statuses_of_an_earlier_life_are_seen_and_nothing_else_is() {
    let broker = Mosquitto::start(&[]);
    let other = Listener::connect(broker.port(), &["sendbridge/marker"]).await;
    let store = |topic: &str| Message { retain: true, ..Message::new(topic, "{}") };
    for topic in
        ["account/gone", "account/a%2Fb%00", "account/%61", "corp/企", "corp/c", "hold", "account", "account/x/y"]
    {
        other.publish(store(&format!("sendbridge/{topic}"))).await;
    }
    other.publish(Message { payload: bytes::Bytes::new(), ..store("sendbridge/corp/c") }).await;
    other.wait("all are stored", |seen| seen.acknowledged == 9).await;
    let mut desk = Desk::start(&broker);
    let mut topics = Vec::new();
    while topics.len() < 3 {
        if let Input::StatusSeen(topic) = desk.input().await {
            topics.push(topic);
        }
    }
    topics.sort();
    let accounts = ["a/b\0", "gone"].map(|name| StatusTopic::Account(Account::new(name)));
    assert_eq!(topics, [accounts[0].clone(), accounts[1].clone(), StatusTopic::Corp(Corp::new("企"))]);
    // What we say ourselves comes back while we listen, and is none of these.
    let gone = Account::new("gone");
    for topic in topics {
        match topic {
            StatusTopic::Account(account) => {
                desk.publisher.publish(Publication::Status(Status::Account(account, None)))
            }
            StatusTopic::Corp(corp) => desk.publisher.publish(Publication::Status(Status::Corp(corp, None))),
        }
    }
    desk.publisher.publish(account("new", 1));
    let late = Listener::connect(broker.port(), &["sendbridge/account/new"]).await;
    late.wait("the new one", |seen| !seen.all.is_empty()).await;
    desk.running.stop().await;
    // The next life sees what is left: one topic that it would never have written stays unseen.
    let mut desk = Desk::start(&broker);
    let seen = loop {
        if let Input::StatusSeen(topic) = desk.input().await {
            break topic;
        }
    };
    assert_eq!(seen, StatusTopic::Account(Account::new("new")));
    assert_ne!(seen, StatusTopic::Account(gone));
    desk.running.stop().await;
}

/// An id that no topic can hold harms nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_without_a_topic_is_left_out() {
    let broker = Mosquitto::start(&[]);
    let mut desk = Desk::start(&broker);
    desk.connected(true).await;
    desk.publisher.publish(account(&"/".repeat(30_000), 1));
    desk.publisher.publish(account(&"/".repeat(20_000), 1));
    desk.publisher.publish(account("+/#$\u{FFFF}\u{1}", 1));
    let late = Listener::connect(broker.port(), &["sendbridge/account/+"]).await;
    late.wait("the others", |seen| seen.all.len() == 2).await;
    let topics: Vec<_> = late.seen().all.iter().map(|heard| heard.topic.clone()).collect();
    assert!(topics.contains(&"sendbridge/account/%2B%2F%23$%EF%BF%BF%01".to_owned()), "{}", topics.len());
    desk.running.stop().await;
}
