//! A sender that is away, slow, silent, or says no.

use super::{Scene, eventually, server, text, text_with};
use crate::canary;
use crate::publisher::{Publisher, TOPICS};
use sendbridge::cli::pretend::{Act, Behaviour, Faults, PretendAccount, Rule};
use serde_json::{Value, json};

const EVENTS: &[&str] = &["SendMessageResp/#", "sendbridge/event/#", "sendbridge/alarm", "sendbridge/response/#"];

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("sent")
}

/// Waits for an alarm of this kind.
async fn alarm(listener: &Publisher, what: &str) -> Value {
    let find = |heard: &crate::publisher::Heard| {
        (heard.topic == "sendbridge/alarm").then(|| heard.json()).filter(|alarm| alarm["what"] == what)
    };
    listener.find(what, find).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_was_gone_gets_everything_once() {
    const MESSAGES: usize = 60;
    let names: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    let accounts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scene = Scene::start(server(&accounts), |config| config).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    scene.still_sends("1", "before").await;
    scene.sender.go_down().await;
    for number in 0..MESSAGES {
        let id = format!("m{number}");
        scene.publisher.send(text(accounts[number % accounts.len()], &id, &id)).await;
    }
    alarm(&listener, "sender_down").await;
    let health = scene.publisher.ask_until("health", json!({}), |health| health["senders"][0]["state"] == "down").await;
    assert_eq!(health["balanced"], true);
    scene.sender.come_up().await.expect("the same port");
    scene.publisher.wait("all answers", |seen| seen.answers.len() == MESSAGES + 1).await;
    alarm(&listener, "sender_back").await;
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.effects, ledger.repeated().count()), (MESSAGES as u64 + 1, 0));
    let health = scene.health().await;
    assert_eq!(health["senders"][0]["state"], "up");
    assert_eq!(health["states"]["sent"], MESSAGES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_said_to_be_unknown_and_nothing_is_repeated() {
    let scene = Scene::start(server(&["1", "2"]), |config| {
        // Long enough for every answer that comes at all.
        config.with("senders.timeout", r#""3s""#).with("senders.connect_timeout", r#""2s""#)
    })
    .await;
    let acts = [Act::Silence, Act::Reset, Act::Cut, Act::Html, Act::Status { status: 502, retry_after: None }];
    for (number, act) in acts.into_iter().enumerate() {
        scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::despite(act)).times(1)]));
        let id = format!("m{number}");
        scene.publisher.send(text("1", &id, &id)).await;
        let answer = scene.publisher.answer_to(&id).await;
        assert_eq!(code(&answer), "UNRESOLVED", "{answer}");
        assert_eq!(answer["error"]["retryable"], false);
        assert_eq!((scene.arrivals(&id), scene.effects(&id)), (1, 1));
    }
    scene.still_sends("1", "after").await;
    // Neither a repeat of the id sends it again.
    scene.publisher.send(text("1", "m0", "m0")).await;
    assert_eq!(code(&scene.publisher.nth_answer(r#""m0""#, 1).await), "UNRESOLVED");
    assert_eq!(scene.arrivals("m0"), 1);
    assert_eq!(scene.health().await["states"]["unresolved"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_is_flagged_before_it_is_made_and_ever_after() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::despite(Act::Reset)).times(1)]));
    scene.publisher.send(text_with("1", "again", "again", &json!({ "onDoubt": "resend" }))).await;
    assert!(scene.publisher.answer_to("again").await["msgId"].is_string());
    assert_eq!(scene.effects("again"), 2);
    let states = |flagged: bool| -> Vec<String> {
        let seen = listener.seen();
        let events = seen.all.iter().filter(|heard| heard.topic.starts_with("sendbridge/event/send/"));
        let events = events.map(super::super::publisher::Heard::json);
        let events = events.filter(|event| (event["possiblyDuplicate"] == true) == flagged);
        events.map(|event| event["state"].as_str().expect("a word").to_owned()).collect()
    };
    eventually("the last event", || states(true).contains(&"sent".to_owned())).await;
    assert_eq!(states(false), ["queued", "sending", "in_doubt"]);
    assert_eq!(states(true), ["queued", "sending", "sent"]);
    let found = scene.publisher.ask("message/get", json!({ "id": "again" })).await;
    assert!(found.to_string().contains(r#""possiblyDuplicate":true"#), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_doubt_stays_open_across_a_crash() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::despite(Act::Reset)).times(1)]));
    scene.publisher.send(text_with("1", "held", "held", &json!({ "onDoubt": "hold" }))).await;
    let is_held = |health: &Value| health["states"]["in_doubt"] == 1;
    scene.publisher.ask_until("health", json!({}), is_held).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.publisher.ask_until("health", json!({}), is_held).await;
    scene.still_sends("1", "after").await;
    assert_eq!(scene.arrivals("held"), 1);
    assert!(!scene.publisher.seen().answers.contains_key(r#""held""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_waits_and_is_then_said_to_be_unknown() {
    let scene = Scene::start(server(&["1"]), |config| config.with("messages.unknown_account_grace", r#""2s""#)).await;
    let watcher = Publisher::connect(scene.broker.port(), &["sendbridge/account/nobody"]).await;
    scene.publisher.send(text("nobody", "lost", "lost")).await;
    // Said by itself, so that nobody has to ask before the grace is over.
    let waits = |heard: &crate::publisher::Heard| {
        let account = heard.json();
        (account["reason"] == "unknown_account" && account["queued"] == 1).then_some(())
    };
    watcher.find("that it waits", waits).await;
    let answer = scene.publisher.answer_to("lost").await;
    assert_eq!((code(&answer), &answer["error"]["retryable"]), ("UNKNOWN_ACCOUNT", &json!(true)));
    assert_eq!(scene.arrivals("lost"), 0);
    scene.still_sends("1", "after").await;
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_logs_in_is_found_without_waiting_for_the_next_refresh() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    scene.still_sends("1", "before").await;
    scene.sender.set_account(PretendAccount::online("new", "corp"));
    scene.still_sends("new", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_holds_the_sender_and_burns_no_message() {
    let scene =
        Scene::start(server(&["1", "2", "3"]), |config| config.with("senders.directory_refresh", r#""10s""#)).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    scene.sender.set_api_key("another");
    for account in ["1", "2", "3"] {
        for number in 0..3 {
            let id = format!("{account}-{number}");
            scene.publisher.send(text(account, &id, &id)).await;
        }
    }
    alarm(&listener, "sender_unauthorized").await;
    scene
        .publisher
        .ask_until("health", json!({}), |health| {
            health["senders"][0]["state"] == "unauthorized" && health["states"]["sending"] == 0
        })
        .await;
    assert!(scene.publisher.seen().answers.is_empty());
    // At most one message of each account was tried; after that only the account list is.
    assert!(scene.sender.ledger().unauthorized <= 3 + 2, "{}", scene.sender.ledger().unauthorized);
    scene.sender.set_api_key(canary::API_KEY);
    scene.publisher.wait("all answers", |seen| seen.answers.len() == 9).await;
    assert_eq!(scene.sender.ledger().repeated().count(), 0);
    assert_eq!(scene.health().await["states"]["sent"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_that_is_too_fast_cools_down_alone() {
    // Longer than all that others send meanwhile takes.
    let scene = Scene::start(server(&["1", "2"]), |config| config.with("limits.cool_down", r#""5s""#)).await;
    let listener = Publisher::connect(scene.broker.port(), EVENTS).await;
    let busy = Behaviour::refuse(Act::Status { status: 429, retry_after: None });
    let rule = Rule { account: Some(Box::from("1")), ..Rule::always(busy).times(1) };
    scene.sender.set_faults(Faults::Rules(vec![rule]));
    scene.publisher.send(text("1", "hot", "hot")).await;
    alarm(&listener, "account_too_frequent").await;
    for number in 0..10 {
        scene.still_sends("2", &format!("cool{number}")).await;
    }
    assert_eq!(scene.effects("hot"), 0, "the others waited for it");
    let data = scene.publisher.ask("account/get", json!({ "account": "1" })).await;
    assert_eq!(data["reason"], "cooling_down", "{data}");
    assert!(scene.publisher.answer_to("hot").await["msgId"].is_string());
    assert_eq!((scene.arrivals("hot"), scene.effects("hot")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_offline_waits_until_the_list_says_otherwise() {
    let scene = Scene::start(server(&["1", "2"]), |config| config.with("senders.directory_refresh", r#""10s""#)).await;
    let offline = PretendAccount { online: false, ..PretendAccount::online("1", "corp") };
    scene.sender.set_account(offline);
    scene.publisher.send(text("1", "away", "away")).await;
    scene.publisher.send(text("1", "behind", "behind")).await;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), |data| data["reason"] == "offline").await;
    scene.still_sends("2", "other").await;
    assert_eq!(scene.arrivals("behind"), 0);
    scene.sender.set_account(PretendAccount::online("1", "corp"));
    assert!(scene.publisher.answer_to("behind").await["msgId"].is_string());
    assert_eq!((scene.arrivals("away"), scene.effects("away")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_senders_words_and_not_repeated() {
    let scene = Scene::start(server(&["1"]), |config| config).await;
    let old = Publisher::connect_three(scene.broker.port(), TOPICS).await;
    let words = format!("好友关系不存在 {}", canary::WORDS);
    canary::feed(words.as_bytes());
    scene.sender.set_faults(Faults::Rules(vec![Rule::always(Behaviour::code(7, &words)).times(1)]));
    scene.publisher.send(text("1", "no", "no")).await;
    let answer = scene.publisher.answer_to("no").await;
    assert_eq!((code(&answer), &answer["error"]["sender"]["msg"]), ("REFUSED", &json!(words)));
    assert_eq!((&answer["error"]["sender"]["code"], &answer["error"]["sender"]["http"]), (&json!(7), &json!(200)));
    assert_eq!(old.answer_to("no").await, answer);
    assert_eq!(scene.arrivals("no"), 1);
    scene.still_sends("1", "after").await;
}
