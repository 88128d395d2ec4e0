//! What the bridge promises about one message, asked of every step and of every state.

use super::bridge::{EARLIER, NEWEST};
use super::mistakes::Policy;
use super::state::{Copy, Line, Phase, Slot, State};
use super::step::Step;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// What was acknowledged is on disk.
    Kept,
    /// `sent` is said of what was sent, `failed`, `expired` and `cancelled` of what was not and never will be.
    True,
    /// No request is made again that may have worked, unless its publisher or an operator wants it.
    Once,
    /// Such a request is flagged on disk before it is made, and nobody is ever told otherwise afterwards.
    Flagged,
    /// A message ends once. Only a doubt can be corrected.
    OneEnd,
    /// No request is made again once its effect was reported and the report was taken.
    NoNeedlessResend,
    /// Once nothing goes wrong any more, everything accepted is over, and its publisher has the last word on it.
    Answered,
}

impl Promise {
    pub const ALL: [Self; 7] =
        [Self::Kept, Self::True, Self::Once, Self::Flagged, Self::OneEnd, Self::NoNeedlessResend, Self::Answered];
}

/// The promise that this step breaks.
pub fn broken_by(policy: Policy, before: &State, step: Step, after: &State) -> Option<Promise> {
    if after.acknowledged && after.disk.phase == Phase::Absent {
        return Some(Promise::Kept);
    }
    if is_untrue(after) {
        return Some(Promise::True);
    }
    let by_hand = after.disk.earlier != Phase::Absent || after.memory.earlier != Phase::Absent;
    if step == Step::Request && before.is_risky() {
        if policy != Policy::Resend && !by_hand {
            return Some(Promise::Once);
        }
        if !after.disk.flag {
            return Some(Promise::Flagged);
        }
    }
    if after.effects() > 1 && !after.disk.flag || takes_flag_back(before, step, after) {
        return Some(Promise::Flagged);
    }
    // What a person has sent again is sent, whatever is known by then.
    let is_proven = before.slots.contains(&Slot::Taken) || before.disk.seen != 0;
    if step == Step::Attempt && is_proven && !by_hand {
        return Some(Promise::NoNeedlessResend);
    }
    ends_twice(before, step, after).then_some(Promise::OneEnd)
}

fn is_untrue(state: &State) -> bool {
    let untrue = |line: &Line, own: usize, denied: usize| {
        line.told == Phase::Sent && own == 0 || line.told.denies() && denied > 0
    };
    let (all, of_earlier) = (state.effects(), state.effects_of_earlier());
    // To the publisher both lives are one message; but a life may have failed although a later one did not.
    untrue(&state.lines[NEWEST], all - of_earlier, all) || untrue(&state.lines[EARLIER], of_earlier, of_earlier)
}

fn takes_flag_back(before: &State, step: Step, after: &State) -> bool {
    let told_otherwise = step == Step::Arrive && before.said_flag && !after.lines[NEWEST].told_flag;
    let cleared = before.disk.flag && !after.disk.flag;
    told_otherwise || cleared
}

fn ends_twice(before: &State, step: Step, after: &State) -> bool {
    // A new life is another line, and one that a kill prevents never was.
    if matches!(step, Step::Retry | Step::Kill) {
        return false;
    }
    let differs = |from: Phase, to: Phase| {
        let is_correction = from == Phase::Unresolved && matches!(to, Phase::Sent | Phase::Failed);
        from.is_final() && to != from && !is_correction
    };
    // A commit may bring another life of the message, which ends for itself.
    let same_life = before.disk.earlier == after.disk.earlier || before.disk.earlier.is_final();
    let on_disk =
        same_life && differs(before.disk.phase, after.disk.phase) || differs(before.disk.earlier, after.disk.earlier);
    let told = |life: usize| differs(before.lines[life].told, after.lines[life].told);
    on_disk || told(NEWEST) || told(EARLIER)
}

/// Whether all is well in a state in which nothing happens any more.
pub fn is_settled(state: &State) -> bool {
    let told_last = |line: &Line, phase: Phase, flag: bool| line.told == phase && line.told_flag == flag;
    let (disk, [newest, earlier]) = (&state.disk, &state.lines);
    state.up
        && disk.phase.is_final()
        && disk.durable() == state.memory
        && !disk.due
        && !disk.earlier_due
        && told_last(newest, disk.phase, disk.flag)
        && (disk.earlier == Phase::Absent || told_last(earlier, disk.earlier, disk.earlier_flag))
        && state.copies.iter().all(|copy| *copy == Copy::None)
        && state.acknowledged
        && !state.owed
}
