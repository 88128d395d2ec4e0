//! Intake that is closed and opened again within milliseconds, while messages come.
//!
//! `SENDBRIDGE_SEED=n` runs one seed here too.

use super::promises::Promise;
use super::random::Random;
use super::scenario::{AccountTruth, FAULTS, FaultKind, Payload, START, Scenario, corp, request, settings};
use super::seeds::{self, Run, run};
use super::world::World;
use crate::engine::Sabotage;
use crate::model::Command;
use std::time::Duration;

/// A deliberate mistake has to show within so many too.
const SEEDS: u64 = 300;
const MESSAGES: u64 = 150;
/// Until then everybody publishes, in milliseconds.
const PUBLISHED: u64 = 2000;

impl Scenario {
    /// Nothing goes wrong but that a drain, or a disk without room, is undone at once, several times.
    pub fn reopened(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let accounts: Vec<AccountTruth> = (0..3).map(|index| AccountTruth::listed(index, corp(index))).collect();
        let mut settings = settings(&mut random, 1, &accounts);
        settings.messages.ttl = Duration::from_secs(72_000);
        settings.messages.queue_messages = 10_000;
        let mut packets = Vec::new();
        for id in 0..MESSAGES {
            let request = Box::new(request(&accounts[random.below(3)].name, id, 0));
            packets.push((START + random.millis(0, PUBLISHED), Payload::Request { request, weak: false }));
        }
        let mut faults = Vec::new();
        for _ in 0..random.within(1, 5) {
            let at = START + random.millis(100, PUBLISHED);
            let undone = at + random.millis(0, 40);
            if random.percent(50) {
                let order = |on| Payload::Command { command: Command::Drain { on }, transaction: None };
                packets.extend([(at, order(true)), (undone, order(false))]);
            } else {
                faults.extend([(at, FaultKind::StorageLow(true)), (undone, FaultKind::StorageLow(false))]);
            }
        }
        packets.sort_by_key(|(at, _)| *at);
        faults.sort_by_key(|(at, _)| *at);
        Self { settings, accounts, packets, faults, calm: true, clocks: false, ends: FAULTS }
    }
}

fn run_one(seed: u64, sabotage: Option<Sabotage>) -> Run {
    run(World::new(Scenario::reopened(seed), seed, sabotage))
}

#[test]
fn what_was_left_with_the_broker_is_taken_before_what_came_behind_it() {
    seeds::hold_first(SEEDS, |seed| run_one(seed, None));
}

/// The deliberate mistake that shows only here, with the promise that it breaks.
pub const MISTAKE: (Sabotage, Promise) = (Sabotage::TakesOutOfOrder, Promise::Ordered);

#[test]
fn a_mistake_about_what_was_left_with_the_broker_is_noticed() {
    seeds::notice(MISTAKE, SEEDS, run_one);
}
