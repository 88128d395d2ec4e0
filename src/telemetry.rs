//! One function per thing that happened.
//!
//! Levels are by who must act: ERROR means that a person has to do something now, WARN that somebody should look
//! today, INFO that a rare and normal thing happened, DEBUG everything per message. Message texts, recipients and
//! secrets are at no level. A value that a stranger chose is passed as a string or with `?`, never with `%` and never
//! under the name `message`: there the text format would print its line breaks and escapes. What slips through all the
//! same is made harmless line by line.

mod line;

pub use line::harmless;

use crate::engine::Counters;
use crate::model::{Alarm, LogLevel, SenderName, SenderTrouble, Seq, Ticket, Verdict};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

// Broker connection.

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub fn broker_connected(client: &str, session_present: bool) {
    tracing::info!(client, session_present, "connected to the broker");
}

/// The connection ended or could not be made; the next attempt follows after `wait`.
pub fn broker_lost(client: &str, reason: &str, wait: Duration) {
    tracing::warn!(client, reason, retry_in_ms = millis(wait), "no connection to the broker");
}

/// The broker does not let us in, and will not until somebody changes its configuration or ours.
pub fn broker_refused(client: &str, reason: &str, wait: Duration) {
    tracing::error!(
        client,
        reason,
        retry_in_ms = millis(wait),
        "broker refuses the connection: check credentials and client id"
    );
}

/// Another process connected with our client id.
pub fn broker_taken_over(client: &str, wait: Duration) {
    tracing::error!(client, retry_in_ms = millis(wait), "two processes use one client id: stop one of them");
}

/// That many connections in a row ended within a minute.
pub fn broker_connection_short_lived(client: &str, times: u32) {
    tracing::error!(client, times, "connections keep ending: does another process use this client id?");
}

/// The broker has known defects that cost messages.
pub fn broker_outdated(version: &str) {
    let version: String = version.chars().take(64).collect();
    tracing::warn!(
        version,
        "this broker is old: a message whose MQTT 5 expiry is over blocks those behind it; use bridge.ttl instead"
    );
}

pub fn subscribed(client: &str, filters: usize) {
    tracing::info!(client, filters, "subscribed");
}

pub fn subscribe_refused(filter: &str, reason: &str) {
    tracing::error!(filter, reason, "broker refuses a subscription: check its ACL");
}

/// The broker refused something published, which is not repeated unless `retryable`.
pub fn publish_refused(token: u64, reason: &str, retryable: bool) {
    tracing::error!(token, reason, retryable, "broker refuses a publish: check its ACL and limits");
}

/// An acknowledgement came after its connection had ended, or twice.
pub fn stale_acknowledgement(ticket: Ticket) {
    tracing::debug!(generation = ticket.generation, packet = ticket.packet, "stale acknowledgement dropped");
}

// Intake.

/// A publisher asked for its answer at a topic that `reply_topics` do not allow; the usual topic gets it all the same.
/// `count` is how many did since the start, as with all that strangers can cause as often as they like.
pub fn response_topic_refused(topic: &str, count: u64) {
    let topic: String = topic.chars().take(128).collect();
    tracing::warn!(topic, count, "response topic not allowed, it is ignored");
}

/// A delivery came on a topic that is none of ours, by a subscription that the broker still keeps.
pub fn foreign_topic(topic: &str, count: u64) {
    let topic: String = topic.chars().take(128).collect();
    tracing::warn!(topic, count, "delivery on a foreign topic dropped");
}

/// The parser panicked. The delivery was refused, and everything goes on.
pub fn poison_contained() {
    tracing::error!("a delivery made the parser fail; it was refused: this is a bug, report it");
}

/// Writing a publication panicked. It is not published, and everything goes on.
pub fn poison_contained_outgoing() {
    tracing::error!("an answer or an event could not be written and is given up: this is a bug, report it");
}

/// Intake could not be opened again.
pub fn intake_not_opened(error: &dyn std::error::Error) {
    tracing::error!(error = error.to_string(), "intake cannot be opened");
}

/// The system had no connection to give, mostly because too many files are open.
pub fn http_accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "an HTTP connection could not be taken");
}

/// A callback of a known source did not prove where it comes from. `count` is how many did not since the start.
pub fn callback_forged(source: &str, count: u64) {
    tracing::warn!(source, count, "callback refused: wrong secret or signature");
}

/// A callback found no room, or was not durable in time; its system brings it again.
pub fn callback_late(source: &str) {
    tracing::debug!(source, "callback put off with 503");
}

/// A genuine callback could not be read.
pub fn callback_unreadable(source: &str, why: &str) {
    tracing::warn!(source, why, "callback refused");
}

// Publisher.

/// Events, replies or alarms were dropped, so many in all, because the broker did not take them fast enough.
pub fn notices_dropped(total: u64) {
    tracing::warn!(total, "the broker is too slow: events and replies were dropped; answers wait");
}

/// An event of the outgoing connection came after the publisher had ended.
pub fn publisher_gone() {
    tracing::debug!("the outgoing connection outlived the publisher");
}

/// A retained topic cannot be published: the broker would end the connection for it. It keeps what it said before.
pub fn status_unfit(topic: &str, reason: &str) {
    tracing::warn!(topic, reason, "a status cannot be published");
}

/// More stored statuses came at once than there is room for, so many in all. The next connection shows them again.
pub fn stored_statuses_missed(total: u64) {
    tracing::warn!(
        total,
        "stored statuses were not looked at; what is stale among them stays until the next connection"
    );
}

// Sender.

/// An attempt ended. The sender's own words stay out of it: they may repeat the message.
pub fn attempt_ended(sender: &SenderName, seq: Seq, attempt: u32, verdict: &Verdict) {
    let (verdict, why) = match verdict {
        Verdict::Confirmed { msg_id: Some(_) } => ("confirmed", ""),
        Verdict::Confirmed { msg_id: None } => ("confirmed", "without msgId"),
        Verdict::Refused { .. } => ("refused", ""),
        Verdict::NotSent { why, .. } => ("not_sent", why.as_str()),
        Verdict::Unknown { why, .. } => ("unknown", why.as_str()),
    };
    tracing::debug!(sender = sender.as_str(), seq = seq.0, attempt, verdict, why, "attempt ended");
}

/// A call of the API ended; `why` is the code of its fault, empty where it worked. What went with it stays out of it.
pub fn call_ended(sender: &SenderName, number: u64, path: &str, why: &str, took: Duration) {
    tracing::debug!(sender = sender.as_str(), number, ?path, why, took_ms = millis(took), "call ended");
}

pub fn directory_read(sender: &SenderName, accounts: usize) {
    tracing::debug!(sender = sender.as_str(), accounts, "account list read");
}

pub fn directory_failed(sender: &SenderName, trouble: SenderTrouble, detail: &str) {
    tracing::warn!(sender = sender.as_str(), ?trouble, detail, "account list could not be read");
}

// Journal.

/// A commit found no room. It is tried again until it does; meanwhile nothing is taken and nothing is sent.
pub fn journal_full() {
    tracing::error!("the disk is full: nothing is taken and nothing is sent until there is room");
}

/// A question did not reach the journal: its reader is gone, or the engine asked more than it may.
pub fn question_lost() {
    tracing::error!("a question did not reach the journal, and is not answered: this is a bug, report it");
}

// Bridge.

/// Something that a person must act on, as it is published too.
pub fn alarm(alarm: &Alarm) {
    tracing::error!(what = alarm.what, about = &*alarm.about, text = &*alarm.message, "alarm");
}

/// Messages are taken again, or no more: drained by an order, or for lack of room.
pub fn intake_switched(is_open: bool) {
    tracing::info!(is_open, "intake switched");
}

/// A forecast could not be made: whoever asked is told no times, and it is tried again later.
pub fn forecast_failed() {
    tracing::error!("a forecast failed: where this comes again and again it is a bug, report it");
}

/// The engine panicked, and the process has to end; it is counted who was being handled.
pub fn poison_named(suspect: &str) {
    tracing::error!(suspect, "handling this ended the process: this is a bug, report it");
}

/// Nobody could be named.
pub fn poison_unnamed(reason: &str) {
    tracing::error!(reason, "what ended the process could not be noted");
}

/// The journal was read back.
pub fn restored(counters: &Counters) {
    tracing::info!(messages = counters.restored, "journal restored");
}

/// The wall clock was set while the bridge was away. What is in the journal keeps its true age.
pub fn wall_clock_set(shift_nanos: i128) {
    let seconds = shift_nanos / 1_000_000_000;
    tracing::warn!(seconds, "the wall clock was set since the last run; the journal's times are moved along");
}

/// The loop has ended after a stop; what is still in flight is in doubt at the next start.
pub fn bridge_drained(in_flight: usize) {
    tracing::info!(in_flight, "bridge stopped");
}

// Process.

/// Logs to standard error from `level` on, as JSON or as text. `RUST_LOG` goes before `level`. Only the first call
/// counts.
pub fn init(level: &str, json: bool) {
    let configured: Box<str> = Box::from(level);
    let filter = first_filter(&configured);
    // Whoever reads the log may end before us. Complaining about that where nobody reads any more would be a panic.
    let builder = tracing_subscriber::fmt().with_writer(line::Lines).log_internal_errors(false);
    let reload: Reload = if json {
        let builder = builder.json().with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_err() {
            // Somebody else's subscriber stays.
            return;
        }
        Box::new(move |filter| drop(handle.reload(filter)))
    } else {
        let builder = builder.with_ansi(false).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_err() {
            return;
        }
        Box::new(move |filter| drop(handle.reload(filter)))
    };
    let _ = LOG.set((configured, reload));
}

type Reload = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// The level that was configured, and how to log from another one on: as process-wide as the subscriber is.
static LOG: OnceLock<(Box<str>, Reload)> = OnceLock::new();

fn first_filter(configured: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| filter_from(configured))
}

fn filter_from(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{level},mqtt5=error,rumqttc=off,hyper=warn"))
}

/// Logs from `level` on, or again from where [`init`] began. Does nothing where somebody else's subscriber is.
pub fn log_from(level: Option<LogLevel>) {
    let Some((configured, reload)) = LOG.get() else { return };
    match level {
        Some(level) => {
            reload(filter_from(level.as_str()));
            tracing::warn!(level = level.as_str(), "an operator set the log level");
        }
        None => {
            reload(first_filter(configured));
            tracing::warn!("the log level is what was configured");
        }
    }
}

pub fn starting(version: &str) {
    tracing::info!(version, "sendbridge starts");
}

/// The HTTP server listens; with port 0 in the configuration this is where the port is told.
pub fn http_listening(address: SocketAddr) {
    tracing::info!(%address, "http listens");
}

pub fn stopping() {
    tracing::info!("stop requested: intake ends, requests in flight are waited for");
}

/// Whoever supervises the process was told something, or is deaf.
pub fn told(told: std::io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!(%error, "whoever supervises the process cannot be told");
    }
}

/// A configuration that works and is odd.
pub fn configuration_warning(warning: &str) {
    tracing::warn!(warning, "configuration");
}

/// The process cannot go on.
pub fn failed(reason: &str) {
    tracing::error!(reason, "sendbridge ends");
}
