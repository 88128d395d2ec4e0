//! For how long a repeat is known: from the end of a message, or from its answer where that comes late.

use super::disk::{Disk, moved};
use super::promises::{Promise, Violation, broken};
use crate::model::{Seq, Time};
use std::time::Duration;

/// A first answer that comes so long after the end lets a message be known from then on. Commits take some of it.
const LATE_ANSWER: Duration = Duration::from_secs(35);

/// How much later than its window a message leaves the journal.
const PRUNED_LATER: Duration = Duration::from_secs(60);

impl Disk {
    /// A journal moves what is over to its history, where no record reaches it any more.
    pub(super) fn still_there(&self, seq: Seq, dedup_window: Duration) -> Result<(), Violation> {
        let Some(kept) = self.messages.get(&seq).filter(|kept| kept.answered) else { return Ok(()) };
        let end = kept.counted_from.or(kept.outcome.as_ref().map(|outcome| outcome.at));
        if end.is_some_and(|end| moved(end, self.shifted_nanos) + dedup_window + PRUNED_LATER < self.clock) {
            return broken(Promise::Durable, format!("a record about {seq}, which is pruned"));
        }
        Ok(())
    }

    pub(super) fn answered(&mut self, seq: Seq, known_from: Option<Time>, now: Time) -> Result<(), Violation> {
        let Some(kept) = self.messages.get_mut(&seq).filter(|kept| kept.outcome.is_some()) else {
            return broken(Promise::Kept, format!("{seq} is answered before it is finished"));
        };
        self.unanswered -= usize::from(!std::mem::replace(&mut kept.answered, true));
        let is_first = !std::mem::replace(&mut kept.told, true) && kept.ended_in == self.lives;
        if is_first && known_from.is_none() && now > kept.known_from + LATE_ANSWER {
            return broken(Promise::Once, format!("{seq} is answered late, and is not known from then on"));
        }
        if let Some(at) = known_from {
            (kept.counted_from, kept.known_from) = (Some(moved(at, -self.shifted_nanos)), now);
        }
        Ok(())
    }

    pub(super) fn readdressed(&mut self, seq: Seq, again: bool) -> Result<(), Violation> {
        let Some(kept) = self.messages.get_mut(&seq) else {
            return broken(Promise::Durable, format!("a repeat of {seq}, which is not kept"));
        };
        if again {
            kept.again = true;
            self.unanswered += usize::from(std::mem::take(&mut kept.answered));
        }
        Ok(())
    }
}
