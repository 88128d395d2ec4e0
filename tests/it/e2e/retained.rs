//! What the bridge says of itself before anybody asks, and that its replies are as their schemas say.

use super::{Scene, server, start_server, text, text_with};
use crate::bridge::{Bridge, Config};
use crate::canary;
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher, Seen, TOPICS};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_info_says_what_there_is_and_no_secret() {
    let scene = Scene::start(server(&["1"]), |config| config.with("topics.events", r#""final""#)).await;
    // What one is told who listened before, the broker has stored for those who come.
    let observer = scene._observer.as_ref().expect("it listens");
    observer.wait("the info", |seen| seen.on("sendbridge/info").next().is_some()).await;
    let late = Publisher::connect(scene.broker.port(), &["sendbridge/info"]).await;
    late.wait("the info", |seen| !seen.all.is_empty()).await;
    let heard = late.seen().all[0].clone();
    assert!(heard.retain);
    assert!(![canary::API_KEY, canary::TEXT].iter().any(|canary| heard.text().contains(canary)), "{}", heard.text());
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
    let kept = |seen: &Seen| holds(seen).is_some_and(|holds| holds[0]["id"] == hold["hold"]);
    // Before it dies, so that nothing of this life comes behind what follows.
    listener.wait("the hold", kept).await;
    bridge.kill();
    publisher.publish(Message { retain: true, ..Message::new("sendbridge/hold", stale.to_string()) }).await;
    listener.wait("the stale one again", |seen| holds(seen) == Some(stale["holds"].clone())).await;
    bridge.start_again().await;
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
        ("pause", json!({ "account": "2", "conversation": canary::RECIPIENT, "reason": "r" })),
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

/// The newest payload on a topic, if there is one and it was not cleared.
fn shown(seen: &Seen, topic: &str) -> Option<Value> {
    seen.on(topic).last().filter(|heard| !heard.payload.is_empty()).map(crate::publisher::Heard::json)
}

async fn shows(publisher: &Publisher, topic: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    publisher.wait(topic, |seen| shown(seen, topic).is_some_and(|status| is_it(&status))).await;
    shown(&publisher.seen(), topic).expect("waited for")
}

const ACCOUNT: &str = "sendbridge/account/1";

fn is_held(account: &Value) -> bool {
    account["reason"] == "paused" && account["queued"] == 1
}

/// Each status was written after this time (RFC 3339, so text is compared).
fn is_after(status: &Value, before: &Value) -> bool {
    status["at"].as_str() > before["at"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_is_right_after_a_crash_and_cleared_when_nothing_is_left_of_it() {
    let quick = |config: Config| config.with("topics.status_idle", r#""1s""#);
    let mut scene = Scene::start(server(&["1", "2"]), quick).await;
    let hold = scene.publisher.ask("pause", json!({ "account": "1", "reason": "we look at it", "by": "me" })).await;
    scene.publisher.send(text("1", "held", "held")).await;
    let later = json!({ "notBefore": "2099-01-01T00:00:00Z", "ttl": "1h" });
    scene.publisher.send(text_with("2", "later", "later", &later)).await;
    let live = Publisher::connect(scene.broker.port(), &["sendbridge/#"]).await;
    let before = shows(&live, ACCOUNT, is_held).await;
    scene.bridge.kill();
    let offline = shows(&live, "sendbridge/state", |state| state["state"] == "offline").await;
    assert_eq!(offline, json!({ "state": "offline" }), "the will");

    scene.bridge.start_again().await;
    shows(&live, "sendbridge/state", |state| state["state"] == "online").await;
    // Nobody sends, asks or changes anything: what is said now it says because it started.
    shows(&live, ACCOUNT, |account| is_after(account, &before)).await;
    let shows_all = async |listener: &Publisher| {
        shows(listener, "sendbridge/state", |state| state["state"] == "online").await;
        shows(listener, ACCOUNT, |account| is_held(account) && is_after(account, &before)).await;
        shows(listener, "sendbridge/hold", |holds| holds["holds"][0]["id"] == hold["hold"]).await;
        let is_counted = |corp: &Value| corp["queued"].as_u64() >= Some(1) && corp["counts"]["balanced"] == true;
        shows(listener, "sendbridge/corp/corp", |corp| is_counted(corp) && is_after(corp, &before)).await;
        let is_well = |health: &Value| health["balanced"] == true && health["holds"] == 1;
        shows(listener, "sendbridge/health", |health| is_well(health) && is_after(health, &before)).await;
        shows(listener, "sendbridge/info", |info| info["version"] == env!("CARGO_PKG_VERSION")).await;
    };
    shows_all(&live).await;
    // Whoever comes late is told all of it by the broker, which has it by now.
    let late = Publisher::connect(scene.broker.port(), &["sendbridge/#"]).await;
    shows_all(&late).await;
    for topic in ["state", "account/1", "corp/corp", "health", "hold", "info"].map(|name| format!("sendbridge/{name}"))
    {
        assert!(late.seen().on(&topic).next().is_some_and(|heard| heard.retain), "{topic} is retained");
    }

    scene.publisher.ask("resume", json!({ "account": "1" })).await;
    assert!(scene.publisher.answer_to("held").await["msgId"].is_string());
    let is_cleared = |seen: &Seen| seen.on(ACCOUNT).last().is_some_and(|heard| heard.payload.is_empty());
    live.wait("the idle account is cleared", is_cleared).await;
    let after = Publisher::connect(scene.broker.port(), &[ACCOUNT, "sendbridge/state"]).await;
    shows(&after, "sendbridge/state", |state| state["state"] == "online").await;
    assert_eq!(after.seen().on(ACCOUNT).count(), 0);
}
