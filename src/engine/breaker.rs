//! Whether a server is worth asking.

use crate::model::Time;
use std::time::Duration;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Counts only what concerns the whole server: failures to connect, and 503.
///
/// ```text
/// Closed --5 failures in a row--> Open(until) --until--> one request at a time --answer--> Closed
///                                  ^                        | failure
///                                  '--- wait doubled -------'
/// ```
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: Option<Opened>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    until: Time,
    wait: Duration,
}

impl Breaker {
    /// How many requests may be in flight now, out of `connections`.
    pub(super) fn allows(&self, connections: usize, now: Time) -> usize {
        match self.open {
            None => connections,
            Some(opened) if opened.until <= now => 1,
            Some(_) => 0,
        }
    }

    /// When it lets a request through again, while it does not.
    pub(super) fn opens_at(&self, now: Time) -> Option<Time> {
        self.open.map(|opened| opened.until).filter(|until| *until > now)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The server answered, whatever it said.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Returns true when this failure opened it, or kept it open.
    pub(super) fn fail(&mut self, now: Time) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.open {
            // Requests that were under way when it opened say nothing new.
            Some(opened) if opened.until > now => false,
            Some(opened) => {
                let wait = (opened.wait * 2).min(WAIT_MAX);
                self.open = Some(Opened { until: now + wait, wait });
                true
            }
            None if self.failures >= FAILURES_MAX => {
                self.open = Some(Opened { until: now + WAIT_MIN, wait: WAIT_MIN });
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_and_doubles_to_thirty_seconds() {
        let mut breaker = Breaker::default();
        let mut now = Time::from_millis(1_000);
        for _ in 0..4 {
            assert!(!breaker.fail(now));
        }
        assert_eq!(breaker.allows(64, now), 64);
        assert!(breaker.fail(now));
        let mut waits = Vec::new();
        for _ in 0..7 {
            let until = breaker.opens_at(now).expect("it is open");
            waits.push(until.since(now).as_secs());
            assert_eq!(breaker.allows(64, now), 0);
            now = until;
            assert_eq!(breaker.opens_at(now), None, "it lets one through");
            assert_eq!(breaker.allows(64, now), 1);
            assert!(breaker.fail(now));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        breaker.succeed();
        assert_eq!(breaker.allows(64, now), 64);
    }
}
