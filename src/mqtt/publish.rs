use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{self, LastWill, LastWillProperties, PublishProperties};
use std::time::Duration;

/// The longest string or binary field that a packet can carry.
const FIELD_BYTES_MAX: usize = u16::MAX as usize;
/// More levels make Mosquitto close the connection.
const TOPIC_SLASHES_MAX: usize = 200;

pub(super) fn has_too_many_levels(topic: &str) -> bool {
    topic.bytes().filter(|&byte| byte == b'/').count() > TOPIC_SLASHES_MAX
}

/// Headers, lengths and numbers around the variable parts of a packet with every property that we use.
const FRAME_BYTES_MAX: usize = 32;

/// How hard the broker tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

/// Something to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    /// What the requester wants to hear back, byte for byte.
    pub correlation: Option<Bytes>,
    pub content_type: Option<String>,
    /// Marks the payload as UTF-8.
    pub utf8: bool,
    /// The broker drops it when it is not delivered by then. Rounded up to seconds.
    pub expiry: Option<Duration>,
}

impl Publish {
    /// At QoS 1, not retained, without properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            correlation: None,
            content_type: None,
            utf8: false,
            expiry: None,
        }
    }

    /// Whether the broker takes the topic. Mosquitto closes the connection on some that MQTT only discourages.
    pub(super) fn has_valid_topic(&self) -> bool {
        let topic = &self.topic;
        !topic.is_empty()
            && topic.len() <= FIELD_BYTES_MAX
            && !topic.chars().any(|c| matches!(c, '+' | '#') || c.is_control() || is_noncharacter(c))
            && !has_too_many_levels(topic)
    }

    /// Whether each property fits its length field, which rumqttc does not check.
    pub(super) fn has_valid_properties(&self) -> bool {
        let content_type = self.content_type.as_deref().unwrap_or_default();
        self.correlation.as_ref().is_none_or(|correlation| correlation.len() <= FIELD_BYTES_MAX)
            && content_type.len() <= FIELD_BYTES_MAX
            && !content_type.chars().any(|c| c.is_control() || is_noncharacter(c))
    }

    /// No less than [`Self::packet_bytes`], and cheaper.
    pub(super) fn packet_bytes_at_most(&self) -> usize {
        let correlation = self.correlation.as_ref().map_or(0, Bytes::len);
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        FRAME_BYTES_MAX + self.topic.len() + self.payload.len() + correlation + content_type
    }

    /// The size of the packet on the wire, in bytes, with a packet id if it gets one.
    pub(super) fn packet_bytes(&self) -> usize {
        let packet = v5::Publish {
            // Any but zero: it is counted then.
            pkid: 1,
            ..v5::Publish::new(self.topic.as_str(), to_qos(self.qos), self.payload.clone(), Some(to_properties(self)))
        };
        packet.size()
    }
}

const fn is_noncharacter(c: char) -> bool {
    let code = c as u32;
    matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}

pub(super) const fn to_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

pub(super) fn to_properties(publish: &Publish) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: publish.utf8.then_some(1),
        message_expiry_interval: publish.expiry.map(to_seconds),
        correlation_data: publish.correlation.clone(),
        content_type: publish.content_type.clone(),
        ..PublishProperties::default()
    }
}

pub(super) fn to_will(publish: &Publish) -> LastWill {
    LastWill {
        topic: Bytes::copy_from_slice(publish.topic.as_bytes()),
        message: publish.payload.clone(),
        qos: to_qos(publish.qos),
        retain: publish.retain,
        properties: Some(LastWillProperties {
            delay_interval: None,
            payload_format_indicator: publish.utf8.then_some(1),
            message_expiry_interval: publish.expiry.map(to_seconds),
            content_type: publish.content_type.clone(),
            response_topic: None,
            correlation_data: publish.correlation.clone(),
            user_properties: Vec::new(),
        }),
    }
}

fn to_seconds(span: Duration) -> u32 {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_topics_that_close_the_connection() {
        for topic in ["a", "/", "SendMessageResp/a b", "回/复", "$x", &"/".repeat(200)] {
            assert!(Publish::new(topic, "").has_valid_topic(), "{topic:?}");
        }
        let long = "x".repeat(65_536);
        for topic in ["", "a/+", "#", "a\0", "a\nb", "a\u{85}", "\u{FFFE}", "\u{1FFFF}", &long, &"/".repeat(201)] {
            assert!(!Publish::new(topic, "").has_valid_topic(), "{topic:?}");
        }
    }

    #[test]
    fn counts_every_byte_of_the_packet() {
        let mut publish = Publish::new("topic", "payload");
        // Fixed header 2, topic 2 + 5, packet id 2, length of the properties 1, payload 7.
        assert_eq!(publish.packet_bytes(), 19);
        assert!(publish.packet_bytes_at_most() >= 19);
        publish.expiry = Some(Duration::from_millis(1500));
        publish.utf8 = true;
        publish.content_type = Some("text/plain".into());
        publish.correlation = Some(Bytes::from_static(b"12"));
        assert_eq!(publish.packet_bytes(), 19 + 5 + 2 + 13 + 5);
        publish.payload = Bytes::from(vec![b'x'; 3_000_000]);
        publish.correlation = Some(Bytes::from(vec![b'x'; FIELD_BYTES_MAX]));
        publish.content_type = Some("x".repeat(FIELD_BYTES_MAX));
        assert!((0..=FRAME_BYTES_MAX).contains(&(publish.packet_bytes_at_most() - publish.packet_bytes())));
        publish.content_type = Some("text/plain".into());
        publish.correlation = Some(Bytes::from_static(b"12"));
        assert_eq!(to_properties(&publish).message_expiry_interval, Some(2));
    }
}
