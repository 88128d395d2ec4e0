//! The only place that builds or matches a topic.
//!
//! Invariants, checked when the names are read: nothing that the bridge publishes can come back to it as a message or
//! a command, and no answer can be mistaken for the bridge's own status.

mod filter;
mod publisher;
mod status;
#[cfg(test)]
mod tests;

pub use filter::{Filter, TOPIC_BYTES_MAX, Unfit};
pub use status::{Said, StatusTopics};

use super::publish::has_too_many_levels;
use crate::model::{Account, Corp, StatusTopic, TopicReport};
use filter::check_name;
use std::fmt;
use std::fmt::Write as _;

/// The longest `base` and `answer`, in bytes, so that what is put after them always fits.
const NAME_BYTES_MAX: usize = 1024;

/// What the bridge publishes on or listens to below its base.
const OWN_WORDS: [&str; 10] =
    ["request", "response", "state", "info", "health", "account", "corp", "hold", "event", "alarm"];

/// Which setting a [`TopicError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicSetting {
    Send,
    Answer,
    Base,
    ReplyTopics,
}

impl TopicSetting {
    /// The key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "topics.send",
            Self::Answer => "topics.answer",
            Self::Base => "topics.base",
            Self::ReplyTopics => "topics.reply_topics",
        }
    }
}

/// A configured name or filter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicError {
    pub setting: TopicSetting,
    /// The text as configured; empty where a whole list is.
    pub text: String,
    pub why: Unfit,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.setting.as_str(), self.text, self.why)
    }
}

impl std::error::Error for TopicError {}

/// What a topic means to the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A message to send. `suffix` is what the wildcard of the send filter stood for.
    Send { suffix: Option<&'a str> },
    /// A command, by what followed `<base>/request/`.
    Command { name: &'a str },
    /// Nothing that was subscribed to.
    Other,
}

/// All topics of one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    send: Vec<Filter>,
    answer: Box<str>,
    base: Box<str>,
    reply_topics: Vec<Filter>,
}

impl Topics {
    /// Checks the configured names and filters whole.
    ///
    /// # Errors
    /// Every name or filter that is invalid, or that would let messages of the bridge come back to it.
    pub fn new(send: &[String], answer: &str, base: &str, reply_topics: &[String]) -> Result<Self, Vec<TopicError>> {
        let mut errors = Vec::new();
        let send = parse_filters(TopicSetting::Send, send, &mut errors);
        let reply_topics = parse_filters(TopicSetting::ReplyTopics, reply_topics, &mut errors);
        check_published(TopicSetting::Answer, answer, &mut errors);
        check_published(TopicSetting::Base, base, &mut errors);
        let topics = Self { send, answer: Box::from(answer), base: Box::from(base), reply_topics };
        if errors.is_empty() {
            topics.check_apart(&mut errors);
        }
        if errors.is_empty() { Ok(topics) } else { Err(errors) }
    }

    /// What messages to send come by.
    pub fn message_filters(&self) -> Vec<String> {
        self.send.iter().map(|filter| filter.as_str().to_owned()).collect()
    }

    /// What commands come by.
    pub fn command_filter(&self) -> String {
        format!("{}/request/#", self.base)
    }

    /// What a message on this topic is to the bridge. The first send filter that matches gives the suffix.
    pub fn classify<'a>(&self, topic: &'a str) -> Incoming<'a> {
        if let Some(filter) = self.send.iter().find(|filter| filter.matches(topic)) {
            return Incoming::Send { suffix: filter.stem().and_then(|stem| topic.strip_prefix(stem)) };
        }
        match self.below_base(topic).and_then(|rest| rest.strip_prefix("request")) {
            Some("") => Incoming::Command { name: "" },
            Some(rest) => match rest.strip_prefix('/') {
                Some(name) => Incoming::Command { name },
                None => Incoming::Other,
            },
            None => Incoming::Other,
        }
    }

    /// Where answers go: to the same suffix that the message came with, or to the bare topic when that would be
    /// longer than a topic can be.
    pub fn answer(&self, suffix: Option<&str>) -> String {
        match suffix {
            Some(suffix) if self.answer.len() + 1 + suffix.len() <= TOPIC_BYTES_MAX => {
                format!("{}/{suffix}", self.answer)
            }
            Some(_) | None => self.answer.to_string(),
        }
    }

    /// Where the reply to a command goes; without the command's name when that would be too long.
    pub fn response(&self, command: &str) -> String {
        let topic = format!("{}/response", self.base);
        if command.is_empty() || topic.len() + 1 + command.len() > TOPIC_BYTES_MAX {
            return topic;
        }
        topic + "/" + command
    }

    /// Retained: whether the bridge is there.
    pub fn state(&self) -> String {
        format!("{}/state", self.base)
    }

    /// Retained: what the bridge is and can do.
    pub fn info(&self) -> String {
        format!("{}/info", self.base)
    }

    /// Retained: how it is doing.
    pub fn health(&self) -> String {
        format!("{}/health", self.base)
    }

    /// Retained: every hold there is.
    pub fn hold(&self) -> String {
        format!("{}/hold", self.base)
    }

    /// What a person must act on.
    pub fn alarm(&self) -> String {
        format!("{}/alarm", self.base)
    }

    /// Where a step in a message's life is told; `state` is its word.
    pub fn send_event(&self, state: &str) -> String {
        // Each message has three, and this allocates once.
        [&*self.base, "/event/send/", state].concat()
    }

    /// Where an event of a callback is told; `word` is one of [`EVENTS`](crate::model::EVENTS).
    pub fn event(&self, word: &str) -> String {
        format!("{}/event/{word}", self.base)
    }

    /// The status topic of an account, whose id a stranger chose.
    pub fn account(&self, id: &str) -> String {
        format!("{}/account/{}", self.base, encode_level(id))
    }

    /// The status topic of a company, whose id a stranger chose.
    pub fn corp(&self, id: &str) -> String {
        format!("{}/corp/{}", self.base, encode_level(id))
    }

    /// Every status topic whose subject can go away.
    pub fn status_filters(&self) -> Vec<String> {
        vec![format!("{}/account/+", self.base), format!("{}/corp/+", self.base)]
    }

    /// Whose status is on a topic. `None` where it is none that [`account`](Self::account) or [`corp`](Self::corp)
    /// could have made, which is nobody's to clear.
    pub fn status_of(&self, topic: &str) -> Option<StatusTopic> {
        let (word, level) = self.below_base(topic)?.split_once('/')?;
        let id = decode_level(level)?;
        let status = match word {
            "account" => StatusTopic::Account(Account::new(&id)),
            "corp" => StatusTopic::Corp(Corp::new(&id)),
            _ => return None,
        };
        (encode_level(&id) == level).then_some(status)
    }

    /// All of them by name, for those who ask. What is in braces stands for a name.
    pub fn report(&self) -> TopicReport {
        let filters = |filters: &[Filter]| filters.iter().map(|filter| filter.as_str().to_owned()).collect();
        let own = |rest: &str| format!("{}/{rest}", self.base);
        TopicReport {
            send: filters(&self.send),
            answer: self.answer.to_string(),
            reply_topics: filters(&self.reply_topics),
            request: own("request/{command}"),
            response: own("response/{command}"),
            state: self.state(),
            info: self.info(),
            health: self.health(),
            account: own("account/{wxId}"),
            corp: own("corp/{corpId}"),
            hold: self.hold(),
            send_event: self.send_event("{state}"),
            event: self.event("{event}"),
            alarm: self.alarm(),
        }
    }

    /// Whether a publisher may have answers sent to `topic`: a valid name that `reply_topics` allow, and none that the
    /// bridge listens to or shows its own status on, whatever they allow.
    ///
    /// The bridge may publish where this publisher may not. So where a publisher is known, by the suffix that the
    /// broker lets it send with, the part of the topic that a wildcard allows has to begin with that suffix: else it
    /// could have others told what it likes in the bridge's name.
    pub fn may_reply_to(&self, topic: &str, suffix: Option<&str>) -> bool {
        check_name(topic).is_ok()
            && !topic.chars().any(may_cost_the_connection)
            && !has_too_many_levels(topic)
            && self.reply_topics.iter().any(|filter| lets_reply(filter, topic, suffix))
            && !self.send.iter().any(|filter| filter.matches(topic))
            && !self.is_own(topic)
    }

    /// Whether the bridge itself uses `topic`, apart from answers and replies.
    fn is_own(&self, topic: &str) -> bool {
        let Some(rest) = self.below_base(topic) else { return false };
        let word = rest.split('/').next().unwrap_or_default();
        word != "response" && OWN_WORDS.contains(&word)
    }

    fn below_base<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(&*self.base)?.strip_prefix('/')
    }

    /// Finds what would let the bridge hear itself, or let an answer pass for its status.
    fn check_apart(&self, errors: &mut Vec<TopicError>) {
        let own: Vec<Filter> =
            OWN_WORDS.iter().filter_map(|word| Filter::parse(&format!("{}/{word}/#", self.base)).ok()).collect();
        let answers = Filter::parse(&format!("{}/#", self.answer)).ok();
        for filter in &self.send {
            if let Some(other) = own.iter().chain(&answers).find(|other| other.overlaps(filter)) {
                errors.push(overlap(TopicSetting::Send, filter.as_str(), other));
            }
        }
        if let Some(answers) = answers
            && let Some(other) = own.iter().find(|other| other.overlaps(&answers))
        {
            errors.push(overlap(TopicSetting::Answer, &self.answer, other));
        }
    }
}

/// Stands for the publisher's suffix in a filter of `reply_topics`, which then allows nobody without one.
const PUBLISHER: &str = "{publisher}";

fn lets_reply(filter: &Filter, topic: &str, suffix: Option<&str>) -> bool {
    if filter.as_str().split('/').any(|level| level == PUBLISHER) {
        let named = |suffix: &str| Filter::parse(&filter.as_str().replace(PUBLISHER, suffix));
        return suffix.is_some_and(|suffix| named(suffix).is_ok_and(|filter| filter.matches(topic)));
    }
    if !filter.matches(topic) {
        return false;
    }
    let (Some(suffix), Some(wildcard)) = (suffix, filter.as_str().find(['+', '#'])) else { return true };
    let Some(own) = topic.get(wildcard..) else { return false };
    own.strip_prefix(suffix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn overlap(setting: TopicSetting, text: &str, with: &Filter) -> TopicError {
    TopicError { setting, text: text.to_owned(), why: Unfit::Overlaps { with: with.as_str().to_owned() } }
}

fn parse_filters(setting: TopicSetting, texts: &[String], errors: &mut Vec<TopicError>) -> Vec<Filter> {
    let mut filters = Vec::new();
    if texts.is_empty() && setting == TopicSetting::Send {
        errors.push(TopicError { setting, text: String::new(), why: Unfit::NoneGiven });
    }
    for text in texts {
        match Filter::parse(text) {
            Ok(filter) if setting == TopicSetting::Send && !is_send_filter(&filter) => {
                errors.push(TopicError { setting, text: text.clone(), why: Unfit::InnerWildcard });
            }
            Ok(filter) => filters.push(filter),
            Err(why) => errors.push(TopicError { setting, text: text.clone(), why }),
        }
    }
    filters
}

/// Whether a wildcard, if there is one, is the last level and has a name before it.
fn is_send_filter(filter: &Filter) -> bool {
    match filter.stem() {
        Some(stem) => !stem.is_empty() && !stem.contains('+'),
        None => !filter.as_str().contains('+'),
    }
}

fn check_published(setting: TopicSetting, text: &str, errors: &mut Vec<TopicError>) {
    let why = match check_name(text) {
        Ok(()) if text.len() > NAME_BYTES_MAX => Unfit::TooLong { bytes: text.len(), bytes_max: NAME_BYTES_MAX },
        Ok(()) => return,
        Err(why) => why,
    };
    errors.push(TopicError { setting, text: text.to_owned(), why });
}

/// Makes one level of any text: what has a meaning in topics, or has no place in them, becomes `%` and two hex digits
/// per byte.
fn encode_level(text: &str) -> String {
    let mut level = String::with_capacity(text.len());
    for character in text.chars() {
        if !is_harmful(character) {
            level.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string cannot fail.
            let _ = write!(level, "%{byte:02X}");
        }
    }
    level
}

fn is_harmful(character: char) -> bool {
    matches!(character, '+' | '#' | '/' | '%') || may_cost_the_connection(character)
}

/// Control characters and Unicode's non-characters (MQTT 5, section 1.5.4): a broker may end the connection of whoever
/// names them. It need not look at those in a response topic, which names nothing before the answer is published.
fn may_cost_the_connection(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// The text that [`Topics::account`] and [`Topics::corp`] made a level of. `None` when they cannot have made it.
pub fn decode_level(level: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(level.len());
    let mut rest = level.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
