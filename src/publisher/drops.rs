//! Events and replies that the broker did not take fast enough.

use crate::clock::Clock;
use crate::model::{Alarm, Time};
use crate::telemetry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Between two alarms.
const ALARM_PAUSE: Duration = Duration::from_secs(60);

/// How many were dropped. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Drops {
    count: Arc<AtomicU64>,
}

impl Drops {
    pub(super) fn add(&self) {
        let dropped = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        // Ever rarer, because whoever is too slow for events should not be flooded with lines instead.
        if dropped.is_power_of_two() {
            telemetry::notices_dropped(dropped);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Tells a person of drops, a minute apart.
///
/// Asked whenever an event has left: where one was dropped others wait, so it is asked soon after each drop.
#[derive(Debug)]
pub(super) struct DropWatch {
    drops: Drops,
    clock: Clock,
    told: u64,
    told_at: Option<Time>,
}

impl DropWatch {
    pub(super) fn new(drops: Drops) -> Self {
        Self { drops, clock: Clock::start(), told: 0, told_at: None }
    }

    pub(super) fn add(&self) {
        self.drops.add();
    }

    /// The alarm that is due.
    pub(super) fn alarm(&mut self) -> Option<Alarm> {
        let dropped = self.drops.count();
        if dropped == self.told {
            return None;
        }
        self.alarm_at(dropped, self.clock.now())
    }

    fn alarm_at(&mut self, dropped: u64, now: Time) -> Option<Alarm> {
        if self.told_at.is_some_and(|at| now.since(at) < ALARM_PAUSE) {
            return None;
        }
        let fresh = dropped - std::mem::replace(&mut self.told, dropped);
        self.told_at = Some(now);
        let message = format!(
            "{fresh} events or replies were dropped because the broker did not take them fast enough ({dropped} since \
             the start); no message and no answer is lost: whoever counts events should ask with message/list, and \
             the broker's load wants a look, or topics.events set to \"final\""
        );
        Some(Alarm { what: "notices_dropped", about: Box::from("broker"), message: message.into(), at: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_told_once_a_minute_at_most() {
        let drops = Drops::default();
        let mut watch = DropWatch::new(drops.clone());
        let start = Time::from_millis(1_700_000_000_000);
        assert_eq!(watch.alarm(), None);
        drops.add();
        let told = watch.alarm_at(drops.count(), start).expect("an alarm");
        assert!(told.message.starts_with("1 events or replies were dropped"), "{}", told.message);
        drops.add();
        watch.add();
        assert_eq!(watch.alarm_at(drops.count(), start + Duration::from_secs(59)), None);
        let told = watch.alarm_at(drops.count(), start + Duration::from_secs(60)).expect("an alarm");
        assert!(told.message.contains("2 events") && told.message.contains("(3 since"), "{}", told.message);
        assert_eq!(watch.alarm(), None, "nothing new");
    }
}
