//! A publisher, as services are: MQTT 3.1.1 or 5, publishes with a window, remembers what it hears.
//!
//! What it hears from the bridge is held to its schema: a payload that is not as its schema says fails the test.

use crate::bridge::DEADLINE;
use crate::canary::{self, Way};
use crate::mosquitto;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as packets;
use rumqttc::{mqttbytes, v5};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Publishes that are under way at once.
const WINDOW: u16 = 200;
const PACKET_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Before an order without a reply is repeated, and how often.
const COMMAND_WAIT: Duration = Duration::from_secs(3);
const COMMAND_REPEATS: u32 = 20;

/// Something to publish.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    /// QoS 0, or else, if not QoS 2, QoS 1.
    pub weak: bool,
    pub exactly_once: bool,
    pub retain: bool,
    pub response_topic: Option<String>,
    pub correlation: Option<Bytes>,
    pub expiry_s: Option<u32>,
}

impl Message {
    pub fn new(topic: &str, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.to_owned(), payload: payload.into(), ..Self::default() }
    }

    /// On the topic `SendMessage`.
    pub fn send(payload: impl Into<Bytes>) -> Self {
        Self::new("SendMessage", payload)
    }
}

/// Something that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub topic: String,
    pub payload: Bytes,
    pub correlation: Option<Bytes>,
    pub retain: bool,
}

impl Heard {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("JSON")
    }
}

/// Everything heard so far.
#[derive(Clone, Default)]
pub struct Seen {
    /// How often the subscriptions were confirmed.
    pub subscribed: u64,
    pub all: Vec<Heard>,
    /// What came on the answer topics, by the JSON text of the id.
    pub answers: BTreeMap<String, Vec<Heard>>,
    /// Publishes that the broker has acknowledged, those with QoS 2 to the end.
    pub acknowledged: u64,
    /// The first payload that was not as its schema says.
    pub invalid: Option<String>,
}

impl Seen {
    fn hear(&mut self, heard: Heard) {
        if is_said_by_the_bridge(&heard.topic) {
            canary::keep(Way::Topic, &heard.topic, &heard.payload);
        }
        if let Err(wrong) = crate::schema::check(&heard.topic, &heard.payload) {
            self.invalid.get_or_insert(wrong);
        }
        if heard.topic.starts_with("SendMessageResp")
            && let Ok(answer) =
                serde_json::from_slice::<BTreeMap<String, Box<serde_json::value::RawValue>>>(&heard.payload)
            && let Some(id) = answer.get("id")
        {
            self.answers.entry(id.get().to_owned()).or_default().push(heard.clone());
        }
        self.all.push(heard);
    }

    pub fn on<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Heard> {
        self.all.iter().filter(move |heard| heard.topic == topic)
    }
}

/// Not what somebody else has published to it.
fn is_said_by_the_bridge(topic: &str) -> bool {
    let is_message = topic == "SendMessage" || topic.starts_with("SendMessage/");
    !is_message && !topic.contains("/request/")
}

enum Client {
    Three(rumqttc::AsyncClient),
    Five(v5::AsyncClient),
}

/// A connected client that reconnects, and subscribes again each time.
pub struct Publisher {
    client: Client,
    seen: watch::Receiver<Seen>,
    polling: JoinHandle<()>,
    transactions: AtomicU64,
}

/// What most tests listen to.
pub const TOPICS: &[&str] = &["SendMessageResp/#", "sendbridge/response/#"];

impl Publisher {
    /// An MQTT 5 client, once it is subscribed.
    pub async fn connect(port: u16, topics: &'static [&'static str]) -> Self {
        Self::connect_with(v5::MqttOptions::new(client_id(), "127.0.0.1", port), topics).await
    }

    /// The same under a name of its own.
    pub async fn connect_as(port: u16, user: &str, password: &str, topics: &'static [&'static str]) -> Self {
        let mut options = v5::MqttOptions::new(client_id(), "127.0.0.1", port);
        options.set_credentials(user, password);
        Self::connect_with(options, topics).await
    }

    async fn connect_with(mut options: v5::MqttOptions, topics: &'static [&'static str]) -> Self {
        options.set_clean_start(true);
        options.set_keep_alive(Duration::from_secs(20));
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        options.set_outgoing_inflight_upper_limit(WINDOW);
        let (client, events) = v5::AsyncClient::new(options, 1000);
        let (seen_set, seen) = watch::channel(Seen::default());
        let polling = tokio::spawn(poll_five(client.clone(), events, topics, seen_set));
        Self::subscribed(Client::Five(client), seen, polling).await
    }

    /// The same with MQTT 3.1.1.
    pub async fn connect_three(port: u16, topics: &'static [&'static str]) -> Self {
        let mut options = rumqttc::MqttOptions::new(client_id(), "127.0.0.1", port);
        options.set_clean_session(true);
        options.set_keep_alive(Duration::from_secs(20));
        options.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
        options.set_inflight(WINDOW);
        let (client, events) = rumqttc::AsyncClient::new(options, 1000);
        let (seen_set, seen) = watch::channel(Seen::default());
        let polling = tokio::spawn(poll_three(client.clone(), events, topics, seen_set));
        Self::subscribed(Client::Three(client), seen, polling).await
    }

    async fn subscribed(client: Client, seen: watch::Receiver<Seen>, polling: JoinHandle<()>) -> Self {
        let publisher = Self { client, seen, polling, transactions: AtomicU64::new(0) };
        publisher.wait("a subscription", |seen| seen.subscribed > 0).await;
        publisher
    }

    /// Hands a message to the client, which waits when the window is full.
    pub async fn publish(&self, message: Message) {
        canary::feed(&message.payload);
        canary::feed(message.response_topic.as_deref().unwrap_or_default().as_bytes());
        canary::feed(message.correlation.as_deref().unwrap_or_default());
        let Message { topic, payload, weak, exactly_once, retain, response_topic, correlation, expiry_s } = message;
        match &self.client {
            Client::Three(client) => {
                assert!(response_topic.is_none() && correlation.is_none() && expiry_s.is_none(), "MQTT 3.1.1 has none");
                let qos = match (weak, exactly_once) {
                    (true, _) => rumqttc::QoS::AtMostOnce,
                    (false, true) => rumqttc::QoS::ExactlyOnce,
                    (false, false) => rumqttc::QoS::AtLeastOnce,
                };
                client.publish(topic, qos, retain, payload).await.expect("it polls");
            }
            Client::Five(client) => {
                let qos = match (weak, exactly_once) {
                    (true, _) => v5::mqttbytes::QoS::AtMostOnce,
                    (false, true) => v5::mqttbytes::QoS::ExactlyOnce,
                    (false, false) => v5::mqttbytes::QoS::AtLeastOnce,
                };
                let properties = packets::PublishProperties {
                    response_topic,
                    correlation_data: correlation,
                    message_expiry_interval: expiry_s,
                    ..packets::PublishProperties::default()
                };
                client.publish_with_properties(topic, qos, retain, payload, properties).await.expect("it polls");
            }
        }
    }

    /// Publishes to `SendMessage`.
    pub async fn send(&self, payload: impl Into<Bytes>) {
        self.publish(Message::send(payload)).await;
    }

    /// Reads from what was heard so far. `read` must not ask this publisher again: it holds the lock.
    pub fn look<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.borrow())
    }

    /// How much was heard so far, on all topics together.
    #[allow(dead_code, reason = "for the tests that need root")]
    pub fn heard(&self) -> usize {
        self.seen.borrow().all.len()
    }

    /// How many messages have an answer so far.
    #[allow(dead_code, reason = "for the tests that need root")]
    pub fn answers(&self) -> usize {
        self.seen.borrow().answers.len()
    }

    /// A copy, so that nobody holds the lock.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Returns once `is_there` holds of what was heard. As long as more messages are answered a slow machine has time.
    pub async fn wait(&self, what: &str, mut is_there: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let mut is_there = |seen: &Seen| seen.invalid.is_some() || is_there(seen);
        let answers = || self.look(|seen| seen.answers.len());
        let was_heard = loop {
            let before = answers();
            // What it returns is a lock: whoever reads again under it waits for the writer that waits for it.
            let was_heard = tokio::time::timeout(DEADLINE, seen.wait_for(&mut is_there)).await.is_ok();
            if was_heard || answers() == before {
                break was_heard;
            }
        };
        self.assert_valid();
        if !was_heard {
            let seen = self.seen();
            let last: Vec<&Heard> = seen.all.iter().rev().take(20).collect();
            panic!("{what}: not heard in time; {} answers, last heard: {last:#?}", seen.answers.len());
        }
    }

    /// Waits for something heard that `find` finds something in.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&Heard) -> Option<T>) -> T {
        self.wait(what, |seen| seen.all.iter().any(|heard| find(heard).is_some())).await;
        self.seen.borrow().all.iter().find_map(&find).expect("waited for")
    }

    /// The first answer to this id, as JSON; `id` is a JSON text.
    pub async fn answer(&self, id: &str) -> Value {
        self.nth_answer(id, 0).await
    }

    /// The same for a string.
    pub async fn answer_to(&self, id: &str) -> Value {
        self.answer(&json!(id).to_string()).await
    }

    pub async fn nth_answer(&self, id: &str, index: usize) -> Value {
        self.wait(id, |seen| seen.answers.get(id).is_some_and(|answers| answers.len() > index)).await;
        self.seen.borrow().answers[id][index].json()
    }

    /// Orders something, and returns the reply to exactly this order. Replies may get lost with a connection, so the
    /// order is repeated, as its transaction allows.
    pub async fn command(&self, name: &str, mut order: Value) -> Value {
        let number = self.transactions.fetch_add(1, Ordering::Relaxed);
        let transaction = json!(format!("{number} of {:p}", self));
        order["transaction"] = transaction.clone();
        let topic = format!("sendbridge/response/{name}");
        let reply_in = |seen: &Seen| {
            let replies = seen.all.iter().rev().filter(|heard| heard.topic == topic).map(Heard::json);
            replies.into_iter().find(|reply| reply["transaction"] == transaction)
        };
        let mut seen = self.seen.clone();
        for _ in 0..COMMAND_REPEATS {
            self.publish(Message::new(&format!("sendbridge/request/{name}"), order.to_string())).await;
            let waiting = seen.wait_for(|seen| reply_in(seen).is_some());
            if let Ok(seen) = tokio::time::timeout(COMMAND_WAIT, waiting).await {
                return reply_in(&seen.expect("it polls")).expect("waited for");
            }
        }
        panic!("{name} {order}: no reply")
    }

    /// The data of a reply that must be good.
    pub async fn ask(&self, name: &str, order: Value) -> Value {
        let mut reply = self.command(name, order).await;
        assert_eq!(reply["status"], "ok", "{name}: {reply}");
        reply["data"].take()
    }

    /// Asks again and again until the data is as wanted.
    pub async fn ask_until(&self, name: &str, order: Value, is_there: impl Fn(&Value) -> bool) -> Value {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let mut last = Value::Null;
        let asking = async {
            loop {
                looks.tick().await;
                // A command may overtake the message that it is about.
                last = self.command(name, order.clone()).await;
                if last["status"] == "ok" && is_there(&last["data"]) {
                    return;
                }
            }
        };
        if tokio::time::timeout(DEADLINE, asking).await.is_err() {
            panic!("{name} {order} never was as wanted: {last}");
        }
        last["data"].take()
    }
}

impl Publisher {
    fn assert_valid(&self) {
        let invalid = self.seen.borrow().invalid.clone();
        assert!(invalid.is_none(), "{}", invalid.unwrap_or_default());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.polling.abort();
        if !std::thread::panicking() {
            self.assert_valid();
        }
    }
}

fn client_id() -> String {
    format!("publisher-{}", sendbridge::clock::random_uuid())
}

/// Between a connection that failed and the next attempt.
struct Pause {
    /// Marked as seen before each attempt, so that no start in between is missed.
    started: watch::Receiver<u64>,
    was_connected: bool,
}

impl Pause {
    fn new() -> Self {
        Self { started: mosquitto::started(), was_connected: false }
    }

    fn connected(&mut self) {
        self.was_connected = true;
    }

    /// A connection that was lost may be there again at once. Where none came about a broker has to start first.
    async fn until_it_may_work(&mut self) {
        if !std::mem::take(&mut self.was_connected) {
            self.started.changed().await.expect("it is never dropped");
        }
        self.started.mark_unchanged();
    }
}

async fn poll_five(
    client: v5::AsyncClient,
    mut events: v5::EventLoop,
    topics: &'static [&'static str],
    seen: watch::Sender<Seen>,
) {
    use packets::Packet;
    let mut pause = Pause::new();
    loop {
        match events.poll().await {
            Ok(v5::Event::Incoming(Packet::ConnAck(_))) => {
                pause.connected();
                let filter = |topic: &&str| packets::Filter::new(*topic, v5::mqttbytes::QoS::AtLeastOnce);
                client.try_subscribe_many(topics.iter().map(filter)).expect("room");
            }
            Ok(v5::Event::Incoming(Packet::SubAck(_))) => seen.send_modify(|seen| seen.subscribed += 1),
            Ok(v5::Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => {
                seen.send_modify(|seen| seen.acknowledged += 1);
            }
            Ok(v5::Event::Incoming(Packet::Publish(publish))) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                let correlation = publish.properties.and_then(|properties| properties.correlation_data);
                let heard = Heard { topic, payload: publish.payload, correlation, retain: publish.retain };
                seen.send_modify(|seen| seen.hear(heard));
            }
            Ok(_) => {}
            Err(_) => pause.until_it_may_work().await,
        }
    }
}

async fn poll_three(
    client: rumqttc::AsyncClient,
    mut events: rumqttc::EventLoop,
    topics: &'static [&'static str],
    seen: watch::Sender<Seen>,
) {
    use mqttbytes::v4::Packet;
    let mut pause = Pause::new();
    loop {
        match events.poll().await {
            Ok(rumqttc::Event::Incoming(Packet::ConnAck(_))) => {
                pause.connected();
                let filter =
                    |topic: &&str| rumqttc::SubscribeFilter::new((*topic).to_owned(), rumqttc::QoS::AtLeastOnce);
                client.try_subscribe_many(topics.iter().map(filter)).expect("room");
            }
            Ok(rumqttc::Event::Incoming(Packet::SubAck(_))) => seen.send_modify(|seen| seen.subscribed += 1),
            Ok(rumqttc::Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => {
                seen.send_modify(|seen| seen.acknowledged += 1);
            }
            Ok(rumqttc::Event::Incoming(Packet::Publish(publish))) => {
                let heard =
                    Heard { topic: publish.topic, payload: publish.payload, correlation: None, retain: publish.retain };
                seen.send_modify(|seen| seen.hear(heard));
            }
            Ok(_) => {}
            Err(_) => pause.until_it_may_work().await,
        }
    }
}
