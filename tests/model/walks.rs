//! Random walks on which the engine is held to the model.

use super::bridge::Rules;
use super::mistakes::{MISTAKES, Mistake, Policy};
use super::replay::{Kept, Real, WINDOW};
use super::state::{Phase, State};
use super::step::{Step, successors};
use std::collections::BTreeMap;

const WALKS: u64 = 3000;
const STEPS_MAX: usize = 120;

/// A small generator, so that the same number walks the same way for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }
}

#[derive(Default)]
struct Seen {
    steps: BTreeMap<Step, usize>,
    ends: BTreeMap<Phase, usize>,
    commits: usize,
}

/// # Errors
/// How the two differ, and where.
fn walk(rules: &Rules, number: u64, seen: &mut Seen) -> Result<(), String> {
    let policy = rules.policy;
    let mut dice = Dice(number);
    let mut state = State::first(3, 2);
    let mut real = Real::new(rules);
    let (mut next, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..STEPS_MAX {
        successors(rules, &state, &mut next);
        next.retain(|(step, _)| real.can_follow(*step, &state));
        if next.is_empty() {
            break;
        }
        let (step, after) = next[dice.below(next.len())];
        steps.push(step);
        if step == Step::Attempt && dice.below(3) == 0 {
            real.wait(WINDOW * 3);
        }
        if !real.follow(step, &state, &after) {
            return Err(format!("{policy:?}, walk {number}: the engine sends nothing after {steps:?}"));
        }
        state = after;
        *seen.steps.entry(step).or_default() += 1;
        if step == Step::Commit {
            seen.commits += 1;
            let (engine, model) = (real.on_disk(), Kept::of(&state.disk));
            if engine != model {
                return Err(format!("{policy:?}, walk {number}: {engine:?} and not {model:?} after {steps:?}"));
            }
        }
    }
    *seen.ends.entry(state.disk.phase).or_default() += 1;
    Ok(())
}

#[test]
fn the_engine_decides_as_the_model_does() {
    let mut seen = Seen::default();
    for policy in Policy::ALL {
        let rules = Rules { policy, resends_max: super::RESENDS_MAX, mistake: None };
        for number in 0..WALKS {
            walk(&rules, number, &mut seen).unwrap_or_else(|difference| panic!("{difference}"));
        }
    }
    eprintln!("{} walks, {} commits compared: {:?}", WALKS * 3, seen.commits, seen.ends);
    for step in Step::ALL {
        assert!(seen.steps.get(&step).is_some_and(|times| *times > 20), "{step:?} hardly happens on the walks");
    }
    for phase in Phase::ALL.into_iter().filter(|phase| phase.is_final()) {
        assert!(seen.ends.get(&phase).is_some_and(|times| *times > 20), "hardly a walk ends {phase:?}");
    }
}

/// Mistakes about what is decided, and not about when something may leave.
const OF_DECISIONS: [Mistake; 17] = [
    Mistake::CopiesNotKnown,
    Mistake::RestartRetries,
    Mistake::RestartForgetsDoubt,
    Mistake::TimeoutRetries,
    Mistake::TimeoutIsSuccess,
    Mistake::TimeoutIsFailure,
    Mistake::DoubtIsFailure,
    Mistake::HoldResends,
    Mistake::ResendUnflagged,
    Mistake::FlagNotWithAttempt,
    Mistake::ResendJudgedAnew,
    Mistake::RefusedDespiteDoubt,
    Mistake::ExpiredDespiteDoubt,
    Mistake::CancelledDespiteDoubt,
    Mistake::EvidenceComesTooEarly,
    Mistake::RetryUnflagged,
    Mistake::RetryForgetsDoubt,
];

#[test]
fn an_engine_that_decides_otherwise_is_noticed() {
    for (mistake, policy, _) in MISTAKES.into_iter().filter(|(mistake, ..)| OF_DECISIONS.contains(mistake)) {
        let rules = Rules { policy, resends_max: super::RESENDS_MAX, mistake: Some(mistake) };
        let differs = |number| walk(&rules, number, &mut Seen::default()).is_err();
        assert!((0..WALKS).any(differs), "the engine follows a model that makes the mistake {mistake:?}");
    }
}
