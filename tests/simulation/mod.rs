//! The whole bridge in virtual time: a seed makes a world of publishers, faults and crashes, and every promise is
//! checked after every step.
//!
//! `SENDBRIDGE_SEED=n` runs one seed, `SENDBRIDGE_SEEDS=n` that many from `SENDBRIDGE_FIRST` on; `tests/simulation/run`
//! runs a million that were never run before. A seed that fails goes into `tests/data/seeds.txt`, which is always run.

#![allow(clippy::wildcard_enum_match_arm, reason = "a check picks the few cases that it is about")]

mod broker_away;
mod callbacks;
mod clocks;
mod deliveries;
pub(crate) mod disk;
mod full_hour;
mod kinds;
mod network;
mod orders;
mod outage;
mod promises;
mod random;
mod reopened;
mod reports;
mod scenario;
mod seeds;
mod server;
mod trace;
mod window;
mod world;

use crate::engine::Sabotage;
use crate::model::MessageId;
use promises::Promise;
use scenario::{Payload, Scenario};
use seeds::{Run, Tally, number, run};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::World;

/// As many as fit in a test run that people are willing to wait for.
const SEEDS: u64 = 20_000;
/// A deliberate mistake has to show within so many.
const SEEDS_PER_MISTAKE: u64 = 400;
/// In so many worlds everything happens that can; in fewer something rare may not.
const SEEDS_TO_SEE_ALL: usize = 2_000;
/// The seeds whose traces are compared.
const SAME: std::ops::Range<u64> = 0..30;

fn world(seed: u64, sabotage: Option<Sabotage>) -> World {
    World::new(Scenario::new(seed), seed, sabotage)
}

/// Fails with every seed that broke a promise.
fn hold(seeds: &[u64]) -> Tally {
    seeds::hold(seeds, |seed| run(world(seed, None))).unwrap_or_else(|broken| panic!("{broken}"))
}

#[test]
fn every_promise_holds_whatever_goes_wrong() {
    if let Some(seed) = number("SENDBRIDGE_SEED") {
        hold(&[seed]);
        return;
    }
    let known = include_str!("../data/seeds.txt").lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let known = known.filter(|seed| !seed.is_empty());
    let known: Vec<u64> = known.map(|seed| seed.parse().expect("a line of seeds.txt starts with a number")).collect();
    assert!(!known.is_empty(), "the seeds that failed once are gone");
    hold(&known);
    let first = number("SENDBRIDGE_FIRST").unwrap_or_default();
    let seeds: Vec<u64> = (first..first + number("SENDBRIDGE_SEEDS").unwrap_or(SEEDS)).collect();
    let Tally { attributions, counts, .. } = hold(&seeds);
    let count = seeds.len();
    eprintln!("{count} seeds from {first} on: {attributions} callbacks attributed, none wrongly");
    eprintln!("what made it hard: {counts}");
    assert!(attributions > count as u64, "callbacks hardly happen: {attributions}");
    let missing = counts.missing();
    assert!(count < SEEDS_TO_SEE_ALL || missing.is_empty(), "never happened in {count} worlds: {missing:?}");
}

/// An engine that panics on the way, in one of four worlds.
#[test]
fn a_panic_is_named_with_its_seed() {
    let world = |seed| {
        let mut scenario = Scenario::new(seed);
        let requests = scenario.packets.iter_mut().filter_map(|(_, payload)| match payload {
            Payload::Request { request, .. } => Some(request),
            _ => None,
        });
        requests.last().expect("somebody publishes").id = MessageId::from_json("\"poison\"");
        World::new(scenario, seed, (seed == 7).then_some(Sabotage::CrashOnRequest))
    };
    let told = seeds::hold(&[5, 6, 7, 8], |seed| run(world(seed))).expect_err("one panics");
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("seed ")).collect();
    assert_eq!(lines, ["seed 7: Progress is broken: panicked: a deliberate crash"], "{told}");
    assert!(told.contains("poison") && told.ends_with("run one again with SENDBRIDGE_SEED=7"), "{told}");
}

/// All that happens in the world of a seed.
fn whole_trace(seed: u64) -> String {
    let mut world = world(seed, None);
    world.trace.keep_all();
    let Run { result, trace, .. } = run(world);
    result.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    trace
}

/// Byte for byte, within this process and in another one, which has its memory elsewhere and hashes otherwise. A trace
/// that was stored would have to be stored anew after every change of the engine, and show no more.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces = || SAME.map(whole_trace).collect::<String>();
    if let Some(file) = std::env::var_os("SENDBRIDGE_TRACES") {
        std::fs::write(file, traces()).expect("a file can be written");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("traces");
    let mut other = std::process::Command::new(std::env::current_exe().expect("this program"));
    other.args(["simulation::the_same_seed_gives_the_same_trace", "--exact"]).env("SENDBRIDGE_TRACES", &file);
    let ended = other.output().expect("this program starts once more");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    let here = traces();
    for there in [traces(), std::fs::read_to_string(&file).expect("the other process wrote its traces")] {
        let differs = here.lines().zip(there.lines()).find(|(here, there)| here != there);
        assert!(here == there, "{} bytes, and {} another time: {differs:#?}", here.len(), there.len());
    }
    let lines = here.lines().count();
    assert!(lines > 20_000, "only {lines} lines to compare");
    assert_ne!(whole_trace(SAME.start), whole_trace(SAME.start + 1));
}

/// Deliberate mistakes with the promises that each may break: the first one seen names it. What shows only in a long
/// outage, or only otherwise, is in [`outage::MISTAKES`], [`broker_away::MISTAKE`] and [`reopened::MISTAKE`].
const MISTAKES: [(Sabotage, &[Promise]); 33] = [
    (Sabotage::AcceptWithoutRecord, &[Promise::Kept, Promise::Durable]),
    (Sabotage::AnswerClosedEarly, &[Promise::Kept]),
    (Sabotage::BlocksForgotten, &[Promise::Held]),
    (Sabotage::BlockForgetsTag, &[Promise::True]),
    (Sabotage::ClaimedTwice, &[Promise::True]),
    (Sabotage::CancelWhileSending, &[Promise::True, Promise::Seen]),
    (Sabotage::CorrectionCountsTwice, &[Promise::Seen]),
    (Sabotage::CorrectionUnanswered, &[Promise::Progress, Promise::True]),
    (Sabotage::CrashRetries, &[Promise::Once]),
    (Sabotage::DedupSkipsPast, &[Promise::Once]),
    (Sabotage::DoubtForgotten, &[Promise::True]),
    (Sabotage::DrainTakesMessages, &[Promise::Held]),
    (Sabotage::FlagForgotten, &[Promise::Once]),
    (Sabotage::HoldsForgotten, &[Promise::Held]),
    (Sabotage::HourForgotten, &[Promise::Limits]),
    (Sabotage::LimitAtNextStart, &[Promise::Limits]),
    (Sabotage::LimitsForgotten, &[Promise::Limits]),
    (Sabotage::MoveForgetsCounts, &[Promise::Seen]),
    (Sabotage::MoveForgetsSends, &[Promise::Limits]),
    (Sabotage::NoAttemptRecord, &[Promise::Durable]),
    (Sabotage::PeopleCount, &[Promise::True]),
    (Sabotage::PlainQuota, &[Promise::Limits]),
    (Sabotage::RefundEveryFailure, &[Promise::Limits]),
    (Sabotage::RehearsalCancels, &[Promise::True]),
    (Sabotage::RetryAfterTimeout, &[Promise::Once, Promise::Held]),
    (Sabotage::RetryToTail, &[Promise::Ordered]),
    (Sabotage::RetryTwice, &[Promise::Once]),
    (Sabotage::RetryUnflagged, &[Promise::Once]),
    (Sabotage::SpacingFromRequest, &[Promise::Limits]),
    (Sabotage::SweepStopsEarly, &[Promise::True]),
    (Sabotage::TimeoutIsSuccess, &[Promise::True]),
    (Sabotage::TwinsDispatched, &[Promise::Held]),
    (Sabotage::TwinsIgnored, &[Promise::True]),
];

#[test]
fn every_deliberate_mistake_is_noticed() {
    let mut missed = Vec::new();
    for (mistake, promises) in MISTAKES {
        let caught =
            (0..SEEDS_PER_MISTAKE).find_map(|seed| Some((seed, run(world(seed, Some(mistake))).result.err()?)));
        match caught {
            Some((_, violation)) if promises.contains(&violation.promise) => {}
            Some((seed, violation)) => missed.push(format!("{mistake:?}: seed {seed}: {violation}")),
            None => missed.push(format!("{mistake:?} is not noticed")),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    let of_outages = outage::MISTAKES.into_iter().map(|(mistake, _)| mistake);
    let elsewhere = [broker_away::MISTAKE.0, reopened::MISTAKE.0];
    let all: BTreeSet<Sabotage> =
        MISTAKES.into_iter().map(|(mistake, _)| mistake).chain(of_outages).chain(elsewhere).collect();
    assert_eq!(all.len(), Sabotage::ALL.len(), "every mistake is tried");
}

/// A company's hour binds for a day: all of what is not reserved is used, and its accounts share it.
#[test]
fn a_backlog_uses_the_hour_and_shares_it() {
    for seed in 0..10 {
        let mut world = World::new(Scenario::bound(seed), seed, None);
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}\n{}", world.trace.text()));
        let times: Vec<_> = world.arrivals.iter().map(|(at, _, _)| *at).collect();
        // 36 of 40 places are not reserved; a place may come back a second late, so 99 % of the rate.
        let window = Duration::from_millis(3_636_000);
        for (index, at) in times.iter().enumerate().take_while(|(index, _)| index + 72 < times.len()) {
            assert!(times[index + 36].since(*at) <= window, "seed {seed}: only 36 sends after {at}");
        }
        // While all four have something to send, none gets much more than another; by luck alone some have faster
        // answers while the hour is still open.
        let mut counts: BTreeMap<_, u32> = BTreeMap::new();
        for (_, account, _) in world.arrivals.iter().take(80) {
            *counts.entry(account.clone()).or_default() += 1;
        }
        let (least, most) = (counts.values().min().copied(), counts.values().max().copied());
        assert!(most.zip(least).is_some_and(|(most, least)| most * 2 <= least * 3), "seed {seed}: {counts:?}");
    }
}
