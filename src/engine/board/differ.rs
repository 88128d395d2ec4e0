//! Whether a report says something new. What only follows from the passing of time does not count.

use super::Said;
use crate::engine::limits::GUARD;
use crate::model::{AccountReport, CorpReport, Time};
use std::time::Duration;

/// An expected time that moved by no more is the same.
const TOLERANCE: Duration = Duration::from_secs(1);

impl Said {
    pub(super) fn differs(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Account(old), Self::Account(new)) => account_differs(old, new),
            (Self::Corp(old), Self::Corp(new)) => corp_differs(old, new),
            (Self::Account(_), Self::Corp(_)) | (Self::Corp(_), Self::Account(_)) => true,
        }
    }
}

fn account_differs(old: &AccountReport, new: &AccountReport) -> bool {
    let slot = Duration::from_millis(new.interval_ms) + GUARD;
    // What is compared with more patience is made equal first, so that a new field is compared too.
    let same = AccountReport {
        at: new.at,
        until: new.until,
        next_send_at: new.next_send_at,
        drain_eta: new.drain_eta,
        sent_last_hour: new.sent_last_hour,
        ..old.clone()
    };
    same != *new
        || moved(old.until, new.until, slot)
        || next_moved(old.next_send_at, old.at, new.next_send_at, new.at, slot)
        || moved(old.drain_eta, new.drain_eta, slot)
        || counted(old.sent_last_hour, new.sent_last_hour)
}

fn corp_differs(old: &CorpReport, new: &CorpReport) -> bool {
    let same = CorpReport {
        at: new.at,
        used: new.used,
        free: new.free,
        next_free_at: new.next_free_at,
        next_send_at: new.next_send_at,
        drain_eta: new.drain_eta,
        ..old.clone()
    };
    same != *new
        || (old.free == 0) != (new.free == 0)
        || counted(old.used, new.used)
        || moved(old.next_free_at, new.next_free_at, TOLERANCE)
        || next_moved(old.next_send_at, old.at, new.next_send_at, new.at, TOLERANCE)
        || moved(old.drain_eta, new.drain_eta, TOLERANCE)
}

/// A count of the last hour: more is news at once, less only when half of it is gone.
fn counted(old: u64, new: u64) -> bool {
    new > old || (new < old && new * 2 <= old)
}

fn moved(old: Option<Time>, new: Option<Time>, slot: Duration) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.since(new).max(new.since(old)) > slot.max(TOLERANCE),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    }
}

/// What is about to go is about to go, however long that has been so.
fn next_moved(old: Option<Time>, old_at: Time, new: Option<Time>, new_at: Time, slot: Duration) -> bool {
    let is_near = |next: Option<Time>, at: Time| next.is_some_and(|next| next <= at + slot + TOLERANCE);
    moved(old, new, slot) && !(is_near(old, old_at) && is_near(new, new_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);
    const SLOT: Duration = Duration::from_secs(5);
    const INSTANT: Duration = Duration::from_nanos(1);

    #[test]
    fn a_count_is_news_when_it_grows_or_halves() {
        let news = [(0, 1), (4, 5), (4, 2), (5, 2), (1, 0)];
        let old = [(0, 0), (4, 4), (4, 3), (5, 3), (1000, 501)];
        assert!(news.iter().all(|(before, now)| counted(*before, *now)), "{news:?}");
        assert!(!old.iter().any(|(before, now)| counted(*before, *now)), "{old:?}");
    }

    #[test]
    fn a_time_is_news_when_it_comes_goes_or_moves_by_more_than_a_slot() {
        for (slot, allowed) in [(SLOT, SLOT), (Duration::ZERO, TOLERANCE)] {
            assert!(!moved(Some(NOW), Some(NOW + allowed), slot) && !moved(Some(NOW + allowed), Some(NOW), slot));
            assert!(moved(Some(NOW), Some(NOW + allowed + INSTANT), slot));
            assert!(moved(Some(NOW + allowed + INSTANT), Some(NOW), slot));
        }
        assert!(moved(None, Some(NOW), SLOT) && moved(Some(NOW), None, SLOT) && !moved(None, None, SLOT));
    }

    /// Near is what goes within a slot and the tolerance, seen from when each was said.
    #[test]
    fn what_was_near_and_is_near_still_is_no_news() {
        let later = NOW + Duration::from_secs(60);
        let near = SLOT + TOLERANCE;
        let differs = |old: Duration, new: Duration| next_moved(Some(NOW + old), NOW, Some(later + new), later, SLOT);
        assert!(!differs(near, near) && !differs(Duration::ZERO, near) && !differs(near, Duration::ZERO));
        assert!(differs(near + INSTANT, near) && differs(near, near + INSTANT));
        assert!(next_moved(Some(NOW), NOW, None, later, SLOT) && next_moved(None, NOW, Some(later), later, SLOT));
    }
}
