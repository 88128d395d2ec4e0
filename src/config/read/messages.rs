use super::{DAY, HOUR, MIB, MINUTE, SECOND};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::{IdConflict, Messages, choices};
use crate::config::units;
use crate::model::OnDoubt;
use std::time::Duration;

/// The connections take packets of 1 MiB; what is kept free is for the topic and the MQTT 5 properties.
const MAX_MESSAGE_MOST: u64 = 960 * 1024;

pub(super) fn read(section: &Section<'_>, problems: &mut Problems) -> Messages {
    Messages {
        max_message: max_message(section, problems),
        ttl: section.duration("ttl", 24 * HOUR, SECOND..=30 * DAY, problems),
        dedup_window: section.duration("dedup_window", HOUR, Duration::ZERO..=30 * DAY, problems),
        id_conflict: section.choice("id_conflict", choices::ID_CONFLICT, IdConflict::Reject, problems),
        on_doubt: section.choice("on_doubt", choices::ON_DOUBT, OnDoubt::Report, problems),
        doubt_window: section.duration("doubt_window", 60 * SECOND, Duration::ZERO..=DAY, problems),
        max_resends: section.count("max_resends", 1, 0..=100, problems),
        queue_messages: section.count("queue_messages", 2_000_000, 1..=100_000_000, problems),
        // The least is above the largest message, so that each of them fits.
        queue_bytes: section.size("queue_bytes", 2048 * MIB, MIB..=1024 * 1024 * MIB, problems),
        queue_time: queue_time(section, problems),
        unknown_account_grace: section.duration("unknown_account_grace", 5 * MINUTE, Duration::ZERO..=DAY, problems),
    }
}

fn max_message(section: &Section<'_>, problems: &mut Problems) -> u64 {
    let bytes = section.size("max_message", MIB / 4, 1024..=1024 * MIB, problems);
    if bytes > MAX_MESSAGE_MOST {
        let message = format!(
            "{} does not fit into the connection's packets of 1MiB with its topic and properties; at most {}",
            units::show_size(bytes),
            units::show_size(MAX_MESSAGE_MOST)
        );
        section.error("max_message", message, problems);
    }
    bytes
}

fn queue_time(section: &Section<'_>, problems: &mut Problems) -> Option<Duration> {
    if !section.has("queue_time") || section.is_text("queue_time", "off") {
        return None;
    }
    if section.is_text("queue_time", "") || section.is_text("queue_time", "none") {
        section.error("queue_time", "write \"off\" for no bound, or a duration such as \"3h\"", problems);
        return None;
    }
    Some(section.duration("queue_time", DAY, SECOND..=30 * DAY, problems))
}
