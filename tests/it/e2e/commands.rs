//! What operators order and ask.

use super::{Scene, server, text, text_with};
use crate::canary;
use crate::publisher::{Heard, Message, Publisher};
use bytes::Bytes;
use sendbridge::cli::pretend::{Behaviour, PretendAccount, Settings};
use serde_json::{Value, json};

fn two_companies() -> Settings {
    let accounts = [("1", "a"), ("2", "a"), ("3", "b")];
    Settings { accounts: accounts.map(|(account, corp)| PretendAccount::online(account, corp)).to_vec(), ..server(&[]) }
}

/// Waits until a message stands in its queue for the reason `paused`.
async fn paused(scene: &Scene, account: &str) -> Value {
    let is_held = |data: &Value| data["state"] == "held" && data["reason"] == "paused";
    scene.publisher.ask_until("account/get", json!({ "account": account }), is_held).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_any_scope_survives_a_crash() {
    let scopes = [
        json!({ "account": "1" }),
        json!({ "corp": "a" }),
        json!({ "sender": "main" }),
        json!({ "all": true }),
        json!({ "account": "1", "conversation": canary::RECIPIENT }),
    ];
    let mut scene = Scene::start(two_companies(), |config| config).await;
    for (number, scope) in scopes.iter().enumerate() {
        let mut order = scope.clone();
        order["reason"] = json!("test");
        order["by"] = json!("me");
        let hold = scene.publisher.ask("pause", order).await;
        assert_eq!((&hold["scope"], &hold["reason"], &hold["by"]), (scope, &json!("test"), &json!("me")));
        let id = format!("m{number}");
        scene.publisher.send(text("1", &id, &id)).await;
        let waits = |data: &Value| data["queued"] == 1;
        scene.publisher.ask_until("account/get", json!({ "account": "1" }), waits).await;
        scene.bridge.kill();
        scene.bridge.start_again().await;
        scene.publisher.ask_until("account/get", json!({ "account": "1" }), waits).await;
        let found = scene.publisher.ask("message/get", json!({ "id": id })).await;
        assert!(found.to_string().contains(r#""paused""#), "{found}");
        // Who is not in the scope goes on.
        if scope["account"].is_string() || scope["corp"].is_string() {
            scene.still_sends("3", &format!("other{number}")).await;
        }
        assert_eq!(scene.arrivals(&id), 0);
        // Ending another scope ends nothing.
        scene.publisher.ask("resume", json!({ "account": "2" })).await;
        let order = if number % 2 == 0 { scope.clone() } else { json!({ "hold": hold["hold"] }) };
        let released = scene.publisher.ask("resume", order).await;
        assert_eq!(released["released"], json!([hold["hold"]]));
        assert!(scene.publisher.answer_to(&id).await["msgId"].is_string());
    }
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.still_sends("1", "after").await;
    assert_eq!(scene.health().await["holds"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_by_itself_and_holds_are_retained() {
    let scene = Scene::start(two_companies(), |config| config).await;
    let watcher = Publisher::connect(scene.broker.port(), &["sendbridge/hold"]).await;
    let hold = scene.publisher.ask("pause", json!({ "account": "1", "reason": "short" })).await;
    scene.publisher.send(text("1", "a", "a")).await;
    paused(&scene, "1").await;
    // Its end comes only now that somebody has seen it: before, it could be over by the time that anybody asks.
    let ends = scene.publisher.ask("pause", json!({ "account": "1", "reason": "short", "duration": "1s" })).await;
    assert_eq!((&ends["id"], ends["until"].is_string()), (&hold["id"], true), "{ends}");
    let holds = |seen: &crate::publisher::Seen, count: usize| {
        seen.on("sendbridge/hold")
            .last()
            .is_some_and(|heard| heard.json()["holds"].as_array().map(Vec::len) == Some(count))
    };
    watcher.wait("the hold", |seen| holds(seen, 1) || seen.all.len() > 1).await;
    assert!(scene.publisher.answer_to("a").await["msgId"].is_string());
    watcher.wait("its end", |seen| holds(seen, 0)).await;
    let late = Publisher::connect(scene.broker.port(), &["sendbridge/hold"]).await;
    late.wait("no hold", |seen| holds(seen, 0)).await;
    assert!(late.seen().all[0].retain);
}

/// So many that their forecast is played on another thread.
#[tokio::test(flavor = "multi_thread")]
async fn where_many_wait_everybody_who_asks_is_told_when() {
    // So slow that they wait for as long as anybody asks.
    let scene = Scene::start(two_companies(), |config| config.with("limits.account_interval", r#""1s""#)).await;
    for number in 0..700 {
        let id = format!("m{number}");
        scene.publisher.send(text("1", &id, &id)).await;
    }
    let many = |data: &Value| data["queued"].as_u64() > Some(600);
    let account = scene.publisher.ask_until("account/get", json!({ "account": "1" }), many).await;
    let corp = scene.publisher.ask("corp/get", json!({ "corp": "a" })).await;
    let found = scene.publisher.ask("message/get", json!({ "id": "m600" })).await;
    let message = &found["messages"][0];
    let known = [&account["nextSendAt"], &account["drainEta"], &corp["nextSendAt"], &corp["drainEta"]];
    assert!(known.iter().all(|at| at.is_string()), "{account} {corp}");
    assert!(message["position"].as_u64() > Some(1) && message["expectedAt"].is_string(), "{found}");
    let list = scene.publisher.ask("message/list", json!({ "account": "1", "state": "queued" })).await;
    let listed = list["messages"].as_array().expect("a list");
    assert!(!listed.is_empty() && listed.iter().all(|message| message["expectedAt"].is_string()), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_cancelled_while_it_waits() {
    let mut scene = Scene::start(two_companies(), |config| config).await;
    scene.publisher.ask("pause", json!({ "all": true, "reason": "test" })).await;
    for (account, id) in [("1", "a"), ("1", "b"), ("2", "b")] {
        scene.publisher.send(text(account, id, &format!("{id} of {account}"))).await;
    }
    paused(&scene, "2").await;
    let dry = scene.publisher.ask("message/cancel", json!({ "id": "a", "dryRun": true })).await;
    assert_eq!((&dry["dryRun"], &dry["found"], &dry["cancelled"]), (&json!(true), &json!(1), &json!(0)), "{dry}");
    scene.publisher.ask("message/cancel", json!({ "id": "a" })).await;
    assert_eq!(scene.publisher.answer_to("a").await["error"]["code"], "CANCELLED");
    let several = scene.publisher.command("message/cancel", json!({ "id": "b" })).await;
    assert_eq!(several["error"]["code"], "INVALID_FIELD", "{several}");
    scene.publisher.ask("message/cancel", json!({ "id": "b", "account": "2" })).await;
    assert_eq!(scene.publisher.answer_to("b").await["error"]["code"], "CANCELLED");
    let again = scene.publisher.command("message/cancel", json!({ "id": "a" })).await;
    assert_eq!(again["error"]["code"], "NOT_FOUND", "{again}");
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.publisher.ask("resume", json!({ "all": true })).await;
    scene
        .publisher
        .wait("the one that is left", |seen| {
            seen.answers[r#""b""#].iter().any(|answer| answer.json()["msgId"].is_string())
        })
        .await;
    let sent = ["a of 1", "b of 1", "b of 2"].map(|content| scene.arrivals(content));
    assert_eq!(sent, [0, 1, 0]);
    assert_eq!(scene.health().await["states"]["cancelled"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_and_a_limit_survive_a_crash() {
    let mut scene = Scene::start(two_companies(), |config| config).await;
    let red = json!({ "tag": "red" });
    scene.publisher.ask("pause", json!({ "account": "1", "reason": "test" })).await;
    scene.publisher.send(text_with("1", "a", "a", &red)).await;
    paused(&scene, "1").await;
    let order = json!({ "tag": "red", "blockFor": "1h", "reason": "wrong" });
    let done = scene.publisher.ask("message/cancel", order).await;
    assert_eq!((&done["cancelled"], &done["sending"], &done["block"]), (&json!(1), &json!(0), &json!(2)), "{done}");
    assert_eq!(scene.publisher.answer_to("a").await["error"]["code"], "CANCELLED");
    let set = scene.publisher.ask("limits/set", json!({ "corp": "a", "perHour": 7, "by": "me" })).await;
    assert_eq!(set["effective"]["perHour"], 7, "{set}");
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.publisher.send(text_with("2", "b", "b", &red)).await;
    let blocked = scene.publisher.answer_to("b").await;
    assert_eq!((&blocked["error"]["code"], &blocked["error"]["retryable"]), (&json!("BLOCKED"), &json!(true)));
    let limits = scene.publisher.ask("limits/get", json!({ "corp": "a" })).await;
    assert_eq!((&limits["effective"]["perHour"], &limits["by"]), (&json!(7), &json!("me")), "{limits}");
    let beyond = scene.publisher.command("limits/set", json!({ "corp": "a", "perHour": 1_000_000_000 })).await;
    assert_eq!(beyond["error"]["code"], "INVALID_FIELD", "{beyond}");
    let two = |data: &Value| data["accounts"].as_array().map(Vec::len) == Some(2);
    scene.publisher.ask_until("account/list", json!({ "corp": "a" }), two).await;
    let holds = scene.publisher.ask("hold/list", json!({})).await;
    assert_eq!((&holds["holds"][0]["id"], &holds["blocks"][0]["id"]), (&json!(1), &json!(2)), "{holds}");
    scene.publisher.ask("resume", json!({ "hold": 2 })).await;
    scene.publisher.send(text_with("2", "c", "c", &red)).await;
    assert!(scene.publisher.answer_to("c").await["msgId"].is_string());
    assert!(scene.publisher.ask("info", json!({})).await["version"].is_string());
    let level = scene.publisher.ask("log/level", json!({ "level": "debug", "duration": "1s" })).await;
    assert_eq!(level["level"], "debug", "{level}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_shows_its_history_and_nothing_of_its_text() {
    let scene = Scene::start(two_companies(), |config| config).await;
    let refuse = sendbridge::cli::pretend::Rule::always(Behaviour::status(429)).times(1);
    scene.sender.set_faults(sendbridge::cli::pretend::Faults::Rules(vec![refuse]));
    scene.publisher.send(text_with("1", "a", canary::TEXT, &json!({ "tag": "order 7" }))).await;
    let answer = scene.publisher.answer_to("a").await;
    let found = scene
        .publisher
        .ask_until("message/get", json!({ "id": "a", "account": "1" }), |data| data.to_string().contains(r#""sent""#))
        .await;
    let shown = found.to_string();
    assert!(!shown.contains(canary::TEXT), "{shown}");
    let msg_id = answer["msgId"].as_str().expect("sent");
    for part in [msg_id, "order 7", "too_frequent", "\"1\"", "\"a\""] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let attempts = find(&found, "history").and_then(Value::as_array).map(Vec::len);
    assert_eq!(attempts, Some(2), "{found}");
    let nothing = scene.publisher.command("message/get", json!({ "id": "nothing" })).await;
    assert_eq!((&nothing["status"], &nothing["error"]["code"]), (&json!("error"), &json!("NOT_FOUND")), "{nothing}");
}

/// The first member of this name, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(name).or_else(|| members.values().find_map(|member| find(member, name))),
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_the_whole_can_be_asked_about() {
    let scene = Scene::start(two_companies(), |config| config).await;
    for number in 0..3 {
        scene.still_sends("1", &format!("m{number}")).await;
    }
    let account = scene.publisher.ask("account/get", json!({ "account": "1" })).await;
    let expected =
        json!({ "corp": "a", "sender": "main", "queued": 0, "sending": 0, "sentLastHour": 3, "state": "idle" });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&account[name], value, "{name} of {account}");
    }
    assert_eq!(account["hour"]["used"], 3);
    let unknown = scene.publisher.command("account/get", json!({ "account": "nobody" })).await;
    assert_eq!(unknown["error"]["code"], "NOT_FOUND", "{unknown}");
    let health = scene.health().await;
    assert_eq!(
        (&health["accepted"], &health["states"]["sent"], &health["senders"][0]["state"]),
        (&json!(3), &json!(3), &json!("up"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_command_gets_an_error_and_does_nothing() {
    let scene = Scene::start(two_companies(), |config| config).await;
    let error = async |message: Message| -> (String, Value) {
        let name = message.topic.strip_prefix("sendbridge/request/").expect("a command").to_owned();
        let topic = format!("sendbridge/response/{name}");
        let before = scene.publisher.seen().on(&topic).count();
        scene.publisher.publish(message).await;
        scene.publisher.wait(&name, |seen| seen.on(&topic).count() > before).await;
        let reply = scene.publisher.seen().on(&topic).nth(before).expect("waited for").json();
        assert_eq!((&reply["status"], &reply["data"]), (&json!("error"), &json!({})), "{reply}");
        assert!(!reply["error"]["message"].as_str().expect("a text").is_empty());
        (reply["error"]["code"].as_str().expect("a code").to_owned(), reply["transaction"].clone())
    };
    let request = |name: &str, payload: &str| Message::new(&format!("sendbridge/request/{name}"), payload.to_owned());
    assert_eq!(error(request("no/such", r#"{"transaction":[1]}"#)).await.0, "UNKNOWN_COMMAND");
    assert_eq!(error(request("no/such", r#"{"transaction":7.50}"#)).await, ("UNKNOWN_COMMAND".into(), json!(7.50)));
    assert_eq!(error(request("health", "{nonsense")).await.0, "INVALID_JSON");
    assert_eq!(error(request("health", "[]")).await.0, "INVALID_JSON");
    assert_eq!(error(request("pause", r#"{"all":true}"#)).await.0, "INVALID_FIELD");
    assert_eq!(error(request("pause", r#"{"reason":"x"}"#)).await.0, "INVALID_FIELD");
    assert_eq!(error(request("pause", r#"{"all":true,"corp":"a","reason":"x"}"#)).await.0, "INVALID_FIELD");
    assert_eq!(error(request("pause", r#"{"all":true,"reason":"x","rason":1}"#)).await.0, "INVALID_FIELD");
    assert_eq!(error(request("resume", r#"{"hold":99}"#)).await.0, "NOT_FOUND");
    let retained = Message { retain: true, ..request("pause", r#"{"all":true,"reason":"x","transaction":"t"}"#) };
    assert_eq!(error(retained).await, ("RETAINED".into(), json!("t")));
    scene.still_sends("1", "after").await;
    assert_eq!(scene.health().await["holds"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_done_once_also_after_a_crash() {
    let mut scene = Scene::start(two_companies(), |config| config).await;
    let topic = "sendbridge/response/pause";
    let order = || Message::new("sendbridge/request/pause", r#"{"account":"1","reason":"once","transaction":"t-1"}"#);
    let mut replies = Vec::new();
    for round in 0..3 {
        if round == 2 {
            scene.bridge.kill();
            scene.bridge.start_again().await;
            scene.bridge.ready().await;
        }
        let before = scene.publisher.seen().on(topic).count();
        scene.publisher.publish(order()).await;
        scene.publisher.wait("the reply", |seen| seen.on(topic).count() > before).await;
        replies.push(scene.publisher.seen().on(topic).last().expect("waited for").json());
    }
    assert!(replies.iter().all(|reply| *reply == replies[0] && reply["transaction"] == "t-1"), "{replies:#?}");
    assert_eq!(scene.health().await["holds"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_goes_to_the_response_topic_too() {
    let scene = Scene::start(two_companies(), |config| config).await;
    let asker = Publisher::connect(scene.broker.port(), &["reply/#", "sendbridge/response/#"]).await;
    let correlation = Some(Bytes::from_static(b"\x01\x02"));
    let asked = Message {
        response_topic: Some("reply/me".to_owned()),
        correlation: correlation.clone(),
        ..Message::new("sendbridge/request/health", "")
    };
    asker.publish(asked).await;
    asker.wait("both", |seen| seen.all.len() >= 2).await;
    let seen = asker.seen();
    let own = seen.on("reply/me").next().expect("one on the response topic");
    assert_eq!(own.correlation, correlation);
    let usual = seen.on("sendbridge/response/health").next().expect("one on the usual topic");
    assert_eq!((&usual.payload, usual.retain), (&own.payload, false));
}

/// The small things that a person who types commands runs into.
#[tokio::test(flavor = "multi_thread")]
async fn a_slip_of_the_hand_is_told_and_changes_nothing() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let by_hand = |topic: &'static str| scene.publisher.publish(Message::new(topic, ""));
    // A command without a name is told on the topic without one.
    by_hand("sendbridge/request/").await;
    let code = |topic: &'static str| {
        move |heard: &Heard| {
            (heard.topic == topic).then(|| heard.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
        }
    };
    let nameless = scene.publisher.find("a reply", code("sendbridge/response")).await;
    assert_eq!(nameless, "UNKNOWN_COMMAND");
    by_hand("sendbridge/request/drain").await;
    assert_eq!(scene.publisher.find("a refusal", code("sendbridge/response/drain")).await, "INVALID_JSON");
    assert_eq!(scene.health().await["mode"], "running");

    let nothing = scene.publisher.ask("resume", json!({ "all": true })).await;
    assert_eq!(nothing, json!({ "released": [], "count": 0, "remaining": 0 }));
    let order = json!({ "account": "1", "reason": "customer asked", "by": "li", "duration": "1h" });
    let hold = scene.publisher.ask("pause", order).await;
    assert_eq!(hold["id"], hold["hold"]);
    scene.publisher.send(text("1", "held", "held")).await;
    let is_paused = |found: &Value| found["messages"][0]["reason"] == "paused";
    let found = scene.publisher.ask_until("message/get", json!({ "id": "held" }), is_paused).await;
    let paused = &found["messages"][0]["paused"];
    assert_eq!(
        (&paused["reason"], &paused["by"], &paused["until"]),
        (&json!("customer asked"), &json!("li"), &hold["until"])
    );
    for (name, order) in
        [("message/retry", json!({ "id": "held" })), ("message/resolve", json!({ "id": "held", "state": "sent" }))]
    {
        let reply = scene.publisher.command(name, order).await;
        assert_eq!(reply["error"]["code"], "WRONG_STATE", "{reply}");
    }
    let other = scene.publisher.ask("resume", json!({ "all": true })).await;
    assert_eq!(other["remaining"], 1, "what is held is held by another scope");
    scene.publisher.ask("resume", json!({ "hold": hold["id"] })).await;
    assert!(scene.publisher.answer_to("held").await["msgId"].is_string());
    let account = scene.publisher.ask("account/get", json!({ "account": "1" })).await;
    assert_eq!((account["hour"]["free"].is_u64(), &account["hour"]["nextFreeAt"]), (true, &Value::Null));
}

/// What somebody else left on the bridge's own topics is replaced or cleared at the next connection.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_left_on_our_topics_goes_at_the_next_start() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    scene.still_sends("1", "m").await;
    // It holds whatever it hears to its schema.
    scene._observer = None;
    scene.bridge.kill();
    let stored_before = scene.publisher.seen().acknowledged;
    let nobody = ["account/nobody", "corp/nobody"].map(|name| format!("sendbridge/{name}"));
    let ours = ["hold", "health", "info", "state"].map(|name| format!("sendbridge/{name}"));
    for topic in nobody.iter().chain(&ours) {
        scene.publisher.publish(Message { retain: true, ..Message::new(topic, "garbage") }).await;
    }
    let before = stored_before + (nobody.len() + ours.len()) as u64;
    scene.publisher.wait("all of it to be stored", |seen| seen.acknowledged == before).await;
    scene.bridge.start_again().await;
    scene.bridge.ready().await;
    let clearing = async {
        for topic in nobody.iter().chain(&ours) {
            // Whoever subscribes now hears what is stored, and after it what the bridge says of itself.
            while stored(scene.broker.port(), topic).await == Some(Bytes::from_static(b"garbage")) {}
        }
    };
    tokio::time::timeout(crate::bridge::DEADLINE, clearing).await.expect("they are cleared or replaced in time");
    for topic in &nobody {
        assert_eq!(stored(scene.broker.port(), topic).await, None, "{topic}");
    }
    let late =
        Publisher::connect(scene.broker.port(), &["sendbridge/hold", "sendbridge/health", "sendbridge/info"]).await;
    late.wait("all of them, as their schemas say", |seen| seen.all.len() >= 3).await;
}

/// What the broker has stored under this topic.
async fn stored(port: u16, topic: &str) -> Option<Bytes> {
    const ALWAYS_THERE: &str = "sendbridge/state";
    let mut options =
        rumqttc::MqttOptions::new(format!("look-{}", sendbridge::clock::random_uuid()), "127.0.0.1", port);
    options.set_clean_session(true);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    // An answer to the second one comes behind what is stored.
    for topic in [topic, ALWAYS_THERE] {
        client.subscribe(topic, rumqttc::QoS::AtLeastOnce).await.expect("room");
    }
    let mut found = None;
    loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = events.poll().await.expect("a broker") {
            if publish.topic == topic {
                found = Some(publish.payload);
            }
            if publish.topic == ALWAYS_THERE {
                return found;
            }
        }
    }
}
