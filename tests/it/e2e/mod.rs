//! The whole bridge: the real program, a real Mosquitto, a real HTTP server. What the server saw is the oracle.

mod answers;
mod authority;
mod broker;
mod callbacks;
mod calls;
mod commands;
mod configured;
mod crash;
mod crash_points;
mod disk;
mod door;
mod input;
mod limits;
mod lines;
mod links;
mod load;
mod messages;
mod metrics;
mod notes;
mod operator;
mod panics;
mod retained;
mod secure;
mod sender;
mod space;
mod supervised;
mod sys;
mod unwilling;
mod vendors;
mod watch;

use crate::bridge::{Bridge, Config, DEADLINE};
use crate::canary;
use crate::mosquitto::{Mosquitto, free_port};
use crate::publisher::{Publisher, TOPICS};
use sendbridge::cli::pretend::{Limits, MessageKey, Pretend, PretendAccount, Settings};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A server that holds nobody to a limit.
const LOOSE: Limits =
    Limits { account_interval: Duration::ZERO, corp_limit: u64::MAX, corp_window: Duration::from_secs(3600) };

/// A server's settings with these accounts online, all of the company `corp`.
fn server(accounts: &[&str]) -> Settings {
    Settings {
        api_key: canary::API_KEY.to_owned(),
        message_key: MessageKey::Field(Box::from(MARK)),
        accounts: accounts.iter().map(|account| PretendAccount::online(account, "corp")).collect(),
        limits: LOOSE,
        ..Settings::default()
    }
}

/// Everything that one test runs. The order is that of the end: the bridge goes first.
struct Scene {
    bridge: Bridge,
    publisher: Publisher,
    /// Hears everything that the bridge says of itself, which must be as its schemas say.
    _observer: Option<Publisher>,
    sender: Pretend,
    broker: Mosquitto,
}

impl Scene {
    /// All of it, ready.
    async fn start(server: Settings, configure: impl FnOnce(Config) -> Config) -> Self {
        let broker = Mosquitto::start(&["max_inflight_messages 1000"]);
        let sender = start_server(server).await;
        let publisher = Publisher::connect(broker.port(), TOPICS).await;
        let observer = Publisher::connect(broker.port(), &["sendbridge/#"]).await;
        let bridge = Bridge::start_ready(&configure(Config::new(&broker, &sender))).await;
        Self { bridge, publisher, _observer: Some(observer), sender, broker }
    }

    /// The reply to `health`, which must balance.
    async fn health(&self) -> Value {
        let health = self.publisher.ask("health", json!({})).await;
        assert_eq!(health["balanced"], true, "{health}");
        health
    }

    fn effects(&self, message: &str) -> u32 {
        self.sender.with_ledger(|ledger| ledger.messages.get(message).map_or(0, |entry| entry.effects))
    }

    fn arrivals(&self, message: &str) -> u32 {
        self.sender.with_ledger(|ledger| ledger.messages.get(message).map_or(0, |entry| entry.arrivals))
    }

    /// A good message goes through: whatever came before did no harm.
    async fn still_sends(&self, account: &str, id: &str) {
        self.publisher.send(text(account, id, id)).await;
        let answer = self.publisher.answer_to(id).await;
        assert!(answer["msgId"].is_string(), "{answer}");
        assert_eq!(self.effects(id), 1);
    }
}

/// A server on a port that nobody else takes while it is down.
async fn start_server(settings: Settings) -> Pretend {
    loop {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        if let Ok(sender) = Pretend::start(Settings { listen, ..settings.clone() }).await {
            return sender;
        }
    }
}

/// The field by which the server tells messages apart, because what they say is nobody's business.
const MARK: &str = "mark";

/// What a message with this mark says.
fn words(mark: &str) -> String {
    format!("{mark} {}", canary::TEXT)
}

/// A text message.
fn text(account: &str, id: &str, mark: &str) -> String {
    let content = words(mark);
    json!({ "wxId": account, "conversationId": canary::RECIPIENT, "content": content, MARK: mark, "type": "text", "id": id })
        .to_string()
}

/// A text message with wishes to the bridge.
fn text_with(account: &str, id: &str, mark: &str, bridge: &Value) -> String {
    let mut message: Value = serde_json::from_str(&text(account, id, mark)).expect("JSON");
    message["bridge"] = bridge.clone();
    message.to_string()
}

/// Waits for something that can only be looked at.
async fn eventually(what: &str, is_there: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let looking = async {
        while !is_there() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}
