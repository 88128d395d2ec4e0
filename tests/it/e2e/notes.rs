//! What people write beside a message or an order goes to those who read of it on topics, and into no log and no
//! metric.

use super::{Scene, server, text_with};
use crate::canary;
use crate::publisher::{Heard, Message, Publisher};
use bytes::Bytes;
use serde_json::{Value, json};

/// Asks for an answer where it is allowed, with something that is to come back with it.
fn asked(message: Message) -> Message {
    let correlation = Some(Bytes::from_static(canary::CORRELATION.as_bytes()));
    Message { response_topic: Some(format!("reply/{}", canary::REPLY)), correlation, ..message }
}

/// An order with everything that people write beside one.
fn noted(name: &str, mut order: Value) -> Message {
    order["reason"] = json!(canary::REASON);
    order["by"] = json!(canary::BY);
    order["transaction"] = json!(canary::TRANSACTION);
    asked(Message::new(&format!("sendbridge/request/{name}"), order.to_string()))
}

/// What came back on the way that was asked for, if it is this.
fn came_back(heard: &Heard, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
    let is_asked =
        heard.topic.starts_with("reply/") && heard.correlation.as_deref() == Some(canary::CORRELATION.as_bytes());
    is_asked.then(|| heard.json()).filter(is_it)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_beside_messages_and_orders_is_in_no_log_and_no_metric() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let listener = Publisher::connect(scene.broker.port(), &["reply/#"]).await;
    let tagged = |id: &str| asked(Message::send(text_with("1", id, id, &json!({ "tag": canary::TAG }))));

    // Done, and shown where it is meant to be seen.
    listener.publish(noted("pause", json!({ "account": "1" }))).await;
    let is_pause = |reply: &Value| reply["data"]["reason"] == canary::REASON && reply["data"]["by"] == canary::BY;
    listener.find("the pause", |heard| came_back(heard, is_pause)).await;
    listener.publish(tagged("waits")).await;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), |data| data["queued"] == 1).await;
    let cancel = json!({ "account": "1", "tag": canary::TAG, "blockFor": "1m" });
    listener.publish(noted("message/cancel", cancel)).await;
    listener.find("that it is cancelled", |heard| came_back(heard, |answer| answer["id"] == "waits")).await;
    // Refused: a message by the block, an order because its transaction is taken, and one that makes no sense.
    listener.publish(tagged("blocked")).await;
    listener.find("that it is blocked", |heard| came_back(heard, |answer| answer["id"] == "blocked")).await;
    for (name, order) in [("pause", json!({ "all": true })), ("resume", json!({ "nothing": canary::TAG }))] {
        listener.publish(noted(name, order)).await;
    }
    let refused = |heard: &Heard| came_back(heard, |reply| reply["status"] == "error" && reply.get("id").is_none());
    listener.wait("two refusals", |seen| seen.all.iter().filter_map(refused).count() >= 2).await;
    // Read from the journal.
    scene.bridge.kill();
    scene.bridge.start_again().await;
    let waits = |data: &Value| data.to_string().contains(canary::REASON);
    scene.publisher.ask_until("hold/list", json!({}), waits).await;

    let (_, metrics) = scene.bridge.get("/metrics").await;
    let log = scene.bridge.log().join("\n");
    for note in [canary::TAG, canary::REASON, canary::BY, canary::TRANSACTION, canary::REPLY, canary::CORRELATION] {
        assert!(!log.contains(note), "{note} is in the log");
        assert!(!metrics.contains(note), "{note} is in the metrics");
    }
}
