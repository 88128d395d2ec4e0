//! What `/metrics` says: a snapshot that the loop leaves now and then, as text for Prometheus.
//!
//! # Invariants
//!
//! - A snapshot is taken whole, so the counts in it add up.
//! - Nobody who reads it can hold up the loop.
//! - No label has more values than somebody configured or the code names, companies apart, which are at most
//!   [`CORPS_MAX`] and then one row for the rest. Neither accounts nor texts are in any.

use super::gauges::{BOUNDS, Buckets, Tallies};
use crate::engine::CorpGauges;
use crate::model::{HealthReport, LinkWord, Mode, SenderWord, State, Time};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// Companies with a row of their own.
pub(super) const CORPS_MAX: usize = 1000;
/// The row of all others.
const OTHER_CORPS: &str = "*";

/// How everything was at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) health: HealthReport,
    pub(super) corps: Vec<CorpGauges>,
    pub(super) tallies: Tallies,
    pub(super) intake_to_answer: Buckets,
    pub(super) sender: Buckets,
    pub(super) commit: Buckets,
}

/// In which of its two forms Prometheus wants the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// The older one, which every tool reads.
    Plain,
}

impl Snapshot {
    /// The text, as it is at `now`.
    pub fn text(self: &Arc<Self>, format: Format, now: Time) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page { snapshot: Arc::clone(self), now }));
        let mut written = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut written, &registry);
        match format {
            Format::OpenMetrics => written,
            Format::Plain => plain(&written),
        }
    }
}

/// The older form: a counter is called what its samples are called, and there are neither units nor an end.
fn plain(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let help = help.strip_prefix(name).unwrap_or_default();
            plain += &format!("# HELP {name}{suffix}{help}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            plain += line;
            plain.push('\n');
        }
    }
    plain
}

#[derive(Debug)]
struct Page {
    snapshot: Arc<Snapshot>,
    now: Time,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut writer = Writer { encoder };
        self.messages(&mut writer)?;
        self.events(&mut writer)?;
        self.latencies(&mut writer)?;
        self.senders_and_links(&mut writer)?;
        self.corps(&mut writer)?;
        self.process(&mut writer)
    }
}

/// Writes families.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge<N: EncodeGaugeValue + Copy + fmt::Debug>(&mut self, name: &str, help: &str, value: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        let metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn counters<'l, const L: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, &'l str); L], u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<'l, const L: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, &'l str); L], u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &Buckets) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counted: Vec<(f64, u64)> = bounds.zip(buckets.counts).collect();
        metric.encode_histogram::<NoLabelSet>(buckets.sum_seconds, buckets.count, &counted, None)
    }
}

impl Page {
    fn messages(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let health = &self.snapshot.health;
        let counts = &health.counts;
        let help = "Messages that came in, since the start of the process";
        writer.counter("sendbridge_messages_received", help, counts.received.saturating_sub(counts.restored))?;
        writer.counter("sendbridge_messages_rejected", "Of these, rejected without an attempt", counts.rejected)?;
        writer.counter("sendbridge_messages_duplicate", "Of these, repeats of known ones", counts.duplicate)?;
        let help = "Messages taken over, those of an earlier life of the process included";
        writer.counter("sendbridge_messages_accepted", help, counts.accepted)?;
        let help = "Messages that an earlier life of the process had taken";
        writer.gauge("sendbridge_messages_restored", help, counts.restored)?;
        let finished = self.snapshot.tallies.finished.iter().map(|(state, count)| ([("state", *state)], *count));
        let help = "Messages that reached a final state, by it";
        writer.counters("sendbridge_messages_finished", help, finished)?;
        let live = State::ALL.into_iter().filter(|state| !state.is_final());
        let live = live.map(|state| {
            let count = counts.states.get(state.as_str()).copied().unwrap_or_default();
            ([("state", state.as_str())], count)
        });
        writer.gauges("sendbridge_messages", "Messages that are not final, by state", live)?;
        writer.gauge("sendbridge_queued_message_bytes", "Bytes of the bodies of these", health.queued_bytes)?;
        let age = health.oldest_queued_at.map_or(0.0, |at| health.at.since(at).as_secs_f64());
        let help = "How long the message has waited that waits longest for its turn";
        writer.gauge("sendbridge_oldest_queued_age_seconds", help, age)?;
        let help = "Answers that the broker has not acknowledged yet";
        writer.gauge("sendbridge_answers_open", help, health.answers_open)?;
        let help = "1 while every message is accounted for";
        writer.gauge("sendbridge_balanced", help, u64::from(counts.balanced))?;
        writer.gauge("sendbridge_accounts", "Known accounts", health.accounts)?;
        writer.gauge("sendbridge_corps", "Known companies", health.corps)?;
        writer.gauge("sendbridge_holds", "Stops that somebody ordered", health.holds)
    }

    fn events(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let tallies = &self.snapshot.tallies;
        let rejections = tallies.rejections.iter().map(|(code, count)| ([("code", *code)], *count));
        writer.counters("sendbridge_rejections", "Messages rejected, by the code of their answer", rejections)?;
        let attempts = tallies.attempts.iter();
        let attempts = attempts.map(|((result, reason), count)| ([("result", *result), ("reason", *reason)], *count));
        writer.counters("sendbridge_attempts", "Requests to senders that ended, by what they proved", attempts)?;
        let help = "Answers that the broker acknowledged";
        writer.counter("sendbridge_answers_acknowledged", help, tallies.answered)?;
        let alarms = tallies.alarms.iter().map(|(what, count)| ([("what", *what)], *count));
        writer.counters("sendbridge_alarms", "Alarms and their all-clears, by word", alarms)?;
        let events = tallies.callback_events.iter().map(|(source, count)| ([("source", source.as_str())], *count));
        writer.counters("sendbridge_callback_events", "Events of callbacks that were kept, by source", events)?;
        let receipts = tallies.receipts.iter().map(|(state, count)| ([("state", *state)], *count));
        let help = "Messages of which a callback told what became of them, by that";
        writer.counters("sendbridge_receipts", help, receipts)?;
        let help = "Doubts that a callback proved to be sent";
        writer.counter("sendbridge_doubts_proven", help, tallies.proven)?;
        let calls = tallies.calls.iter().map(|(result, count)| ([("result", *result)], *count));
        writer.counters(
            "sendbridge_calls",
            "Calls of senders' APIs that somebody asked for, by how they ended",
            calls,
        )?;
        let help = "Events and replies dropped because the broker did not take them fast enough";
        writer.counter("sendbridge_notices_dropped", help, self.snapshot.health.process.notices_dropped)
    }

    fn latencies(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Snapshot { intake_to_answer, sender, commit, .. } = self.snapshot.as_ref();
        let help = "From a message's arrival until the broker has its answer";
        writer.histogram("sendbridge_intake_to_answer_seconds", help, intake_to_answer)?;
        let help = "From the start of a request to a sender until its answer was read";
        writer.histogram("sendbridge_sender_request_seconds", help, sender)?;
        writer.histogram("sendbridge_journal_commit_seconds", "One durable commit of the journal", commit)
    }

    fn senders_and_links(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let health = &self.snapshot.health;
        let senders = || health.senders.iter();
        let up =
            senders().map(|sender| ([("sender", sender.name.as_str())], u64::from(sender.state == SenderWord::Up)));
        writer.gauges("sendbridge_sender_up", "1 while the server answers and takes our key", up)?;
        let unauthorized = senders()
            .map(|sender| ([("sender", sender.name.as_str())], u64::from(sender.state == SenderWord::Unauthorized)));
        writer.gauges("sendbridge_sender_unauthorized", "1 while the server does not take our key", unauthorized)?;
        let in_flight = senders().map(|sender| ([("sender", sender.name.as_str())], sender.in_flight));
        writer.gauges("sendbridge_sender_in_flight", "Requests under way", in_flight)?;
        let connections = senders().map(|sender| ([("sender", sender.name.as_str())], sender.connections));
        writer.gauges("sendbridge_sender_connections", "Requests that may be under way at once", connections)?;
        let broker = &health.broker;
        let links = [("incoming", broker.incoming), ("outgoing", broker.outgoing), ("commands", broker.commands)];
        let up = links.map(|(link, word)| ([("link", link)], u64::from(word == LinkWord::Up)));
        writer.gauges("sendbridge_broker_link_up", "1 while a connection to the broker is up", up)?;
        let closed = links.map(|(link, word)| ([("link", link)], u64::from(word == LinkWord::Closed)));
        writer.gauges("sendbridge_broker_link_closed", "1 while a connection is closed on purpose", closed)?;
        if let Some(dropped) = broker.dropped {
            let help = "Messages that the broker says it has thrown away, for any client";
            writer.counter("sendbridge_broker_messages_dropped", help, dropped)?;
        }
        if let Some(stored) = broker.stored {
            let help = "Messages that the broker says it holds, for any client";
            writer.gauge("sendbridge_broker_messages_stored", help, stored)?;
        }
        let modes = [
            ("running", Mode::Running),
            ("draining", Mode::Draining),
            ("drained", Mode::Drained),
            ("stopping", Mode::Stopping),
        ];
        let modes = modes.map(|(word, mode)| ([("mode", word)], u64::from(mode == health.mode)));
        writer.gauges("sendbridge_mode", "1 for what the bridge is doing as a whole", modes)
    }

    fn corps(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let name = |row: &CorpGauges| row.corp.clone();
        let names: Vec<_> = self.snapshot.corps.iter().map(name).collect();
        let named = || names.iter().map(|name| name.as_ref().map_or(OTHER_CORPS, |corp| corp.as_str()));
        let rows = || named().zip(&self.snapshot.corps);
        let messages = rows().flat_map(|(corp, row)| {
            let states = [("queued", row.queued), ("sending", row.sending), ("in_doubt", row.in_doubt)];
            states.map(|(state, count)| ([("corp", corp), ("state", state)], count))
        });
        writer.gauges("sendbridge_corp_messages", "Messages of a company that are not final, by state", messages)?;
        let used = rows().map(|(corp, row)| ([("corp", corp)], row.hour_used));
        writer.gauges("sendbridge_corp_hour_used", "Sends of a company that count in its hour", used)?;
        let limit = rows().map(|(corp, row)| ([("corp", corp)], row.hour_limit));
        writer.gauges("sendbridge_corp_hour_limit", "Sends that a company may make in any hour", limit)
    }

    fn process(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let health = &self.snapshot.health;
        let process = &health.process;
        writer.gauge("process_resident_memory_bytes", "Resident memory", process.resident_bytes)?;
        let started = health.started_at.as_millis() as f64 / 1000.0;
        writer.gauge("process_start_time_seconds", "Start of the process, since the epoch", started)?;
        writer.gauge("sendbridge_journal_bytes", "Size of the journal with its log", process.journal_bytes)?;
        let help = "Free bytes on the journal's file system";
        writer.gauge("sendbridge_journal_free_bytes", help, process.journal_free_bytes)?;
        let help = "1 while the disk is nearly full, and nothing new is taken";
        writer.gauge("sendbridge_storage_low", help, u64::from(health.storage_low))?;
        let help = "How old what is shown here is: the loop stands still when it is more than a minute";
        writer.gauge("sendbridge_snapshot_age_seconds", help, self.now.since(health.at).as_secs_f64())?;
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
        writer.gauges("sendbridge_build_info", "1, for the version", version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_names_counters_by_their_samples() {
        let open = "# HELP a things\n# TYPE a counter\na_total 1\n# HELP b_seconds time\n# TYPE b_seconds gauge\n\
                    # UNIT b_seconds seconds\nb_seconds 2.0\n# EOF\n";
        let wanted = "# HELP a_total things\n# TYPE a_total counter\na_total 1\n# HELP b_seconds time\n\
                      # TYPE b_seconds gauge\nb_seconds 2.0\n";
        assert_eq!(plain(open), wanted);
    }
}
