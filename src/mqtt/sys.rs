//! What the broker says of itself: on its `$SYS` topics, and in CONNACK.
//!
//! All of it is only ever told on. A broker without these topics, one that does not let us read them, and one that
//! closes the connection of whoever asks, all of them serve as well as before.
//!
//! What cannot be seen: how long the queue of one session is, our own included, and every limit of the broker, be it
//! for queues, for clients or for memory. Mosquitto tells how many messages it holds for all clients together, how many
//! of them are retained, how many it has thrown away, how many clients there are, and how much memory it uses.

use super::Settings;
use crate::model::BrokerFact;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, Filter, Publish};

const VERSION: &str = "$SYS/broker/version";
const DROPPED: &str = "$SYS/broker/publish/messages/dropped";
const STORED: &str = "$SYS/broker/store/messages/count";
const RETAINED: &str = "$SYS/broker/retained messages/count";
const CLIENTS: &str = "$SYS/broker/clients/connected";
const HEAP: &str = "$SYS/broker/heap/current";
const ALL: [&str; 6] = [VERSION, DROPPED, STORED, RETAINED, CLIENTS, HEAP];
/// Longer ones are cut.
const VERSION_CHARS_MAX: usize = 64;
/// Connections that ended behind our question, after which it is not put any more.
const PATIENCE: u8 = 2;
/// Answers to questions about many messages, and lists of holds, can be that large.
const PACKET_BYTES_LEAST: u32 = 64 * 1024;

/// Asks at each connection, unless that ends connections.
#[derive(Debug)]
pub(super) struct SysWatch {
    is_wanted: bool,
    /// Asked on this connection, and nothing was heard since.
    is_open: bool,
    unsurvived: u8,
    /// The broker has acknowledged nothing on this connection yet.
    is_unproven: bool,
}

impl SysWatch {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { is_wanted: settings.watch_broker, is_open: false, unsurvived: 0, is_unproven: false }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// To be called before anything is published over a new connection: SUBSCRIBE takes a packet id, and one in the
    /// middle of a full window would be that of a publish under way.
    pub(super) fn ask(&mut self, client: &AsyncClient) {
        self.is_unproven = true;
        if !self.is_wanted || self.unsurvived >= PATIENCE {
            return;
        }
        // One by one, because a broker may refuse each for itself. At QoS 0 nothing has to be acknowledged.
        let filters = ALL.map(|topic| Filter::new(topic, QoS::AtMostOnce));
        self.is_open = client.try_subscribe_many(filters).is_ok();
    }

    /// The broker acknowledged something that was sent behind the question, if it was put.
    pub(super) fn survived(&mut self) {
        self.is_unproven = false;
        if std::mem::take(&mut self.is_open) {
            self.unsurvived = 0;
        }
    }

    pub(super) fn lost(&mut self) {
        let was_unproven = std::mem::take(&mut self.is_unproven);
        if std::mem::take(&mut self.is_open) {
            self.unsurvived = self.unsurvived.saturating_add(1);
        } else if was_unproven {
            // Without the question connections end as well: it was not the question.
            self.unsurvived = 0;
        }
    }
}

/// What a delivery says of the broker, if it is one of these. Any payload may come.
pub(super) fn fact_of(publish: &Publish) -> Option<BrokerFact> {
    let topic = std::str::from_utf8(&publish.topic).ok()?;
    match topic {
        VERSION => {
            let version = String::from_utf8_lossy(&publish.payload);
            let shown = version.chars().filter(|c| !c.is_control()).take(VERSION_CHARS_MAX).collect::<String>();
            (!shown.trim().is_empty()).then(|| BrokerFact::Version(shown.trim().into()))
        }
        DROPPED => number(&publish.payload).map(BrokerFact::Dropped),
        STORED => number(&publish.payload).map(BrokerFact::Stored),
        RETAINED => number(&publish.payload).map(BrokerFact::Retained),
        CLIENTS => number(&publish.payload).map(BrokerFact::Clients),
        HEAP => number(&publish.payload).map(BrokerFact::HeapBytes),
        _ => None,
    }
}

fn number(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

/// What the broker does not grant, of all that the bridge relies on. What it does not mention it grants.
///
/// A broker without QoS 1, or without retained messages, must refuse the connection because of its will, and is told of
/// as that.
pub(super) fn shortcomings(properties: Option<&ConnAckProperties>) -> Vec<Box<str>> {
    let Some(properties) = properties else { return Vec::new() };
    let mut found: Vec<Box<str>> = Vec::new();
    if properties.wildcard_subscription_available == Some(0) {
        found.push("it takes no subscriptions with wildcards: name each publisher's topic in topics.send".into());
    }
    if let Some(most) = properties.max_packet_size.filter(|most| *most < PACKET_BYTES_LEAST) {
        found.push(format!("it takes packets of {most} bytes at most: set max_packet_size to 65536 or more").into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(topic: &str, payload: &[u8]) -> Option<BrokerFact> {
        let (topic, payload) = (topic.to_owned().into(), payload.to_vec().into());
        fact_of(&Publish { topic, payload, ..Publish::default() })
    }

    #[test]
    fn numbers_and_versions_are_read() {
        assert_eq!(said(DROPPED, b"20"), Some(BrokerFact::Dropped(20)));
        assert_eq!(said(STORED, b" 18446744073709551615\n"), Some(BrokerFact::Stored(u64::MAX)));
        assert_eq!(said(STORED, b"18446744073709551616"), None);
        assert_eq!(said(RETAINED, b"41"), Some(BrokerFact::Retained(41)));
        assert_eq!(said(CLIENTS, b"3"), Some(BrokerFact::Clients(3)));
        assert_eq!(said(HEAP, b"33336"), Some(BrokerFact::HeapBytes(33_336)));
        assert_eq!(said(DROPPED, b"-1"), None);
        assert_eq!(said(DROPPED, b""), None);
        assert_eq!(
            said(VERSION, b"mosquitto version 2.0.11"),
            Some(BrokerFact::Version("mosquitto version 2.0.11".into()))
        );
        assert_eq!(said(VERSION, b"a\x1b[31m\n\xff"), Some(BrokerFact::Version("a[31m\u{fffd}".into())));
        assert_eq!(said(VERSION, b"\n"), None);
        assert_eq!(said("$SYS/broker/uptime", b"1"), None);
    }

    #[test]
    fn a_question_that_ends_connections_is_put_no_more_until_they_end_without_it() {
        let url = super::super::BrokerUrl::parse("mqtt://h").expect("a URL");
        let settings = Settings { watch_broker: true, ..Settings::new(url, "client") };
        let (client, _events) = AsyncClient::new(rumqttc::v5::MqttOptions::new("client", "h", 1), 100);
        let mut watch = SysWatch::new(&settings);
        let mut asks = |is_survived: bool| {
            watch.ask(&client);
            let was_asked = watch.is_open;
            if is_survived {
                watch.survived();
            }
            watch.lost();
            was_asked
        };
        assert!(asks(false) && asks(true), "once is no proof");
        assert!(asks(false) && asks(false));
        assert!(!asks(true) && !asks(true), "it works without");
        assert!(!asks(false), "it does not");
        assert!(asks(true));
    }

    #[test]
    fn what_a_broker_does_not_mention_it_grants() {
        assert!(shortcomings(None).is_empty());
        let all =
            ConnAckProperties { wildcard_subscription_available: Some(0), max_packet_size: Some(1000), ..properties() };
        assert_eq!(shortcomings(Some(&all)).len(), 2);
        assert!(shortcomings(Some(&properties())).is_empty());
    }

    fn properties() -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_interval: None,
            receive_max: Some(20),
            max_qos: None,
            retain_available: Some(1),
            max_packet_size: Some(1 << 20),
            assigned_client_identifier: None,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            which in 0..ALL.len(),
        ) {
            if let Some(BrokerFact::Version(version)) = said(ALL[which], &payload) {
                prop_assert!(version.chars().count() <= VERSION_CHARS_MAX);
                prop_assert!(!version.chars().any(char::is_control));
            }
        }
    }
}
