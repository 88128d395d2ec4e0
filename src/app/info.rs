//! What the bridge says of itself, out of the one configuration.

use crate::config::{self, Config};
use crate::model::{BUILT_IN_KINDS, Command, InfoLimits, InfoReport};
use crate::mqtt::topics::Topics;
use serde_json::Value;
use std::time::Duration;

/// What every bridge of this version can do.
const FEATURES: [&str; 13] = [
    "answer_suffix",
    "blocks",
    "deduplication",
    "forecast",
    "holds",
    "limits",
    "message_expiry",
    "not_before",
    "on_doubt",
    "priority",
    "response_topic",
    "tag",
    "transactions",
];

/// The parts of the report that the configuration decides.
pub(super) struct Described {
    features: Vec<String>,
    limits: InfoLimits,
    types: Vec<String>,
    config: Value,
}

impl Described {
    pub(super) fn of(config: &Config) -> Self {
        let mut features = FEATURES.map(str::to_owned).to_vec();
        if !config.callbacks.is_empty() {
            features.push("callbacks".to_owned());
        }
        if config.broker.listen.is_some() {
            features.push("broker".to_owned());
        }
        features.sort_unstable();
        let own = config.senders.iter().flat_map(|sender| sender.types.keys().cloned());
        let mut types: Vec<String> = BUILT_IN_KINDS.iter().map(|(kind, _)| (*kind).to_owned()).chain(own).collect();
        types.sort_unstable();
        types.dedup();
        let messages = &config.messages;
        Self {
            features,
            limits: InfoLimits {
                max_message_bytes: messages.max_message,
                account_interval_ms: millis(config.limits.account_interval),
                corp_per_hour: config.limits.corp.per_hour.into(),
                ttl_ms: millis(messages.ttl),
                dedup_window_ms: millis(messages.dedup_window),
                queue_messages: messages.queue_messages,
                queue_bytes: messages.queue_bytes,
            },
            types,
            config: config::effective_json(config),
        }
    }

    pub(super) fn report(self, topics: &Topics) -> InfoReport {
        InfoReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: self.features,
            limits: self.limits,
            topics: topics.report(),
            types: self.types,
            commands: Command::NAMES.map(str::to_owned).to_vec(),
            config: self.config,
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
