//! The topics of a bridge as somebody sees them who watches it.

use super::{Filter, Unfit, check_name};
use crate::mqtt::Qos;

/// What the bridge says on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    State,
    Info,
    Health,
    /// The status of the account behind this level of the topic.
    Account(&'a str),
    Corp(&'a str),
    Hold,
    Alarm,
    /// What followed `<base>/event/`.
    Event(&'a str),
    /// The reply to the command of this name.
    Response(&'a str),
    Other,
}

/// The topics below one base, for a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusTopics {
    base: Box<str>,
}

impl StatusTopics {
    /// # Errors
    /// What keeps `base` from being the beginning of a topic.
    pub fn new(base: &str) -> Result<Self, Unfit> {
        check_name(base)?;
        let topics = Self { base: Box::from(base) };
        // The longest of them must be a topic, too.
        Filter::parse(&format!("{base}/account/+"))?;
        Ok(topics)
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// What a watcher subscribes to. Status and events at QoS 0: a broker hands stored messages to a slow reader
    /// without a queue that could overflow, and what is missed there comes again. Replies and alarms come once.
    pub fn subscriptions(&self) -> Vec<(String, Qos)> {
        let often = ["state", "info", "health", "account/+", "corp/+", "hold", "event/#"];
        let once = ["alarm", "response/#"];
        let filter = |rest: &str, qos| (format!("{}/{rest}", self.base), qos);
        let often = often.into_iter().map(|rest| filter(rest, Qos::AtMostOnce));
        often.chain(once.into_iter().map(|rest| filter(rest, Qos::AtLeastOnce))).collect()
    }

    pub fn classify<'a>(&self, topic: &'a str) -> Said<'a> {
        let Some(rest) = topic.strip_prefix(&*self.base).and_then(|rest| rest.strip_prefix('/')) else {
            return Said::Other;
        };
        match rest.split_once('/') {
            None => match rest {
                "state" => Said::State,
                "info" => Said::Info,
                "health" => Said::Health,
                "hold" => Said::Hold,
                "alarm" => Said::Alarm,
                "response" => Said::Response(""),
                _ => Said::Other,
            },
            Some(("account", level)) if !level.is_empty() => Said::Account(level),
            Some(("corp", level)) if !level.is_empty() => Said::Corp(level),
            Some(("event", event)) => Said::Event(event),
            Some(("response", command)) => Said::Response(command),
            Some(_) => Said::Other,
        }
    }

    /// Where a command goes.
    pub fn request(&self, command: &str) -> String {
        format!("{}/request/{command}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_said_on_a_topic() {
        let topics = StatusTopics::new("a/b").expect("a base");
        for (topic, said) in [
            ("a/b/state", Said::State),
            ("a/b/account/168", Said::Account("168")),
            ("a/b/corp/1%2F2", Said::Corp("1%2F2")),
            ("a/b/event/send/sent", Said::Event("send/sent")),
            ("a/b/response/account/get", Said::Response("account/get")),
            ("a/b/response", Said::Response("")),
            ("a/b/account/", Said::Other),
            ("a/bc/state", Said::Other),
            ("a/b", Said::Other),
        ] {
            assert_eq!(topics.classify(topic), said, "{topic}");
        }
        assert_eq!(topics.request("pause"), "a/b/request/pause");
    }

    #[test]
    fn a_base_is_checked() {
        assert!(StatusTopics::new("").is_err());
        assert!(StatusTopics::new("a/#").is_err());
        assert!(StatusTopics::new(&"a".repeat(65_535)).is_err());
    }
}
