//! The clock that the limiters read: it shows what the engine was told, and nothing else.

use crate::model::Time;
use governor::clock::Clock;
use governor::nanos::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clones show the same time. Starts at zero, so that a limiter made before the first [`set`](Self::set) keeps its
/// arrival times as absolute moments: they then mean the same after a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct SteadyClock(Arc<AtomicU64>);

impl SteadyClock {
    pub(super) fn set(&self, now: Time) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn time(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for SteadyClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}
