//! Callbacks over real HTTP: kept before they are answered, published once the broker is there.

use super::{Scene, server};
use crate::bridge::Config;
use crate::publisher::{Heard, Publisher};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef-callback";
const EVENTS: &[&str] = &["sendbridge/event/#", "sendbridge/alarm"];

/// A source of callbacks about the accounts of the server.
fn with_source(config: Config) -> Config {
    config.and(&format!("[[callbacks]]\nname = \"main\"\nsecret = \"{SECRET}\""))
}

fn path() -> String {
    format!("/callback/main/{SECRET}")
}

/// A callback of quntool about an account.
fn callback(id: &str, kind: &str, account: &str, data: &Value) -> String {
    json!({
        "msgId": id, "source": "40c10a375784", "userId": "apps-1", "wxid": account,
        "timestamp": 1_686_708_147_954_u64, "type": kind, "data": data, "sendMsgId": null,
    })
    .to_string()
}

fn received(id: &str) -> String {
    let data = json!({
        "conversation_id": "S:1_2", "is_pc": 0, "receiver": "1", "send_time": "1686708146", "sender": "2",
        "sender_name": "左脚", "server_id": "1012206", "at_list": [], "content": "呼啦", "content_type": 2,
    });
    callback(id, "text_msg", "1", &data)
}

async fn heard(listener: &Publisher, topic: &'static str, index: usize) -> Heard {
    listener.wait(topic, |seen| seen.on(topic).count() > index).await;
    listener.seen().on(topic).nth(index).expect("waited for").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_becomes_an_event_once() {
    let scene = Scene::start(server(&["1"]), with_source).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    for _ in 0..3 {
        assert_eq!(scene.bridge.post(&path(), &received("first")).await, 200);
    }
    assert_eq!(scene.bridge.post("/callback/main/0123456789abcdef-forged", &received("forged")).await, 401);
    assert_eq!(scene.bridge.post("/callback/other/0123456789abcdef-callback", &received("other")).await, 401);
    assert_eq!(scene.bridge.post(&path(), "not JSON").await, 400);
    let padding = "x".repeat(2 * 1024 * 1024);
    assert_eq!(scene.bridge.post(&path(), &callback("large", "text_msg", "1", &json!({ "x": padding }))).await, 413);
    assert_eq!(scene.bridge.post(&path(), &received("last")).await, 200);
    let last = heard(&listener, "sendbridge/event/message/received", 1).await;
    let events: Vec<Value> =
        listener.seen().on("sendbridge/event/message/received").map(|heard| heard.json()).collect();
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(events[0]["account"], "1");
    assert_eq!(events[0]["conversation"], json!({ "kind": "private", "id": "S:1_2" }));
    assert_eq!(events[0]["data"]["content"], "呼啦");
    assert_ne!(events[0]["id"], last.json()["id"]);
    assert_eq!(scene.health().await["storageLow"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill_while_the_broker_is_away() {
    let mut scene = Scene::start(server(&["1"]), with_source).await;
    scene.broker.stop();
    assert_eq!(scene.bridge.post(&path(), &received("kept")).await, 200);
    scene.bridge.kill();
    scene.broker.start_again();
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    scene.bridge.start_again().await;
    let event = heard(&listener, "sendbridge/event/message/received", 0).await;
    assert_eq!(event.json()["source"], "main");
    // It is known again, also in this life.
    assert_eq!(scene.bridge.post(&path(), &received("kept")).await, 200);
    assert_eq!(scene.bridge.post(&path(), &received("another")).await, 200);
    let another = heard(&listener, "sendbridge/event/message/received", 1).await;
    assert_ne!(another.json()["id"], event.json()["id"]);
}
