//! What the bridge decides about the message: the rules of the engine, without times and without other messages.

use super::mistakes::{Mistake, Policy};
use super::state::{Phase, Publish, State, View, Window};

/// By whose rules the bridge goes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub policy: Policy,
    /// How often a doubt may be answered by a resend.
    pub resends_max: u8,
    pub mistake: Option<Mistake>,
}

/// The line of the newest life, and of the one before.
pub const NEWEST: usize = 0;
pub const EARLIER: usize = 1;

impl Rules {
    pub fn errs(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// A copy is looked at: the message is taken, or known and told again what is known.
    pub fn take(&self, state: &mut State) {
        let memory = &mut state.memory;
        let is_known = memory.phase != Phase::Absent && !self.errs(Mistake::CopiesNotKnown);
        if !is_known {
            memory.phase = Phase::Queued;
        } else if memory.phase.is_final() && !self.errs(Mistake::CopyNotAnswered) {
            answer_due(state, NEWEST);
        }
    }

    pub fn begin_attempt(&self, memory: &mut View) {
        memory.flag = memory.flagged() && !self.errs(Mistake::ResendUnflagged);
        memory.phase = Phase::Sending;
        memory.attempts += 1;
    }

    /// The attempt under way provably did nothing: its slot is free again.
    pub fn turned_away(&self, state: &mut State) {
        state.memory.attempts -= 1;
        state.memory.phase = Phase::Queued;
        self.weigh(state);
    }

    pub fn confirmed(&self, state: &mut State) {
        end(state, Phase::Sent);
        self.weigh(state);
    }

    pub fn refused(&self, state: &mut State) {
        let despite = self.errs(Mistake::RefusedDespiteDoubt);
        state.memory.attempts -= 1;
        self.finish(state, Phase::Failed, despite);
        self.weigh(state);
    }

    /// The attempt under way ended, and nobody knows how.
    pub fn unknown(&self, state: &mut State) {
        if self.errs(Mistake::TimeoutRetries) {
            state.memory.phase = Phase::Queued;
        } else if self.errs(Mistake::TimeoutIsSuccess) {
            end(state, Phase::Sent);
        } else if self.errs(Mistake::TimeoutIsFailure) {
            end(state, Phase::Failed);
        } else {
            doubt(state);
            self.weigh(state);
        }
    }

    /// No proof came in time: what the publisher chose happens now.
    pub fn doubt_ends(&self, state: &mut State) {
        let too_late = state.window == Window::OverTooLate || state.over && self.errs(Mistake::ResendJudgedAnew);
        let goes_on = state.memory.doubts <= self.resends_max && !too_late;
        match self.policy {
            Policy::Report if self.errs(Mistake::DoubtIsFailure) => self.finish(state, Phase::Failed, true),
            Policy::Report => self.finish(state, Phase::Unresolved, false),
            Policy::Resend if goes_on => state.memory.phase = Phase::Again,
            Policy::Resend => self.finish(state, Phase::Unresolved, false),
            Policy::Hold if self.errs(Mistake::HoldResends) => state.memory.phase = Phase::Again,
            Policy::Hold => state.memory.phase = Phase::Held,
        }
    }

    /// The message's lifetime is over while it waits.
    pub fn expire(&self, state: &mut State) {
        if state.memory.phase == Phase::Held {
            self.finish(state, Phase::Unresolved, false);
        } else {
            self.finish(state, Phase::Expired, self.errs(Mistake::ExpiredDespiteDoubt));
        }
    }

    pub fn cancel(&self, state: &mut State) {
        self.finish(state, Phase::Cancelled, self.errs(Mistake::CancelledDespiteDoubt));
    }

    /// A person says what became of it.
    pub fn settle(&self, state: &mut State, phase: Phase) {
        if state.memory.phase == Phase::Unresolved {
            self.correct(state, NEWEST, phase);
        } else {
            end(state, phase);
        }
    }

    /// A person has it sent once more: a new life under the old id.
    pub fn retry(&self, state: &mut State) {
        let memory = &mut state.memory;
        let in_doubt = memory.phase == Phase::Unresolved;
        let flag = in_doubt || memory.flag || memory.doubts > 0;
        memory.earlier = memory.phase;
        memory.earlier_flag = memory.flag;
        memory.earlier_due = memory.due;
        memory.first = memory.attempts;
        memory.phase = Phase::Queued;
        memory.flag = flag && !self.errs(Mistake::RetryUnflagged);
        memory.inherited = in_doubt && !self.errs(Mistake::RetryForgetsDoubt);
        memory.doubts = 0;
        memory.due = false;
        state.lines[EARLIER] = state.lines[NEWEST];
        state.lines[NEWEST] = super::state::Line::NOTHING;
        state.over = false;
        state.window = Window::Open;
    }

    /// A new process reads the disk.
    pub fn restart(&self, state: &mut State) {
        state.up = true;
        if self.errs(Mistake::OutboxForgotten) {
            state.memory.due = false;
            state.memory.earlier_due = false;
        }
        let phase = state.memory.phase;
        let is_forgotten = phase == Phase::Sending && self.errs(Mistake::RestartRetries)
            || phase == Phase::InDoubt && self.errs(Mistake::RestartForgetsDoubt);
        if is_forgotten {
            state.memory.phase = Phase::Queued;
        } else if phase == Phase::Sending {
            doubt(state);
        } else if phase == Phase::InDoubt && state.window != Window::Open {
            self.doubt_ends(state);
        }
        self.weigh(state);
    }

    /// Settles every doubt that what was seen leaves no room for.
    pub fn weigh(&self, state: &mut State) {
        let memory = state.memory;
        if memory.earlier == Phase::Unresolved && unclear(&memory, EARLIER) > 0 && self.is_proven(&memory, EARLIER) {
            self.correct(state, EARLIER, Phase::Sent);
        }
        let memory = state.memory;
        if unclear(&memory, NEWEST) == 0 || !self.is_proven(&memory, NEWEST) {
            return;
        }
        let waits = memory.phase.is_live() && memory.phase != Phase::Sending && memory.is_doubtful();
        if waits && !self.errs(Mistake::EvidenceComesTooEarly) {
            end(state, Phase::Sent);
        } else if memory.phase == Phase::Unresolved {
            self.correct(state, NEWEST, Phase::Sent);
        }
    }

    /// Whether what was seen cannot be explained without this life: every effect comes from an attempt of its own, and
    /// those of the other life are too few.
    fn is_proven(&self, memory: &View, life: usize) -> bool {
        let open = memory.open_slot().map_or(0, |slot| 1 << slot);
        let seen = (memory.seen & (memory.unclear | open)).count_ones();
        let of_earlier = unclear(memory, EARLIER);
        let of_newest = unclear(memory, NEWEST) + u32::from(open != 0);
        let (own, others) = if life == EARLIER { (of_earlier, of_newest) } else { (of_newest, of_earlier) };
        own > 0 && seen > 0 && (seen > others || self.errs(Mistake::TwinsIgnored))
    }

    /// Ends the message. A doubt behind it outweighs what would be said, and a proof outweighs the doubt.
    fn finish(&self, state: &mut State, phase: Phase, despite_doubt: bool) {
        let memory = state.memory;
        let phase = if !memory.is_doubtful() || despite_doubt {
            phase
        } else if self.is_proven(&memory, NEWEST) && !self.errs(Mistake::EvidenceComesTooEarly) {
            Phase::Sent
        } else {
            Phase::Unresolved
        };
        end(state, phase);
    }

    /// A doubt that was answered already is settled, and answered again.
    fn correct(&self, state: &mut State, life: usize, phase: Phase) {
        if life == EARLIER {
            state.memory.earlier = phase;
        } else {
            state.memory.phase = phase;
        }
        if !self.errs(Mistake::CorrectionUnanswered) {
            answer_due(state, life);
        }
    }
}

fn doubt(state: &mut State) {
    let memory = &mut state.memory;
    memory.doubts += 1;
    memory.unclear |= 1 << (memory.attempts - 1);
    memory.phase = Phase::InDoubt;
    state.window = Window::Open;
}

fn end(state: &mut State, phase: Phase) {
    state.memory.flag = state.memory.flagged();
    state.memory.phase = phase;
    answer_due(state, NEWEST);
}

/// The answer has to reach the broker, also where an older one is on its way.
fn answer_due(state: &mut State, life: usize) {
    if life == EARLIER {
        state.memory.earlier_due = true;
    } else {
        state.memory.due = true;
    }
    let line = &mut state.lines[life];
    if line.publish == Publish::Outstanding {
        line.publish = Publish::OutstandingAgain;
    }
}

/// Attempts of one life of which nobody knows how they ended.
fn unclear(memory: &View, life: usize) -> u32 {
    let earlier = (1 << memory.first) - 1;
    let mask = if life == EARLIER { earlier } else { !earlier };
    (memory.unclear & mask).count_ones()
}
