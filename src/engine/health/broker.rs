//! What the broker tells of itself, and what of it a person must know.
//!
//! A broker tells how much there is, and none of its limits: where those lie only the configuration can say.

use crate::engine::Engine;
use crate::engine::status::{Edge, Latch};
use crate::model::{BrokerFact, BrokerReport, Seq, Time};
use std::time::Duration;

/// Between two alarms about what the broker throws away.
const DROPS_PAUSE: Duration = Duration::from_secs(60);

/// What the broker told of itself.
#[derive(Debug, Default)]
pub(super) struct BrokerState {
    version: Option<Box<str>>,
    dropped: Option<u64>,
    stored: Option<u64>,
    retained: Option<u64>,
    clients: Option<u64>,
    heap_bytes: Option<u64>,
    /// Thrown away since the last alarm about it.
    drops_untold: u64,
    drops_told_at: Option<Time>,
    backlog: Latch,
    crowd: Latch,
    memory: Latch,
    shortcomings: Vec<Box<str>>,
}

impl BrokerState {
    /// Whether it told what every Mosquitto tells.
    pub(super) fn is_known(&self) -> bool {
        self.version.is_some() && self.dropped.is_some() && self.stored.is_some()
    }

    /// When an alarm about what was thrown away is due.
    pub(super) fn drops_due(&self) -> Option<Time> {
        (self.drops_untold > 0).then(|| self.drops_told_at.unwrap_or_default() + DROPS_PAUSE)
    }

    /// Messages that wait for a client: a broker counts what is retained among those that it holds.
    fn waiting(&self) -> Option<u64> {
        Some(self.stored?.saturating_sub(self.retained.unwrap_or(0)))
    }
}

/// Whether something is too high: from `most` on, until half of it. Never where there is no limit.
fn is_high(latch: &Latch, value: u64, most: u64) -> bool {
    most > 0 && (value >= most || (latch.is_set() && value > most / 2))
}

impl Engine {
    pub(super) fn broker_report(&self) -> BrokerReport {
        let [incoming, outgoing, commands] = self.links();
        let broker = &self.health.broker;
        BrokerReport {
            incoming,
            outgoing,
            commands,
            version: broker.version.as_deref().map(str::to_owned),
            dropped: broker.dropped,
            stored: broker.stored,
            retained: broker.retained,
            clients: broker.clients,
            heap_bytes: broker.heap_bytes,
        }
    }

    pub(in crate::engine) fn handle_broker(&mut self, fact: BrokerFact) {
        let broker = &mut self.health.broker;
        match fact {
            BrokerFact::Version(version) => broker.version = Some(version),
            BrokerFact::Dropped(dropped) => {
                // What it threw away before we looked is nobody's news; a smaller number is that of a new start.
                if let Some(before) = broker.dropped.replace(dropped) {
                    broker.drops_untold += dropped.checked_sub(before).unwrap_or(dropped);
                }
            }
            BrokerFact::Stored(stored) => {
                broker.stored = Some(stored);
                self.judge_backlog();
            }
            // Told before or after the stored ones of the same look, which alone are judged.
            BrokerFact::Retained(retained) => broker.retained = Some(retained),
            BrokerFact::Clients(clients) => {
                broker.clients = Some(clients);
                self.judge_clients(clients);
            }
            BrokerFact::HeapBytes(bytes) => {
                broker.heap_bytes = Some(bytes);
                self.judge_memory(bytes);
            }
            BrokerFact::NewSession => self.notice_new_session(),
            BrokerFact::Shortcomings(shortcomings) => self.judge_shortcomings(shortcomings),
        }
    }

    /// Before the first message there was none to forget.
    fn notice_new_session(&mut self) {
        if self.last.seq == Seq::default() {
            return;
        }
        let message =
            "the broker does not know the bridge's session any more: messages that it had acknowledged and not \
             delivered are lost, unless their publishers repeat them; let it keep sessions over a restart (Mosquitto: \
             persistence true), and do not let them expire"
                .to_owned();
        self.alarm("broker_forgot", "broker", message);
    }

    pub(super) fn tell_drops(&mut self) {
        let broker = &mut self.health.broker;
        let is_due = broker.drops_told_at.is_none_or(|at| self.now >= at + DROPS_PAUSE);
        if broker.drops_untold == 0 || !is_due {
            return;
        }
        let drops = std::mem::take(&mut broker.drops_untold);
        broker.drops_told_at = Some(self.now);
        let message = format!(
            "the broker has thrown away {drops} messages since the last look, for this or another client: its queue of \
             somebody who is away or slow is full; raise max_queued_messages and max_queued_bytes, and find who it is \
             in the broker's log"
        );
        self.alarm("broker_drops", "broker", message);
    }

    fn judge_backlog(&mut self) {
        let most = self.settings.broker_backlog_alarm;
        let broker = &mut self.health.broker;
        let Some(waiting) = broker.waiting() else { return };
        let is_high = is_high(&broker.backlog, waiting, most);
        match broker.backlog.set(is_high) {
            Edge::Rose => {
                let message = format!(
                    "{waiting} messages wait in the broker (mqtt.broker_backlog_alarm is {most}); at its \
                     max_queued_messages it throws new ones away without telling their publishers: find out why the \
                     bridge, or another client, does not take them"
                );
                self.alarm("broker_backlog", "broker", message);
            }
            Edge::Fell => {
                self.alarm("broker_ok", "broker", format!("{waiting} messages wait in the broker only"));
            }
            Edge::None => {}
        }
    }

    fn judge_clients(&mut self, clients: u64) {
        let most = self.settings.broker_limits.clients;
        let broker = &mut self.health.broker;
        let is_high = is_high(&broker.crowd, clients, most);
        match broker.crowd.set(is_high) {
            Edge::Rose => {
                let message = format!(
                    "{clients} clients are connected to the broker (mqtt.broker_clients_alarm is {most}); at its \
                     max_connections it refuses everybody who comes next, the bridge after a lost connection too: \
                     find out who connects, or raise max_connections and the broker's limit of open files"
                );
                self.alarm("broker_clients", "broker", message);
            }
            Edge::Fell => {
                let message = format!("{clients} clients are connected to the broker only");
                self.alarm("broker_clients_ok", "broker", message);
            }
            Edge::None => {}
        }
    }

    fn judge_memory(&mut self, bytes: u64) {
        let most = self.settings.broker_limits.heap_bytes;
        let broker = &mut self.health.broker;
        let is_high = is_high(&broker.memory, bytes, most);
        match broker.memory.set(is_high) {
            Edge::Rose => {
                let message = format!(
                    "the broker uses {bytes} bytes of memory (mqtt.broker_memory_alarm is {most}); at its memory_limit \
                     it throws messages away and refuses clients: find out for whom messages pile up"
                );
                self.alarm("broker_memory", "broker", message);
            }
            Edge::Fell => {
                let message = format!("the broker uses {bytes} bytes of memory only");
                self.alarm("broker_memory_ok", "broker", message);
            }
            Edge::None => {}
        }
    }

    fn judge_shortcomings(&mut self, shortcomings: Vec<Box<str>>) {
        if self.health.broker.shortcomings == shortcomings {
            return;
        }
        let message = match shortcomings.is_empty() {
            true => "the broker grants all that the bridge needs".to_owned(),
            false => format!("the broker does not grant what the bridge relies on: {}", shortcomings.join("; ")),
        };
        let what = if shortcomings.is_empty() { "broker_grants" } else { "broker_limits" };
        self.health.broker.shortcomings = shortcomings;
        self.alarm(what, "broker", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_high_stays_so_until_half_of_it_and_without_a_limit_nothing_is() {
        let (calm, alarmed) = (Latch::default(), {
            let mut latch = Latch::default();
            latch.set(true);
            latch
        });
        let high = |latch: &Latch| [4, 5, 9, 10].map(|value| is_high(latch, value, 9));
        assert_eq!(high(&calm), [false, false, true, true]);
        assert_eq!(high(&alarmed), [false, true, true, true]);
        assert!(!is_high(&calm, 1, 0) && !is_high(&alarmed, u64::MAX, 0));
    }
}
