//! What comes in: from bytes to an [`Input`](crate::model::Input), or to a refusal that names the field, the rule and
//! what to do.
//!
//! Invariants: nothing that arrives is lost (every packet becomes exactly one input with its ticket), nothing that a
//! stranger can send makes this panic, and no refusal repeats what a message says.

pub mod mqtt;

pub mod http;

mod request;

pub mod callback;
pub mod command;

mod rules;
mod shown;

mod options;

mod rarely;

mod field;

mod object;

mod fingerprint;

pub mod schema;

#[cfg(test)]
mod tests;

pub use command::parse_command;
pub use request::parse_request;

use crate::model::{ReplyTo, Ticket};
use crate::mqtt::topics::Topics;
use crate::telemetry;
use bytes::Bytes;
use rarely::Rarely;
use std::sync::Arc;
use std::time::Duration;

/// What the parsers need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest payload of a message or a command, in bytes.
    pub max_message: usize,
    /// Message types beyond the built-in ones, in their canonical spelling. Only `wxId` and `conversationId` are
    /// required of them.
    pub extra_types: Vec<Arc<str>>,
    pub topics: Arc<Topics>,
}

/// What a packet says beside its topic and payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketMeta {
    pub qos: u8,
    pub retain: bool,
    pub response_topic: Option<String>,
    pub correlation: Option<Bytes>,
    /// The MQTT 5 message expiry, as far as it has not run down at the broker.
    pub expiry: Option<Duration>,
    /// `None` at QoS 0.
    pub ticket: Option<Ticket>,
    /// The broker delivered it before, and does not know whether it arrived.
    pub is_redelivered: bool,
}

/// The longest response topic, and the longest correlation data, in bytes. They are kept with the message and count in
/// no queue, so a small message must not carry a large one along.
const REPLY_BYTES_MAX: usize = 1024;

static REPLIES_REFUSED: Rarely = Rarely::new();

/// The response topic, if the publisher may have answers sent there. `suffix` is what its topic ended with.
fn allowed_reply(topics: &Topics, suffix: Option<&str>, meta: &mut PacketMeta) -> Option<ReplyTo> {
    let topic = meta.response_topic.take()?;
    let is_long = topic.len().max(meta.correlation.as_ref().map_or(0, Bytes::len)) > REPLY_BYTES_MAX;
    if is_long || !topics.may_reply_to(&topic, suffix) {
        if let Some(count) = REPLIES_REFUSED.told() {
            telemetry::response_topic_refused(&topic, count);
        }
        return None;
    }
    Some(ReplyTo { topic: topic.into_boxed_str(), correlation: meta.correlation.take() })
}
