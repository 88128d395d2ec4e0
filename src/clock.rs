//! The only place that reads time or entropy.

use crate::model::Time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Wall time at start plus monotonic time since: never goes backwards, whatever happens to the wall clock.
///
/// Counts with tokio's clock, which follows paused time in tests.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Time,
    started: Instant,
}

impl Clock {
    /// Starts a clock at the system's wall time.
    pub fn start() -> Self {
        Self::start_at(wall())
    }

    /// Starts a clock that shows `time` now.
    #[allow(clippy::disallowed_methods, reason = "this is the room where clocks are read")]
    pub fn start_at(time: Time) -> Self {
        Self { started_at: time, started: Instant::now() }
    }

    pub fn now(&self) -> Time {
        self.started_at + self.started.elapsed()
    }

    /// Returns when the clock shows `time`, at once if it does already, and never for `None`.
    pub async fn sleep_until(&self, time: Option<Time>) {
        match time {
            Some(time) => tokio::time::sleep_until(self.started + time.since(self.started_at)).await,
            None => std::future::pending().await,
        }
    }
}

/// The system's wall time.
#[allow(clippy::disallowed_methods, reason = "this is the room where clocks are read")]
pub fn wall() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

/// Time since the machine's boot, sleep included (`CLOCK_BOOTTIME`), and the boot it belongs to.
///
/// Two readings with the same boot id differ by the true time between them, whatever the wall clock did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootReading {
    pub boot_id: String,
    pub since_boot: Duration,
}

impl BootReading {
    pub fn now() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = Duration::from_secs(u64::try_from(reading.tv_sec).unwrap_or_default());
        let nanos = Duration::from_nanos(u64::try_from(reading.tv_nsec).unwrap_or_default());
        Self { boot_id: boot_id.trim().to_owned(), since_boot: seconds + nanos }
    }
}

/// A random number in `0..bound`, for what must not be in step with others: reconnects.
///
/// # Panics
/// When `bound` is zero.
pub fn jitter(bound: Duration) -> Duration {
    let bound_nanos = bound.as_nanos();
    assert!(bound_nanos > 0, "jitter needs a bound above zero");
    let nanos = uuid::Uuid::new_v4().as_u128() % bound_nanos;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A new random UUID.
pub fn random_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
