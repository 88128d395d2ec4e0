//! Models for tests, from scripts of topics in `tests/data/watch`.

use super::model::{Key, Model, Watching};
use crate::model::Time;
use crate::mqtt::topics::StatusTopics;
use std::path::PathBuf;
use std::time::Duration;

/// Every script begins here.
pub(super) const BEGIN: &str = "2026-03-02T06:30:00Z";

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/watch").join(name)
}

pub(super) fn time(text: &str) -> Time {
    Time::parse_rfc3339(text).expect("a time")
}

pub(super) fn empty() -> Model {
    let watching = Watching {
        url: "mqtt://broker.example:1883".to_owned(),
        topics: StatusTopics::new("sendbridge").expect("a base"),
        by: "watch@test".to_owned(),
        session: "watch-test".to_owned(),
        zone: jiff::tz::TimeZone::UTC,
    };
    Model::new(watching, time(BEGIN))
}

/// What is known after the script `name`.
pub(super) fn after(name: &str) -> Model {
    let mut model = empty();
    perform(&mut model, &std::fs::read_to_string(path(name)).expect("a script"));
    model
}

/// Lines: `at <time>`, `connected`, `disconnected <seconds until the next attempt> <reason>`, and
/// `stored|live <topic> <payload>`.
pub(super) fn perform(model: &mut Model, script: &str) {
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let now = model.now;
        let mut words = line.splitn(3, ' ');
        let (verb, first, rest) = (words.next().expect("a verb"), words.next(), words.next().unwrap_or_default());
        match (verb, first) {
            ("at", Some(at)) => model.tick(time(at)),
            ("connected", None) => model.connected(now),
            ("disconnected", Some(seconds)) => {
                let wait = Duration::from_secs(seconds.parse().expect("seconds"));
                model.disconnected(rest.to_owned(), now + wait, now);
            }
            ("stored" | "live", Some(topic)) => model.hear(topic, rest.as_bytes(), verb == "stored", now),
            _ => panic!("no such line: {line}"),
        }
    }
}

/// Presses keys: letters for themselves, and `<Enter>` and the like.
pub(super) fn press(model: &mut Model, keys: &str) -> Vec<super::model::Effect> {
    let mut effects = Vec::new();
    let mut rest = keys;
    while let Some(character) = rest.chars().next() {
        let named = [
            ("<Enter>", Key::Enter),
            ("<Esc>", Key::Escape),
            ("<Tab>", Key::Tab),
            ("<BackTab>", Key::BackTab),
            ("<Backspace>", Key::Backspace),
            ("<Down>", Key::Down),
            ("<Up>", Key::Up),
            ("<PageDown>", Key::PageDown),
            ("<Home>", Key::Home),
            ("<End>", Key::End),
            ("<Ctrl-C>", Key::Interrupt),
        ];
        let found = named.into_iter().find(|(name, _)| rest.starts_with(name));
        let (length, key) = found.map_or((character.len_utf8(), Key::Char(character)), |(name, key)| (name.len(), key));
        rest = &rest[length..];
        effects.extend(model.press(&key));
    }
    effects
}
