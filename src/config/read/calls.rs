//! What may be called of a sender's API.

use super::{MIB, MINUTE, SECOND};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::settings::Calls;
use crate::model::CallRule;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
const KIB: u64 = 1024;

/// `connect_timeout` and `timeout` are those of sends.
pub(super) fn read(
    section: &Section<'_>,
    connect_timeout: Duration,
    timeout: Duration,
    problems: &mut Problems,
) -> Calls {
    // Who connects slowly and says nothing of calls has to wait as long as for sends.
    let unless_said = if connect_timeout < TIMEOUT { TIMEOUT } else { timeout };
    let timeout = section.duration("call_timeout", unless_said, SECOND..=5 * MINUTE, problems);
    if connect_timeout >= timeout && section.has("call_timeout") {
        let message = "must be shorter than call_timeout, or a server that is away could not be told from a slow one; \
                       shorten it or lengthen call_timeout";
        section.contradiction("connect_timeout", "call_timeout", message, problems);
    }
    let entries = section.texts("calls", &["documented"], problems);
    for entry in &entries {
        if let Err(message) = CallRule::parse(entry) {
            section.error("calls", format!("{entry:?}: {message}"), problems);
        }
    }
    Calls {
        entries,
        connections: section.count("call_connections", 4, 1..=64, problems),
        timeout,
        answer_max: section.size("call_answer_max", 960 * KIB, KIB..=64 * MIB, problems),
        file_max: section.size("call_file_max", 20 * MIB, KIB..=512 * MIB, problems),
        private_file_hosts: hosts(section, problems),
    }
}

/// Names and addresses, each without a port: a host is trusted or it is not.
fn hosts(section: &Section<'_>, problems: &mut Problems) -> Vec<String> {
    let hosts = section.texts("private_file_hosts", &[], problems);
    for host in &hosts {
        let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if !is_name && host.parse::<std::net::IpAddr>().is_err() {
            let message = format!("{host:?} is not a host; write a name or an address, without a port");
            section.error("private_file_hosts", message, problems);
        }
    }
    hosts
}
