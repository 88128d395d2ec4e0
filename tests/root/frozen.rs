//! The program is stopped for longer than the broker waits and than a message lives, and then goes on.

use crate::bridge::Launcher;
use crate::judge::judge;
use crate::scene::{Scene, account, server, text, text_with};
use nix::sys::signal::Signal;
use sendbridge::cli::pretend::{Behaviour, Faults, Limits, Rule, Settings};
use serde_json::json;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits until a broker gives up a client"]
async fn a_program_that_stood_still_sends_nothing_too_late_and_nothing_too_soon() {
    let limits = Limits { account_interval: INTERVAL, corp_limit: u64::MAX, corp_window: Duration::from_secs(3600) };
    let mut scene = Scene::start(Settings { limits, ..server(4) }, Launcher::default(), |config| {
        config.with("mqtt.keep_alive", r#""5s""#).with("limits.account_interval", r#""500ms""#)
    })
    .await;
    scene.publisher.ask("pause", json!({ "account": account(1), "reason": "test" })).await;
    scene.send(text_with(&account(1), "late", &json!({ "ttl": "3s" })), "late").await;
    // A backlog, and a request that is answered while nobody listens.
    let rule =
        Rule { account: Some(account(2).into()), ..Rule::always(Behaviour::answer().after(Duration::from_secs(1))) };
    scene.sender.set_faults(Faults::Rules(vec![rule]));
    for number in 0..12 {
        let id = format!("before-{number}");
        scene.send(text(&account(2 * (number % 2)), &id), &id).await;
    }
    scene.arrived(4).await;
    scene.bridge.signal(Signal::SIGSTOP);
    for number in 0..12 {
        let id = format!("meanwhile-{number}");
        scene.send(text(&account(3), &id), &id).await;
    }
    // The broker says so in the bridge's name, once it has given it up.
    let gone = |heard: &crate::publisher::Heard| {
        (heard.topic == "sendbridge/state" && heard.json()["state"] == "offline").then_some(())
    };
    scene.publisher.find("the bridge's end", gone).await;
    scene.bridge.signal(Signal::SIGCONT);
    let verdict = judge(&scene).await;
    assert_eq!(scene.answer_of("late").expect("an answer")["error"]["code"], "EXPIRED");
    assert_eq!(scene.arrivals("late"), 0);
    // Whether the answer that came meanwhile or its time-out is seen first is up to the machine; both are true.
    assert!(verdict.sent >= 23 && verdict.unresolved.len() <= 1, "{verdict:?}");
    assert_eq!(scene.sender.ledger().violations(), 0);
}
