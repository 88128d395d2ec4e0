//! `sendbridge audit`: does the journal show the promises kept?

use crate::config;
use crate::journal::{AuditLimits, Reader};
use crate::model::{Account, Corp, State};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

/// The exit code when a promise was broken.
const EXIT_BROKEN: u8 = 1;
/// The exit code when nothing can be said.
const EXIT_UNREADABLE: u8 = 70;

/// Judges the journal of a configuration, also while its bridge runs. Answers what to print and the exit code: 0 when
/// the promises held, 1 when one was broken, 70 when the journal cannot be read, 78 when the configuration cannot.
pub fn audit(path: &Path, environment: impl IntoIterator<Item = (OsString, OsString)>) -> (String, u8) {
    let config = match config::load(path, environment, &config::read_file) {
        Ok(loaded) => loaded.config,
        Err(problems) => return (problems.to_string(), config::EXIT_CODE),
    };
    let limits = &config.limits;
    let interval = |account: &Account| limits.accounts.get(account).copied().unwrap_or(limits.account_interval);
    let per_hour = |corp: &Corp| limits.corps.get(corp).unwrap_or(&limits.corp).per_hour;
    let from_request = limits.measured_from == config::MeasuredFrom::Request;
    let found = Reader::open(&config.store.path)
        .and_then(|reader| reader.audit(&AuditLimits { interval: &interval, per_hour: &per_hour, from_request }));
    let found = match found {
        Ok(found) => found,
        Err(error) => return (format!("{}: {error}\n", config.store.path.display()), EXIT_UNREADABLE),
    };
    let mut report = String::new();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(report, "{name:<28}{value}");
    };
    line(
        "messages",
        format!("{} ({} still open; {} ended and not answered yet)", found.messages, found.open, found.unanswered),
    );
    for (state, messages) in found.states.iter().filter(|(state, _)| **state != State::Queued) {
        line(&format!("  {}", state.as_str()), messages.to_string());
    }
    line("attempts", format!("{} ({} in doubt)", found.attempts, found.doubts));
    line("possibly duplicate", found.possibly_duplicate.to_string());
    let gap = found.smallest_gap.as_ref();
    line(
        "smallest gap of an account",
        gap.map_or("none".to_owned(), |(gap, account)| {
            format!("{:.3} ms ({:?})", gap.as_secs_f64() * 1e3, account.as_str())
        }),
    );
    if found.gaps_unjudged > 0 {
        line("gaps not judged", format!("{}: the wall clock was set back between two starts", found.gaps_unjudged));
    }
    let hour = found.largest_hour.as_ref();
    line(
        "largest hour of a company",
        hour.map_or("none".to_owned(), |(sends, corp)| format!("{sends} ({:?})", corp.as_str())),
    );
    for violation in &found.violations {
        line("BROKEN", violation.to_string());
    }
    let held = if found.held() { "yes".to_owned() } else { format!("no, {} found broken", found.violations_total) };
    line("promises held", held);
    (report, if found.held() { 0 } else { EXIT_BROKEN })
}
