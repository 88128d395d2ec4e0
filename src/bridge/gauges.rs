//! What only the process around the engine can measure: how long things take, and what they cost.

use crate::journal::Space;
use crate::model::{
    Alarm, Callback, LatencyReport, NotSent, Percentiles, ProcessReport, Record, Seq, State, Time, Verdict,
};
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Windows that together are the last minute.
const WINDOWS: u64 = 6;
const WINDOW_SECONDS: u64 = 10;
/// What is longer counts as this.
const LONGEST_MICROS: u64 = 24 * 3600 * 1_000_000;
/// Two digits: a percentile is at most one in a hundred off.
const DIGITS: u8 = 2;

/// Upper bounds of the buckets for a metric, in seconds.
pub(super) const BOUNDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// How long one kind of thing takes: over the last minute, and since the start.
pub(super) struct Latency {
    /// The number of each window and what was seen in it.
    windows: Vec<(u64, Histogram<u32>)>,
    since_start: Buckets,
}

/// Counts by bucket; the last one has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    pub(super) counts: [u64; BOUNDS.len() + 1],
    pub(super) sum_seconds: f64,
    pub(super) count: u64,
}

impl Latency {
    fn new() -> Self {
        Self { windows: Vec::new(), since_start: Buckets::default() }
    }

    fn record(&mut self, took: Duration, now: Time) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.since_start.counts[bucket] += 1;
        self.since_start.sum_seconds += seconds;
        self.since_start.count += 1;
        let number = window(now);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = self.window(number) {
            histogram.saturating_record(micros.clamp(1, LONGEST_MICROS));
        }
    }

    fn window(&mut self, number: u64) -> Option<&mut Histogram<u32>> {
        let found = self.windows.iter().position(|(own, _)| *own == number);
        if let Some(index) = found {
            return Some(&mut self.windows[index].1);
        }
        // The oldest one makes room, so that no more than a minute's are ever made.
        if self.windows.len() as u64 >= WINDOWS {
            let oldest = self.windows.iter_mut().min_by_key(|(own, _)| *own)?;
            oldest.0 = number;
            oldest.1.reset();
            return Some(&mut oldest.1);
        }
        // Only bounds that make no sense are refused.
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).ok()?;
        self.windows.push((number, histogram));
        self.windows.last_mut().map(|(_, histogram)| histogram)
    }

    fn percentiles(&self, now: Time) -> Percentiles {
        let Ok(mut all) = Histogram::<u64>::new_with_bounds(1, LONGEST_MICROS, DIGITS) else {
            return Percentiles::default();
        };
        let number = window(now);
        for (_, histogram) in self.windows.iter().filter(|(own, _)| own + WINDOWS > number) {
            for value in histogram.iter_recorded() {
                all.saturating_record_n(value.value_iterated_to(), value.count_at_value().into());
            }
        }
        let millis = |micros: u64| micros as f64 / 1000.0;
        let quantile = |quantile: f64| if all.is_empty() { 0.0 } else { millis(all.value_at_quantile(quantile)) };
        Percentiles {
            count: all.len(),
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
        }
    }

    pub(super) fn since_start(&self) -> Buckets {
        self.since_start
    }
}

fn window(now: Time) -> u64 {
    now.as_millis() / 1000 / WINDOW_SECONDS
}

/// Things that happened since the start of the process, by their stable words.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    pub(super) finished: BTreeMap<&'static str, u64>,
    pub(super) rejections: BTreeMap<&'static str, u64>,
    /// By result and reason.
    pub(super) attempts: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) alarms: BTreeMap<&'static str, u64>,
    /// By the configured name of the source.
    pub(super) callback_events: BTreeMap<String, u64>,
    pub(super) receipts: BTreeMap<&'static str, u64>,
    pub(super) proven: u64,
    /// By result.
    pub(super) calls: BTreeMap<&'static str, u64>,
    pub(super) answered: u64,
}

impl Tallies {
    fn new() -> Self {
        // What has not happened yet is zero and not absent: the first time is an increase then.
        let finished = State::ALL.into_iter().filter(|state| state.is_final()).map(|state| (state.as_str(), 0));
        let not_sent = [
            NotSent::Connect,
            NotSent::Busy { retry_after: None },
            NotSent::TooFrequent { retry_after: None },
            NotSent::Temporary { retry_after: None },
            NotSent::Offline,
            NotSent::Unauthorized,
            NotSent::Expired,
        ];
        let mut attempts: BTreeMap<_, _> = not_sent.map(|why| (("not_sent", why.as_str()), 0)).into();
        attempts.extend(["confirmed", "refused"].map(|result| ((result, ""), 0)));
        attempts.extend(["timeout", "reset", "unreadable", "status", "crash", "code"].map(|why| (("unknown", why), 0)));
        let receipts = [State::Delivered, State::Undelivered].map(|state| (state.as_str(), 0));
        let calls = ["done", "failed"].map(|result| (result, 0));
        Self {
            finished: finished.collect(),
            attempts,
            receipts: receipts.into(),
            calls: calls.into(),
            ..Self::default()
        }
    }
}

/// All that is measured.
pub(super) struct Gauges {
    pub(super) intake_to_answer: Latency,
    pub(super) sender: Latency,
    pub(super) commit: Latency,
    pub(super) tallies: Tallies,
    /// Answers on their way to the broker, and when their messages came. Bounded by the window of answers.
    answering: BTreeMap<Seq, Time>,
    /// Answers that somebody asked for once more: how long those take says nothing.
    repeated: BTreeSet<Seq>,
}

impl Gauges {
    pub(super) fn new() -> Self {
        Self {
            intake_to_answer: Latency::new(),
            sender: Latency::new(),
            commit: Latency::new(),
            tallies: Tallies::new(),
            answering: BTreeMap::new(),
            repeated: BTreeSet::new(),
        }
    }

    pub(super) fn note(&mut self, record: &Record, now: Time) {
        match record {
            Record::Finished { outcome, .. } => {
                *self.tallies.finished.entry(outcome.state.as_str()).or_default() += 1;
            }
            Record::Refused { refusal, .. } => {
                *self.tallies.rejections.entry(refusal.fault.code.as_str()).or_default() += 1;
            }
            Record::Ended { verdict, .. } => {
                let key = match verdict {
                    Verdict::Confirmed { .. } => ("confirmed", ""),
                    Verdict::Refused { .. } => ("refused", ""),
                    Verdict::NotSent { why, .. } => ("not_sent", why.as_str()),
                    Verdict::Unknown { why, .. } => ("unknown", why.as_str()),
                };
                *self.tallies.attempts.entry(key).or_default() += 1;
            }
            Record::Readdressed { seq, again: true, .. } => {
                self.repeated.insert(*seq);
            }
            Record::Answered { seq, .. } => {
                self.tallies.answered += 1;
                let received_at = self.answering.remove(seq);
                if let Some(received_at) = received_at.filter(|_| !self.repeated.remove(seq)) {
                    self.intake_to_answer.record(now.since(received_at), now);
                }
            }
            Record::RefusalAnswered { .. } => self.tallies.answered += 1,
            Record::Reported { callback, .. } => self.reported(callback),
            Record::Receipt { receipt, .. } => {
                *self.tallies.receipts.entry(receipt.state.as_str()).or_default() += 1;
            }
            Record::Proven { .. } => self.tallies.proven += 1,
            Record::Accepted(_)
            | Record::Attempted { .. }
            | Record::Readdressed { again: false, .. }
            | Record::Held(_)
            | Record::Released { .. }
            | Record::Blocked(_)
            | Record::Unblocked { .. }
            | Record::LimitSet(_)
            | Record::Located { .. }
            | Record::Commanded { .. }
            | Record::EventPublished { .. }
            | Record::EventOpen { .. }
            | Record::Presence { .. }
            | Record::CooledDown { .. }
            | Record::Spent { .. } => {}
        }
    }

    fn reported(&mut self, callback: &Callback) {
        for event in &callback.events {
            match self.tallies.callback_events.get_mut(&event.source) {
                Some(count) => *count += 1,
                None => drop(self.tallies.callback_events.insert(event.source.clone(), 1)),
            }
        }
    }

    /// A call of the sender's API ended.
    pub(super) fn called(&mut self, is_done: bool) {
        *self.tallies.calls.entry(if is_done { "done" } else { "failed" }).or_default() += 1;
    }

    /// An answer goes to the broker.
    pub(super) fn answering(&mut self, seq: Seq, received_at: Time) {
        self.answering.insert(seq, received_at);
    }

    pub(super) fn alarmed(&mut self, alarm: &Alarm) {
        *self.tallies.alarms.entry(alarm.what).or_default() += 1;
    }

    pub(super) fn sent(&mut self, took: Duration, now: Time) {
        self.sender.record(took, now);
    }

    pub(super) fn committed(&mut self, took: Duration, now: Time) {
        self.commit.record(took, now);
    }

    pub(super) fn report(&self, space: Space, notices_dropped: u64, now: Time) -> ProcessReport {
        ProcessReport {
            latency: LatencyReport {
                intake_to_answer: self.intake_to_answer.percentiles(now),
                sender: self.sender.percentiles(now),
                commit: self.commit.percentiles(now),
            },
            resident_bytes: resident_bytes(),
            journal_bytes: space.journal_bytes,
            journal_free_bytes: space.free_bytes,
            notices_dropped,
        }
    }
}

/// Memory that is really there. Zero where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default().saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn percentiles_are_of_the_last_minute() {
        let mut latency = Latency::new();
        for millis in 1..=100 {
            latency.record(Duration::from_millis(millis), at(5));
        }
        let seen = latency.percentiles(at(5));
        assert_eq!(seen.count, 100);
        for (found, wanted) in [(seen.p50_ms, 50.0), (seen.p90_ms, 90.0), (seen.p99_ms, 99.0), (seen.max_ms, 100.0)] {
            assert!((found - wanted).abs() <= wanted / 100.0, "{found} is not {wanted}");
        }
        latency.record(Duration::from_secs(2), at(50));
        assert_eq!(latency.percentiles(at(59)).count, 101);
        assert_eq!(latency.percentiles(at(75)).count, 1, "a minute later only the newest is left");
        assert_eq!(latency.percentiles(at(200)), Percentiles::default());
        assert_eq!(latency.since_start().count, 101);
    }

    #[test]
    fn memory_stays_bounded_and_nothing_is_too_long() {
        let mut latency = Latency::new();
        for second in 0..1000 {
            latency.record(Duration::MAX, at(second));
        }
        assert_eq!(latency.windows.len() as u64, WINDOWS);
        let most = latency.percentiles(at(999)).max_ms;
        assert!((most - 86_400_000.0).abs() < 1_000_000.0, "{most}");
        assert_eq!(latency.since_start().counts[BOUNDS.len()], 1000);
    }

    #[test]
    fn the_process_has_memory() {
        assert!(resident_bytes() > 1 << 20);
    }

    #[test]
    fn an_answer_that_is_asked_for_again_is_not_measured_again() {
        let mut gauges = Gauges::new();
        gauges.answering(Seq(1), at(0));
        gauges.note(&Record::Answered { seq: Seq(1), known_from: None }, at(1));
        gauges.note(&Record::Readdressed { seq: Seq(1), reply_to: None, again: true }, at(3000));
        gauges.answering(Seq(1), at(0));
        gauges.note(&Record::Answered { seq: Seq(1), known_from: None }, at(3001));
        assert_eq!((gauges.tallies.answered, gauges.intake_to_answer.since_start().count), (2, 1));
        assert!(gauges.answering.is_empty() && gauges.repeated.is_empty());
    }
}
