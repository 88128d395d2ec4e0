//! What the bridge says of itself before anybody asks, and that its replies are as their schemas say.

use super::{Scene, server, start_server};
use crate::bridge::{Bridge, Config};
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher, Seen, TOPICS};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_info_says_what_there_is_and_no_secret() {
    let scene = Scene::start(server(&["1"]), |config| config.with("topics.events", r#""final""#)).await;
    let late = Publisher::connect(scene.broker.port(), &["sendbridge/info"]).await;
    late.wait("the info", |seen| !seen.all.is_empty()).await;
    let heard = late.seen().all[0].clone();
    assert!(heard.retain);
    assert!(!heard.text().contains("canary"), "{}", heard.text());
    let info = heard.json();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["config"]["topics"]["events"], "final");
    assert_eq!(info["config"]["senders"][0]["api_key"], "<secret>");
    assert_eq!(info["limits"]["accountIntervalMs"], 1);
    assert_eq!(info["topics"]["account"], "sendbridge/account/{wxId}");
    assert_eq!(info["commands"], json!(sendbridge::model::Command::NAMES));
    assert_eq!(info["types"].as_array().map(Vec::len), Some(14));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_holds_of_an_earlier_life_is_replaced() {
    let broker = Mosquitto::start(&[]);
    let sender = start_server(server(&["1"])).await;
    let publisher = Publisher::connect(broker.port(), TOPICS).await;
    let stale = json!({
        "holds": [{ "id": 7, "scope": { "all": true }, "reason": "long over", "by": null,
                    "since": "2026-01-01T00:00:00.000Z", "until": null }],
        "blocks": [],
    });
    publisher.publish(Message { retain: true, ..Message::new("sendbridge/hold", stale.to_string()) }).await;
    publisher.wait("it is stored", |seen| seen.acknowledged == 1).await;
    let listener = Publisher::connect(broker.port(), &["sendbridge/hold"]).await;
    let holds = |seen: &Seen| seen.on("sendbridge/hold").last().map(|heard| heard.json()["holds"].clone());
    listener.wait("the stale one", |seen| holds(seen) == Some(stale["holds"].clone())).await;
    let mut bridge = Bridge::start_ready(&Config::new(&broker, &sender)).await;
    listener.wait("no hold", |seen| holds(seen) == Some(json!([]))).await;
    let hold = publisher.ask("pause", json!({ "account": "1", "reason": "r" })).await;
    bridge.kill();
    publisher.publish(Message { retain: true, ..Message::new("sendbridge/hold", stale.to_string()) }).await;
    listener.wait("the stale one again", |seen| holds(seen) == Some(stale["holds"].clone())).await;
    bridge.start_again().await;
    let kept = |seen: &Seen| holds(seen).is_some_and(|holds| holds[0]["id"] == hold["hold"]);
    listener.wait("the hold that was kept", kept).await;
    let before = listener.seen().all.len();
    // It never said that there is none.
    assert_ne!(listener.seen().all[before - 2].json()["holds"], json!([]));
}

/// The publisher holds every reply to its schema.
#[tokio::test(flavor = "multi_thread")]
async fn every_reply_is_as_its_schema_says() {
    let scene = Scene::start(server(&["1", "2"]), |config| config).await;
    for account in ["1", "2"] {
        scene.still_sends(account, &format!("first of {account}")).await;
    }
    for (name, order) in [("pause", json!({})), ("corp/get", json!({ "corp": "x" })), ("no/such", json!({}))] {
        assert_eq!(scene.publisher.command(name, order).await["status"], "error");
    }
    for (name, order) in [
        ("pause", json!({ "account": "1", "reason": "r", "by": "me", "duration": "1h" })),
        ("pause", json!({ "account": "2", "conversation": "S:1_2", "reason": "r" })),
        ("message/cancel", json!({ "account": "2", "tag": "t", "blockFor": "1h", "reason": "r" })),
        ("message/cancel", json!({ "account": "2", "dryRun": true })),
        ("hold/list", json!({})),
        ("hold/list", json!({ "limit": 1 })),
        ("account/list", json!({ "limit": 1 })),
        ("corp/list", json!({})),
        ("corp/get", json!({ "corp": "corp" })),
        ("limits/set", json!({ "account": "1", "interval": "1s", "duration": "1h", "by": "me" })),
        ("limits/set", json!({ "corp": "corp", "perHour": 5 })),
        ("limits/get", json!({})),
        ("limits/get", json!({ "account": "1" })),
        ("limits/get", json!({ "corp": "corp" })),
        ("limits/set", json!({ "corp": "corp", "reset": true })),
        ("log/level", json!({ "level": "debug", "duration": "1h" })),
        ("directory/refresh", json!({})),
        ("info", json!({})),
        ("health", json!({})),
        ("account/get", json!({ "account": "1" })),
        ("message/get", json!({ "id": "first of 1" })),
        ("resume", json!({ "account": "1" })),
        // The last one: intake is closed from then on.
        ("drain", json!({})),
    ] {
        scene.publisher.ask(name, order).await;
    }
}
