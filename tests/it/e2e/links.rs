//! Commands have a connection of their own: nothing that messages do, or that keeps them out, delays one.

use super::{Scene, server, start_server, text};
use crate::bridge::{Bridge, Config};
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher, TOPICS};
use sendbridge::mqtt::{BrokerUrl, Incoming, Queue, Session, Settings, connect_incoming};
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_answered_before_a_flood_of_messages_is_taken() {
    const MESSAGES: u64 = 20_000;
    let mut scene = Scene::start(server(&["1"]), |config| config.with("log.level", r#""info""#)).await;
    assert!(scene.bridge.terminate().success());
    for number in 0..MESSAGES {
        scene.publisher.send(text("1", &format!("m{number}"), "x")).await;
    }
    // The last in line at the broker.
    let order = Message::new("sendbridge/request/pause", r#"{"all":true,"reason":"a flood","transaction":"stop"}"#);
    scene.publisher.publish(order).await;
    scene.publisher.wait("all is with the broker", |seen| seen.acknowledged > MESSAGES).await;
    scene.bridge.start_again().await;
    let topic = "sendbridge/response/pause";
    scene.publisher.wait("the reply", |seen| seen.on(topic).next().is_some()).await;
    let health = scene.health().await;
    let taken = health["accepted"].as_u64().expect("a number");
    assert!(taken < MESSAGES, "all {taken} were taken before the answer");
    let all = |health: &serde_json::Value| health["accepted"] == MESSAGES;
    let health = scene.publisher.ask_until("health", json!({}), all).await;
    let sent = health["states"]["sent"].as_u64().expect("a number");
    assert!(sent < MESSAGES / 2, "{sent} were sent before the pause");
    assert_eq!(health["states"]["queued"], MESSAGES - sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_keeps_messages_out_and_lets_commands_in() {
    let mut scene = Scene::start(server(&["1", "2"]), |config| config.with("store.low_space", r#""16MiB""#)).await;
    scene.still_sends("1", "first").await;
    let path = scene.bridge.path("bridge.toml");
    let change = |from: &str, to: &str| {
        let config = std::fs::read_to_string(&path).expect("a configuration").replace(from, to);
        std::fs::write(&path, config).expect("the configuration");
    };
    assert!(scene.bridge.terminate().success());
    change("16MiB", "1024GiB");
    scene.bridge.start_again().await;
    // Its commit looks at the disk, if none did before.
    scene.publisher.ask("pause", json!({ "account": "1", "reason": "no room", "by": "me" })).await;
    scene.publisher.ask_until("health", json!({}), |health| health["storageLow"] == true).await;
    scene.publisher.send(text("1", "late", "late")).await;
    let nothing = scene.publisher.command("message/cancel", json!({ "id": "late" })).await;
    assert_eq!(nothing["error"]["code"], "NOT_FOUND", "{nothing}");
    let refused = scene.publisher.command("message/retry", json!({ "id": "first" })).await;
    assert_eq!(refused["error"]["code"], "STORAGE_LOW", "{refused}");
    let health = scene.health().await;
    assert_eq!(health["received"], health["restored"], "none came since the start");
    // With room again, what was ordered holds, and the message comes from the broker.
    scene.bridge.kill();
    change("1024GiB", "16MiB");
    scene.bridge.start_again().await;
    let waits = |account: &serde_json::Value| account["reason"] == "paused" && account["queued"] == 1;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), waits).await;
    scene.still_sends("2", "other").await;
    assert_eq!(scene.arrivals("late"), 0);
    scene.publisher.ask("resume", json!({ "account": "1" })).await;
    assert!(scene.publisher.answer_to("late").await["msgId"].is_string());
}

/// Before commands had a connection of their own, the messages' session held their subscription.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_subscribed_is_done_once_and_then_taken_back() {
    let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
    let sender = start_server(server(&["1"])).await;
    let settings = Settings::new(BrokerUrl::parse(&broker.url()).expect("a URL"), "sendbridge");
    let filters = ["SendMessage", "SendMessage/+", "sendbridge/request/#"].map(str::to_owned).to_vec();
    let (events, mut seen) = mpsc::channel(100);
    let session = Session::new("in", filters, 100);
    let (_, old) = connect_incoming(&settings, session, Queue::new(events)).expect("a connection");
    while seen.recv().await != Some(Incoming::Subscribed) {}
    assert!(old.disconnect(Duration::from_secs(10)).await);

    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    publisher.publish(Message::new("sendbridge/request/health", r#"{"transaction":"before"}"#)).await;
    publisher.wait("it is with the broker", |seen| seen.acknowledged > 0).await;
    let bridge = Bridge::start_ready(&Config::new(&broker, &sender)).await;
    let scene = Scene { bridge, publisher, _observer: None, sender, broker };
    let replies = |transaction: &str| {
        let seen = scene.publisher.seen();
        seen.on("sendbridge/response/health").filter(|reply| reply.json()["transaction"] == transaction).count()
    };
    scene.publisher.wait("its reply", |seen| seen.on("sendbridge/response/health").next().is_some()).await;
    scene.publisher.publish(Message::new("sendbridge/request/health", r#"{"transaction":"after"}"#)).await;
    scene.publisher.wait("the other reply", |seen| seen.on("sendbridge/response/health").count() > 1).await;
    // A second reply would have come before this answer.
    scene.still_sends("1", "after").await;
    scene.health().await;
    assert_eq!((replies("before"), replies("after")), (1, 1));
}
