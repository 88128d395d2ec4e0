//! The words that stand for something on topics, as JSON Schemas: each list is made from the type or the constant that
//! the bridge speaks from.

use super::{Code, HoldReason, MessageId, State};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// Every word that an alarm may have as its `what`.
pub const ALARMS: [&str; 30] = [
    "account_kicked",
    "account_list_missing",
    "account_list_read",
    "account_offline",
    "account_qrcode",
    "account_safety_check",
    "account_too_frequent",
    "account_verify_required",
    "answer_refused",
    "balanced",
    "broker_backlog",
    "broker_clients",
    "broker_clients_ok",
    "broker_drops",
    "broker_forgot",
    "broker_grants",
    "broker_limits",
    "broker_memory",
    "broker_memory_ok",
    "broker_ok",
    "notices_dropped",
    "poison",
    "sender_authorized",
    "sender_back",
    "sender_down",
    "sender_unauthorized",
    "storage_full",
    "storage_low",
    "storage_ok",
    "unbalanced",
];

/// One of a list of words.
pub fn one_of(words: &[&str]) -> Schema {
    json_schema!({ "type": "string", "enum": words })
}

/// The last level of an event's topic: a message's state, or that there is no message.
pub struct EventWord;

impl EventWord {
    /// The word for a request that was not accepted.
    pub const REJECTED: &'static str = "rejected";

    pub fn all() -> Vec<&'static str> {
        State::ALL.into_iter().map(State::as_str).chain([Self::REJECTED]).collect()
    }
}

impl JsonSchema for EventWord {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("EventWord")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(&Self::all())
    }
}

impl JsonSchema for MessageId {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("MessageId")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "minLength": 1,
            "maxLength": 128,
            "description": "a string of 1 to 128 bytes without control characters, or a number; echoed as it was written",
        })
    }
}

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Code")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(&Self::ALL.map(Self::as_str))
    }
}

impl JsonSchema for HoldReason {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("HoldReason")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(&Self::WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Account, Corp, HoldId, SenderName};

    #[test]
    fn a_state_has_the_same_word_everywhere() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).expect("a word"), state.as_str());
        }
    }

    #[test]
    fn every_reason_has_its_word_in_the_list() {
        let reasons = [
            HoldReason::Paused(HoldId(1)),
            HoldReason::Scheduled,
            HoldReason::Waiting,
            HoldReason::Interval,
            HoldReason::Retry,
            HoldReason::Quota(Corp::new("c")),
            HoldReason::CoolingDown,
            HoldReason::Offline(Account::new("a")),
            HoldReason::UnknownAccount,
            HoldReason::Sender(SenderName::new("s")),
            HoldReason::Settling,
            HoldReason::Twin,
        ];
        assert_eq!(reasons.map(|reason| reason.as_str()), HoldReason::WORDS);
    }
}
