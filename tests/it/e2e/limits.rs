//! Both limits, measured where they count: at the server. And what publishers can wish for: order and lifetime.

use super::{LOOSE, Scene, server, text, text_with};
use crate::publisher::Message;
use sendbridge::cli::pretend::{Limits, PretendAccount, Settings};
use sendbridge::clock::wall;
use serde_json::json;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn no_gap_is_below_the_interval_whatever_the_latency_and_across_a_crash() {
    let limits = Limits { account_interval: INTERVAL, corp_limit: 1_000_000, corp_window: Duration::from_secs(3600) };
    let accounts: Vec<String> = (0..20).map(|number| format!("account-{number}")).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let latency = Duration::ZERO..=Duration::from_millis(80);
    let mut scene = Scene::start(Settings { limits, latency, ..server(&names) }, |config| {
        config.with("limits.account_interval", r#""100ms""#)
    })
    .await;
    // Unequal load: between one and twenty messages for an account.
    let mut total = 0;
    for (number, account) in accounts.iter().enumerate() {
        for message in 0..=number {
            let id = format!("{account}-{message}");
            scene.publisher.send(text(account, &id, &id)).await;
            total += 1;
        }
    }
    scene.publisher.wait("half of the answers", |seen| seen.answers.len() >= total / 2).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    scene.publisher.wait("all answers", |seen| seen.answers.len() == total).await;
    let ledger = scene.sender.ledger();
    assert_eq!(ledger.violations(), 0);
    assert!(ledger.smallest_gap().expect("several sends") >= INTERVAL);
    assert_eq!(ledger.repeated().count(), 0);
    for account in &accounts {
        // One that was on its way when the crash came may never have arrived; none may arrive out of order.
        let history = &ledger.accounts[account.as_str()].history;
        let number =
            |message: &str| -> usize { message.rsplit_once('-').expect("a number").1.parse().expect("digits") };
        assert!(history.is_sorted_by_key(|arrived| number(&arrived.message)), "not in order: {history:?}");
    }
    scene.health().await;
}

/// Two at once would keep the interval and not the order: what came second could be seen first.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_one_request_at_a_time_where_an_answer_takes_longer_than_the_interval() {
    const ACCOUNTS: usize = 4;
    const MESSAGES: usize = 6;
    const LATENCY: Duration = Duration::from_millis(300);
    let limits = Limits { account_interval: INTERVAL, ..LOOSE };
    let accounts: Vec<String> = (0..ACCOUNTS).map(|number| format!("account-{number}")).collect();
    let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let scene = Scene::start(Settings { limits, latency: LATENCY..=LATENCY, ..server(&names) }, |config| {
        config.with("limits.account_interval", r#""100ms""#)
    })
    .await;
    for message in 0..MESSAGES {
        for account in &accounts {
            let id = format!("{account}-{message}");
            scene.publisher.send(text(account, &id, &id)).await;
        }
    }
    scene.publisher.wait("all answers", |seen| seen.answers.len() == ACCOUNTS * MESSAGES).await;
    let ledger = scene.sender.ledger();
    for account in &accounts {
        let history = &ledger.accounts[account.as_str()].history;
        assert_eq!(history.len(), MESSAGES, "{history:?}");
        for two in history.windows(2) {
            // So long the first was under way, however slow the machine is: its answer leaves no sooner.
            let gap = two[1].at.since(two[0].at);
            assert!(gap >= LATENCY, "{} came {gap:?} after {}, which had no answer", two[1].message, two[0].message);
        }
    }
    assert!(ledger.in_flight_max <= ACCOUNTS as u64, "{} at once", ledger.in_flight_max);
    assert_eq!((ledger.violations(), ledger.repeated().count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_is_used_up_stays_so_across_a_crash() {
    const LIMIT: usize = 30;
    let limits = Limits { account_interval: Duration::ZERO, corp_limit: 30, corp_window: Duration::from_secs(3600) };
    let accounts = (1..=6).map(|number| PretendAccount::online(&number.to_string(), "small"));
    let free = PretendAccount::online("free", "large");
    let settings = Settings { limits, accounts: accounts.chain([free]).collect(), ..server(&[]) };
    let mut scene = Scene::start(settings, |config| {
        config.and("[[limits.corp]]\ncorp = \"small\"\nper_hour = 30\nreserve = \"0%\"")
    })
    .await;
    let send = async |scene: &Scene, numbers: std::ops::Range<usize>| {
        for number in numbers {
            // The first account has most of the messages.
            let account = if number % 2 == 0 { 1 } else { number % 6 + 1 };
            let id = format!("m{number}");
            scene.publisher.send(text(&account.to_string(), &id, &id)).await;
        }
    };
    send(&scene, 0..20).await;
    scene.publisher.wait("the first answers", |seen| seen.answers.len() == 20).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    send(&scene, 20..40).await;
    scene.publisher.wait("a full hour", |seen| seen.answers.len() >= LIMIT).await;
    let waiting = async |scene: &Scene| {
        let data =
            scene.publisher.ask_until("account/get", json!({ "account": "1" }), |data| data["reason"] == "quota").await;
        assert_eq!((&data["hour"]["used"], &data["hour"]["limit"]), (&json!(30), &json!(30)), "{data}");
        let free_at = data["hour"]["nextFreeAt"].as_str().expect("a time").to_owned();
        let free_at = sendbridge::model::Time::parse_rfc3339(&free_at).expect("a time");
        let wait = free_at.since(wall());
        assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3605), "{wait:?}");
        assert!(data["queued"].as_u64().expect("a count") > 0);
    };
    waiting(&scene).await;
    scene.bridge.kill();
    scene.bridge.start_again().await;
    waiting(&scene).await;
    // Another company's hour is its own.
    scene.still_sends("free", "free").await;
    waiting(&scene).await;
    let ledger = scene.sender.ledger();
    assert_eq!((ledger.corps["small"].arrivals, ledger.violations()), (30, 0));
    assert_eq!(scene.publisher.seen().answers.len(), LIMIT + 1);
    scene.health().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_of_an_hour_is_for_what_is_urgent() {
    let scene = Scene::start(server(&["1", "2"]), |config| {
        config.and("[[limits.corp]]\ncorp = \"corp\"\nper_hour = 10\nreserve = \"20%\"")
    })
    .await;
    for number in 0..12 {
        let id = format!("m{number}");
        scene.publisher.send(text("1", &id, &id)).await;
    }
    scene.publisher.wait("the unreserved part", |seen| seen.answers.len() == 8).await;
    scene.publisher.ask_until("account/get", json!({ "account": "1" }), |data| data["reason"] == "quota").await;
    for number in 0..3 {
        let id = format!("urgent{number}");
        scene.publisher.send(text_with("2", &id, &id, &json!({ "priority": 8 }))).await;
    }
    scene.publisher.wait("the reserve", |seen| seen.answers.len() == 10).await;
    scene.publisher.ask_until("account/get", json!({ "account": "2" }), |data| data["reason"] == "quota").await;
    assert_eq!(scene.sender.ledger().effects, 10);
    assert_eq!((scene.effects("urgent0"), scene.effects("urgent1"), scene.effects("urgent2")), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_late_expires_and_what_is_early_waits() {
    /// The bridge must have taken a message before its moment comes, and shown that it waits.
    const AHEAD: Duration = Duration::from_secs(4);
    let scene = Scene::start(server(&["1", "2", "3"]), |config| config).await;
    let publisher = &scene.publisher;
    publisher.ask("pause", json!({ "account": "1", "reason": "test" })).await;
    publisher.send(text_with("1", "ttl", "ttl", &json!({ "ttl": "300ms" }))).await;
    let at = wall() + AHEAD;
    publisher.send(text_with("1", "until", "until", &json!({ "expiresAt": at.to_string() }))).await;
    publisher.publish(Message { expiry_s: Some(1), ..Message::send(text("1", "expiry", "expiry")) }).await;
    publisher.send(text_with("1", "past", "past", &json!({ "expiresAt": "2020-01-01T00:00:00Z" }))).await;
    let not_before = wall() + AHEAD;
    publisher.send(text_with("2", "later", "later", &json!({ "notBefore": not_before.to_string() }))).await;
    publisher.send(text("2", "now", "now")).await;
    let scheduled =
        publisher.ask_until("message/get", json!({ "id": "later" }), |data| data.to_string().contains("scheduled"));
    let (scheduled, now) = tokio::join!(scheduled, publisher.answer_to("now"));
    assert!(now["msgId"].is_string(), "{now} {scheduled}");
    for id in ["ttl", "until", "expiry", "past"] {
        let answer = publisher.answer_to(id).await;
        assert_eq!(answer["error"]["code"], "EXPIRED", "{answer}");
        assert_eq!(scene.arrivals(id), 0);
    }
    assert!(publisher.answer_to("later").await["msgId"].is_string());
    let at = scene.sender.with_ledger(|ledger| ledger.accounts["2"].history.clone());
    assert_eq!(at.iter().map(|arrived| &*arrived.message).collect::<Vec<_>>(), ["now", "later"]);
    // Shown in whole milliseconds, so the moment itself may be cut off by one.
    assert!(at[1].at + Duration::from_millis(1) >= not_before);
    let health = scene.health().await;
    assert_eq!((&health["states"]["expired"], &health["rejected"]), (&json!(3), &json!(1)));
}
