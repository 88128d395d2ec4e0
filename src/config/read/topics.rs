use super::{DAY, HOUR, MINUTE, SECOND};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::Events;
use crate::config::settings::{Topics, choices};

pub(super) fn read(section: &Section<'_>, problems: &mut Problems) -> Topics {
    let topics = Topics {
        send: filters(section, "send", &["SendMessage", "SendMessage/+"], problems),
        answer: topic(section, "answer", "SendMessageResp", problems),
        base: topic(section, "base", "sendbridge", problems),
        reply_topics: filters(section, "reply_topics", &["SendMessageResp/#", "reply/#"], problems),
        events: section.choice("events", choices::EVENTS, Events::All, problems),
        health_interval: section.duration("health_interval", 30 * SECOND, SECOND..=HOUR, problems),
        status_per_second: section.count("status_per_second", 100, 0..=10_000, problems),
        status_accounts: section.count("status_accounts", 10_000, 1..=1_000_000, problems),
        status_idle: section.duration("status_idle", 10 * MINUTE, SECOND..=30 * DAY, problems),
    };
    if topics.send.is_empty() && !problems.blames(&section.key("send")) {
        section.error("send", "must name at least one topic, or nothing could ever be sent", problems);
    }
    check_loops(section, &topics, problems);
    topics
}

fn filters(section: &Section<'_>, name: &str, default: &[&str], problems: &mut Problems) -> Vec<String> {
    let found = section.texts(name, default, problems);
    for filter in &found {
        if let Some(rule) = broken_filter_rule(filter) {
            section.error(name, format!("{filter:?} is not a topic filter: {rule}"), problems);
        }
    }
    for (index, filter) in found.iter().enumerate() {
        if found[..index].contains(filter) {
            section.error(name, format!("{filter:?} is there twice; remove one"), problems);
        }
    }
    found
}

/// A topic the bridge publishes on, or below.
fn topic(section: &Section<'_>, name: &str, default: &str, problems: &mut Problems) -> String {
    let text = section.text_or(name, default, problems);
    let rule = if text.contains(['+', '#']) {
        Some("nothing can be published to a wildcard; name one topic")
    } else if text.starts_with('$') {
        Some("topics that begin with $ belong to the broker; choose another")
    } else if text.starts_with('/') || text.ends_with('/') {
        Some("it must not begin or end with a slash")
    } else if text.len() > 1024 {
        Some("it is longer than 1024 bytes")
    } else {
        None
    };
    if let Some(rule) = rule {
        section.error(name, format!("{text:?} cannot be used: {rule}"), problems);
    }
    text
}

fn broken_filter_rule(filter: &str) -> Option<&'static str> {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    for (index, level) in levels.iter().enumerate() {
        if level.contains('#') && (*level != "#" || index != last) {
            return Some("# must be the whole last level");
        }
        if level.contains('+') && *level != "+" {
            return Some("+ must be a whole level");
        }
    }
    if filter.starts_with('$') {
        // A shared subscription loses messages when the broker restarts, and hands some to another journal.
        return Some("topics that begin with $ belong to the broker; name a plain topic");
    }
    (filter.len() > 1024).then_some("it is longer than 1024 bytes")
}

/// What the bridge says must never come back to it as a message to send.
fn check_loops(section: &Section<'_>, topics: &Topics, problems: &mut Problems) {
    if ["send", "answer", "base", "reply_topics"].iter().any(|name| problems.blames(&section.key(name))) {
        return;
    }
    let answers = format!("{}/#", topics.answer);
    let base = format!("{}/#", topics.base);
    for send in &topics.send {
        if overlap(send, &answers) {
            let message = format!("{send:?} takes in what the bridge answers on {}; choose apart", topics.answer);
            section.error("send", message, problems);
        }
        if overlap(send, &base) {
            let message = format!("{send:?} takes in what the bridge publishes below {}; choose apart", topics.base);
            section.error("send", message, problems);
        }
        for reply in &topics.reply_topics {
            if overlap(send, reply) {
                let message = format!("{reply:?} would let an answer be sent as a message on {send:?}; narrow it");
                section.error("reply_topics", message, problems);
            }
        }
    }
    for reply in &topics.reply_topics {
        if overlap(reply, &base) {
            let message = format!("{reply:?} would let publishers speak below {}; narrow it", topics.base);
            section.error("reply_topics", message, problems);
        }
    }
    if overlap(&answers, &base) {
        section.error("answer", "lies in the same tree as topics.base; choose apart", problems);
    }
}

/// Whether some topic matches both filters. A filter that ends in `/#` matches its parent too.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => (),
            (Some(a), Some(b)) if a == b => (),
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_knows_wildcards() {
        assert!(overlap("a/+", "a/b"));
        assert!(overlap("a", "a/#"));
        assert!(overlap("#", "a/b"));
        assert!(overlap("+/b", "a/+"));
        assert!(!overlap("a/+", "a"));
        assert!(!overlap("a/+", "a/b/c"));
        assert!(!overlap("SendMessage/+", "SendMessageResp/#"));
    }
}
