//! `sendbridge audit`: is the journal sound, and does it show the promises kept?

use crate::config;
use crate::journal::{self, Audit, AuditLimits, Effects, Ledger, OpenError, Reader};
use crate::model::{Account, Corp, Seq, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

/// The exit code when a promise was broken.
const EXIT_BROKEN: u8 = 1;
/// The exit code when nothing can be said.
const EXIT_UNREADABLE: u8 = 70;
/// Of what is before the figures; the longest is of doubts that ended unresolved.
const NAME_WIDTH: usize = 30;
/// Accounts and companies that the text names; JSON has all.
const SHOWN_MAX: usize = 10;

/// What the receiving end saw, as the sandbox tells it under `/sandbox/requests`.
#[derive(Deserialize)]
struct LedgerFile {
    /// By `X-Request-Id`: the message's number, a dash, the attempt's.
    requests: BTreeMap<String, Effects>,
}

/// Reads a ledger. What others sent through the same server, or the bridge called, is no request of a message.
fn read_ledger(path: &Path) -> Result<Ledger, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: LedgerFile = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let key = |id: &str| {
        let (seq, attempt) = id.split_once('-')?;
        Some((Seq(seq.parse().ok()?), attempt.parse().ok()?))
    };
    Ok(file.requests.iter().filter_map(|(id, seen)| Some((key(id)?, *seen))).collect())
}

/// Judges the journal of a configuration, also while its bridge runs; beside a `ledger` of the receiving end only while
/// it stands still. The structure of each page is looked at first, which takes about a second for 100 MB, and for as
/// long the log of a running bridge cannot shrink.
///
/// Answers what to print and the exit code: 0 when the promises held, 1 when one was broken, 70 when the journal or the
/// ledger cannot be read or the journal is damaged, 78 when the configuration cannot be read.
pub fn audit(
    path: &Path,
    as_json: bool,
    ledger: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> (String, u8) {
    let config = match config::load(path, environment, &config::read_file) {
        Ok(loaded) => loaded.config,
        Err(problems) => return (problems.to_string(), config::EXIT_CODE),
    };
    let ledger = match ledger.map(|ledger| (ledger, read_ledger(ledger))) {
        None => None,
        Some((_, Ok(ledger))) => Some(ledger),
        Some((path, Err(error))) => return (format!("{}: {error}\n", path.display()), EXIT_UNREADABLE),
    };
    let limits = &config.limits;
    let interval = |account: &Account| limits.accounts.get(account).copied().unwrap_or(limits.account_interval);
    let per_hour = |corp: &Corp| limits.corps.get(corp).unwrap_or(&limits.corp).per_hour;
    let from_request = limits.measured_from == config::MeasuredFrom::Request;
    // A start looks through small files alone. What else may be wrong the reader says.
    if let Err(error @ OpenError::Damaged { .. }) = journal::check(&config.store.path) {
        return (format!("{error}\n"), EXIT_UNREADABLE);
    }
    let found = Reader::open(&config.store.path).and_then(|reader| {
        let mut found = reader.audit(&AuditLimits { interval: &interval, per_hour: &per_hour, from_request })?;
        if let Some(ledger) = &ledger {
            reader.audit_effects(ledger, &mut found)?;
        }
        Ok(found)
    });
    let found = match found {
        Ok(found) => found,
        Err(error) => return (format!("{}: {error}\n", config.store.path.display()), EXIT_UNREADABLE),
    };
    let report = if as_json { format!("{:#}\n", data(&found)) } else { text(&found) };
    (report, if found.held() { 0 } else { EXIT_BROKEN })
}

fn text(found: &Audit) -> String {
    let mut report = String::new();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(report, "{name:<NAME_WIDTH$} {value}");
    };
    let (messages, open, unanswered) = (found.messages, found.open, found.unanswered);
    line("messages", format!("{messages} ({open} still open; {unanswered} ended and not answered yet)"));
    for (state, messages) in found.states.iter().filter(|(state, _)| **state != State::Queued) {
        line(&format!("  {}", state.as_str()), messages.to_string());
    }
    line("each in one state", if found.is_balanced() { "yes" } else { "no" }.to_owned());
    line("attempts", format!("{} ({} in doubt)", found.attempts, found.doubts));
    for (state, messages) in &found.doubt_fates {
        line(&format!("  doubts that ended {}", state.as_str()), messages.to_string());
    }
    line("  doubts still open", found.doubts_open.to_string());
    line(
        "possibly duplicate",
        format!("{} ({} may have been sent twice)", found.possibly_duplicate, found.perhaps_twice),
    );
    let gap = found.smallest_gap.as_ref();
    line(
        "smallest gap of an account",
        gap.map_or("none".to_owned(), |(gap, account)| {
            format!("{:.3} ms ({:?})", gap.as_secs_f64() * 1e3, account.as_str())
        }),
    );
    let mut gaps: Vec<_> = found.gaps.iter().collect();
    gaps.sort_by_key(|(_, gap)| **gap);
    for (account, gap) in gaps.iter().take(SHOWN_MAX) {
        line(&format!("  {:?}", account.as_str()), format!("{:.3} ms", gap.as_secs_f64() * 1e3));
    }
    if found.gaps_unjudged > 0 {
        line("gaps not judged", format!("{}: the wall clock was set back between two starts", found.gaps_unjudged));
    }
    let hour = found.largest_hour.as_ref();
    line(
        "largest hour of a company",
        hour.map_or("none".to_owned(), |(sends, corp)| format!("{sends} ({:?})", corp.as_str())),
    );
    let mut hours: Vec<_> = found.hours.iter().collect();
    hours.sort_by_key(|(_, sends)| std::cmp::Reverse(**sends));
    for (corp, sends) in hours.iter().take(SHOWN_MAX) {
        line(&format!("  {:?}", corp.as_str()), sends.to_string());
    }
    for violation in &found.violations {
        line("BROKEN", violation.to_string());
    }
    let held = if found.held() { "yes".to_owned() } else { format!("no, {} found broken", found.violations_total) };
    line("promises held", held);
    report
}

fn data(found: &Audit) -> Value {
    let by_state = |states: &BTreeMap<State, u64>| -> BTreeMap<&str, u64> {
        states.iter().map(|(state, messages)| (state.as_str(), *messages)).collect()
    };
    let gaps: BTreeMap<&str, f64> =
        found.gaps.iter().map(|(account, gap)| (account.as_str(), gap.as_secs_f64() * 1e3)).collect();
    let hours: BTreeMap<&str, u32> = found.hours.iter().map(|(corp, sends)| (corp.as_str(), *sends)).collect();
    json!({
        "held": found.held(),
        "balanced": found.is_balanced(),
        "messages": found.messages,
        "open": found.open,
        "unanswered": found.unanswered,
        "states": by_state(&found.states),
        "attempts": found.attempts,
        "doubts": { "attempts": found.doubts, "ended": by_state(&found.doubt_fates), "open": found.doubts_open },
        "possiblyDuplicate": found.possibly_duplicate,
        "perhapsTwice": found.perhaps_twice,
        "smallestGapMs": gaps,
        "gapsUnjudged": found.gaps_unjudged,
        "largestHour": hours,
        "violationsTotal": found.violations_total,
        "violations": found.violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Batch, Journal, Settings};
    use crate::model::{Message, Record};
    use std::sync::Arc;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn damage_that_no_start_would_meet_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = folder.path().join("sendbridge.db");
        let config = folder.path().join("sendbridge.toml");
        let sender = "[[senders]]\nname = \"main\"\nurl = \"http://127.0.0.1/\"\napi_key = \"key\"\n";
        std::fs::write(&config, format!("{sender}[store]\npath = {journal:?}\n")).expect("a file");
        let audited = || audit(&config, false, None, std::iter::empty());
        let settings = Settings {
            path: journal.clone(),
            retention: HOUR,
            body_retention: HOUR,
            dedup_window: HOUR,
            low_space_bytes: 0,
        };
        let open = Journal::open(settings).expect("a journal");
        let message = |seq| {
            let request = crate::golden::request_of("a", seq);
            let received_at = crate::clock::wall();
            Record::Accepted(Arc::new(Message {
                seq: Seq(seq),
                received_at,
                expires_at: received_at + HOUR,
                not_before: None,
                priority: 4,
                on_doubt: crate::model::OnDoubt::Report,
                body_bytes: request.body.len() as u32,
                retry: None,
                request,
            }))
        };
        let records = (1..=500).map(message).collect();
        open.commit(Batch { records, ..Batch::default() }).await.expect("a commit");
        open.close().await.expect("a clean end");
        let (report, code) = audited();
        assert!(code == 0 && report.contains("500 still open"), "{report}");
        let mut bytes = std::fs::read(&journal).expect("the file");
        let half = bytes.len() / 2;
        bytes[half..].fill(0x5a);
        std::fs::write(&journal, bytes).expect("damage");
        let (report, code) = audited();
        assert!(code == EXIT_UNREADABLE && report.contains("is damaged"), "{report}");
    }
}
