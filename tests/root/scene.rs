//! What a test runs: the real program, a real Mosquitto, the pretend sender, a publisher that hears everything.

use crate::bridge::{Bridge, Config, DEADLINE, Launcher};
use crate::mosquitto::Mosquitto;
use crate::publisher::Publisher;
use sendbridge::cli::pretend::{Limits, Pretend, PretendAccount, Settings};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// A server that holds nobody to a limit.
pub const LOOSE: Limits =
    Limits { account_interval: Duration::ZERO, corp_limit: u64::MAX, corp_window: Duration::from_secs(3600) };

/// The answers, what becomes of each message, the bridge's own state, alarms, and replies.
pub const TOPICS: &[&str] =
    &["SendMessageResp/#", "sendbridge/event/send/+", "sendbridge/state", "sendbridge/alarm", "sendbridge/response/#"];

const QUEUED_TOPIC: &str = "sendbridge/event/send/queued";

/// A server's settings with so many accounts online, all of the company `corp`.
pub fn server(accounts: usize) -> Settings {
    Settings {
        api_key: "key".to_owned(),
        accounts: (0..accounts).map(|number| PretendAccount::online(&account(number), "corp")).collect(),
        limits: LOOSE,
        ..Settings::default()
    }
}

pub fn account(number: usize) -> String {
    format!("account-{number}")
}

/// A text message whose content is its id.
pub fn text(account: &str, id: &str) -> String {
    json!({ "wxId": account, "conversationId": "S:1_2", "content": id, "type": "text", "id": id }).to_string()
}

/// The same with wishes to the bridge.
pub fn text_with(account: &str, id: &str, bridge: &Value) -> String {
    let mut message: Value = serde_json::from_str(&text(account, id)).expect("JSON");
    message["bridge"] = bridge.clone();
    message.to_string()
}

/// Everything that one test runs. The order is that of the end: the bridge goes first.
pub struct Scene {
    pub bridge: Bridge,
    pub publisher: Publisher,
    pub sender: Pretend,
    pub broker: Mosquitto,
    /// The ids that were published.
    pub published: BTreeSet<String>,
    accounts: usize,
}

impl Scene {
    /// All of it but the bridge, which is prepared and not started.
    pub async fn prepare(
        server: Settings,
        broker: Mosquitto,
        launcher: Launcher,
        configure: impl FnOnce(Config) -> Config,
    ) -> Self {
        let accounts = server.accounts.len();
        let sender = Pretend::start(server).await.expect("a port");
        let publisher = Publisher::connect(broker.port(), TOPICS).await;
        let config = Config::new(&broker, &sender).with("log.level", r#""info""#);
        let bridge = Bridge::prepare(&configure(config), launcher);
        Self { bridge, publisher, sender, broker, published: BTreeSet::new(), accounts }
    }

    /// All of it, ready.
    pub async fn start(server: Settings, launcher: Launcher, configure: impl FnOnce(Config) -> Config) -> Self {
        let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
        let mut scene = Self::prepare(server, broker, launcher, configure).await;
        scene.bridge.start_again().await;
        scene.bridge.ready().await;
        scene
    }

    /// Publishes a message under a new id, to one account after the other.
    pub async fn send_next(&mut self) -> String {
        let number = self.published.len();
        let id = format!("m{number}");
        self.send(text(&account(number % self.accounts), &id), &id).await;
        id
    }

    /// Publishes, one message every `pace`, until the publisher has heard enough.
    pub async fn send_until(&mut self, pace: Duration, is_enough: impl Fn(&Publisher) -> bool) {
        let mut pace = tokio::time::interval(pace);
        let publishing = async {
            while !is_enough(&self.publisher) {
                pace.tick().await;
                self.send_next().await;
            }
        };
        tokio::time::timeout(DEADLINE, publishing).await.expect("the bridge takes messages in time");
    }

    pub async fn send(&mut self, payload: String, id: &str) {
        self.published.insert(id.to_owned());
        self.publisher.send(payload).await;
    }

    /// Until everything that was published has an answer, and the broker has each of them.
    pub async fn all_answered(&self) {
        let count = self.published.len();
        self.publisher.wait("all answers", |seen| seen.answers.len() >= count).await;
        self.publisher.ask_until("health", json!({}), |health| health["answersOpen"] == 0).await;
    }

    /// The ids of which the publisher has heard that they are kept: an answer, or the event that says so.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        let seen = self.publisher.seen();
        let answered = seen.answers.keys().map(|id| serde_json::from_str(id).expect("a string"));
        let queued = seen.on(QUEUED_TOPIC).map(|heard| heard.json()["id"].as_str().expect("an id").to_owned());
        answered.chain(queued).collect()
    }

    pub fn arrivals(&self, id: &str) -> u32 {
        self.sender.with_ledger(|ledger| ledger.messages.get(id).map_or(0, |entry| entry.arrivals))
    }

    pub fn answer_of(&self, id: &str) -> Option<Value> {
        self.publisher.seen().answers.get(&json!(id).to_string()).map(|answers| answers[0].json())
    }

    /// Waits until so many requests have reached the server.
    pub async fn arrived(&self, count: u64) {
        eventually("requests at the server", || self.sender.with_ledger(|ledger| ledger.arrivals) >= count).await;
    }
}

/// Waits for something that can only be looked at.
pub async fn eventually(what: &str, is_there: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let looking = async {
        while !is_there() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}
