//! What may happen next: to the process, to the network, at the sender, among people.
//!
//! A process is killed between any two of these. What it decides is in memory until a commit, and what it says leaves
//! after that. Requests of a process that is gone go on living at the sender.

use super::bridge::{EARLIER, NEWEST, Rules};
use super::mistakes::Mistake;
use super::state::{Copy, Flight, Phase, Publish, Reply, SLOTS, Slot, State, Window, Wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The publisher sends another copy.
    Republish,
    /// The bridge looks at a copy.
    Take,
    Acknowledge,
    /// The connection that brings messages is cut: acknowledgements are lost, copies come again.
    CutIn,
    /// The connection that takes answers is cut.
    CutOut,
    Commit,
    Kill,
    Start,
    /// The bridge decides to send.
    Attempt,
    /// The request leaves.
    Request,
    /// The sender does it.
    Work,
    /// The sender does it although nobody waits for its answer any more.
    WorkLate,
    Refuse,
    TurnAway,
    /// An old request never has an effect.
    Vanish,
    /// No answer comes, or none that can be read.
    GiveUp,
    HearConfirmed,
    HearRefused,
    HearNotSent,
    /// No callback will come.
    LoseCallback,
    TakeCallback,
    AcknowledgeCallback,
    /// Time passes: the doubt has waited long enough, or the message's lifetime is over.
    WindowPasses,
    LifetimePasses,
    DoubtEnds,
    Expire,
    Publish,
    Arrive,
    Answered,
    PublishEarlier,
    ArriveEarlier,
    AnsweredEarlier,
    Cancel,
    SettleSent,
    SettleFailed,
    Retry,
}

impl Step {
    pub const ALL: [Self; 36] = [
        Self::Republish,
        Self::Take,
        Self::Acknowledge,
        Self::CutIn,
        Self::CutOut,
        Self::Commit,
        Self::Kill,
        Self::Start,
        Self::Attempt,
        Self::Request,
        Self::Work,
        Self::WorkLate,
        Self::Refuse,
        Self::TurnAway,
        Self::Vanish,
        Self::GiveUp,
        Self::HearConfirmed,
        Self::HearRefused,
        Self::HearNotSent,
        Self::LoseCallback,
        Self::TakeCallback,
        Self::AcknowledgeCallback,
        Self::WindowPasses,
        Self::LifetimePasses,
        Self::DoubtEnds,
        Self::Expire,
        Self::Publish,
        Self::Arrive,
        Self::Answered,
        Self::PublishEarlier,
        Self::ArriveEarlier,
        Self::AnsweredEarlier,
        Self::Cancel,
        Self::SettleSent,
        Self::SettleFailed,
        Self::Retry,
    ];

    /// In which order things go on once nothing goes wrong any more and nobody interferes; `None` for what then does
    /// not happen. The lower one goes first.
    pub fn calm_rank(self) -> Option<u8> {
        match self {
            Self::Start => Some(0),
            Self::Commit => Some(1),
            Self::Take | Self::Acknowledge => Some(2),
            Self::TakeCallback | Self::AcknowledgeCallback => Some(3),
            Self::Request | Self::Work | Self::Vanish => Some(4),
            Self::HearConfirmed | Self::HearRefused | Self::HearNotSent => Some(5),
            Self::Publish | Self::Arrive | Self::Answered => Some(6),
            Self::PublishEarlier | Self::ArriveEarlier | Self::AnsweredEarlier => Some(7),
            Self::WindowPasses | Self::DoubtEnds => Some(8),
            Self::Attempt => Some(9),
            Self::Expire => Some(10),
            Self::LifetimePasses => Some(11),
            Self::Republish
            | Self::CutIn
            | Self::CutOut
            | Self::Kill
            | Self::WorkLate
            | Self::Refuse
            | Self::TurnAway
            | Self::GiveUp
            | Self::LoseCallback
            | Self::Cancel
            | Self::SettleSent
            | Self::SettleFailed
            | Self::Retry => None,
        }
    }
}

/// Collects what may follow a state.
pub struct Next<'a> {
    from: State,
    to: &'a mut Vec<(Step, State)>,
}

impl Next<'_> {
    fn add(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        let mut state = self.from;
        change(&mut state);
        state.tidy();
        self.to.push((step, state));
    }
}

/// Everything that may happen next.
pub fn successors(rules: &Rules, from: &State, to: &mut Vec<(Step, State)>) {
    to.clear();
    let mut next = Next { from: *from, to };
    copies(rules, &mut next);
    process(rules, &mut next);
    sender(&mut next);
    callbacks(rules, &mut next);
    if from.up {
        attempts(rules, &mut next);
        answers(rules, &mut next);
        people(rules, &mut next);
    }
    time(&mut next);
}

fn copies(rules: &Rules, next: &mut Next<'_>) {
    let from = next.from;
    if from.troubles > 0
        && let Some(free) = from.copies.iter().position(|copy| *copy == Copy::None)
    {
        next.add(Step::Republish, |state| {
            state.troubles -= 1;
            state.copies[free] = Copy::Waiting;
        });
    }
    if !from.up {
        return;
    }
    for (index, copy) in from.copies.into_iter().enumerate() {
        // They stand in order: what one of two does the other one could do.
        if index > 0 && from.copies[index - 1] == copy {
            continue;
        }
        let is_free = copy == Copy::Handled && rules.errs(Mistake::AcknowledgedBeforeCommit);
        match copy {
            Copy::Waiting => next.add(Step::Take, |state| {
                rules.take(state);
                state.copies[index] = Copy::Handled;
                state.owed = true;
            }),
            Copy::None | Copy::Handled | Copy::Released => {}
        }
        if copy == Copy::Released || is_free {
            next.add(Step::Acknowledge, |state| {
                state.copies[index] = Copy::None;
                state.acknowledged = true;
            });
        }
    }
    if from.troubles > 0 && from.copies.iter().any(|copy| *copy > Copy::Waiting) {
        next.add(Step::CutIn, |state| {
            state.troubles -= 1;
            state.return_copies();
        });
    }
}

fn process(rules: &Rules, next: &mut Next<'_>) {
    let from = next.from;
    if !from.up {
        return next.add(Step::Start, |state| rules.restart(state));
    }
    if from.troubles > 0 {
        next.add(Step::Kill, |state| {
            state.troubles -= 1;
            state.up = false;
            state.forget_process();
            state.return_copies();
        });
    }
    let mut durable = from.memory.durable();
    if rules.errs(Mistake::FlagNotWithAttempt) && durable.phase.is_live() {
        durable.flag = from.disk.flag;
    }
    let is_due = durable != from.disk || from.flight == Flight::Decided || from.copies.contains(&Copy::Handled);
    if is_due {
        next.add(Step::Commit, |state| {
            state.disk = durable;
            state.said_flag |= state.memory.flagged();
            if state.flight == Flight::Decided {
                state.flight = Flight::Released;
            }
            for copy in &mut state.copies {
                if *copy == Copy::Handled {
                    *copy = Copy::Released;
                }
            }
        });
    }
}

fn attempts(rules: &Rules, next: &mut Next<'_>) {
    let from = next.from;
    let memory = from.memory;
    let waits = matches!(memory.phase, Phase::Queued | Phase::Again);
    if waits && !from.over && usize::from(memory.attempts) < SLOTS {
        next.add(Step::Attempt, |state| {
            rules.begin_attempt(&mut state.memory);
            state.flight = Flight::Decided;
        });
    }
    let Some(slot) = memory.open_slot() else { return };
    let is_free = from.flight == Flight::Decided && rules.errs(Mistake::RequestBeforeCommit);
    if from.flight == Flight::Released || is_free {
        next.add(Step::Request, |state| {
            state.flight = Flight::Made;
            state.slots[slot] = Slot::InAir;
        });
    }
    if from.flight != Flight::Made {
        return;
    }
    let mut hear = |step: Step, change: &dyn Fn(&mut State)| {
        next.add(step, |state| {
            state.flight = Flight::None;
            state.reply = Reply::None;
            change(state);
        });
    };
    hear(Step::GiveUp, &|state| rules.unknown(state));
    match from.reply {
        Reply::None => {}
        Reply::Confirmed => hear(Step::HearConfirmed, &|state| rules.confirmed(state)),
        Reply::Refused => hear(Step::HearRefused, &|state| rules.refused(state)),
        Reply::NotSent => hear(Step::HearNotSent, &|state| rules.turned_away(state)),
    }
}

fn sender(next: &mut Next<'_>) {
    let from = next.from;
    let current = from.current_slot();
    for (index, slot) in from.slots.into_iter().enumerate() {
        if slot != Slot::InAir {
            continue;
        }
        if current == Some(index) {
            let mut answer = |step: Step, slot: Slot, reply: Reply| {
                next.add(step, |state| {
                    state.slots[index] = slot;
                    state.reply = reply;
                });
            };
            answer(Step::Work, Slot::Worked, Reply::Confirmed);
            answer(Step::Refuse, Slot::None, Reply::Refused);
            answer(Step::TurnAway, Slot::None, Reply::NotSent);
        } else {
            next.add(Step::WorkLate, |state| state.slots[index] = Slot::Worked);
            next.add(Step::Vanish, |state| state.slots[index] = Slot::None);
        }
    }
}

fn callbacks(rules: &Rules, next: &mut Next<'_>) {
    let from = next.from;
    for (index, slot) in from.slots.into_iter().enumerate() {
        if slot != Slot::Worked {
            continue;
        }
        let bit = 1 << index;
        let is_seen = from.memory.seen & bit != 0;
        let is_kept = from.disk.seen & bit != 0;
        if !is_seen {
            next.add(Step::LoseCallback, |state| state.slots[index] = Slot::Silent);
        }
        if from.up && !is_seen {
            next.add(Step::TakeCallback, |state| {
                state.memory.seen |= bit;
                rules.weigh(state);
            });
        }
        if from.up && is_seen && (is_kept || rules.errs(Mistake::CallbackTakenBeforeCommit)) {
            next.add(Step::AcknowledgeCallback, |state| state.slots[index] = Slot::Taken);
        }
    }
}

fn time(next: &mut Next<'_>) {
    let from = next.from;
    if from.memory.phase == Phase::InDoubt && from.window == Window::Open {
        let window = if from.over { Window::OverTooLate } else { Window::Over };
        next.add(Step::WindowPasses, |state| state.window = window);
    }
    // It counts from the acceptance, and concerns only what is not over.
    if from.disk.phase.is_live() && from.memory.phase.is_live() && !from.over {
        next.add(Step::LifetimePasses, |state| state.over = true);
    }
}

fn answers(rules: &Rules, next: &mut Next<'_>) {
    let from = next.from;
    let (disk, memory) = (from.disk, from.memory);
    // Nothing is told before the end that it tells is on disk.
    let newest_kept = disk.due && disk.phase == memory.phase || rules.errs(Mistake::AnswerBeforeCommit);
    let earlier_kept = disk.earlier_due && disk.earlier == memory.earlier;
    let newest = (memory.phase, memory.flag, memory.due && memory.phase.is_final() && newest_kept);
    let earlier = (memory.earlier, memory.earlier_flag, memory.earlier_due && earlier_kept);
    let steps = [
        (NEWEST, newest, [Step::Publish, Step::Arrive, Step::Answered]),
        (EARLIER, earlier, [Step::PublishEarlier, Step::ArriveEarlier, Step::AnsweredEarlier]),
    ];
    for (life, (phase, flag, is_due), [publish, arrive, answered]) in steps {
        let line = from.lines[life];
        if is_due && line.publish == Publish::Idle && line.wire == Wire::None {
            next.add(publish, |state| {
                state.lines[life].publish = Publish::Outstanding;
                state.lines[life].wire = Wire::Answer(phase, flag);
                if rules.errs(Mistake::AnswerClosedOnPublish) {
                    close(state, life);
                }
            });
        }
        match line.wire {
            Wire::None => {}
            Wire::Answer(phase, flag) => next.add(arrive, |state| {
                let line = &mut state.lines[life];
                (line.told, line.told_flag) = (phase, flag);
                line.wire = Wire::Acknowledgement;
                state.owed = false;
                state.said_flag |= flag;
            }),
            Wire::Acknowledgement => next.add(answered, |state| {
                let line = &mut state.lines[life];
                let is_again = line.publish == Publish::OutstandingAgain;
                line.publish = Publish::Idle;
                line.wire = Wire::None;
                if !is_again || rules.errs(Mistake::FirstCopyClosesSecond) {
                    close(state, life);
                }
            }),
        }
    }
    if from.troubles > 0 && from.lines.iter().any(|line| line.wire != Wire::None) {
        next.add(Step::CutOut, |state| {
            state.troubles -= 1;
            for line in &mut state.lines {
                line.wire = Wire::None;
                if !rules.errs(Mistake::AnswerLostWithConnection) {
                    line.publish = Publish::Idle;
                }
            }
        });
    }
}

fn close(state: &mut State, life: usize) {
    if life == EARLIER {
        state.memory.earlier_due = false;
    } else {
        state.memory.due = false;
    }
}

/// What the bridge does by itself when its time has come, and what people have done.
fn people(rules: &Rules, next: &mut Next<'_>) {
    let from = next.from;
    let memory = from.memory;
    let waits = matches!(memory.phase, Phase::Queued | Phase::Again);
    if memory.phase == Phase::InDoubt && from.window != Window::Open {
        next.add(Step::DoubtEnds, |state| {
            rules.doubt_ends(state);
            // It is told as an event, which has no record of its own and waits for no commit but one that is due.
            state.said_flag |= state.memory.flagged() && from.memory.durable() == from.disk;
        });
    }
    if from.over && (waits || memory.phase == Phase::Held) {
        next.add(Step::Expire, |state| rules.expire(state));
    }
    if from.orders == 0 {
        return;
    }
    let mut order = |step: Step, change: &dyn Fn(&mut State)| {
        next.add(step, |state| {
            state.orders -= 1;
            change(state);
        });
    };
    if waits || memory.phase == Phase::Sending && rules.errs(Mistake::CancelledWhileSending) {
        order(Step::Cancel, &|state| rules.cancel(state));
    }
    // Who settles a doubt has looked: the promises do not cover a person who errs.
    let is_open = matches!(memory.phase, Phase::InDoubt | Phase::Held | Phase::Unresolved);
    if from.effects() > from.effects_of_earlier() && (is_open || waits && memory.is_doubtful()) {
        order(Step::SettleSent, &|state| rules.settle(state, Phase::Sent));
    }
    if !from.is_risky() && is_open {
        order(Step::SettleFailed, &|state| rules.settle(state, Phase::Failed));
    }
    // The text comes from the journal, which has to know that it is over.
    let can_go_again = matches!(memory.phase, Phase::Failed | Phase::Unresolved | Phase::Expired);
    let is_first_life = memory.earlier == Phase::Absent;
    if can_go_again && is_first_life && from.disk.phase == memory.phase && usize::from(memory.attempts) < SLOTS {
        order(Step::Retry, &|state| rules.retry(state));
    }
}
