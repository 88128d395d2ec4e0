//! A broker that dies, is away, or forgets; and what is retained at it.

use super::{LOOSE, Scene, server, start_server, text};
use crate::bridge::{Bridge, Config};
use crate::mosquitto::Mosquitto;
use crate::publisher::{Heard, Publisher, TOPICS};
use nix::sys::signal::Signal;
use sendbridge::cli::pretend::{Behaviour, Faults, Settings};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

const ACCOUNTS: usize = 40;

fn account(number: usize) -> String {
    format!("account-{}", number % ACCOUNTS)
}

fn slow_server() -> Settings {
    let names: Vec<String> = (0..ACCOUNTS).map(account).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Settings { latency: Duration::from_millis(5)..=Duration::from_millis(30), limits: LOOSE, ..server(&names) }
}

/// Publishes what has no answer yet, as a publisher does that wants to be sure, until everything has one.
async fn repeat_until_answered(scene: &Scene, messages: usize) {
    let unanswered: Vec<String> = {
        let seen = scene.publisher.seen();
        (0..messages)
            .map(|number| format!("m{number}"))
            .filter(|id| !seen.answers.contains_key(&format!("{id:?}")))
            .collect()
    };
    for id in &unanswered {
        let number: usize = id[1..].parse().expect("a number");
        scene.publisher.send(text(&account(number), id, id)).await;
    }
    scene.publisher.wait("all answers", |seen| seen.answers.len() == messages).await;
}

/// Waits until bridge and publisher are back.
async fn reconnected(scene: &Scene, subscribed_before: u64) {
    scene.publisher.wait("a new subscription", |seen| seen.subscribed > subscribed_before).await;
    scene.bridge.ready().await;
    // Both connections of the bridge: the reply comes over the other one. The first orders may get lost with it.
    let health = scene.publisher.ask_until("health", json!({}), |health| health["broker"]["outgoing"] == "up");
    health.await;
}

/// No message lost, none sent twice, every answer a good one.
async fn assert_all_sent_once(scene: &Scene, messages: usize) {
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.effects, ledger.messages.len()), (messages as u64, messages));
    assert_eq!(ledger.repeated().count(), 0);
    let answers: BTreeMap<String, Vec<Heard>> = scene.publisher.seen().answers.clone();
    for (id, answers) in answers {
        assert!(answers.iter().all(|answer| answer.json()["msgId"].is_string()), "{id}: {answers:?}");
    }
    scene.health().await;
}

async fn burst_with(broken: impl AsyncFnOnce(&mut Mosquitto)) {
    const MESSAGES: usize = 600;
    let mut scene = Scene::start(slow_server(), |config| config.with("log.level", r#""info""#)).await;
    let (arrived, mut arrivals) = watch::channel(0);
    scene.sender.set_faults(Faults::script(move |request| {
        arrived.send_replace(request.earlier + 1);
        Behaviour::answer()
    }));
    let subscribed = scene.publisher.seen().subscribed;
    let Scene { publisher, broker, .. } = &mut scene;
    let publishing = async {
        for number in 0..MESSAGES {
            let id = format!("m{number}");
            publisher.send(text(&account(number), &id, &id)).await;
        }
    };
    let breaking = async {
        arrivals.wait_for(|seen| *seen >= 100).await.expect("the server runs");
        broken(broker).await;
    };
    tokio::join!(publishing, breaking);
    reconnected(&scene, subscribed).await;
    repeat_until_answered(&scene, MESSAGES).await;
    assert_all_sent_once(&scene, MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_crashes_in_a_burst_costs_nothing() {
    burst_with(async |broker| {
        tokio::task::block_in_place(|| {
            broker.save();
            broker.kill();
            broker.start_again();
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_in_a_burst_costs_nothing() {
    burst_with(async |broker| tokio::task::block_in_place(|| broker.restart())).await;
}

/// The broker takes messages for the bridge's session, stops in order and starts again. Nobody repeats anything, so a
/// bridge that came back without its session would lose what was kept for it there.
async fn restarts_with_messages_for(leave: impl FnOnce(&mut Bridge), come_back: impl AsyncFnOnce(&mut Bridge)) {
    const MESSAGES: usize = 200;
    // Far fewer than there are: most have not even been delivered when the broker stops.
    let mut scene = Scene::start(slow_server(), |config| config.with("mqtt.receive_maximum", "10")).await;
    leave(&mut scene.bridge);
    for number in 0..MESSAGES {
        let id = format!("m{number}");
        scene.publisher.send(text(&account(number), &id, &id)).await;
    }
    scene.publisher.wait("all is with the broker", |seen| seen.acknowledged == MESSAGES as u64).await;
    let subscribed = scene.publisher.seen().subscribed;
    tokio::task::block_in_place(|| scene.broker.restart());
    // An answer that nobody subscribes to is lost, and none is given twice here.
    scene.publisher.wait("a new subscription", |seen| seen.subscribed > subscribed).await;
    assert_eq!(scene.sender.ledger().arrivals, 0, "it was not away");
    come_back(&mut scene.bridge).await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() == MESSAGES).await;
    assert_all_sent_once(&scene, MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_keeps_while_the_bridge_is_down_is_not_lost_by_its_restart() {
    restarts_with_messages_for(Bridge::kill, async |bridge| bridge.start_again().await).await;
}

/// It holds its connections and acknowledges nothing, until it finds them gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_keeps_before_the_bridge_acknowledges_is_not_lost_by_its_restart() {
    restarts_with_messages_for(|bridge| bridge.signal(Signal::SIGSTOP), async |bridge| bridge.signal(Signal::SIGCONT))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_forgets_the_session_costs_nothing_when_ids_are_repeated() {
    const MESSAGES: usize = 300;
    let broker = Mosquitto::start(&["persistence false", "max_inflight_messages 1000"]);
    let sender = start_server(slow_server()).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let bridge = Bridge::start_ready(&Config::new(&broker, &sender)).await;
    let mut scene = Scene { bridge, publisher, _observer: None, sender, broker };
    for number in 0..MESSAGES {
        let id = format!("m{number}");
        scene.publisher.send(text(&account(number), &id, &id)).await;
        if number % 100 == 50 {
            let subscribed = scene.publisher.seen().subscribed;
            tokio::task::block_in_place(|| {
                scene.broker.kill();
                scene.broker.start_again();
            });
            // It forgot who subscribed: what is published before the bridge has again is lost.
            tokio::task::block_in_place(|| scene.broker.wait_for("Sending SUBACK to sendbridge-in"));
            reconnected(&scene, subscribed).await;
        }
    }
    repeat_until_answered(&scene, MESSAGES).await;
    assert_all_sent_once(&scene, MESSAGES).await;
    // Whoever looks after the broker is told, once there was something to forget.
    tokio::task::block_in_place(|| {
        scene.broker.kill();
        scene.broker.start_again();
    });
    scene.bridge.logged(0, |line| line.contains("broker_forgot").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_at_the_start_is_waited_for() {
    let mut broker = Mosquitto::start(&[]);
    let sender = start_server(server(&["1"])).await;
    let config = Config::new(&broker, &sender);
    broker.stop();
    let bridge = Bridge::start(&config).await;
    assert_eq!(bridge.get("/readyz").await.0, 503);
    assert_eq!(bridge.get("/healthz").await.0, 200);
    tokio::task::block_in_place(|| broker.start_again());
    bridge.ready().await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let scene = Scene { bridge, publisher, _observer: None, sender, broker };
    scene.still_sends("1", "first").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_broker() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    assert_eq!(scene.bridge.get("/healthz").await, (200, "up\n".to_owned()));
    tokio::task::block_in_place(|| scene.broker.stop());
    scene.bridge.answers("/readyz", 503).await;
    assert_eq!(scene.bridge.get("/healthz").await.0, 200);
    assert_eq!(scene.bridge.get("/nothing").await.0, 404);
    let subscribed = scene.publisher.seen().subscribed;
    tokio::task::block_in_place(|| scene.broker.start_again());
    reconnected(&scene, subscribed).await;
    scene.still_sends("1", "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_time_without_broker_come_when_it_is_back() {
    let mut scene = Scene::start(slow_server(), |config| config).await;
    let (arrived, mut arrivals) = watch::channel(0);
    scene.sender.set_faults(Faults::script(move |request| {
        arrived.send_replace(request.earlier + 1);
        Behaviour::answer().after(Duration::from_millis(500))
    }));
    for number in 0..20 {
        let id = format!("m{number}");
        scene.publisher.send(text(&account(number), &id, &id)).await;
    }
    arrivals.wait_for(|seen| *seen == 20).await.expect("the server runs");
    let subscribed = scene.publisher.seen().subscribed;
    tokio::task::block_in_place(|| scene.broker.stop());
    // The last attempt ends while nobody can be told.
    let ended = |line: &str| line.contains("attempt ended").then_some(());
    scene.bridge.logged(0, ended).await;
    super::eventually("all attempts ended", || {
        scene.bridge.log().iter().filter(|line| ended(line).is_some()).count() == 20
    })
    .await;
    tokio::task::block_in_place(|| scene.broker.start_again());
    reconnected(&scene, subscribed).await;
    repeat_until_answered(&scene, 20).await;
    assert_all_sent_once(&scene, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_topic_tells_whether_the_bridge_is_there() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let listener = Publisher::connect(scene.broker.port(), &["sendbridge/state", "sendbridge/hold"]).await;
    let last = |topic: &'static str| {
        move |seen: &crate::publisher::Seen| seen.on(topic).last().map(Heard::json).unwrap_or_default()
    };
    let state = last("sendbridge/state");
    listener.wait("online", |seen| state(seen) == json!({ "state": "online" })).await;
    assert!(scene.bridge.terminate().success());
    listener.wait("stopped", |seen| state(seen) == json!({ "state": "stopped" })).await;
    scene.bridge.start_again().await;
    listener.wait("online again", |seen| state(seen) == json!({ "state": "online" })).await;
    scene.bridge.kill();
    listener.wait("offline", |seen| state(seen) == json!({ "state": "offline" })).await;
    // Retained: who comes later knows it too.
    let late = Publisher::connect(scene.broker.port(), &["sendbridge/state"]).await;
    late.wait("offline", |seen| state(seen) == json!({ "state": "offline" })).await;
    assert!(late.seen().all[0].retain);
    scene.bridge.start_again().await;
    listener.wait("online at last", |seen| state(seen) == json!({ "state": "online" })).await;
}
