//! How many sends an hour has seen: a ring of one-second buckets.

use crate::model::Time;
use std::sync::Arc;
use std::time::Duration;

/// The length of the window in seconds, which the platform fixes.
pub(super) const WINDOW_SECONDS: u64 = 3600;
/// One bucket more than the window has seconds: a bucket counts until its *end* is a whole window old.
const BUCKETS: usize = WINDOW_SECONDS as usize + 1;

/// The sends of one company in the last hour, and those under way.
///
/// A send counts from its start until one hour after its **end**. The receiver saw it somewhere in between, so any
/// hour as the receiver sees it holds no more sends than this ever showed. Buckets of one second make it
/// conservative: a place becomes free up to a second late, never early.
#[derive(Clone, Debug)]
pub(super) struct Hour {
    /// Shared with copies until one of them changes.
    buckets: Arc<[u32; BUCKETS]>,
    /// The newest second that the ring covers; it covers the `BUCKETS` seconds up to and including it.
    newest: u64,
    ended: u32,
    in_flight: u32,
}

impl Hour {
    pub(super) fn new() -> Self {
        Self { buckets: Arc::new([0; BUCKETS]), newest: 0, ended: 0, in_flight: 0 }
    }

    /// Sends that count now.
    pub(super) fn used(&mut self, now: Time) -> u32 {
        self.advance(second(now));
        self.ended + self.in_flight
    }

    pub(super) fn start(&mut self) {
        self.in_flight += 1;
    }

    /// A send that was under way ended, or turned out never to have begun.
    pub(super) fn end(&mut self, now: Time, counts: bool) {
        assert!(self.in_flight > 0, "a send ended that never started");
        self.in_flight -= 1;
        if counts {
            self.add(now, 1, now);
        }
    }

    /// Counts sends that ended at `at`, as when the hour is rebuilt after a restart.
    pub(super) fn add(&mut self, at: Time, sends: u32, now: Time) {
        self.advance(second(now));
        let at = second(at).min(self.newest);
        if at + WINDOW_SECONDS < self.newest {
            return;
        }
        Arc::make_mut(&mut self.buckets)[index(at)] += sends;
        self.ended += sends;
    }

    /// When fewer than `limit` sends will count, if nothing else is sent. `None` while that hangs on a send that is
    /// still under way.
    pub(super) fn free_at(&mut self, limit: u32, now: Time) -> Option<Time> {
        let mut used = self.used(now);
        if used < limit {
            return Some(now);
        }
        for at in self.newest.saturating_sub(WINDOW_SECONDS)..=self.newest {
            used -= self.buckets[index(at)];
            if used < limit {
                return Some(Time::from_millis((at + 1 + WINDOW_SECONDS) * 1000));
            }
        }
        None
    }

    fn advance(&mut self, now: u64) {
        if now <= self.newest {
            return;
        }
        let steps = (now - self.newest).min(BUCKETS as u64);
        if self.ended > 0 {
            let buckets = Arc::make_mut(&mut self.buckets);
            for second in now + 1 - steps..=now {
                let bucket = &mut buckets[index(second)];
                self.ended -= *bucket;
                *bucket = 0;
            }
        }
        self.newest = now;
    }
}

/// The sends of one account in the last hour by the minute: enough to show, and to carry over to another company.
#[derive(Clone, Debug)]
pub(super) struct Minutes {
    buckets: [u16; 61],
    newest: u64,
}

impl Minutes {
    pub(super) fn new() -> Self {
        Self { buckets: [0; 61], newest: 0 }
    }

    pub(super) fn add(&mut self, at: Time, now: Time) {
        self.advance(now);
        let at = (second(at) / 60).min(self.newest);
        if at + 60 >= self.newest {
            let bucket = &mut self.buckets[(at % 61) as usize];
            *bucket = bucket.saturating_add(1);
        }
    }

    /// Each minute of the last hour with sends in it: its latest moment, and how many.
    pub(super) fn iter(&mut self, now: Time) -> Vec<(Time, u32)> {
        self.advance(now);
        let first = self.newest.saturating_sub(60);
        (first..=self.newest)
            .map(|minute| {
                (Time::from_millis((minute * 60 + 59) * 1000), u32::from(self.buckets[(minute % 61) as usize]))
            })
            .filter(|(_, sends)| *sends > 0)
            .collect()
    }

    pub(super) fn total(&mut self, now: Time) -> u32 {
        self.advance(now);
        self.buckets.iter().map(|sends| u32::from(*sends)).sum()
    }

    fn advance(&mut self, now: Time) {
        let now = second(now) / 60;
        if now <= self.newest {
            return;
        }
        let steps = (now - self.newest).min(61);
        for minute in now + 1 - steps..=now {
            self.buckets[(minute % 61) as usize] = 0;
        }
        self.newest = now;
    }
}

/// How long a send keeps counting after it ended, at most.
pub(super) const WINDOW: Duration = Duration::from_secs(WINDOW_SECONDS + 1);

fn second(time: Time) -> u64 {
    time.as_millis() / 1000
}

fn index(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_place_is_free_when_the_send_is_an_hour_old() {
        let mut hour = Hour::new();
        assert_eq!(hour.used(at(0)), 0);
        hour.start();
        assert_eq!(hour.free_at(1, at(0)), None);
        hour.end(at(2), true);
        assert_eq!(hour.free_at(1, at(2)), Some(at(3603)));
        assert_eq!(hour.used(at(3602)), 1);
        assert_eq!(hour.used(at(3603)), 0);
    }

    #[test]
    fn what_never_left_gives_its_place_back() {
        let mut hour = Hour::new();
        hour.start();
        hour.end(at(0), false);
        assert_eq!(hour.used(at(0)), 0);
    }

    #[test]
    fn a_long_pause_empties_it() {
        let mut hour = Hour::new();
        for second in 0..5000 {
            hour.add(at(second), 2, at(second));
        }
        assert_eq!(hour.used(at(4999)), 7202);
        assert_eq!(hour.used(at(4999 + 3601)), 0);
    }

    #[test]
    fn minutes_keep_the_last_hour() {
        let mut minutes = Minutes::new();
        minutes.add(at(0), at(0));
        minutes.add(at(61), at(61));
        assert_eq!(minutes.total(at(61)), 2);
        assert_eq!(minutes.iter(at(61)).len(), 2);
        assert_eq!(minutes.total(at(2 * 3600)), 0);
    }

    /// As when it is rebuilt from what an earlier life sent.
    #[test]
    fn what_ended_counts_for_as_long_as_it_would_have_counted() {
        let second = |second: u64| Time::from_millis((1_700_000_000 + second) * 1000);
        let now = second(10_000);
        for (ago, counts) in [(0, 2), (1, 2), (WINDOW_SECONDS, 2), (WINDOW_SECONDS + 1, 0), (2 * WINDOW_SECONDS, 0)] {
            let mut hour = Hour::new();
            hour.add(second(10_000 - ago), 2, now);
            assert_eq!(hour.used(now), counts, "{ago} s ago");
        }
    }

    /// To carry them over to another company, where each goes on counting for as long as it would have.
    #[test]
    fn an_account_knows_the_minute_of_each_of_its_sends() {
        let minute = |minute: u64| Time::from_millis((28_333_400 + minute) * 60_000);
        let mut minutes = Minutes::new();
        for (at, now) in [(100, 100), (100, 100), (97, 100), (40, 100), (39, 100), (105, 105)] {
            minutes.add(minute(at), minute(now));
        }
        let latest = |at: u64| minute(at) + Duration::from_secs(59);
        assert_eq!(minutes.total(minute(100)), 4, "its clock does not step back");
        assert_eq!(minutes.iter(minute(105)), [(latest(97), 1), (latest(100), 2), (latest(105), 1)]);
        assert_eq!(minutes.iter(minute(160)), [(latest(100), 2), (latest(105), 1)]);
        assert_eq!((minutes.total(minute(165)), minutes.total(minute(166))), (1, 0));
    }
}
