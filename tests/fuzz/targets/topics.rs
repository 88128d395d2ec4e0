//! Names of topics: lines of `send`, `answer`, `base` and `reply` configure them, `topic` and `id` lines are what
//! strangers choose. A value in quotes is a JSON text.

use super::request::settings;
use crate::log;
use sendbridge::intake::{PacketMeta, Settings, parse_request};
use sendbridge::model::{Account, Corp, EVENTS, EventWord, Input, StatusTopic};
use sendbridge::mqtt::topics::{Filter, Incoming, StatusTopics, TOPIC_BYTES_MAX, Topics, decode_level};
use std::sync::Arc;

pub const WORDS: &str = r#"
    send␠ answer␠ base␠ reply␠ topic␠ id␠ SendMessage SendMessage/+ SendMessage/# SendMessageResp SendMessageResp/#
    sendbridge sendbridge/request/pause sendbridge/request sendbridge/response sendbridge/account/ sendbridge/event/
    reply/#
    / // + # /+ /# +/# $SYS/x $share/a/b %2F %00 %C3%28 %2f " "\u0000" "\n" "\u001b" a/b/c 168 request response state
    info
    health account corp hold event alarm
"#;

/// Longest id whose topic is asked for, in bytes: three times as long it is still a topic.
const ID_BYTES_MAX: usize = 1024;

#[derive(Default)]
struct Lines {
    send: Vec<String>,
    answer: Option<String>,
    base: Option<String>,
    reply: Vec<String>,
    topics: Vec<String>,
    ids: Vec<String>,
}

fn lines(input: &[u8]) -> Lines {
    let text = String::from_utf8_lossy(input);
    let mut lines = Lines::default();
    for line in text.split('\n').take(40) {
        let Some((word, value)) = line.split_once(' ') else { continue };
        let value = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned());
        match word {
            "send" => lines.send.push(value),
            "answer" => lines.answer = Some(value),
            "base" => lines.base = Some(value),
            "reply" => lines.reply.push(value),
            "topic" => lines.topics.push(value),
            "id" => lines.ids.push(value),
            _ => {}
        }
    }
    lines
}

pub fn check(input: &[u8]) {
    let Lines { send, answer, base, reply, topics: asked, ids } = lines(input);
    let send = if send.is_empty() { vec!["SendMessage".to_owned(), "SendMessage/+".to_owned()] } else { send };
    let answer = answer.unwrap_or_else(|| "SendMessageResp".to_owned());
    let base = base.unwrap_or_else(|| "sendbridge".to_owned());
    let filters: Vec<&String> = send.iter().chain(&reply).chain(&asked).collect();
    check_filters(&filters, &asked);
    for text in asked.iter().chain(&ids) {
        let _ = decode_level(text);
    }
    let usable =
        [&answer, &base].into_iter().all(|name| is_name(name)) && send.iter().chain(&reply).all(|f| is_filter(f));
    match Topics::new(&send, &answer, &base, &reply) {
        Ok(topics) => {
            assert!(usable, "names that MQTT does not know");
            check_topics(&topics, &send, &reply, &asked, &ids);
            check_responses(topics, &asked);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let said = error.to_string();
                assert!(said.starts_with("topics.") && !said.chars().any(char::is_control), "{said:?}");
            }
        }
    }
    if let Ok(status) = StatusTopics::new(&base) {
        asked.iter().for_each(|topic| drop(format!("{:?}", status.classify(topic))));
    }
}

/// By the words of MQTT 5, section 4.7.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let is_good = |(index, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => index + 1 == levels.len(),
        level => !level.contains(['+', '#']),
    };
    is_text(text) && levels.iter().enumerate().all(is_good)
}

fn is_name(text: &str) -> bool {
    is_text(text) && !text.contains(['+', '#'])
}

/// Ours never begin with `$`.
fn is_text(text: &str) -> bool {
    (1..=TOPIC_BYTES_MAX).contains(&text.len()) && !text.contains('\0') && !text.starts_with('$')
}

fn is_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => is_match(filter, topic),
        ([name, filter @ ..], [level, topic @ ..]) => name == level && is_match(filter, topic),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic_levels): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
    !topic.starts_with('$') && is_match(&filter, &topic_levels)
}

fn check_filters(texts: &[&String], topics: &[String]) {
    let mut filters = Vec::new();
    for text in texts {
        match Filter::parse(text) {
            Ok(filter) => filters.push(filter),
            Err(why) => assert!(!is_filter(text), "{text:?}: {why}"),
        }
    }
    for filter in &filters {
        assert!(is_filter(filter.as_str()));
        for topic in topics {
            assert_eq!(filter.matches(topic), matches(filter.as_str(), topic), "{} {topic}", filter.as_str());
        }
        for other in &filters {
            let shared = topics.iter().any(|topic| filter.matches(topic) && other.matches(topic));
            assert!(!shared || filter.overlaps(other), "{} {}", filter.as_str(), other.as_str());
            let witness = filter.overlaps(other).then(|| witness(filter.as_str(), other.as_str()));
            let is_shared = |topic: &String| filter.matches(topic) && other.matches(topic);
            assert!(witness.as_ref().is_none_or(is_shared), "{} {} {witness:?}", filter.as_str(), other.as_str());
        }
    }
}

/// Levels that these match.
fn named<'a>(levels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let levels = levels.filter(|level| *level != "#");
    levels.map(|level| if level == "+" { "x".to_owned() } else { level.to_owned() }).collect()
}

/// A topic that both match, if any does.
fn witness(one: &str, other: &str) -> String {
    let (mut ours, mut theirs) = (one.split('/'), other.split('/'));
    let mut levels = Vec::new();
    loop {
        let (our, their) = (ours.next(), theirs.next());
        match (our, their) {
            (None, None) => break,
            (Some("#"), their) => {
                levels.extend(named(their.into_iter().chain(theirs)));
                break;
            }
            (our, Some("#")) => {
                levels.extend(named(our.into_iter().chain(ours)));
                break;
            }
            (Some("+"), Some("+")) => levels.push("x".to_owned()),
            (Some("+") | None, Some(level)) | (Some(level), _) => levels.push(level.to_owned()),
        }
    }
    if levels.is_empty() { "x".to_owned() } else { levels.join("/") }
}

fn check_topics(topics: &Topics, send: &[String], reply: &[String], asked: &[String], ids: &[String]) {
    let mut published = vec![topics.state(), topics.info(), topics.health(), topics.hold(), topics.alarm()];
    published.extend(EventWord::all().into_iter().map(|word| topics.send_event(word)));
    published.extend(EVENTS.iter().map(|word| topics.event(word)));
    for id in ids.iter().filter(|id| (1..=ID_BYTES_MAX).contains(&id.len())) {
        let (account, corp) = (topics.account(id), topics.corp(id));
        assert_eq!(topics.status_of(&account), Some(StatusTopic::Account(Account::new(id))), "{account}");
        assert_eq!(topics.status_of(&corp), Some(StatusTopic::Corp(Corp::new(id))), "{corp}");
        assert_eq!(account.split('/').count(), topics.state().split('/').count() + 1, "one level: {account}");
        let named = account.rsplit('/').next().unwrap_or_default();
        assert!(!named.chars().any(char::is_control), "{named:?}");
        published.extend([account, corp]);
    }
    for topic in &published {
        assert!(is_name(topic) && !topics.may_reply_to(topic, None), "{topic}");
    }
    for topic in asked.iter().filter(|topic| is_name(topic)) {
        let is_sent = send.iter().any(|filter| matches(filter, topic));
        match topics.classify(topic) {
            Incoming::Send { suffix } => {
                assert!(is_sent, "{topic}");
                published.push(topics.answer(suffix));
            }
            Incoming::Command { name } => {
                assert!(!is_sent && (topics.request(name) == *topic || name.is_empty()), "{topic}");
                published.push(topics.response(name));
            }
            Incoming::Other => assert!(!is_sent, "{topic}"),
        }
        let allowed = reply.iter().any(|filter| matches(filter, topic));
        if topics.may_reply_to(topic, None) {
            assert!(allowed, "{topic}");
            published.push(topic.clone());
        }
    }
    for topic in asked.iter().filter(|topic| !is_name(topic)) {
        assert!(!topics.may_reply_to(topic, None), "{topic}");
    }
    // The bridge never hears itself.
    for topic in &published {
        assert!(is_name(topic), "{topic:?}");
        assert_eq!(topics.classify(topic), Incoming::Other, "{topic}");
    }
}

/// The longest way back that is carried along.
const REPLY_BYTES_MAX: usize = 1024;

/// Answers go where they may, and what else a publisher asks for is told in the log, on one line.
fn check_responses(topics: Topics, asked: &[String]) {
    let settings = Settings { topics: Arc::new(topics), ..settings(1024) };
    for topic in asked {
        let meta = PacketMeta { qos: 1, response_topic: Some(topic.clone()), ..PacketMeta::default() };
        let (input, log) = log::logged(|| parse_request(&settings, None, meta, b"{}"));
        let Input::Refused { refusal, .. } = input else { panic!("an empty object is no message") };
        let is_allowed = settings.topics.may_reply_to(topic, None) && topic.len() <= REPLY_BYTES_MAX;
        assert_eq!(refusal.origin.reply_to.map(|to| to.topic), is_allowed.then(|| Box::from(topic.as_str())));
        // Told ever rarer, so not each time.
        assert!(log.lines().count() <= usize::from(!is_allowed), "{log}");
        assert!(log.len() <= 2000, "a line of {} bytes", log.len());
    }
}
