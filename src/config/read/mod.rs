//! From what was written to what is meant, one file for each part of the configuration.

mod callbacks;
mod limits;
mod messages;
mod mqtt;
mod senders;
mod service;
mod topics;

use super::ReadFile;
use super::problem::Problems;
use super::section::Section;
use super::settings::Config;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const MIB: u64 = 1024 * 1024;

/// Reads everything; what is wrong has its default and is in `problems`, so the result counts only without errors.
pub(super) fn config(root: &Section<'_>, read: &ReadFile<'_>, problems: &mut Problems) -> Config {
    let senders = senders::read(root, read, problems);
    let config = Config {
        mqtt: mqtt::read(&root.section("mqtt"), read, problems),
        topics: topics::read(&root.section("topics"), problems),
        messages: messages::read(&root.section("messages"), problems),
        accounts: senders::accounts(root, &senders, problems),
        limits: limits::read(&root.section("limits"), problems),
        store: service::store(&root.section("store"), problems),
        http: service::http(&root.section("http"), problems),
        callbacks: callbacks::callbacks(root, &senders, read, problems),
        broker: service::broker(&root.section("broker"), problems),
        log: service::log(&root.section("log"), problems),
        senders,
    };
    across(root, &config, problems);
    config
}

/// What is right in its own table and wrong together with another.
fn across(root: &Section<'_>, config: &Config, problems: &mut Problems) {
    let messages = root.section("messages");
    if config.messages.dedup_window > config.store.retention && !problems.blames("store.retention") {
        let message = "is longer than store.retention, after which nothing is known of a message; \
                       shorten it or lengthen store.retention";
        messages.contradiction("dedup_window", "dedup_window", message, problems);
    }
    let broker = root.section("broker");
    if let Some(listen) = config.broker.listen {
        if listen == config.http.listen && listen.port() != 0 {
            broker.error("listen", "is the address of http.listen too; give one of them another port", problems);
        }
        mqtt::warn_of_other_broker(root, config, listen, problems);
    }
    mqtt::warn_of_own_broker(root, config, problems);
}
