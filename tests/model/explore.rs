//! Visits every state that can be reached, the nearest first, and asks the promises of every step on the way.

use super::bridge::{EARLIER, NEWEST, Rules};
use super::promises::{Promise, broken_by, is_settled};
use super::state::{Phase, SLOTS, State};
use super::step::{Step, successors};
use std::sync::mpsc::{Receiver, sync_channel};

/// The shortest way to break a promise.
pub struct Counterexample {
    pub promise: Promise,
    pub steps: Vec<Step>,
    pub end: State,
}

/// What an exploration that broke nothing has seen.
pub struct Figures {
    /// All that there are: each was reached, and what may follow each was looked at.
    pub states: usize,
    pub transitions: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// The longest way from any state to the end of everything, once nothing goes wrong any more.
    pub longest_calm: usize,
    /// How often each step of [`Step::ALL`] was taken.
    pub steps: [usize; Step::ALL.len()],
    /// How many states tell the publisher this of the newest life, by [`Phase`].
    pub told: [usize; Phase::ALL.len()],
    /// The same of the life before.
    pub told_of_earlier: [usize; Phase::ALL.len()],
    /// How many have so many effects.
    pub effects: [usize; SLOTS + 1],
    /// How many are told that it may be a duplicate.
    pub flagged: usize,
    /// How often an answer follows another one that it corrects.
    pub corrected: usize,
}

/// Every state once, by the order in which it was found.
struct Visited {
    states: Vec<u128>,
    /// Where each was found from.
    parents: Vec<u32>,
    /// Indexes into `states` by a hash; a power of two long, and never full.
    table: Vec<u32>,
}

const FREE: u32 = u32::MAX;

impl Visited {
    fn new() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), table: vec![FREE; 1 << 16] }
    }

    /// The index of a state, and whether it is new.
    fn insert(&mut self, state: u128, parent: u32) -> (u32, bool) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut at = hash(state) & mask;
        loop {
            match self.table[at] {
                FREE => break,
                index if self.states[index as usize] == state => return (index, false),
                _ => at = (at + 1) & mask,
            }
        }
        let index = u32::try_from(self.states.len()).expect("fewer states than that fit into memory");
        self.table[at] = index;
        self.states.push(state);
        self.parents.push(parent);
        (index, true)
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 4 - 1;
        let mut table = vec![FREE; mask + 1];
        for (index, state) in self.states.iter().enumerate() {
            let mut at = hash(*state) & mask;
            while table[at] != FREE {
                at = (at + 1) & mask;
            }
            table[at] = index as u32;
        }
        self.table = table;
    }

    /// The steps that lead to a state.
    fn way_to(&self, rules: &Rules, mut index: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut next = Vec::new();
        while self.parents[index as usize] != index {
            let parent = self.parents[index as usize];
            successors(rules, &State::unpack(self.states[parent as usize]), &mut next);
            let found = next.iter().find(|(_, state)| state.pack() == self.states[index as usize]);
            steps.push(found.expect("it was found from there").0);
            index = parent;
        }
        steps.reverse();
        steps
    }
}

fn hash(state: u128) -> usize {
    let folded = (state as u64 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xff51_afd7_ed55_8ccd)
        ^ ((state >> 64) as u64).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (folded ^ folded >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) as usize >> 7
}

/// States whose successors are looked for together: enough that handing them over costs nothing.
const PORTION: usize = 4096;
/// And such portions that are under way: one more than the one that is waited for.
const PORTIONS: usize = 2;

/// What may follow a state.
struct Successor {
    step: Step,
    state: u128,
    broken: Option<Promise>,
    corrects: bool,
}

/// What may follow each of these states, one after the other, and how many follow each.
#[derive(Default)]
struct Portion {
    successors: Vec<Successor>,
    counts: Vec<usize>,
}

fn follow(rules: &Rules, states: &[u128]) -> Portion {
    let mut portion = Portion::default();
    let mut next = Vec::new();
    for state in states {
        let before = State::unpack(*state);
        successors(rules, &before, &mut next);
        portion.counts.push(next.len());
        portion.successors.extend(next.iter().map(|(step, after)| {
            let corrects =
                |life: usize| before.lines[life].told == Phase::Unresolved && told_anew(&before, after, life);
            Successor {
                step: *step,
                state: after.pack(),
                broken: broken_by(rules.policy, &before, *step, after),
                corrects: *step != Step::Kill && (corrects(NEWEST) || corrects(EARLIER)),
            }
        }));
    }
    portion
}

/// Explores all of it: there is no bound but the budgets of the first state. One thread looks for successors while
/// another knows the states of the portion before; in which order states are found is the same every time.
///
/// # Errors
/// The nearest state that breaks a promise, with the way to it. Whether everything is answered at last is asked when
/// nothing else is broken.
pub fn explore(rules: &Rules, first: &State) -> Result<Figures, Box<Counterexample>> {
    std::thread::scope(|scope| {
        let (ask, asked) = sync_channel::<Vec<u128>>(PORTIONS);
        let (answer, portions) = sync_channel(PORTIONS);
        scope.spawn(move || {
            for states in asked {
                // Nobody listens any more where a promise is broken.
                if answer.send(follow(rules, &states)).is_err() {
                    break;
                }
            }
        });
        explore_with(rules, first, |states| ask.send(states).expect("it is there"), &portions)
    })
}

fn explore_with(
    rules: &Rules,
    first: &State,
    ask: impl Fn(Vec<u128>),
    portions: &Receiver<Portion>,
) -> Result<Figures, Box<Counterexample>> {
    let mut visited = Visited::new();
    visited.insert(first.pack(), 0);
    // Where each state goes when nothing goes wrong any more; itself at the end.
    let mut calm: Vec<u32> = Vec::new();
    let mut figures = Figures::new();
    let (mut asked, mut under_way, mut layer_end) = (0, 0, 1);
    while calm.len() < visited.states.len() {
        while under_way < PORTIONS && asked < visited.states.len() {
            let until = visited.states.len().min(asked + PORTION);
            ask(visited.states[asked..until].to_vec());
            asked = until;
            under_way += 1;
        }
        let portion = portions.recv().expect("it follows what it is asked for");
        under_way -= 1;
        let mut successors = portion.successors.iter();
        for count in portion.counts {
            let index = calm.len();
            if index == layer_end {
                layer_end = visited.states.len();
                figures.depth += 1;
            }
            figures.count(&State::unpack(visited.states[index]));
            let mut calmest: Option<(u8, u32)> = None;
            for successor in successors.by_ref().take(count) {
                if let Some(promise) = successor.broken {
                    let mut steps = visited.way_to(rules, index as u32);
                    steps.push(successor.step);
                    return Err(Box::new(Counterexample { promise, steps, end: State::unpack(successor.state) }));
                }
                figures.steps[successor.step as usize] += 1;
                figures.corrected += usize::from(successor.corrects);
                let (to, _) = visited.insert(successor.state, index as u32);
                if let Some(rank) = successor.step.calm_rank()
                    && calmest.is_none_or(|(least, _)| rank < least)
                {
                    calmest = Some((rank, to));
                }
            }
            figures.transitions += count;
            calm.push(calmest.map_or(index as u32, |(_, to)| to));
        }
    }
    figures.states = visited.states.len();
    figures.longest_calm = settle(rules, &visited, &calm)?;
    Ok(figures)
}

fn told_anew(before: &State, after: &State, life: usize) -> bool {
    let told = after.lines[life].told;
    told != before.lines[life].told && told != Phase::Absent
}

/// Follows every state to where it ends when nothing goes wrong any more. Returns the longest way.
fn settle(rules: &Rules, visited: &Visited, calm: &[u32]) -> Result<usize, Box<Counterexample>> {
    /// Not followed yet, and being followed.
    const UNKNOWN: u32 = u32::MAX;
    const FOLLOWED: u32 = u32::MAX - 1;
    let mut distance = vec![UNKNOWN; calm.len()];
    let mut longest = 0;
    let mut way = Vec::new();
    for start in 0..calm.len() {
        let mut at = start;
        way.clear();
        while distance[at] == UNKNOWN && calm[at] as usize != at {
            distance[at] = FOLLOWED;
            way.push(at);
            at = calm[at] as usize;
        }
        let goes_round = distance[at] == FOLLOWED;
        if distance[at] == UNKNOWN {
            distance[at] = 0;
        }
        let is_end = distance[at] == 0;
        let end = State::unpack(visited.states[at]);
        if goes_round || is_end && !is_settled(&end) {
            let mut steps = visited.way_to(rules, start as u32);
            steps.extend(calm_steps(rules, visited, calm, start, way.len()));
            return Err(Box::new(Counterexample { promise: Promise::Answered, steps, end }));
        }
        let mut from_end = distance[at];
        for index in way.iter().rev() {
            from_end += 1;
            distance[*index] = from_end;
        }
        longest = longest.max(from_end as usize);
    }
    Ok(longest)
}

fn calm_steps(rules: &Rules, visited: &Visited, calm: &[u32], start: usize, len: usize) -> Vec<Step> {
    let mut next = Vec::new();
    let mut steps = Vec::new();
    let mut at = start;
    for _ in 0..len {
        let to = calm[at] as usize;
        successors(rules, &State::unpack(visited.states[at]), &mut next);
        let found = next.iter().find(|(step, state)| step.calm_rank().is_some() && state.pack() == visited.states[to]);
        steps.extend(found.map(|(step, _)| *step));
        at = to;
    }
    steps
}

impl Figures {
    fn new() -> Self {
        Self {
            states: 0,
            transitions: 0,
            depth: 0,
            longest_calm: 0,
            steps: [0; Step::ALL.len()],
            told: [0; Phase::ALL.len()],
            told_of_earlier: [0; Phase::ALL.len()],
            effects: [0; SLOTS + 1],
            flagged: 0,
            corrected: 0,
        }
    }

    fn count(&mut self, state: &State) {
        let [newest, earlier] = &state.lines;
        self.told[newest.told as usize] += 1;
        self.told_of_earlier[earlier.told as usize] += 1;
        self.effects[state.effects()] += 1;
        self.flagged += usize::from(newest.told_flag);
    }
}
