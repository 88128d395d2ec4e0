//! What a start takes from the journal: where time stands, and all that was known.

use super::BridgeError;
use super::poison;
use crate::clock::{self, BootReading, Clock};
use crate::contain;
use crate::engine::Engine;
use crate::journal::{Anchor, CommitError, Journal, ReadError, Suspect};
use crate::model::{Record, Refusal, Time};
use crate::telemetry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A wall clock that is off by less is not worth moving the journal's times for.
const DRIFT_MAX: Duration = Duration::from_secs(1);

/// Where time stands at a start, so that everything in the journal is as old as it truly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    pub now: Time,
    /// What to add to every time in the journal before it is read.
    pub shift_nanos: i128,
}

/// Within one boot of the machine the time that passed is the difference of two readings of `CLOCK_BOOTTIME`; across
/// boots only the wall clock can tell, by its reading then and by the journal's time, which neither follows it when it
/// is set nor counts a sleep: the smaller of the two differences, since either clock may have been wrong. One that
/// stands before what it was then counts as no time at all.
/// Time goes on from there, unless the wall clock says something else: then the journal's times move along.
pub fn resume_time(anchor: Option<&Anchor>, wall: Time, reading: &BootReading) -> Resumed {
    let Some(anchor) = anchor else { return Resumed { now: wall, shift_nanos: 0 } };
    let elapsed = if anchor.boot_id == reading.boot_id && !reading.boot_id.is_empty() {
        reading.since_boot.saturating_sub(anchor.since_boot)
    } else {
        wall.since(anchor.wall).min(wall.since(anchor.time))
    };
    let expected = anchor.time + elapsed;
    if wall.since(expected) <= DRIFT_MAX && expected.since(wall) <= DRIFT_MAX {
        return Resumed { now: expected, shift_nanos: 0 };
    }
    Resumed { now: wall, shift_nanos: i128::from(wall.as_nanos()) - i128::from(expected.as_nanos()) }
}

/// Starts the clock where the journal's time stands, and moves the journal's times along if the wall clock was set.
///
/// # Errors
/// [`CommitError`] when they could not be moved; they may have been, and another start finds out.
pub async fn start_clock(journal: &Journal) -> Result<Clock, CommitError> {
    let reading = BootReading::now();
    let Resumed { now, shift_nanos } = resume_time(journal.anchor().as_ref(), clock::wall(), &reading);
    if shift_nanos != 0 {
        telemetry::wall_clock_set(shift_nanos);
        let BootReading { boot_id, since_boot } = reading;
        journal.shift_times(shift_nanos, Anchor { time: now, boot_id, since_boot, wall: now }).await?;
    }
    Ok(Clock::start_at(now))
}

/// What a start takes from the journal: an engine that knows all it knew, and the refusals not answered yet.
///
/// # Errors
/// [`BridgeError::Restore`] when the journal cannot be read, [`BridgeError::Panicked`] when the engine cannot go on
/// from what is in it.
pub async fn restore(
    journal: &Journal,
    settings: crate::engine::Settings,
    now: Time,
) -> Result<(Engine, Refusals), BridgeError> {
    restore_with(journal, Engine::new(settings, now, journal.last_numbers()), now).await
}

/// Refusals that are not answered yet, by number.
pub type Refusals = BTreeMap<u64, Arc<Refusal>>;

pub(super) async fn restore_with(
    journal: &Journal,
    mut engine: Engine,
    now: Time,
) -> Result<(Engine, Refusals), BridgeError> {
    let mut refusals = BTreeMap::new();
    replay(journal, now, |record| {
        if let Record::Refused { number, refusal, .. } = &record {
            refusals.insert(*number, Arc::clone(refusal));
        }
        engine.replay(record);
    })
    .map_err(BridgeError::Restore)?;
    poison::condemned(journal.suspects()).into_iter().for_each(|seq| engine.condemn(seq));
    if contain::contained(|| engine.start(now)).is_none() {
        let suspect = engine.at_hand().map(|at_hand| Suspect::Message(at_hand.seq));
        if let Some(suspect) = suspect {
            poison::note(journal, suspect, now).await;
        }
        return Err(BridgeError::Panicked(suspect));
    }
    Ok((engine, refusals))
}

/// Records that are handed over together, and such portions that may lie ready: enough that neither side waits long.
const PORTION: usize = 256;
const PORTIONS: usize = 8;

/// Hands over all that the journal kept, while the next of it is being read on another thread.
///
/// # Errors
/// As for [`Journal::replay`].
///
/// # Panics
/// When the system gives no thread, as everything that starts the process does.
fn replay(journal: &Journal, now: Time, mut sink: impl FnMut(Record)) -> Result<(), ReadError> {
    let (full, portions) = std::sync::mpsc::sync_channel(PORTIONS);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut portion = Vec::with_capacity(PORTION);
            let read = journal.replay(now, |record| {
                portion.push(record);
                if portion.len() == PORTION {
                    // Nobody listens any more only where the other side panicked, and then this ends with it.
                    let _ = full.send(std::mem::replace(&mut portion, Vec::with_capacity(PORTION)));
                }
            });
            let _ = full.send(portion);
            read
        });
        portions.into_iter().flatten().for_each(&mut sink);
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(time: u64, boot: &str, since_boot: u64) -> Anchor {
        Anchor {
            time: Time::from_millis(time * 1000),
            boot_id: boot.to_owned(),
            since_boot: Duration::from_secs(since_boot),
            wall: Time::from_millis(time * 1000),
        }
    }

    fn reading(boot: &str, since_boot: u64) -> BootReading {
        BootReading { boot_id: boot.to_owned(), since_boot: Duration::from_secs(since_boot) }
    }

    /// Where time stands, in seconds, and the age that what was written right at the anchor has there.
    fn resumed(wall: u64, reading: &BootReading) -> (u64, i128) {
        let anchor = anchor(100_000, "a", 50);
        let Resumed { now, shift_nanos } = resume_time(Some(&anchor), Time::from_millis(wall * 1000), reading);
        let moved = i128::from(anchor.time.as_nanos()) + shift_nanos;
        (now.as_millis() / 1000, (i128::from(now.as_nanos()) - moved) / 1_000_000_000)
    }

    #[test]
    fn within_a_boot_the_wall_clock_says_what_time_it_is_and_not_how_much_has_passed() {
        assert_eq!(resumed(100_010, &reading("a", 60)), (100_010, 10));
        assert_eq!(resumed(200_000, &reading("a", 60)), (200_000, 10));
        assert_eq!(resumed(90_000, &reading("a", 60)), (90_000, 10));
    }

    #[test]
    fn a_little_drift_moves_nothing() {
        let anchor = anchor(100_000, "a", 50);
        let wall = Time::from_millis(100_010_900);
        let expected = Resumed { now: Time::from_millis(100_010_000), shift_nanos: 0 };
        assert_eq!(resume_time(Some(&anchor), wall, &reading("a", 60)), expected);
        assert_eq!(resume_time(None, wall, &reading("a", 60)), Resumed { now: wall, shift_nanos: 0 });
    }

    #[test]
    fn across_boots_a_clock_set_back_counts_as_no_time() {
        assert_eq!(resumed(100_600, &reading("b", 5)), (100_600, 600));
        assert_eq!(resumed(90_000, &reading("b", 5)), (90_000, 0));
    }

    #[test]
    fn across_boots_a_clock_that_was_set_or_slept_before_the_anchor_counts_as_no_time() {
        let anchor = Anchor { wall: Time::from_millis(190_000_000), ..anchor(100_000, "a", 50) };
        let wall = Time::from_millis(190_060_000);
        let Resumed { now, shift_nanos } = resume_time(Some(&anchor), wall, &reading("b", 5));
        // A minute has passed, and all that was written is moved to where the wall clock stands.
        assert_eq!((now, shift_nanos), (wall, 90_000_000_000_000));
        // Nor does one that was set back meanwhile, and is right again.
        let anchor = Anchor { wall: Time::from_millis(10_000_000), ..anchor };
        let wall = Time::from_millis(100_060_000);
        assert_eq!(resume_time(Some(&anchor), wall, &reading("b", 5)), Resumed { now: wall, shift_nanos: 0 });
    }
}
