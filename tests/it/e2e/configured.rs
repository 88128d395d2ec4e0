//! Another configuration at a restart: what it says holds from the next send on, and what came under the one before is
//! kept.

use super::{Scene, server, text};
use crate::bridge::Config;
use sendbridge::cli::pretend::{PretendAccount, Settings};
use serde_json::{Value, json};

impl Scene {
    /// One more life, after a crash, with another configuration.
    async fn start_with(&mut self, configure: impl FnOnce(Config) -> Config) {
        self.bridge.kill();
        self.bridge.configure(&configure(Config::new(&self.broker, &self.sender)));
        self.bridge.start_again().await;
        self.bridge.ready().await;
    }
}

/// So many an hour for the company `small`.
fn per_hour(limit: u32) -> impl FnOnce(Config) -> Config {
    move |config| config.and(&format!("[[limits.corp]]\ncorp = \"small\"\nper_hour = {limit}\nreserve = \"0%\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_hour_holds_from_the_next_send_on_and_counts_what_was_sent_before() {
    let accounts = vec![PretendAccount::online("1", "small"), PretendAccount::online("other", "large")];
    let mut scene = Scene::start(Settings { accounts, ..server(&[]) }, per_hour(10)).await;
    for number in 0..6 {
        scene.still_sends("1", &format!("before-{number}")).await;
    }
    scene.start_with(per_hour(4)).await;
    for number in 0..6 {
        let id = format!("after-{number}");
        scene.publisher.send(text("1", &id, &id)).await;
    }
    let waiting = |account: &Value| account["queued"] == 6 && account["reason"] == "quota";
    let account = scene.publisher.ask_until("account/get", json!({ "account": "1" }), waiting).await;
    assert_eq!((&account["hour"]["used"], &account["hour"]["limit"]), (&json!(6), &json!(4)), "{account}");
    // Nothing hinders anybody else, and by the time that this one is answered those would have been.
    scene.still_sends("other", "other").await;
    assert_eq!(scene.sender.ledger().corps["small"].arrivals, 6);

    scene.start_with(per_hour(10)).await;
    scene.publisher.wait("the rest of the hour", |seen| seen.answers.len() == 6 + 1 + 4).await;
    let waiting = |account: &Value| account["queued"] == 2 && account["reason"] == "quota";
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), waiting).await;
    assert_eq!(scene.sender.ledger().corps["small"].arrivals, 10);
    scene.health().await;
}

/// Lists an account that no list of the server has.
fn listing(config: Config) -> Config {
    config.and("[[accounts]]\naccount = \"gone\"\ncorp = \"listed\"")
}

/// A message of that account, in the queue of a bridge that knows it.
async fn leave_waiting(scene: &Scene, id: &str) {
    scene.publisher.ask("pause", json!({ "account": "gone", "reason": "test" })).await;
    scene.publisher.send(text("gone", id, id)).await;
    scene.publisher.ask_until("account/get", json!({ "account": "gone" }), |account| account["queued"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_account_that_is_listed_no_more_wait_for_it_and_are_answered_in_the_end() {
    let settings = Settings { default_corp: Some("listed".into()), ..server(&["1"]) };
    let mut scene = Scene::start(settings, listing).await;
    scene.still_sends("gone", "before").await;
    leave_waiting(&scene, "waits").await;
    scene.start_with(|config| config).await;
    scene.publisher.ask("resume", json!({ "account": "gone" })).await;
    let waiting = |account: &Value| account["queued"] == 1 && account["reason"] == "unknown_account";
    scene.publisher.ask_until("account/get", json!({ "account": "gone" }), waiting).await;
    scene.still_sends("1", "other").await;
    assert_eq!(scene.arrivals("waits"), 0);

    scene.start_with(listing).await;
    assert!(scene.publisher.answer_to("waits").await["msgId"].is_string());
    assert_eq!(scene.effects("waits"), 1);

    leave_waiting(&scene, "late").await;
    scene.start_with(|config| config.with("messages.unknown_account_grace", r#""200ms""#)).await;
    scene.publisher.ask("resume", json!({ "account": "gone" })).await;
    let answer = scene.publisher.answer_to("late").await;
    assert_eq!(answer["error"]["code"], "UNKNOWN_ACCOUNT", "{answer}");
    assert_eq!(scene.arrivals("late"), 0);
    scene.health().await;
}
