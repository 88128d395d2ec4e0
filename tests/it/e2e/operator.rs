//! What an operator sees and orders, with nothing but an MQTT client of either version.

use super::{Scene, server, text};
use crate::publisher::{Heard, Message, Publisher, Seen, TOPICS};
use sendbridge::model::Command;
use serde_json::{Value, json};

/// A refused order, and the field that its refusal names.
type Bad = (Value, &'static str);

/// For each command one that is done, and some that are refused.
fn dialogue() -> Vec<(&'static str, Value, Vec<Bad>)> {
    let only_unknown = || vec![(json!({ "nonsense": 1 }), "nonsense")];
    vec![
        ("health", json!({}), only_unknown()),
        ("info", json!({}), only_unknown()),
        (
            "account/get",
            json!({ "account": "1" }),
            vec![(json!({}), "account"), (json!({ "account": 1.5 }), "account")],
        ),
        ("account/list", json!({ "state": "idle", "limit": 1 }), vec![(json!({ "state": "busy" }), "state")]),
        ("corp/get", json!({ "corp": "corp" }), vec![(json!({ "corp": "nobody's" }), "corp"), (json!({}), "corp")]),
        ("corp/list", json!({}), vec![(json!({ "limit": 0 }), "limit")]),
        ("hold/list", json!({}), vec![(json!({ "limit": "many" }), "limit")]),
        ("message/get", json!({ "id": "first" }), vec![(json!({}), "id"), (json!({ "id": "never" }), "id")]),
        ("message/list", json!({ "state": ["sent"] }), vec![(json!({ "state": "lost" }), "state")]),
        ("message/retry", json!({ "id": "refused" }), vec![(json!({}), "id"), (json!({ "id": "first" }), "id")]),
        ("message/resolve", json!({ "id": "doubt", "state": "sent" }), vec![(json!({ "id": "doubt" }), "state")]),
        (
            "message/cancel",
            json!({ "tag": "t", "dryRun": true }),
            vec![(json!({ "tag": "t", "blockFor": "90d" }), "blockFor"), (json!({}), "id")],
        ),
        ("pause", json!({ "corp": "other", "reason": "r" }), vec![(json!({ "corp": "other" }), "reason")]),
        ("resume", json!({ "corp": "other" }), vec![(json!({ "hold": 4711 }), "hold")]),
        ("limits/get", json!({ "corp": "corp" }), vec![(json!({ "corp": [] }), "corp")]),
        (
            "limits/set",
            json!({ "account": "1", "interval": "1s" }),
            vec![(json!({ "account": "1", "interval": "soon" }), "interval")],
        ),
        ("directory/refresh", json!({}), vec![(json!({ "sender": "nobody" }), "sender")]),
        ("sender/call", json!({ "path": "/inner/user/wx/list" }), vec![(json!({ "path": 7 }), "path")]),
        ("log/level", json!({ "level": "info" }), vec![(json!({ "level": "loud" }), "level")]),
        ("drain", json!({ "on": false }), vec![(json!({ "on": "yes" }), "on")]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_done_or_refused_with_its_reason_over_both_versions() {
    assert_eq!(dialogue().len(), Command::NAMES.len());
    for is_three in [false, true] {
        let scene = Scene::start(server(&["1", "2"]), |config| config).await;
        scene.still_sends("1", "first").await;
        let operator = if is_three {
            Publisher::connect_three(scene.broker.port(), TOPICS).await
        } else {
            Publisher::connect(scene.broker.port(), TOPICS).await
        };
        for (name, good, bad) in dialogue() {
            for (order, field) in bad {
                let reply = operator.command(name, order.clone()).await;
                assert_eq!(reply["status"], "error", "{name} {order}: {reply}");
                let error = reply["error"]["message"].as_str().unwrap_or_default();
                let is_about_what_there_is =
                    reply["error"]["code"] == "NOT_FOUND" || reply["error"]["code"] == "WRONG_STATE";
                assert!(error.contains(field) || is_about_what_there_is, "{name} {order}: {reply}");
                assert_eq!(reply["data"], json!({}), "{name}");
            }
            let unknown = operator.command(name, json!({ "nonsense": true })).await;
            assert!(unknown["error"]["message"].as_str().is_some_and(|text| text.contains("nonsense")), "{unknown}");
            let late = operator.command(name, json!({ "expiresAt": "2020-01-01T00:00:00Z" })).await;
            assert_eq!(late["status"], "error", "{name}: {late}");
            if !["message/retry", "message/resolve"].contains(&name) {
                let reply = operator.command(name, good.clone()).await;
                assert_eq!(reply["status"], "ok", "{name} {good}: {reply}");
            }
        }
        let reply = operator.command("no/such", json!({})).await;
        let message = reply["error"]["message"].as_str().expect("a message");
        for name in Command::NAMES {
            assert!(message.contains(name), "{message}");
        }
        let retained = Message::new("sendbridge/request/drain", r#"{"transaction":"kept"}"#);
        operator.publish(Message { retain: true, ..retained }).await;
        let code = |heard: &Heard| {
            let reply = (heard.topic == "sendbridge/response/drain").then(|| heard.json())?;
            (reply["transaction"] == "kept").then(|| reply["error"]["code"].clone())
        };
        assert_eq!(operator.find("its refusal", code).await, "RETAINED");
        for garbage in ["", "{", "[]", "\u{0}", "{\"a\":1,\"A\":2}"] {
            operator.publish(Message::new("sendbridge/request/resume", garbage)).await;
        }
        let is_error = |reply: &&Heard| reply.json()["status"] == "error";
        let refused = |seen: &Seen| seen.on("sendbridge/response/resume").filter(is_error).count();
        operator.wait("all are refused", |seen| refused(seen) >= 5).await;
    }
}

/// More than any window: none is lost, and the connection stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_commands_is_answered_whole() {
    const COMMANDS: usize = 3000;
    let scene = Scene::start(server(&["1"]), |config| config).await;
    for number in 0..COMMANDS {
        let order = json!({ "account": "1", "transaction": number }).to_string();
        scene.publisher.publish(Message::new("sendbridge/request/account/get", order)).await;
    }
    let replies = |seen: &Seen| seen.on("sendbridge/response/account/get").count();
    scene.publisher.wait("every reply", |seen| replies(seen) >= COMMANDS).await;
    let mut answered: Vec<u64> = Vec::new();
    for reply in scene.publisher.seen().on("sendbridge/response/account/get") {
        answered.extend(reply.json()["transaction"].as_u64());
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..COMMANDS as u64).collect::<Vec<_>>());
    let connected = scene.bridge.log().iter().filter(|line| line.contains("connected to the broker")).count();
    assert_eq!(connected, 3, "a connection was lost");
}

/// What a drain leaves with the broker comes again behind what was under way when it was undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_undone_at_once_keeps_the_order_of_an_account() {
    const MESSAGES: usize = 3000;
    let scene = Scene::start(server(&["1"]), |config| config.with("limits.account_interval", r#""1ms""#)).await;
    let operator = Publisher::connect(scene.broker.port(), TOPICS).await;
    let ids: Vec<String> = (0..MESSAGES).map(|number| format!("m{number}")).collect();
    let flood = async {
        for id in &ids {
            scene.publisher.send(text("1", id, id)).await;
        }
    };
    let drains = async {
        while scene.publisher.answers() < MESSAGES / 2 {
            for on in [true, false] {
                let order = json!({ "on": on }).to_string();
                operator.publish(Message::new("sendbridge/request/drain", order)).await;
            }
            // The next one meets a connection that is open again.
            operator.ask_until("health", json!({}), |health| health["broker"]["incoming"] == "up").await;
        }
    };
    tokio::join!(flood, drains);
    scene.publisher.answer_to(ids.last().expect("the last one")).await;
    let sent = scene.sender.with_ledger(|ledger| {
        let history = ledger.accounts["1"].history.iter();
        history.map(|arrived| arrived.message.to_string()).collect::<Vec<_>>()
    });
    let behind = sent.iter().zip(&ids).find(|(sent, id)| sent != id);
    assert_eq!((behind, sent.len()), (None, ids.len()));
}
