//! What the broker says of itself, and does not grant.

use super::{Scene, server, start_server};
use crate::bridge::{Bridge, Config};
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher, TOPICS};
use serde_json::{Value, json};

/// A broker with these lines, and everything else with it.
async fn scene_with(broker: Mosquitto, configure: impl FnOnce(Config) -> Config) -> Scene {
    let sender = start_server(server(&["1"])).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let bridge = Bridge::start_ready(&configure(Config::new(&broker, &sender))).await;
    Scene { bridge, publisher, _observer: None, sender, broker }
}

/// A session that stays when its client has gone, and whose queue is soon full.
async fn leave_a_session_behind(port: u16) {
    let mut options = rumqttc::MqttOptions::new("gone", "127.0.0.1", port);
    options.set_clean_session(false);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.subscribe("flood", rumqttc::QoS::AtLeastOnce).await.expect("room");
    loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) = events.poll().await.expect("a broker") {
            return;
        }
    }
}

async fn flood(scene: &Scene, messages: usize) {
    for number in 0..messages {
        scene.publisher.publish(Message::new("flood", number.to_string())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_throws_messages_away_is_an_alarm() {
    let broker = Mosquitto::start(&["max_inflight_messages 1000", "max_queued_messages 100", "sys_interval 1"]);
    let scene = scene_with(broker, |config| config.with("mqtt.broker_backlog_alarm", "90")).await;
    let watcher = Publisher::connect(scene.broker.port(), &["sendbridge/alarm"]).await;
    let known = |health: &Value| health["broker"]["dropped"] == 0 && health["broker"]["stored"].is_u64();
    scene.publisher.ask_until("health", json!({}), known).await;
    leave_a_session_behind(scene.broker.port()).await;
    flood(&scene, 150).await;
    let about = |what: &'static str| {
        move |heard: &crate::publisher::Heard| {
            let alarm = heard.json();
            (alarm["what"] == what).then(|| alarm["message"].as_str().unwrap_or_default().to_owned())
        }
    };
    let drops = watcher.find("drops", about("broker_drops")).await;
    assert!(drops.contains("max_queued_messages"), "{drops}");
    let backlog = watcher.find("a backlog", about("broker_backlog")).await;
    assert!(backlog.contains("mqtt.broker_backlog_alarm is 90"), "{backlog}");
    let lost = |health: &Value| health["broker"]["dropped"].as_u64() > Some(0);
    scene.publisher.ask_until("health", json!({}), lost).await;
    scene.still_sends("1", "after").await;
}

/// The broker speaks of itself a moment after the connection, which the report of the connection does not wait for.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_says_after_a_restart_is_in_the_report_at_once() {
    let mut broker = Mosquitto::start(&["max_inflight_messages 1000", "sys_interval 1"]);
    broker.stop();
    let sender = start_server(server(&["1"])).await;
    let config = Config::new(&broker, &sender).with("topics.health_interval", r#""5m""#);
    let bridge = Bridge::start(&config.with("mqtt.broker_clients_alarm", "5")).await;
    broker.start_again();
    let watcher = Publisher::connect(broker.port(), &["sendbridge/health", "sendbridge/alarm"]).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let is_whole = |seen: &crate::publisher::Seen| {
        seen.on("sendbridge/health").last().is_some_and(|heard| {
            let broker = &heard.json()["broker"];
            broker["outgoing"] == "up" && broker["dropped"].is_u64() && broker["version"].is_string()
        })
    };
    watcher.wait("a report with all that the broker says", is_whole).await;
    // Two of ours and three of the bridge's. One less would be there before the watcher has subscribed.
    let crowd = watcher.find("the crowd", |heard| {
        let alarm = heard.json();
        (alarm["what"] == "broker_clients").then(|| alarm["message"].as_str().unwrap_or_default().to_owned())
    });
    let crowd = crowd.await;
    assert!(crowd.contains("mqtt.broker_clients_alarm is 5") && crowd.contains("max_connections"), "{crowd}");
    let known =
        |health: &Value| health["broker"]["clients"].as_u64() >= Some(5) && health["broker"]["heapBytes"].is_u64();
    let health = publisher.ask_until("health", json!({}), known).await;
    assert!(health["broker"]["retained"].as_u64() <= health["broker"]["stored"].as_u64(), "{health}");
    let _scene = Scene { bridge, publisher, _observer: Some(watcher), sender, broker };
}

/// Mosquitto grants every subscription and delivers nothing of what may not be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_says_nothing_of_itself_serves_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "topic readwrite #\ntopic deny $SYS/#\n").expect("write");
    let line = format!("acl_file {}", acl.display());
    let broker = Mosquitto::start_in(directory, &["max_inflight_messages 1000", &line]);
    let scene = scene_with(broker, |config| config).await;
    scene.still_sends("1", "m1").await;
    let health = scene.health().await;
    assert_eq!(health["broker"]["outgoing"], "up");
    for unknown in ["version", "dropped", "stored", "retained", "clients", "heapBytes"] {
        assert_eq!(health["broker"][unknown], Value::Null, "{health}");
    }
    let (_, metrics) = scene.bridge.get("/metrics").await;
    assert!(!metrics.contains("sendbridge_broker_messages"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_small_packets_only_is_an_alarm() {
    let broker = Mosquitto::start(&["max_inflight_messages 1000", "max_packet_size 20000"]);
    let watcher = Publisher::connect(broker.port(), &["sendbridge/alarm"]).await;
    let scene = scene_with(broker, |config| config).await;
    let told = watcher.find("the limits", |heard| {
        let alarm = heard.json();
        (alarm["what"] == "broker_limits").then(|| alarm["message"].as_str().unwrap_or_default().to_owned())
    });
    let told = told.await;
    assert!(told.contains("packets of 20000 bytes"), "{told}");
    scene.still_sends("1", "m1").await;
}
