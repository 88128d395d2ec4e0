//! `sendbridge simulate`: what would have become of a journal's arrivals under other limits?
//!
//! Reads the journal of a running bridge or a copy of it, and hands its arrivals to the bridge's own engine over
//! virtual time. Priorities, `notBefore` and lifetimes count as they did. What only happened outside of it is left
//! out: pauses, cancellations, outages and refusals of the sender. Messages that are in the history already have lost
//! their priority, `notBefore` and lifetime, and are replayed with the defaults.

mod limits;

mod replay;

mod summary;

mod show;

#[cfg(test)]
mod tests;

use crate::app;
use crate::config::{self, Limits};
use crate::journal::{ReadError, Reader, Story};
use crate::model::{Account, Corp, Seq};
use crate::sender;
use clap::Args;
use replay::{Assumptions, Replayed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use summary::{Fate, Message, Request, Summary};

/// The exit code when the journal cannot be read.
const EXIT_UNREADABLE: u8 = 70;
/// What an answer takes where the journal shows none.
const ANSWER_TIME: Duration = Duration::from_millis(200);

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The journal (store.path), which is only read; the bridge may run.
    #[arg(long, value_name = "FILE")]
    pub journal: PathBuf,
    /// The limits: a configuration, or a file with its [limits] alone. The defaults if it is left out.
    #[arg(long, value_name = "TOML")]
    pub limits: Option<PathBuf>,
    /// The spacing of every account, whatever the file says.
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub account_interval: Option<Duration>,
    /// The hour of every company, whatever the file says.
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
    pub corp_per_hour: Option<u32>,
    /// The share of every hour that is kept for priority 8 and 9, such as 2%.
    #[arg(long, value_name = "SHARE")]
    pub corp_reserve: Option<String>,
    /// How long the sender takes for each answer; what it took on average in this journal if it is left out.
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub answer_time: Option<Duration>,
    /// Requests in flight, at most (senders.connections).
    #[arg(
        long,
        value_name = "REQUESTS",
        default_value_t = sender::Settings::CONNECTIONS_DEFAULT as u32,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub connections: u32,
    /// The lifetime of messages whose own is not known any more (messages.ttl).
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = span)]
    pub ttl: Duration,
    /// How many times as fast everything arrives.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub speed: f64,
    /// Show what really happened beside it.
    #[arg(long)]
    pub compare: bool,
    /// Accounts that are shown: those that are done last.
    #[arg(long, value_name = "ACCOUNTS", default_value_t = 10)]
    pub top: usize,
    /// Everything, every account included, as JSON.
    #[arg(long)]
    pub json: bool,
}

fn span(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if factor.is_finite() && factor > 0.0 { Ok(factor) } else { Err("must be above zero".to_owned()) }
}

/// Everything that is reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    account_interval_ms: u64,
    corp_per_hour: u32,
    /// Places of it.
    corp_reserve: u32,
    answer_time_ms: u64,
    speed: f64,
    would: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    happened: Option<Summary>,
}

/// Simulates, and answers what to print and the exit code: 0, 70 when the journal cannot be read, 78 when the limits
/// are wrong.
pub fn simulate(options: &Options) -> (String, u8) {
    let limits = match limits::read(options) {
        Ok(limits) => limits,
        Err(error) => return (format!("sendbridge simulate: {error}\n"), config::EXIT_CODE),
    };
    let story = Reader::open(&options.journal).and_then(|reader| reader.story());
    let story = match story {
        Ok(story) => story,
        Err(error) => return (unreadable(options, &error), EXIT_UNREADABLE),
    };
    let report = report(options, &limits, &story);
    if options.json {
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        return (format!("{json}\n"), 0);
    }
    (show::text(&report, options.top), 0)
}

fn unreadable(options: &Options, error: &ReadError) -> String {
    format!("sendbridge simulate: {}: {error}\n", options.journal.display())
}

fn report(options: &Options, limits: &Limits, story: &Story) -> Report {
    let answer_time = options.answer_time.or_else(|| average(story)).unwrap_or(ANSWER_TIME);
    let engine_limits = app::limit_settings(limits);
    let corp = engine_limits.corp;
    let assumptions = Assumptions {
        limits: engine_limits,
        corps: story.corps.clone(),
        answer_time,
        connections: options.connections as usize,
        ttl: options.ttl,
        speed: options.speed,
    };
    let replayed = replay::replay(&story.arrivals, &assumptions);
    Report {
        account_interval_ms: u64::try_from(limits.account_interval.as_millis()).unwrap_or(u64::MAX),
        corp_per_hour: corp.per_hour,
        corp_reserve: corp.reserve,
        answer_time_ms: u64::try_from(answer_time.as_millis()).unwrap_or(u64::MAX),
        speed: options.speed,
        would: would(story, &replayed),
        happened: options.compare.then(|| happened(story)),
    }
}

/// What answers that mean something took in this journal.
fn average(story: &Story) -> Option<Duration> {
    let took: Vec<Duration> = story
        .attempts
        .iter()
        .filter(|made| made.confirmed)
        .filter_map(|made| Some(made.ended_at?.since(made.started_at)))
        .collect();
    let sum: Duration = took.iter().sum();
    sum.checked_div(u32::try_from(took.len()).ok()?)
}

fn would(story: &Story, replayed: &Replayed) -> Summary {
    let unknown = Corp::new(replay::UNKNOWN_CORP);
    let messages: Vec<Message<'_>> = story
        .arrivals
        .iter()
        .zip(&replayed.fates)
        .zip(&replayed.received_at)
        .map(|((arrival, fate), received_at)| Message {
            account: &arrival.account,
            corp: corp_of(story, &arrival.account, &unknown),
            received_at: *received_at,
            fate: *fate,
        })
        .collect();
    summary::summarise(&messages, &replayed.requests)
}

fn happened(story: &Story) -> Summary {
    let unknown = Corp::new(replay::UNKNOWN_CORP);
    let positions: BTreeMap<Seq, usize> =
        story.arrivals.iter().enumerate().map(|(position, arrival)| (arrival.seq, position)).collect();
    let mut messages: Vec<Message<'_>> = story
        .arrivals
        .iter()
        .map(|arrival| Message {
            account: &arrival.account,
            corp: corp_of(story, &arrival.account, &unknown),
            received_at: arrival.received_at,
            fate: arrival.fate.map_or(Fate::Waiting, Fate::of),
        })
        .collect();
    let mut requests = Vec::with_capacity(story.attempts.len());
    for made in &story.attempts {
        // Attempts may outlive what is known of their message.
        let Some(position) = positions.get(&made.seq).copied() else { continue };
        if made.confirmed {
            messages[position].fate = Fate::Sent;
        }
        requests.push(Request {
            position,
            account: made.account.clone(),
            corp: made.corp.clone(),
            started_at: made.started_at,
            ended_at: made.ended_at,
            written: made.written,
        });
    }
    summary::summarise(&messages, &requests)
}

fn corp_of<'a>(story: &'a Story, account: &Account, unknown: &'a Corp) -> &'a Corp {
    story.corps.get(account).unwrap_or(unknown)
}
