//! Many worlds on all cores. Each that breaks a promise, or panics, is named by its seed, with how to run it again.

use super::kinds::Counts;
use super::promises::{Promise, Violation, broken};
use super::world::World;
use crate::engine::Sabotage;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of one world.
pub struct Run {
    pub result: Result<(), Violation>,
    /// What its trace has kept.
    pub trace: String,
    /// How often a callback was taken for what became of a message.
    pub attributions: u64,
    /// What made it hard.
    pub counts: Counts,
}

/// Runs a world to its end.
pub fn run(world: World) -> Run {
    run_and(world, |_| Ok(()))
}

/// Runs a world to its end and looks at what it left. A panic on the way is a broken promise like another.
pub fn run_and(mut world: World, look: impl FnOnce(&World) -> Result<(), Violation>) -> Run {
    // Of a world that panicked nothing is used but what it had told before.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run().and_then(|()| look(&world))));
    let result = ended.unwrap_or_else(|panic| broken(Promise::Progress, format!("panicked: {}", words(&*panic))));
    let mut counts = world.trace.counts;
    counts.accounts(&world.accounts);
    Run { result, trace: world.trace.text(), attributions: world.attributions, counts }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// What so many seeds showed.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many callbacks were attributed.
    pub attributions: u64,
    pub counts: Counts,
    /// What broke, by seed, with the end of the trace.
    broken: BTreeMap<u64, (String, String)>,
}

impl Tally {
    fn add(mut self, seed: u64, run: Run) -> Self {
        self.attributions += run.attributions;
        self.counts.add(&run.counts);
        if let Err(violation) = run.result {
            self.broken.insert(seed, (violation.to_string(), run.trace));
        }
        self
    }

    fn merge(mut self, mut other: Self) -> Self {
        self.attributions += other.attributions;
        self.counts.add(&other.counts);
        self.broken.append(&mut other.broken);
        self
    }
}

/// Runs the worlds of all these seeds, and returns what they showed.
///
/// # Errors
/// Names every seed that broke a promise.
pub fn hold(seeds: &[u64], run: impl Fn(u64) -> Run + Sync) -> Result<Tally, String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let run = &run;
    let tally = std::thread::scope(|scope| {
        let work = |worker| {
            let own = seeds.iter().skip(worker).step_by(workers);
            move || own.fold(Tally::default(), |tally, seed| tally.add(*seed, run(*seed)))
        };
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        let ended = running.into_iter().map(|worker| worker.join().expect("a seed holds or breaks a promise"));
        ended.fold(Tally::default(), Tally::merge)
    });
    let Some((seed, (_, trace))) = tally.broken.first_key_value() else { return Ok(tally) };
    let lines: Vec<String> = tally.broken.iter().map(|(seed, (what, _))| format!("seed {seed}: {what}")).collect();
    Err(format!("{trace}\n{}\nrun one again with SENDBRIDGE_SEED={seed}", lines.join("\n")))
}

/// Fails with every one of the first so many seeds that breaks a promise, or looks at the one that `SENDBRIDGE_SEED` says.
pub fn hold_first(seeds: u64, run: impl Fn(u64) -> Run + Sync) {
    let seeds = number("SENDBRIDGE_SEED").map_or((0..seeds).collect(), |seed| vec![seed]);
    hold(&seeds, run).unwrap_or_else(|broken| panic!("{broken}"));
}

/// Fails unless a deliberate mistake breaks this promise before any other within so many seeds.
pub fn notice((mistake, promise): (Sabotage, Promise), seeds: u64, run: impl Fn(u64, Option<Sabotage>) -> Run) {
    let caught = (0..seeds).find_map(|seed| Some((seed, run(seed, Some(mistake)).result.err()?)));
    let (seed, violation) = caught.unwrap_or_else(|| panic!("{mistake:?} is not noticed"));
    assert_eq!(violation.promise, promise, "{mistake:?}, seed {seed}: {violation}");
}

/// The number that a variable of the environment says.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
