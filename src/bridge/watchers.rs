//! Those who look at how the loop does, none of whom it waits for.

use super::Bridge;
use super::metrics::{CORPS_MAX, Format, Snapshot};
use crate::clock::Clock;
use crate::model::{HealthReport, ProcessReport, Publication, Reply, Status, Time};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Between two snapshots, however often somebody asks.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);
/// How long somebody who asks waits for a loop that is busy; then what there is has to do.
const PATIENCE: Duration = Duration::from_secs(1);
/// Requests whose duration waits to be noted. What is more is not measured.
const REQUESTS_MAX: usize = 4096;

/// The loop's end of what others look through.
pub struct Watchers {
    pub(super) metrics_asked: mpsc::Receiver<()>,
    metrics: watch::Sender<Option<Arc<Snapshot>>>,
    /// How long each request to a sender took.
    pub(super) requests: mpsc::Receiver<Duration>,
    notices_dropped: Box<dyn Fn() -> u64 + Send>,
}

impl Default for Watchers {
    /// Nobody looks.
    fn default() -> Self {
        let (metrics, requests) = (watch::Sender::new(None), mpsc::channel(1).1);
        Self { metrics_asked: mpsc::channel(1).1, metrics, requests, notices_dropped: Box::new(|| 0) }
    }
}

/// Shows the metrics. Clones show the same.
#[derive(Clone)]
pub struct MetricsWindow {
    ask: mpsc::Sender<()>,
    seen: watch::Receiver<Option<Arc<Snapshot>>>,
    clock: Clock,
}

/// Both ends: what the loop is given, where requests to senders note what they took, and the metrics.
pub fn watch(
    clock: Clock,
    notices_dropped: impl Fn() -> u64 + Send + 'static,
) -> (Watchers, mpsc::Sender<Duration>, MetricsWindow) {
    let (ask, metrics_asked) = mpsc::channel(1);
    let (metrics, seen) = watch::channel(None);
    let (took, requests) = mpsc::channel(REQUESTS_MAX);
    let watchers = Watchers { metrics_asked, metrics, requests, notices_dropped: Box::new(notices_dropped) };
    (watchers, took, MetricsWindow { ask, seen, clock })
}

impl MetricsWindow {
    /// The text, as new as the loop can give it within a second. `None` before there was anything to see.
    pub async fn text(&self, format: Format) -> Option<String> {
        let mut seen = self.seen.clone();
        seen.mark_unchanged();
        // One that waits already is as good.
        let _ = self.ask.try_send(());
        // A loop that is busy, or gone, leaves what it showed last.
        let _ = tokio::time::timeout(PATIENCE, seen.changed()).await;
        let snapshot = seen.borrow().clone()?;
        Some(snapshot.text(format, self.clock.now()))
    }
}

impl Bridge {
    /// Answers somebody who wants the metrics: with a new snapshot, or the last one where that is fresh.
    pub(super) fn show_metrics(&mut self) {
        let now = self.clock.now();
        let is_fresh = |at: Time| now.since(at) < SNAPSHOT_PAUSE;
        let has_fresh = self.watchers.metrics.borrow().as_ref().is_some_and(|seen| is_fresh(seen.health.at));
        if has_fresh {
            // Only so that whoever waits goes on.
            self.watchers.metrics.send_modify(|_| {});
        } else {
            self.leave_snapshot();
        }
    }

    pub(super) fn leave_snapshot(&mut self) {
        let mut health = self.engine.health();
        // The engine's time stands still between its turns.
        health.at = self.clock.now();
        health.process = self.process_report();
        self.leave(health);
    }

    fn leave(&mut self, health: HealthReport) {
        let corps = self.engine.corp_gauges(CORPS_MAX);
        let gauges = &self.gauges;
        let snapshot = Snapshot {
            health,
            corps,
            tallies: gauges.tallies.clone(),
            intake_to_answer: gauges.intake_to_answer.since_start(),
            sender: gauges.sender.since_start(),
            commit: gauges.commit.since_start(),
        };
        self.watchers.metrics.send_replace(Some(Arc::new(snapshot)));
    }

    fn process_report(&self) -> ProcessReport {
        self.gauges.report(self.journal.space(), (self.watchers.notices_dropped)(), self.clock.now())
    }

    /// Adds what only the process can measure.
    pub(super) fn publish_health(&mut self, mut report: Box<HealthReport>) {
        report.process = self.process_report();
        self.leave(report.as_ref().clone());
        (self.edges.publish)(Publication::Status(Status::Health(report)));
    }

    /// The same for the reply to `health`.
    pub(super) fn complete_reply(&self, mut reply: Reply) -> Reply {
        if &*reply.origin.name == "health"
            && let Ok(serde_json::Value::Object(data)) = &mut reply.result
            && let Ok(serde_json::Value::Object(measured)) = serde_json::to_value(self.process_report())
        {
            data.extend(measured);
        }
        reply
    }
}
