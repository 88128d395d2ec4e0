//! How often something may be said that strangers can cause as often as they like.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts, and tells ever rarer: strangers must not be able to flood the log.
pub(super) struct Rarely(AtomicU64);

impl Rarely {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// It happened once more. The count since the start, where it is one that is worth a line.
    pub(super) fn told(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_times_are_twenty_lines() {
        let rarely = Rarely::new();
        let told: Vec<u64> = (0..1_000_000).filter_map(|_| rarely.told()).collect();
        assert_eq!((told.len(), told[0], told[19]), (20, 1, 524_288));
    }
}
