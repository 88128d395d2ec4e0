//! Every topic, by its default name: who speaks on it, how, and what.

use super::payloads::name_of;
use crate::model::{Command, EVENTS, EventWord};
use std::collections::BTreeSet;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the bridge.
    In,
    /// From the bridge.
    Out,
}

/// A name in a topic that stands for several.
pub(super) struct Parameter {
    pub name: &'static str,
    pub description: &'static str,
    /// Every name that it can be; empty where anything can stand.
    pub words: Vec<&'static str>,
}

/// One topic, or all that differ in a parameter only.
pub(super) struct Channel {
    pub key: String,
    pub address: String,
    pub description: String,
    pub direction: Direction,
    pub parameters: Vec<Parameter>,
    /// The name of the payload.
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    /// Where the reply to what is said here is found.
    pub reply: Option<String>,
    /// Where a payload says what it belongs to.
    pub correlation: Option<&'static str>,
}

impl Channel {
    fn of(key: &str, address: &str, direction: Direction, payload: &str, description: &str) -> Self {
        Self {
            key: key.to_owned(),
            address: address.to_owned(),
            description: description.to_owned(),
            direction,
            parameters: Vec::new(),
            payload: payload.to_owned(),
            qos: 1,
            retain: false,
            reply: None,
            correlation: None,
        }
    }

    fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    fn with(mut self, name: &'static str, description: &'static str) -> Self {
        self.parameters.push(Parameter { name, description, words: Vec::new() });
        self
    }

    fn replied_on(self, reply: &str) -> Self {
        Self { reply: Some(reply.to_owned()), ..self }
    }

    fn correlated(self, correlation: &'static str) -> Self {
        Self { correlation: Some(correlation), ..self }
    }
}

const BY_ID: &str = "$message.payload#/id";
const BY_TRANSACTION: &str = "$message.payload#/transaction";
const SUFFIX: &str = "the publisher's own: its answers come with the same one";

/// All of them.
pub(super) fn all() -> Vec<Channel> {
    let mut channels = messages();
    channels.extend(statuses());
    channels.push(events());
    channels.push(callbacks());
    for command in Command::NAMES {
        channels.extend(of_command(command));
    }
    channels
}

fn messages() -> Vec<Channel> {
    let sent = "A message to send. Retained ones are refused. Publish at QoS 1: nothing brings one at QoS 0 back.";
    let answered = "The answer to a message: its id and msgId when it was sent, else its id and the error. It comes \
                    at least once. The MQTT 5 response topic gets it too, with the correlation data, if the bridge's \
                    reply_topics allow it.";
    vec![
        Channel::of("send", "SendMessage", Direction::In, "SendMessage", sent).replied_on("answer").correlated(BY_ID),
        Channel::of("sendSuffix", "SendMessage/{suffix}", Direction::In, "SendMessage", sent)
            .with("suffix", SUFFIX)
            .replied_on("answerSuffix")
            .correlated(BY_ID),
        Channel::of("answer", "SendMessageResp", Direction::Out, "Answer", answered).correlated(BY_ID),
        Channel::of("answerSuffix", "SendMessageResp/{suffix}", Direction::Out, "Answer", answered)
            .with("suffix", SUFFIX)
            .correlated(BY_ID),
    ]
}

fn statuses() -> Vec<Channel> {
    let status = |key: &str, payload: &str, description: &str| {
        Channel::of(key, &format!("sendbridge/{key}"), Direction::Out, payload, description).retained()
    };
    let of_one = |key: &str, name: &'static str, payload: &str, description: &str, what: &'static str| {
        Channel::of(key, &format!("sendbridge/{key}/{{{name}}}"), Direction::Out, payload, description)
            .retained()
            .with(name, what)
    };
    let encoded = "; what means something in topics, and controls, are written as % and two hex digits per byte";
    vec![
        status("state", "BridgeState", "Whether the bridge is there. Its will says offline."),
        status("info", "InfoReport", "What the bridge is and can do. Published at each connection."),
        status("health", "HealthReport", "How it is doing, every 30 seconds."),
        of_one(
            "account",
            "wxId",
            "AccountReport",
            &format!("One account, on change. Cleared when the account is gone. The id is its last level{encoded}."),
            "the account's id, encoded",
        ),
        of_one(
            "corp",
            "corpId",
            "CorpReport",
            &format!("One company, on change. Cleared when the company is gone. The id is its last level{encoded}."),
            "the company's id, encoded",
        ),
        status("hold", "Holds", "Every hold and every block, on change and at each connection."),
        Channel::of("alarm", "sendbridge/alarm", Direction::Out, "Alarm", "What a person must act on."),
    ]
}

fn events() -> Channel {
    let description = "A step in a message's life. The last level is its new state, or rejected for a request that \
                       was not accepted. How much is told is up to the configuration.";
    let address = "sendbridge/event/send/{state}";
    let state = Parameter { name: "state", description: "the new state", words: EventWord::all() };
    let channel = Channel::of("sendEvent", address, Direction::Out, "SendEvent", description).correlated(BY_ID);
    Channel { qos: 0, parameters: vec![state], ..channel }
}

fn callbacks() -> Channel {
    let description = "What the vendors' systems report by callback, in one vocabulary. It comes at least once, and with \
                       the same id when a system reports it again.";
    let address = "sendbridge/event/{kind}/{what}";
    let (kinds, whats): (BTreeSet<&str>, BTreeSet<&str>) =
        EVENTS.iter().filter_map(|word| word.split_once('/')).unzip();
    let kind = Parameter { name: "kind", description: "what it is about", words: kinds.into_iter().collect() };
    let what = Parameter { name: "what", description: "what happened", words: whats.into_iter().collect() };
    let channel = Channel::of("callbackEvent", address, Direction::Out, "CallbackEvent", description);
    Channel { parameters: vec![kind, what], ..channel }.correlated(BY_ID)
}

/// Where a command is given, and where its reply is found.
fn of_command(command: &str) -> [Channel; 2] {
    let (request, reply) = (name_of(command, "Request"), name_of(command, "Reply"));
    let request_key = key_of(&request);
    let reply_key = key_of(&reply);
    [
        Channel::of(
            &request_key,
            &format!("sendbridge/request/{command}"),
            Direction::In,
            &request,
            &format!("The command {command}. Retained ones are refused."),
        )
        .replied_on(&reply_key)
        .correlated(BY_TRANSACTION),
        Channel::of(
            &reply_key,
            &format!("sendbridge/response/{command}"),
            Direction::Out,
            &reply,
            &format!(
                "The reply to {command}, with its transaction if it had one. The MQTT 5 response topic gets it too, \
                 with the correlation data."
            ),
        )
        .correlated(BY_TRANSACTION),
    ]
}

fn key_of(payload: &str) -> String {
    let mut letters = payload.chars();
    letters.next().map(|first| first.to_ascii_lowercase().to_string() + letters.as_str()).unwrap_or_default()
}
