//! The whole bridge in virtual time: a seed makes a world of publishers, faults and crashes, and every promise is
//! checked after every step.
//!
//! `SENDBRIDGE_SEED=n` runs one seed, `SENDBRIDGE_SEEDS=n` that many. A seed that fails goes into `tests/data/seeds.txt`,
//! which is always run.

mod disk;
mod network;
mod promises;
mod random;
mod scenario;
mod server;
mod trace;
mod world;

use crate::engine::Sabotage;
use promises::{Promise, Violation};
use scenario::Scenario;
use std::collections::BTreeMap;
use std::time::Duration;
use world::World;

/// As many as fit in a test run that people are willing to wait for.
const SEEDS: u64 = 3000;
/// A deliberate mistake has to show within so many.
const SEEDS_PER_MISTAKE: u64 = 400;

struct Run {
    digest: u64,
    result: Result<(), Violation>,
    trace: String,
}

fn run(seed: u64, sabotage: Option<Sabotage>) -> Run {
    let mut world = World::new(Scenario::new(seed), seed, sabotage);
    let result = world.run();
    Run { digest: world.trace.digest(), result, trace: world.trace.last() }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn holds(seed: u64) {
    let run = run(seed, None);
    if let Err(violation) = &run.result {
        panic!("{}\nseed {seed}: {violation}; run it again with SENDBRIDGE_SEED={seed}", run.trace);
    }
}

#[test]
fn every_promise_holds_whatever_goes_wrong() {
    if let Some(seed) = number("SENDBRIDGE_SEED") {
        return holds(seed);
    }
    for line in include_str!("../data/seeds.txt").lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            holds(seed.parse().expect("a line of seeds.txt starts with a number"));
        }
    }
    let first = number("SENDBRIDGE_FIRST").unwrap_or_default();
    for seed in first..first + number("SENDBRIDGE_SEEDS").unwrap_or(SEEDS) {
        holds(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..30 {
        assert_eq!(run(seed, None).digest, run(seed, None).digest, "seed {seed}");
    }
    assert_ne!(run(0, None).digest, run(1, None).digest);
}
