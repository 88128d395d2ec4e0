//! Callbacks over real HTTP: kept before they are answered, published once the broker is there, and taken for what they
//! say about messages and accounts.

use super::{Scene, server, text, words};
use crate::bridge::Config;
use crate::canary;
use crate::publisher::{Heard, Publisher};
use sendbridge::cli::pretend::{Act, Behaviour, Faults, PretendAccount};
use serde_json::{Value, json};

const SECRET: &str = canary::PATH_SECRET;
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
        "conversation_id": canary::RECIPIENT, "is_pc": 0, "receiver": "1", "send_time": "1686708146", "sender": "2",
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
    assert_eq!(events[0]["conversation"], json!({ "kind": "private", "id": canary::RECIPIENT }));
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

/// A callback about a text that an account sent through the API.
fn seen(account: &str, content: &str, send_msg_id: &str, error: i64) -> String {
    let now = sendbridge::clock::wall().as_millis();
    let data = json!({
        "conversation_id": canary::RECIPIENT, "content_type": 0, "is_pc": 1, "receiver": "2", "send_time": now / 1000,
        "sender": account, "server_id": "1012209", "sendUserId": "apps-1", "sendUserName": "眠羊",
        "error_code": error, "error_message": "Abnormal request frequency", "at_list": [], "content": words(content),
    });
    json!({
        "msgId": format!("seen-{send_msg_id}"), "source": "40c10a375784", "userId": "apps-1", "wxid": account,
        "timestamp": now, "type": "text_msg", "data": data, "sendMsgId": send_msg_id, "isOpenApi": true,
    })
    .to_string()
}

/// The last thing that the bridge said of a message in this state.
async fn step(listener: &Publisher, state: &str, id: &str) -> Value {
    let topic = format!("sendbridge/event/send/{state}");
    let find = |heard: &Heard| (heard.topic == topic && heard.json()["id"] == id).then(|| heard.json());
    listener.find(&topic, find).await
}

/// A server that does everything and never says so.
fn silent() -> Faults {
    Faults::script(|_| Behaviour::despite(Act::Silence))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_tells_what_became_of_a_message_whatever_the_case_of_its_id() {
    // The account must still cool down when it is asked about.
    let cools = |config: Config| with_source(config).with("limits.cool_down", r#""5s""#);
    let scene = Scene::start(server(&["1"]), cools).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    scene.publisher.send(text("1", "good", "good")).await;
    let good = scene.publisher.answer_to("good").await["msgId"].as_str().expect("an id").to_uppercase();
    assert_eq!(scene.bridge.post(&path(), &seen("1", "good", &good, 0)).await, 200);
    assert_eq!(step(&listener, "delivered", "good").await["msgId"], good.to_lowercase());
    scene.publisher.send(text("1", "bad", "bad")).await;
    let bad = scene.publisher.answer_to("bad").await["msgId"].as_str().expect("an id").to_lowercase();
    assert_eq!(scene.bridge.post(&path(), &seen("1", "bad", &bad, -1_000_999)).await, 200);
    let undelivered = step(&listener, "undelivered", "bad").await;
    assert_eq!(undelivered["error"]["code"], "REFUSED", "{undelivered}");
    let report = scene.publisher.ask("message/get", json!({ "id": "bad" })).await;
    assert_eq!(report["messages"][0]["state"], "undelivered", "{report}");
    assert_eq!(report["messages"][0]["receipt"]["code"], -1_000_999);
    // It was too much: the account waits, says so, and sends again after a while.
    let cools = scene.publisher.ask("account/get", json!({ "account": "1" })).await;
    assert_eq!(cools["reason"], "cooling_down", "{cools}");
    assert!(cools["until"].is_string(), "{cools}");
    let alarm = |heard: &Heard| (heard.topic == "sendbridge/alarm").then(|| heard.json()["what"].clone());
    assert_eq!(listener.find("the alarm", alarm).await, "account_too_frequent");
    let states = &scene.health().await["states"];
    assert_eq!((&states["delivered"], &states["undelivered"], &states["sent"]), (&json!(1), &json!(1), &json!(0)));
    let undelivered = r#"sendbridge_receipts_total{state="undelivered"} 1"#;
    let (_, metrics) = super::metrics::showing(&scene, "*/*", undelivered).await;
    for line in [
        r#"sendbridge_receipts_total{state="delivered"} 1"#,
        r#"sendbridge_callback_events_total{source="main"} 2"#,
        "sendbridge_doubts_proven_total 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in\n{metrics}");
    }
    scene.still_sends("1", "after").await;
}

/// What the sender does of its own accord is no repeat of ours, and is not called one.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_sender_does_twice_is_one_attempt_and_two_reports() {
    let scene = Scene::start(server(&["1"]), with_source).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    scene.publisher.send(text("1", "twice", "twice")).await;
    let id = scene.publisher.answer_to("twice").await["msgId"].as_str().expect("an id").to_owned();
    let first = seen("1", "twice", &id, 0);
    // Another message in the chat, which came of the same request.
    let second = first.replace("seen-", "again-").replace("1012209", "1012210");
    for callback in [&first, &second] {
        assert_eq!(scene.bridge.post(&path(), callback).await, 200);
    }
    listener.wait("both reports", |seen| seen.on("sendbridge/event/message/sent").count() == 2).await;
    scene.still_sends("1", "after").await;
    let delivered = listener.seen().on("sendbridge/event/send/delivered").map(Heard::json).collect::<Vec<_>>();
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["attempt"], 1, "{delivered:?}");
    assert_ne!(delivered[0]["possiblyDuplicate"], true, "{delivered:?}");
    assert_eq!(scene.publisher.seen().answers[r#""twice""#].len(), 1);
    assert_eq!(scene.arrivals("twice"), 1);
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_is_settled_by_the_callback_at_once_or_corrected_by_a_late_one() {
    let configure = |config: Config| {
        with_source(config).with("senders.timeout", r#""1s""#).with("senders.connect_timeout", r#""500ms""#)
    };
    let early =
        Scene::start(server(&["1"]), |config| configure(config).with("messages.doubt_window", r#""60s""#)).await;
    early.sender.set_faults(silent());
    early.publisher.send(text("1", "early", "early")).await;
    super::eventually("it arrives", || early.effects("early") == 1).await;
    assert_eq!(early.bridge.post(&path(), &seen("1", "early", "A142FE5F-0220", 0)).await, 200);
    assert_eq!(early.publisher.answer_to("early").await, json!({ "id": "early", "msgId": "a142fe5f-0220" }));

    let late = Scene::start(server(&["1"]), |config| configure(config).with("messages.doubt_window", r#""1s""#)).await;
    late.sender.set_faults(silent());
    late.publisher.send(text("1", "late", "late")).await;
    assert_eq!(late.publisher.answer_to("late").await["error"]["code"], "UNRESOLVED");
    // Somebody who writes the same in the client proves nothing.
    let by_hand = seen("1", "late", "by-hand", 0).replace(r#""isOpenApi":true"#, r#""isOpenApi":false"#);
    assert_eq!(late.bridge.post(&path(), &by_hand).await, 200);
    assert_eq!(late.bridge.post(&path(), &seen("1", "late", "B142FE5F-0220", 0)).await, 200);
    let corrected = late.publisher.nth_answer(r#""late""#, 1).await;
    assert_eq!(corrected, json!({ "id": "late", "msgId": "b142fe5f-0220" }));
    assert_eq!((late.arrivals("late"), late.effects("late")), (1, 1));
    assert_eq!(late.health().await["states"]["delivered"], 1);
    super::metrics::showing(&late, "*/*", "sendbridge_doubts_proven_total 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_logs_out_waits_also_over_a_kill_until_it_logs_in() {
    let mut scene = Scene::start(server(&["1"]), with_source).await;
    scene.still_sends("1", "before").await;
    scene.sender.set_account(PretendAccount { online: false, ..PretendAccount::online("1", "corp") });
    assert_eq!(scene.bridge.post(&path(), &callback("out", "user_offline", "1", &Value::Null)).await, 200);
    scene.publisher.send(text("1", "waits", "waits")).await;
    let reason = |report: &Value| report["reason"] == "offline" && report["queued"] == 1;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), reason).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), reason).await;
    assert_eq!(scene.arrivals("waits"), 0);
    scene.sender.set_account(PretendAccount::online("1", "corp"));
    let login = callback("in", "user_login", "1", &json!({ "corp_id": "corp9", "user_id": "1" }));
    assert_eq!(scene.bridge.post(&path(), &login).await, 200);
    assert!(scene.publisher.answer_to("waits").await["msgId"].is_string());
    assert_eq!(scene.effects("waits"), 1);
}

/// A broker that does not let it in, or is gone, holds up nothing that was taken before.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_while_the_broker_is_away() {
    const MESSAGES: [&str; 3] = ["m0", "m1", "m2"];
    let mut scene = Scene::start(server(&["1"]), with_source).await;
    scene.still_sends("1", "before").await;
    scene.sender.set_account(PretendAccount { online: false, ..PretendAccount::online("1", "corp") });
    assert_eq!(scene.bridge.post(&path(), &callback("out", "user_offline", "1", &Value::Null)).await, 200);
    for id in MESSAGES {
        scene.publisher.send(text("1", id, id)).await;
    }
    let waiting = |report: &Value| report["reason"] == "offline" && report["queued"] == MESSAGES.len();
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), waiting).await;
    let subscribed = scene.publisher.seen().subscribed;
    tokio::task::block_in_place(|| scene.broker.stop());
    scene.sender.set_account(PretendAccount::online("1", "corp"));
    let login = callback("in", "user_login", "1", &json!({ "corp_id": "corp9", "user_id": "1" }));
    assert_eq!(scene.bridge.post(&path(), &login).await, 200);
    super::eventually("all are sent", || MESSAGES.iter().all(|id| scene.effects(id) == 1)).await;
    scene.bridge.answers("/readyz", 503).await;
    tokio::task::block_in_place(|| scene.broker.start_again());
    scene.publisher.wait("the publisher is back", |seen| seen.subscribed > subscribed).await;
    for id in MESSAGES {
        // The answer may have come before the publisher was back.
        scene.publisher.send(text("1", id, id)).await;
        assert!(scene.publisher.answer_to(id).await["msgId"].is_string());
        assert_eq!(scene.arrivals(id), 1);
    }
}
