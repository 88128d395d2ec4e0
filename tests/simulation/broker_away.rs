//! A broker that goes away with what was taken still unacknowledged, and comes back after a minute or after hours.
//!
//! `SENDBRIDGE_SEED=n` runs one seed here too.

use super::promises::Promise;
use super::random::Random;
use super::scenario::{AccountTruth, FaultKind, Payload, START, Scenario, corp, request, settings};
use super::seeds::{self, Run, run};
use super::world::World;
use crate::engine::{AccountLimits, EVIDENCE_KEPT, Sabotage};
use crate::model::Time;
use std::time::Duration;

/// A deliberate mistake has to show within so many too.
const SEEDS: u64 = 300;
/// Until then everybody publishes, and the broker goes in the middle of it.
const PUBLISHED: u64 = 60;
const ENDS: Duration = Duration::from_secs(20_000);

impl Scenario {
    /// Nothing goes wrong but that the broker is away, and that the process may be killed meanwhile.
    pub fn broker_away(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let accounts: Vec<AccountTruth> = (0..3).map(|index| AccountTruth::listed(index, corp(0))).collect();
        let mut settings = settings(&mut random, 1, &accounts);
        settings.limits.account = AccountLimits { interval: Duration::from_millis(500) };
        // The journal keeps messages for as long as it keeps evidence, if that is longer.
        settings.messages.dedup_window = random.seconds(EVIDENCE_KEPT.as_secs(), 4000);
        settings.messages.ttl = Duration::from_secs(72_000);
        let window = settings.messages.dedup_window.as_secs();
        let away_from = START + random.seconds(5, PUBLISHED);
        let away = random.seconds(60, 3 * window);
        let mut packets = Vec::new();
        for id in 0..90 {
            let at = START + random.millis(0, PUBLISHED * 1000);
            let message = Box::new(request(&accounts[random.below(3)].name, id, 0));
            if random.percent(60) {
                let again = away_from + away + random.seconds(0, 2 * window);
                packets.push((again, Payload::Request { request: message.clone(), weak: false }));
            }
            packets.push((at, Payload::Request { request: message, weak: false }));
        }
        packets.sort_by_key(|(at, _)| *at);
        let faults = faults(&mut random, away_from, away);
        Self { settings, accounts, packets, faults, calm: true, clocks: false, ends: ENDS }
    }
}

fn faults(random: &mut Random, away_from: Time, away: Duration) -> Vec<(Time, FaultKind)> {
    let mut faults = vec![(away_from, FaultKind::BrokerAway(away))];
    if random.percent(30) {
        let at = away_from + random.seconds(1, away.as_secs());
        faults.push((at, FaultKind::Crash(random.within(0, 40) as u32)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn run_one(seed: u64, sabotage: Option<Sabotage>) -> Run {
    run(World::new(Scenario::broker_away(seed), seed, sabotage))
}

#[test]
fn what_comes_again_after_the_broker_was_away_is_known() {
    seeds::hold_first(SEEDS, |seed| run_one(seed, None));
}

/// The deliberate mistake that shows only here, with the promise that it breaks.
pub const MISTAKE: (Sabotage, Promise) = (Sabotage::LateAnswerForgotten, Promise::Once);

#[test]
fn a_mistake_about_a_broker_that_was_away_is_noticed() {
    seeds::notice(MISTAKE, SEEDS, run_one);
}
