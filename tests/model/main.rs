//! The life of one message, explored completely: every order in which its publisher, the broker, the process, the sender,
//! its callbacks, the clock and an operator can act, with a kill between any two steps.
//!
//! The model is the engine's rules without times and without other messages. After each step every promise is asked,
//! and of every state that is left alone it is asked whether everything ends answered. That the exploration would
//! notice is shown by mistakes: each has to be found out, by the promise that it breaks. That the model is one of this
//! engine is shown by walks through it, on which the engine has to decide the same.
//!
//! What is not in it: other messages (but the second life of one that an operator has sent again), limits, a journal that
//! lies, operators who err, and receipts, which change no answer.
//!
//! `SENDBRIDGE_MODEL_TROUBLES=n` lets n more things go wrong in each world, up to three in all: minutes, and gigabytes of
//! memory.

mod bridge;
mod explore;
mod mistakes;
mod pack;
mod promises;
mod replay;
mod state;
mod step;
mod walks;

use bridge::Rules;
use explore::{Counterexample, Figures, explore};
use mistakes::{MISTAKES, Mistake, Policy};
use promises::Promise;
use rustix::time::{ClockId, clock_gettime};
use state::{Phase, SLOTS, State};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use step::{Step, successors};

/// How often a doubt may be answered by a resend.
const RESENDS_MAX: u8 = 2;

/// What is explored: how often a doubt is answered by a resend at most, how much may go wrong, what operators may order,
/// and how many states there are at least. Together they are millions: fewer would mean that something can no longer
/// happen.
struct World {
    policy: Policy,
    resends_max: u8,
    troubles: u8,
    orders: u8,
    states_min: usize,
}

/// Kills, orders and resends together make most states of all: there, one resend has to do.
const WORLDS: [World; 5] = [
    World { policy: Policy::Report, resends_max: 0, troubles: 2, orders: 1, states_min: 1_400_000 },
    World { policy: Policy::Hold, resends_max: 0, troubles: 2, orders: 1, states_min: 1_200_000 },
    World { policy: Policy::Resend, resends_max: RESENDS_MAX, troubles: 2, orders: 0, states_min: 700_000 },
    World { policy: Policy::Resend, resends_max: RESENDS_MAX, troubles: 0, orders: 1, states_min: 700_000 },
    World { policy: Policy::Resend, resends_max: 1, troubles: 1, orders: 1, states_min: 8_000_000 },
];

/// One thing that goes wrong and one order are enough for every mistake to show.
const WORLD_OF_MISTAKES: (u8, u8) = (1, 1);

/// So long it may take where every change waits for it. A longer run is told, and fails nothing: the machine may be busy.
const SECONDS_MAX: u64 = 30;

fn more_troubles() -> u8 {
    std::env::var("SENDBRIDGE_MODEL_TROUBLES").ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn explore_world(world: &World) -> Figures {
    let rules = Rules { policy: world.policy, resends_max: world.resends_max, mistake: None };
    let troubles = (world.troubles + more_troubles()).min(3);
    match explore(&rules, &State::first(troubles, world.orders)) {
        Ok(figures) => figures,
        Err(found) => panic!("{:?}: {}\n{:#?}", world.policy, describe(&found), found.end),
    }
}

fn describe(found: &Counterexample) -> String {
    let steps: Vec<String> = found.steps.iter().map(|step| format!("{step:?}")).collect();
    format!("{:?} is broken after {} steps: {}", found.promise, steps.len(), steps.join(", "))
}

/// What it took: by the clock, and of the processors, which the tests beside it use too.
#[allow(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
fn seconds_of<T>(work: impl FnOnce() -> T) -> (T, String) {
    let (began, used) = (Instant::now(), processor_time());
    let done = work();
    let (took, used) = (began.elapsed(), processor_time().saturating_sub(used));
    let mut told = format!("{:.1}, {:.1} of the processor", took.as_secs_f64(), used.as_secs_f64());
    if took.as_secs() >= SECONDS_MAX {
        told += &format!(": longer than the {SECONDS_MAX} that it may take");
    }
    (done, told)
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn explore_all() -> Vec<Figures> {
    std::thread::scope(|scope| {
        let running: Vec<_> = WORLDS.iter().map(|world| scope.spawn(|| explore_world(world))).collect();
        running.into_iter().map(|thread| thread.join().expect("every promise holds")).collect()
    })
}

#[test]
fn every_life_keeps_every_promise() {
    let (explored, seconds) = seconds_of(explore_all);
    for (world, figures) in WORLDS.iter().zip(&explored) {
        eprintln!(
            "{:?}, {} resends, {} troubles, {} orders: {} states, {} transitions, the farthest {} steps away, all answered within {}",
            world.policy,
            world.resends_max,
            world.troubles,
            world.orders,
            figures.states,
            figures.transitions,
            figures.depth,
            figures.longest_calm
        );
        assert!(figures.states >= world.states_min, "{:?} has become smaller: {}", world.policy, figures.states);
    }
    let states: usize = explored.iter().map(|figures| figures.states).sum();
    let transitions: usize = explored.iter().map(|figures| figures.transitions).sum();
    // For tests/release.
    eprintln!("figure: model-states = {states}");
    eprintln!("figure: model-transitions = {transitions}");
    eprintln!("figure: model-promises-broken = 0");
    eprintln!("figure: model-seconds = {seconds}");
    assert_all_happens(&explored);
}

/// A model in which too little happens keeps every promise.
fn assert_all_happens(explored: &[Figures]) {
    let count = |what: &dyn Fn(&Figures) -> usize| explored.iter().map(what).sum::<usize>();
    for step in Step::ALL {
        assert!(count(&|figures| figures.steps[step as usize]) > 0, "{step:?} never happens");
    }
    for phase in Phase::ALL.into_iter().filter(|phase| phase.is_final()) {
        assert!(count(&|figures| figures.told[phase as usize]) > 0, "nobody is ever told {phase:?}");
    }
    for phase in [Phase::Sent, Phase::Failed, Phase::Unresolved, Phase::Expired] {
        let told = count(&|figures| figures.told_of_earlier[phase as usize]);
        assert!(told > 0, "{phase:?} is never told of a message that was sent again by hand");
    }
    for effects in 0..=SLOTS {
        assert!(count(&|figures| figures.effects[effects]) > 0, "no message is ever sent {effects} times");
    }
    assert!(count(&|figures| figures.flagged) > 0, "nobody is ever told that it may be a duplicate");
    assert!(count(&|figures| figures.corrected) > 0, "no answer is ever corrected");
}

#[test]
fn every_mistake_is_found_out_by_the_promise_that_it_breaks() {
    let mut missed = Vec::new();
    for (mistake, policy, promise) in MISTAKES {
        let rules = Rules { policy, resends_max: RESENDS_MAX, mistake: Some(mistake) };
        let (troubles, orders) = WORLD_OF_MISTAKES;
        match explore(&rules, &State::first(troubles, orders)) {
            Err(found) => {
                eprintln!("{mistake:?} ({policy:?}): {}", describe(&found));
                if found.promise != promise {
                    missed.push(format!("{mistake:?} breaks {:?} and not {promise:?}", found.promise));
                }
            }
            Ok(figures) => missed.push(format!("{mistake:?} is not noticed in {} states", figures.states)),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    let mistakes: BTreeSet<Mistake> = MISTAKES.into_iter().map(|(mistake, _, _)| mistake).collect();
    let promises: BTreeSet<Promise> = MISTAKES.into_iter().map(|(_, _, promise)| promise).collect();
    let policies: BTreeSet<Policy> = MISTAKES.into_iter().map(|(_, policy, _)| policy).collect();
    assert_eq!(mistakes.len(), MISTAKES.len(), "every mistake is tried once");
    assert_eq!(promises.len(), Promise::ALL.len(), "every promise can be broken: {promises:?}");
    assert_eq!(policies.len(), Policy::ALL.len(), "under every policy: {policies:?}");
    eprintln!("figure: model-mistakes-found-out = {} of {}", MISTAKES.len() - missed.len(), MISTAKES.len());
}

/// A second way to count, slow and plain: no state is lost between its number and itself, and none is found twice.
#[test]
fn a_plain_search_finds_as_many() {
    let rules = Rules { policy: Policy::Report, resends_max: RESENDS_MAX, mistake: None };
    let first = State::first(1, 0);
    let mut found = BTreeSet::from([first.pack()]);
    let mut to_do = vec![first];
    let (mut next, mut transitions) = (Vec::new(), 0);
    while let Some(state) = to_do.pop() {
        assert_eq!(State::unpack(state.pack()), state);
        successors(&rules, &state, &mut next);
        transitions += next.len();
        to_do.extend(next.iter().map(|(_, state)| *state).filter(|state| found.insert(state.pack())));
    }
    let figures = explore(&rules, &first).unwrap_or_else(|found| panic!("{}", describe(&found)));
    assert_eq!((figures.states, figures.transitions), (found.len(), transitions));
    assert!(found.len() > 4000, "{}", found.len());
}
