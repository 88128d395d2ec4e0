//! Publishers that trust each other with nothing, under the access list that is shipped: what one may not say or hear
//! itself, the bridge does not say or hear for it.

use super::{Scene, server, start_server, text};
use crate::bridge::{Bridge, Config};
use crate::canary;
use crate::mosquitto::Mosquitto;
use crate::publisher::{Message, Publisher};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const EVERYTHING: &[&str] = &["#"];
const USERS: &[&str] = &["operator", "legacy", "shop", "other"];

fn password_of(user: &str) -> String {
    format!("password of {user}")
}

/// A broker with the shipped access list, these users, and the bridge's own.
fn broker() -> Mosquitto {
    let folder = tempfile::tempdir().expect("a folder");
    let passwords = folder.path().join("passwd");
    std::fs::write(&passwords, "").expect("a file");
    let others = USERS.iter().map(|user| (*user, password_of(user)));
    for (user, password) in others.chain([("sendbridge", canary::PASSWORD.to_owned())]) {
        let made = Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args([user, &password]).status();
        assert!(made.expect("mosquitto_passwd runs").success());
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/mosquitto/acl");
    std::fs::copy(shipped, folder.path().join("acl")).expect("a copy");
    let file = |option: &str, name: &str| format!("{option} {}", folder.path().join(name).display());
    let lines = ["allow_anonymous false".to_owned(), file("password_file", "passwd"), file("acl_file", "acl")];
    Mosquitto::start_in(folder, &lines.each_ref().map(String::as_str))
}

/// The publisher `shop`, the bridge, and another publisher who listens to everything that is let through to it.
struct Town {
    scene: Scene,
    other: Publisher,
    _password: TempDir,
}

impl Town {
    async fn start(configure: impl FnOnce(Config) -> Config) -> Self {
        let broker = broker();
        let sender = start_server(server(&["1"])).await;
        let own = tempfile::tempdir().expect("a folder");
        let password = own.path().join("password");
        canary::feed(canary::PASSWORD.as_bytes());
        std::fs::write(&password, canary::PASSWORD).expect("a file");
        let config = Config::new(&broker, &sender)
            .with("mqtt.client_id", r#""sendbridge-1b0c4a6f93d24f7e""#)
            .with("mqtt.username", r#""sendbridge""#)
            .with("mqtt.password_file", &format!("{:?}", password.display().to_string()));
        let bridge = Bridge::start_ready(&configure(config)).await;
        let publisher = Publisher::connect_as(broker.port(), "shop", &password_of("shop"), EVERYTHING).await;
        let other = Publisher::connect_as(broker.port(), "other", &password_of("other"), EVERYTHING).await;
        let scene = Scene { bridge, publisher, _observer: None, sender, broker };
        Self { scene, other, _password: own }
    }

    fn shop(&self) -> &Publisher {
        &self.scene.publisher
    }

    /// Somebody else who listens to everything that is let through.
    async fn joined_by(&self, user: &str) -> Publisher {
        Publisher::connect_as(self.scene.broker.port(), user, &password_of(user), EVERYTHING).await
    }

    /// Sends as a publisher does that has a topic of its own, and waits for the answer there.
    async fn sends(publisher: &Publisher, user: &str, id: &str) {
        publisher.publish(Message::new(&format!("SendMessage/{user}"), text("1", id, &format!("{user} {id}")))).await;
        publisher.answer_to(id).await;
    }
}

/// The topics on which something came.
fn heard(publisher: &Publisher) -> BTreeSet<String> {
    publisher.seen().all.into_iter().map(|heard| heard.topic).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_publisher_hears_its_own_answers_alone_and_speaks_for_itself_alone() {
    let town = Town::start(|config| config).await;
    // The same id and account: they are not the same message.
    Town::sends(town.shop(), "shop", "1").await;
    Town::sends(&town.other, "other", "1").await;
    assert_eq!((town.scene.effects("shop 1"), town.scene.effects("other 1")), (1, 1));
    // In the other's name, past the bridge, and as an operator.
    for topic in ["SendMessage/other", "SendMessage", "SendMessageResp/other"] {
        town.shop().publish(Message::new(topic, text("1", "forged", "forged"))).await;
    }
    let order = json!({ "account": "none", "reason": "forged" }).to_string();
    town.shop().publish(Message::new("sendbridge/request/pause", order)).await;
    Town::sends(town.shop(), "shop", "last").await;
    Town::sends(&town.other, "other", "last").await;
    assert_eq!(town.scene.arrivals("forged"), 0);
    assert_eq!(heard(town.shop()), BTreeSet::from(["SendMessageResp/shop".to_owned()]));
    assert_eq!(heard(&town.other), BTreeSet::from(["SendMessageResp/other".to_owned()]));
    assert!(!town.other.seen().all.iter().any(|heard| heard.text().contains("forged")));
    let operator = town.joined_by("operator").await;
    assert_eq!(operator.ask("hold/list", json!({})).await["holds"], json!([]));
    // The same order is taken from who may give it.
    operator.ask("pause", json!({ "account": "none", "reason": "in earnest" })).await;
    assert_eq!(operator.ask("hold/list", json!({})).await["holds"][0]["reason"], "in earnest");
}

/// A broker gives a session to whoever names it, and with it what waits there. So its name must not be known.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_a_session_whose_name_nobody_knows() {
    let mut town = Town::start(|config| config).await;
    assert!(town.scene.bridge.terminate().success());
    town.other.publish(Message::new("SendMessage/other", text("1", "waits", "waits"))).await;
    town.other.wait("the broker has it", |seen| seen.acknowledged > 0).await;
    let port = town.scene.broker.port().to_string();
    for name in ["sendbridge-in", "sendbridge-commands", "sendbridge-out"] {
        let guessed = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-q", "1", "-c", "-x", "600", "-i", name])
            .args(["-u", "shop", "-P", &password_of("shop"), "-t", "reply/shop/1", "-E"])
            .status();
        assert!(guessed.expect("mosquitto_sub runs").success(), "{name}");
    }
    town.scene.bridge.start_again().await;
    assert!(town.other.answer_to("waits").await["msgId"].is_string());
    assert_eq!(town.scene.effects("waits"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_topic_makes_the_bridge_say_nothing_that_its_publisher_may_not() {
    let town = Town::start(|config| config).await;
    // Together with the other they hear every topic but those that the bridge reads.
    let (operator, legacy) = (town.joined_by("operator").await, town.joined_by("legacy").await);
    let asking = |topic: &str, id: &str| Message {
        response_topic: Some(topic.to_owned()),
        ..Message::new("SendMessage/shop", text("1", id, id))
    };
    let others = [
        "SendMessageResp/other",
        "SendMessageResp/other/1",
        "SendMessageResp",
        "reply/other/1",
        "reply/other",
        "SendMessage/other",
        "sendbridge/request/pause",
        "sendbridge/state",
        "sendbridge/response/health",
        "$SYS/broker/version",
    ];
    for (number, topic) in others.iter().enumerate() {
        town.shop().publish(asking(topic, &format!("m{number}"))).await;
    }
    for number in 0..others.len() {
        let answer = town.shop().answer_to(&format!("m{number}")).await;
        assert!(answer["msgId"].is_string(), "{answer}");
    }
    // Its own way back works.
    town.shop().publish(asking("reply/shop/1", "own")).await;
    town.shop().find("its own", |heard| (heard.topic == "reply/shop/1").then_some(())).await;
    Town::sends(&town.other, "other", "last").await;
    assert_eq!(heard(&town.other), BTreeSet::from(["SendMessageResp/other".to_owned()]));
    assert_eq!(town.other.seen().all.len(), 1, "{:?}", town.other.seen().all);
    // What was said to them before has come when these have.
    legacy.publish(Message::send(text("1", "fence", "fence"))).await;
    legacy.answer_to("fence").await;
    operator.ask("hold/list", json!({})).await;
    for listener in [&operator, &legacy] {
        for heard in listener.seen().all {
            let is_astray = others.contains(&heard.topic.as_str()) && heard.text().contains(r#""id":"m"#);
            assert!(!is_astray, "{} on {}", heard.text(), heard.topic);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_the_bare_topic_can_be_kept_from_speaking_to_others() {
    let strict = r#"["SendMessageResp/{publisher}/#", "reply/{publisher}/#"]"#;
    let town = Town::start(|config| config.with("topics.reply_topics", strict)).await;
    let legacy = town.joined_by("legacy").await;
    for (id, topic) in [("a", "reply/other/1"), ("b", "SendMessageResp/other"), ("c", "reply/legacy/1")] {
        let asked = Message { response_topic: Some(topic.to_owned()), ..Message::send(text("1", id, id)) };
        legacy.publish(asked).await;
        assert!(legacy.answer_to(id).await["msgId"].is_string());
    }
    // Who has a name is answered below it.
    let asked = Message::new("SendMessage/shop", text("1", "own", "own"));
    town.shop().publish(Message { response_topic: Some("reply/shop/1".to_owned()), ..asked }).await;
    town.shop().find("its own", |heard| (heard.topic == "reply/shop/1").then_some(())).await;
    Town::sends(&town.other, "other", "last").await;
    assert_eq!(heard(&town.other), BTreeSet::from(["SendMessageResp/other".to_owned()]));
    assert!(!heard(&legacy).contains("reply/legacy/1"));
}
