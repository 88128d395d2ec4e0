//! A broker that takes nothing, one thing at a time, or not this bridge.

use super::{Scene, eventually, server, start_server, text};
use crate::bridge::{Bridge, Config};
use crate::canary;
use crate::mosquitto::Mosquitto;
use crate::proxy::Gate;
use crate::publisher::{Publisher, TOPICS};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const ACCOUNTS: usize = 20;
/// What `/readyz` says where no connection is accepted.
const NOT_READY: &str = "no session with the broker for messages, commands, answers: the log says why\n";

fn account(number: usize) -> String {
    format!("account-{}", number % ACCOUNTS)
}

fn names() -> Vec<String> {
    (0..ACCOUNTS).map(account).collect()
}

/// So many messages were sent, and their answers cannot leave, because nothing is taken from the connection that
/// publishes. Commands are answered over it too, so what is open shows in the metrics alone.
async fn answers_held_back(messages: usize) -> (Scene, Gate) {
    let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
    let names = names();
    let sender = start_server(server(&names.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let gate = Gate::start(broker.port(), "sendbridge-out").await;
    let config = Config::new(&broker, &sender)
        .with("mqtt.url", &format!("{:?}", gate.url()))
        // Longer than the test: a connection that is left for its silence is another matter.
        .with("mqtt.keep_alive", r#""1h""#)
        .with("log.level", r#""info""#);
    let bridge = Bridge::start_ready(&config).await;
    let scene = Scene { bridge, publisher, _observer: None, sender, broker };
    gate.shut();
    for number in 0..messages {
        let id = format!("m{number}");
        scene.publisher.send(text(&account(number), &id, &id)).await;
    }
    // In parts, each with time of its own.
    for effects in (0..=messages).step_by(100) {
        eventually("sends", || scene.sender.with_ledger(|ledger| ledger.effects) >= effects as u64).await;
    }
    all_open(&scene, messages).await;
    (scene, gate)
}

async fn all_open(scene: &Scene, messages: usize) {
    super::metrics::showing(scene, "*/*", &format!("sendbridge_answers_open {messages}")).await;
    assert_eq!(scene.publisher.seen().answers.len(), 0, "an answer left");
}

async fn all_answered(scene: &Scene, messages: usize) {
    scene.publisher.wait("all answers", |seen| seen.answers.len() == messages).await;
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    for (id, answers) in scene.publisher.seen().answers {
        let first = &answers[0];
        assert!(first.json()["msgId"].is_string(), "{id}: {first:?}");
        assert!(answers.iter().all(|answer| answer.payload == first.payload), "{id}: {answers:?}");
    }
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.arrivals, ledger.repeated().count()), (messages as u64, 0));
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_wait_for_a_link_that_takes_nothing_and_each_leaves_once() {
    /// Three times what the bridge publishes without an acknowledgement.
    const MESSAGES: usize = 3000;
    /// As for a flood that waits to be sent.
    const MEMORY_KIB_MAX: u64 = 256 * 1024;
    let (scene, gate) = answers_held_back(MESSAGES).await;
    let peak = scene.bridge.memory_peak_kib();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    gate.open();
    all_answered(&scene, MESSAGES).await;
    // The connection was the same all the time, so nothing was published twice.
    for (id, answers) in scene.publisher.seen().answers {
        assert_eq!(answers.len(), 1, "{id}");
    }
}

/// They wait where a crash does not reach them. One that the broker's session repeats meanwhile may come again.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_leave_outlive_the_bridge() {
    const MESSAGES: usize = 300;
    let (mut scene, gate) = answers_held_back(MESSAGES).await;
    scene.bridge.kill();
    // What had left the bridge is gone too, or the broker would hear of it from the dead.
    gate.cut();
    scene.bridge.start_again().await;
    all_open(&scene, MESSAGES).await;
    gate.open();
    all_answered(&scene, MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_one_message_at_a_time_gets_every_answer() {
    const MESSAGES: usize = 60;
    let broker = Mosquitto::start(&["max_inflight_messages 1"]);
    let names = names();
    let sender = start_server(server(&names.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let bridge = Bridge::start_ready(&Config::new(&broker, &sender)).await;
    let scene = Scene { bridge, publisher, _observer: None, sender, broker };
    for number in 0..MESSAGES {
        let id = format!("m{number}");
        scene.publisher.send(text(&account(number), &id, &id)).await;
    }
    all_answered(&scene, MESSAGES).await;
}

fn set_password(file: &Path, user: &str, password: &str) {
    let made = Command::new("mosquitto_passwd").arg("-b").arg(file).args([user, password]).status();
    assert!(made.expect("mosquitto_passwd runs").success());
}

/// Everything but the password is as it was: the session waits at the broker, and what is published waits in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_with_a_wrong_password_says_so_and_takes_nothing_until_it_is_let_in() {
    const WRONG: &str = "the password of tomorrow";
    let folder = tempfile::tempdir().expect("a directory");
    let passwords = folder.path().join("passwords");
    std::fs::write(&passwords, "").expect("a file");
    set_password(&passwords, "shop", "of the shop");
    set_password(&passwords, "bridge", canary::PASSWORD);
    let line = format!("password_file {}", passwords.display());
    let broker = Mosquitto::start_in(folder, &["allow_anonymous false", &line]);
    let own = tempfile::tempdir().expect("a directory");
    let password = own.path().join("password");
    canary::feed(canary::PASSWORD.as_bytes());
    std::fs::write(&password, canary::PASSWORD).expect("a file");
    let sender = start_server(server(&["1"])).await;
    let config = Config::new(&broker, &sender)
        .with("mqtt.username", r#""bridge""#)
        .with("mqtt.password_file", &format!("{:?}", password.display().to_string()));
    let bridge = Bridge::start_ready(&config).await;
    let publisher = Publisher::connect_as(broker.port(), "shop", "of the shop", TOPICS).await;
    let mut scene = Scene { bridge, publisher, _observer: None, sender, broker };
    scene.still_sends("1", "before").await;

    assert!(scene.bridge.terminate().success());
    std::fs::write(&password, WRONG).expect("a file");
    let begun = scene.bridge.log().len();
    scene.bridge.start_again().await;
    let is_refused = |line: &str, client: &str| {
        let told = ["broker refuses the connection: check credentials", "NotAuthorized", client];
        told.iter().all(|words| line.contains(words)).then_some(())
    };
    for client in ["sendbridge-in", "sendbridge-out"] {
        scene.bridge.logged(begun, |line| is_refused(line, client)).await;
    }
    assert_eq!(scene.bridge.get("/readyz").await, (503, NOT_READY.to_owned()));
    assert_eq!(scene.bridge.get("/healthz").await.0, 200);
    let acknowledged = scene.publisher.look(|seen| seen.acknowledged);
    scene.publisher.send(text("1", "meanwhile", "meanwhile")).await;
    scene.publisher.wait("it is with the broker", |seen| seen.acknowledged > acknowledged).await;
    // It tries once more with the message there to be had.
    let published = scene.bridge.log().len();
    scene.bridge.logged(published, |line| is_refused(line, "sendbridge-in")).await;
    assert_eq!(scene.arrivals("meanwhile"), 0);
    assert_eq!(scene.bridge.get("/readyz").await.0, 503);
    assert!(!scene.bridge.log().iter().any(|line| line.contains(WRONG)), "the password is in the log");

    let subscribed = scene.publisher.seen().subscribed;
    tokio::task::block_in_place(|| {
        scene.broker.stop();
        set_password(&passwords, "bridge", WRONG);
        scene.broker.start_again();
    });
    // Nobody starts the bridge again, and nobody repeats the message.
    eventually("what waited is sent", || scene.effects("meanwhile") == 1).await;
    scene.bridge.ready().await;
    scene.publisher.wait("a new subscription", |seen| seen.subscribed > subscribed).await;
    // Its answer may have come before that. What comes now is told in the same words.
    scene.publisher.send(text("1", "meanwhile", "meanwhile")).await;
    assert!(scene.publisher.answer_to("meanwhile").await["msgId"].is_string());
    assert_eq!(scene.arrivals("meanwhile"), 1);
    scene.still_sends("1", "after").await;
}
