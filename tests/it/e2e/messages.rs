//! What people ask of messages, and what they have done about those that went wrong.

use super::{Scene, server, text, text_with};
use crate::canary;
use crate::publisher::Publisher;
use sendbridge::cli::pretend::{Act, Behaviour, Faults, Rule};
use serde_json::{Value, json};

/// The first request of each message is treated so.
fn once(scene: &Scene, behaviour: Behaviour) {
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(behaviour).times(1)]));
}

/// The answers to one id so far, as `msgId` or the error's code.
fn answers(scene: &Scene, id: &str) -> Vec<String> {
    let seen = scene.publisher.seen();
    let heard = seen.answers.get(&json!(id).to_string()).into_iter().flatten();
    let word = |answer: Value| match answer["error"]["code"].as_str() {
        Some(code) => code.to_owned(),
        None => format!("sent {}", answer["msgId"].as_str().unwrap_or_default()),
    };
    heard.map(|answer| word(answer.json())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_by_selection_and_state_page_by_page() {
    let mut scene = Scene::start(server(&["1", "2"]), |config| config).await;
    scene.still_sends("1", "sent").await;
    scene.publisher.ask("pause", json!({ "all": true, "reason": "test" })).await;
    for number in 0..7 {
        let id = format!("m{number}");
        let account = if number < 5 { "1" } else { "2" };
        scene.publisher.send(text_with(account, &id, &id, &json!({ "tag": format!("tag {}", number % 2) }))).await;
    }
    scene.publisher.ask_until("account/get", json!({ "account": "2" }), |data| data["queued"] == 2).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    let list = async |order: Value| scene.publisher.ask("message/list", order).await;
    let ids = |data: &Value| -> Vec<String> {
        let messages = data["messages"].as_array().expect("a list");
        messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = list(json!({})).await;
    assert_eq!(ids(&all), ["m6", "m5", "m4", "m3", "m2", "m1", "m0", "sent"], "{all}");
    assert_eq!((&all["complete"], &all["next"]), (&json!(true), &Value::Null), "{all}");
    let third = &all["messages"][4];
    let expected =
        [("state", json!("queued")), ("reason", json!("paused")), ("position", json!(3)), ("account", json!("1"))];
    for (name, value) in expected {
        assert_eq!(third[name], value, "{third}");
    }
    assert!(third.get("history").is_none() && !all.to_string().contains(canary::RECIPIENT), "{all}");
    let first = list(json!({ "account": "1", "state": "queued", "limit": 3 })).await;
    assert_eq!(ids(&first), ["m4", "m3", "m2"]);
    let rest = list(json!({ "account": "1", "state": "queued", "limit": 3, "after": first["next"] })).await;
    assert_eq!((ids(&rest), &rest["next"]), (vec!["m1".to_owned(), "m0".to_owned()], &Value::Null));
    assert_eq!(ids(&list(json!({ "tag": "tag 1", "corp": "corp" })).await), ["m5", "m3", "m1"]);
    assert_eq!(ids(&list(json!({ "corp": "another" })).await), [""; 0]);
    assert_eq!(ids(&list(json!({ "state": "sent" })).await), ["sent"]);
    let wrong = scene.publisher.command("message/list", json!({ "after": "x" })).await;
    assert_eq!(wrong["error"]["code"], "INVALID_FIELD", "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_is_sent_again_by_hand_and_once() {
    let scene = Scene::start(server(&["1", "2"]), |config| config).await;
    once(&scene, Behaviour::code(7, "no such friend"));
    scene.publisher.send(text("1", "a", "text of a")).await;
    assert_eq!(scene.publisher.answer_to("a").await["error"]["code"], "REFUSED");
    let retried = scene.publisher.ask("message/retry", json!({ "id": "a" })).await;
    assert_eq!((&retried["of"], &retried["possiblyDuplicate"]), (&json!(1), &json!(false)), "{retried}");
    assert!(scene.publisher.nth_answer(r#""a""#, 1).await["msgId"].is_string());
    assert_eq!((scene.effects("text of a"), scene.arrivals("text of a")), (1, 2));
    let again = scene.publisher.command("message/retry", json!({ "id": "a" })).await;
    assert_eq!(again["error"]["code"], "WRONG_STATE", "{again}");
    // A repeat of the publisher hears of the new life, and nothing is sent.
    scene.publisher.send(text("1", "a", "text of a")).await;
    assert!(scene.publisher.nth_answer(r#""a""#, 2).await["msgId"].is_string());
    assert_eq!(scene.arrivals("text of a"), 2);
    let health = scene.health().await;
    assert_eq!((&health["received"], &health["accepted"], &health["duplicate"]), (&json!(3), &json!(2), &json!(1)));
    let found = scene.publisher.ask("message/get", json!({ "id": "a" })).await;
    assert_eq!((&found["messages"][0]["state"], &found["messages"][1]["retryOf"]), (&json!("failed"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_sent_is_sent_again_flagged_also_after_a_crash() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    let watcher = Publisher::connect(scene.broker.port(), &["sendbridge/event/send/#"]).await;
    once(&scene, Behaviour::despite(Act::Reset));
    scene.publisher.send(text("1", "a", "text of a")).await;
    assert_eq!(scene.publisher.answer_to("a").await["error"]["code"], "UNRESOLVED");
    // An answer whose acknowledgement a kill keeps from the journal is said again. The commit of the pause has this one.
    scene.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    scene.publisher.ask("pause", json!({ "account": "1", "reason": "test" })).await;
    let order = json!({ "id": "a", "account": "1" });
    let retried = scene.publisher.ask("message/retry", order).await;
    assert_eq!(retried["possiblyDuplicate"], true, "{retried}");
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.publisher.ask("resume", json!({ "account": "1" })).await;
    scene.publisher.wait("the second answer", |_| answers(&scene, "a").len() > 1).await;
    assert!(answers(&scene, "a")[1].starts_with("sent "), "{:?}", answers(&scene, "a"));
    assert_eq!(scene.effects("text of a"), 2);
    let sent = |heard: &crate::publisher::Heard| (heard.topic == "sendbridge/event/send/sent").then(|| heard.json());
    assert_eq!(watcher.find("the event", sent).await["possiblyDuplicate"], true);
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_settled_by_hand_is_answered_again_with_what_is_true() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    for (id, order, word) in [
        ("a", json!({ "id": "a", "state": "sent", "msgId": "seen" }), "sent seen"),
        ("b", json!({ "id": "b", "state": "failed", "reason": "nobody has it" }), "NOT_SENT"),
    ] {
        once(&scene, Behaviour::despite(Act::Reset));
        scene.publisher.send(text("1", id, id)).await;
        assert_eq!(scene.publisher.answer_to(id).await["error"]["code"], "UNRESOLVED");
        let settled = scene.publisher.ask("message/resolve", order).await;
        assert_eq!(settled["corrected"], true, "{settled}");
        scene.publisher.wait("the corrected answer", |_| answers(&scene, id).len() > 1).await;
        assert_eq!(answers(&scene, id), ["UNRESOLVED", word]);
    }
    scene.bridge.kill();
    scene.bridge.start_again().await;
    let health = scene.health().await;
    assert_eq!((&health["states"]["sent"], &health["states"]["failed"]), (&json!(1), &json!(1)), "{health}");
    let again = scene.publisher.command("message/resolve", json!({ "id": "a", "state": "failed" })).await;
    assert_eq!(again["error"]["code"], "WRONG_STATE", "{again}");
    // A person's word is no violation.
    let journal = scene.bridge.path("journal.db");
    let limits = sendbridge::journal::AuditLimits {
        interval: &|_| std::time::Duration::ZERO,
        per_hour: &|_| 50_000,
        from_request: false,
    };
    let audit =
        sendbridge::journal::Reader::open(&journal).and_then(|reader| reader.audit(&limits)).expect("a journal");
    assert!(audit.violations.is_empty(), "{:?}", audit.violations);
}
