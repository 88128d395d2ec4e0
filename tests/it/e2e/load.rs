//! More than the bridge can do: what waits is bounded and refused aloud beyond that, and nobody else waits for it.
//!
//! Nothing here asserts a speed: what has to be on time is compared with what is still waiting.

use super::{LOOSE, Scene, eventually, server, start_server, text};
use crate::bridge::{Bridge, Config, DEADLINE};
use crate::canary;
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher, Seen, TOPICS};
use sendbridge::cli::pretend::{Limits, PretendAccount, Settings};
use serde_json::{Value, json};
use std::time::Duration;

/// A message that waits is some hundred bytes in memory; the rest is the program, and what is on its way.
const MEMORY_KIB_MAX: u64 = 256 * 1024;

/// Without the observer, who would check the schema of each of many events.
async fn start(server: Settings, configure: impl FnOnce(Config) -> Config) -> Scene {
    let broker = Mosquitto::start(&["max_inflight_messages 1000", "max_queued_messages 200000"]);
    let sender = start_server(server).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let config = Config::new(&broker, &sender).with("log.level", r#""info""#);
    let bridge = Bridge::start_ready(&configure(config)).await;
    Scene { bridge, publisher, _observer: None, sender, broker }
}

fn refused(seen: &Seen) -> usize {
    seen.answers.values().filter(|answers| answers[0].json()["error"]["code"] == "QUEUE_FULL").count()
}

fn refusal_names_the_rule(scene: &Scene) {
    let refusal = scene.publisher.look(|seen| {
        let mut first = seen.answers.values().map(|answers| answers[0].json());
        first.find(|answer| answer["error"]["code"] == "QUEUE_FULL").expect("one was refused")
    });
    assert!(refusal["error"]["message"].as_str().expect("words").contains("queue_time"), "{refusal}");
}

/// All accounts have something waiting and the same interval, so about one send of each loud one lies between two of
/// the calm one. What lies there is counted at the server, and how long it took does not matter.
async fn the_calm_one_has_its_turns(scene: &Scene, calm: &Publisher, loud: usize) {
    const MESSAGES: usize = 20;
    /// Of each loud account between two turns. One is due, or two where they fall so; the rest is for a machine that
    /// holds up the calm one's request alone. Thousands of each wait, and would all go first where there were no turns.
    const EACH_MAX: usize = 20;
    // Paused until all of it waits, so that nothing is late for being published late.
    calm.ask("pause", json!({ "account": "calm", "reason": "test" })).await;
    for number in 0..MESSAGES {
        let id = format!("turn-{number}");
        calm.send(text("calm", &id, &id)).await;
    }
    calm.ask_until("account/get", json!({ "account": "calm" }), |data| data["queued"] == MESSAGES).await;
    calm.ask("resume", json!({ "account": "calm" })).await;
    for number in 0..MESSAGES {
        let answer = calm.answer_to(&format!("turn-{number}")).await;
        assert!(answer["msgId"].is_string(), "{answer}");
    }
    let (turns, others) = scene.sender.with_ledger(|ledger| {
        let turns = ledger.accounts["calm"].history.iter().filter(|arrived| arrived.message.starts_with("turn-"));
        let loud = ledger.accounts.iter().filter(|(account, _)| account.starts_with("loud-"));
        let others = loud.flat_map(|(_, entry)| entry.history.iter().map(|arrived| arrived.at));
        (turns.map(|arrived| arrived.at).collect::<Vec<_>>(), others.collect::<Vec<_>>())
    });
    assert_eq!(turns.len(), MESSAGES);
    let between = |from, to| others.iter().filter(|at| **at > from && **at <= to).count();
    let between: Vec<usize> = turns.windows(2).map(|two| between(two[0], two[1])).collect();
    assert!(between.iter().sum::<usize>() > 0, "nobody else had a turn meanwhile");
    assert!(between.iter().all(|others| *others <= EACH_MAX * loud), "the calm one was held up: {between:?}");
}

fn queued(health: &Value) -> u64 {
    health["states"]["queued"].as_u64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_bounded_and_refused_aloud_and_nobody_else_waits_for_it() {
    const FLOOD: usize = 100_000;
    /// What waits at most: 500 s of each of ten accounts.
    const ROOM: usize = 50_000;
    const CALM: usize = 20;
    const INTERVAL: Duration = Duration::from_millis(100);
    let limits = Limits { account_interval: INTERVAL, ..LOOSE };
    let accounts: Vec<String> = (0..10).map(|number| format!("loud-{number}")).chain(["calm".to_owned()]).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let mut scene = start(Settings { limits, ..server(&names) }, |config| {
        config
            .with("limits.account_interval", r#""100ms""#)
            .with("messages.queue_time", r#""500s""#)
            .with("topics.events", r#""final""#)
    })
    .await;
    let calm = Publisher::connect(scene.broker.port(), TOPICS).await;
    let flood = async {
        for number in 0..FLOOD {
            let id = format!("flood-{number}");
            scene.publisher.send(text(&accounts[number % 10], &id, &id)).await;
        }
        let all = |health: &Value| health["received"].as_u64() >= Some(FLOOD as u64);
        scene.publisher.ask_until("health", json!({}), all).await;
    };
    let others = async {
        for number in 0..CALM {
            let id = format!("calm-{number}");
            calm.send(text("calm", &id, &id)).await;
            let answer = calm.answer_to(&id).await;
            assert!(answer["msgId"].is_string(), "{answer}");
        }
        // All of them are sent, and the flood waits.
        let waiting = calm.ask("account/get", json!({ "account": "loud-0" })).await;
        assert!(waiting["queued"].as_u64() > Some(0), "{waiting}");
    };
    tokio::join!(flood, others);
    // What was refused is told a little later than it is counted.
    let excess = || FLOOD - ROOM - scene.sender.with_ledger(|ledger| ledger.arrivals as usize);
    eventually("refusals of what has no room", || scene.publisher.look(refused) >= excess()).await;
    refusal_names_the_rule(&scene);
    the_calm_one_has_its_turns(&scene, &calm, 10).await;
    let peak = scene.bridge.memory_peak_kib();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    let health = scene.health().await;
    assert!(queued(&health) <= ROOM as u64, "{health}");
    assert!(queued(&health) > ROOM as u64 / 2, "it was no flood: {health}");
    scene.bridge.kill();
    assert_eq!(scene.sender.ledger().violations(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_never_stops_fills_its_own_account_only() {
    const REFUSALS: usize = 2000;
    let scene = start(server(&["loud", "calm"]), |config| {
        config.with("limits.account_interval", r#""100ms""#).with("messages.queue_time", r#""50s""#)
    })
    .await;
    let mut published = 0_usize;
    let publishing = async {
        while scene.publisher.look(refused) < REFUSALS {
            for _ in 0..100 {
                let id = format!("loud-{published}");
                scene.publisher.send(text("loud", &id, &id)).await;
                published += 1;
            }
        }
    };
    tokio::time::timeout(DEADLINE, publishing).await.expect("it is refused in time");
    // So much is 50 s of an account that sends every 100 ms.
    let health = scene.health().await;
    assert!(queued(&health) <= 500, "{health}");
    refusal_names_the_rule(&scene);
    scene.still_sends("calm", "calm").await;
    let waiting = scene.publisher.ask("account/get", json!({ "account": "loud" })).await;
    assert!(waiting["queued"].as_u64() > Some(0), "the flood was over before the other was served: {waiting}");
}

/// All over one connection, which is the broker's affair and not the bridge's: to it a publisher is a topic.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_publishers_each_get_their_own_answer() {
    const PUBLISHERS: usize = 10_000;
    let server = Settings {
        accounts: (0..PUBLISHERS).map(|number| PretendAccount::online(&format!("account-{number}"), "corp")).collect(),
        ..server(&[])
    };
    let scene = start(server, |config| config.with("topics.events", r#""off""#)).await;
    for number in 0..PUBLISHERS {
        let topic = format!("SendMessage/service-{number}");
        let id = format!("m{number}");
        scene.publisher.publish(Message::new(&topic, text(&format!("account-{number}"), &id, &id))).await;
    }
    // In parts, each with time of its own.
    for answers in (0..=PUBLISHERS).step_by(1000) {
        scene.publisher.wait("answers", |seen| seen.answers.len() >= answers).await;
    }
    scene.publisher.look(|seen| {
        for number in 0..PUBLISHERS {
            let own = format!("SendMessageResp/service-{number}");
            let answers = &seen.answers[&json!(format!("m{number}")).to_string()];
            assert!(answers.iter().any(|answer| answer.topic == own), "{number} has no answer of its own");
            assert!(answers.iter().all(|answer| answer.json()["msgId"].is_string()), "{number} was not sent");
        }
    });
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.arrivals, ledger.repeated().count()), (PUBLISHERS as u64, 0));
    let peak = scene.bridge.memory_peak_kib();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_ten_times_slower_holds_up_nobody_but_its_own_accounts() {
    const MESSAGES: usize = 300;
    const CONNECTIONS: usize = 16;
    let slow = start_server(Settings {
        latency: Duration::from_millis(200)..=Duration::from_millis(200),
        accounts: (0..MESSAGES).map(|number| PretendAccount::online(&format!("slow-{number}"), "slow")).collect(),
        ..server(&[])
    })
    .await;
    let quick = Settings {
        latency: Duration::from_millis(20)..=Duration::from_millis(20),
        accounts: (0..MESSAGES).map(|number| PretendAccount::online(&format!("quick-{number}"), "quick")).collect(),
        ..server(&[])
    };
    let scene = start(quick, |config| {
        config.with("senders.connections", &CONNECTIONS.to_string()).and(&format!(
            "[[senders]]\nname = \"slow\"\nurl = {:?}\napi_key = {:?}\nconnections = {CONNECTIONS}",
            slow.url(),
            canary::API_KEY
        ))
    })
    .await;
    for number in 0..MESSAGES {
        for speed in ["slow", "quick"] {
            let account = format!("{speed}-{number}");
            scene.publisher.send(text(&account, &account, &account)).await;
        }
    }
    let answered = |seen: &Seen, speed: &str| seen.answers.keys().filter(|id| id.contains(speed)).count();
    scene.publisher.wait("those of the quick one", |seen| answered(seen, "quick") == MESSAGES).await;
    assert!(scene.publisher.look(|seen| answered(seen, "slow")) < MESSAGES, "the slow one was not slower");
    scene.publisher.wait("all answers", |seen| seen.answers.len() == 2 * MESSAGES).await;
    for sender in [&slow, &scene.sender] {
        let ledger = sender.ledger();
        assert!(ledger.in_flight_max <= CONNECTIONS as u64, "{} at once", ledger.in_flight_max);
        assert_eq!((ledger.arrivals, ledger.repeated().count()), (MESSAGES as u64, 0));
    }
    scene.health().await;
}
