//! A server that is away for an hour while everybody goes on publishing, and the hours after it, in which the backlog
//! goes out.
//!
//! `SENDBRIDGE_SEED=n` runs one seed here too.

use super::disk::Kept;
use super::promises::{HOUR, Promise, Violation, broken};
use super::random::Random;
use super::scenario::{AccountTruth, FaultKind, Mood, Payload, START, Scenario, corp, request, settings};
use super::seeds::{self, Run, number};
use super::world::World;
use crate::engine::{AccountLimits, CorpLimits, MeasuredFrom, Sabotage};
use crate::model::{Account, Lifetime, NotSent, OnDoubt, State, Time, Verdict};
use std::collections::BTreeSet;
use std::time::Duration;

/// Four of each way to be away, with kills and without. A deliberate mistake has to show within so many too.
const SEEDS: u64 = 24;

/// In what way the server is away.
const WAYS: [Mood; 3] = [Mood::Down, Mood::Silent, Mood::Busy];
const AWAY_FROM: Duration = Duration::from_secs(300);
const BACK: Duration = Duration::from_secs(300 + 3600);
/// Until then everybody publishes.
const ENDS: Duration = Duration::from_secs(5700);

/// The company whose server is away. It has this many times more to send than its hour has room for.
const AWAY: usize = 0;
const HOURS_OF_WORK: u64 = 6;
/// The company on the other server, with this many seconds between two messages of an account.
const OTHER: usize = 1;
const PAUSE: u64 = 150;
/// A send waits for the one before it, and for commits, one of which may take most of a second.
const PROMPT: Duration = Duration::from_secs(3);
/// Of the places of an hour, so many of a hundred may be left unused while something waits.
const UNUSED_PERCENT: u128 = 1;

/// After three seeds without, three in which the process is killed while the server is away.
fn has_kills(seed: u64) -> bool {
    seed / WAYS.len() as u64 % 2 == 1
}

fn way(seed: u64) -> Mood {
    WAYS[(seed % WAYS.len() as u64) as usize]
}

fn truth(index: usize) -> AccountTruth {
    let (corp, sender) = if index < 3 { (corp(AWAY), 0) } else { (corp(OTHER), 1) };
    let name = Account::new(&format!("account{index}"));
    AccountTruth { name, corp, sender, listed_at: Some(START), online: true }
}

impl Scenario {
    /// Nothing goes wrong but that one of two servers is away for an hour, and that processes and connections end.
    pub fn outage(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let accounts: Vec<AccountTruth> = (0..5).map(truth).collect();
        let mut settings = settings(&mut random, 2, &accounts);
        let per_hour = random.within(64, 120) as u32;
        settings.limits.account = AccountLimits { interval: Duration::from_millis(500) };
        settings.limits.corp = CorpLimits { per_hour, reserve: per_hour / 8, burst: None };
        settings.limits.measured_from = MeasuredFrom::Response;
        settings.messages.ttl = Duration::from_secs(72_000);
        settings.messages.queue_messages = 10_000;
        settings.health_interval = Some(Duration::from_secs(600));
        let mut packets = Vec::new();
        let room = u64::from(per_hour - per_hour / 8);
        for id in 0..room * HOURS_OF_WORK {
            let at = START + random.seconds(5, ENDS.as_secs());
            let mut message = request(&accounts[random.below(3)].name, id, 0);
            let options = &mut message.options;
            options.lifetime = random.percent(10).then(|| Lifetime::For(random.seconds(200, 3000)));
            options.priority = random.percent(20).then(|| random.within(0, 9) as u8);
            options.on_doubt = random.percent(40).then(|| *random.pick(&[OnDoubt::Resend, OnDoubt::Hold]));
            let message = Box::new(message);
            if random.percent(5) {
                // The same once more, while it waits or later.
                let again = at + random.seconds(0, 1800);
                packets.push((again, Payload::Request { request: message.clone(), weak: false }));
            }
            packets.push((at, Payload::Request { request: message, weak: false }));
        }
        for (number, account) in (1_000_000..).zip(&accounts[3..]) {
            for slot in 0..ENDS.as_secs() / PAUSE {
                let at = START + random.seconds(slot * PAUSE + 5, slot * PAUSE + PAUSE - 10);
                let request = Box::new(request(&account.name, number + slot * 10, 0));
                packets.push((at, Payload::Request { request, weak: false }));
            }
        }
        packets.sort_by_key(|(at, _)| *at);
        let faults = faults(&mut random, seed);
        Self { settings, accounts, packets, faults, calm: true, clocks: false, ends: ENDS }
    }
}

fn faults(random: &mut Random, seed: u64) -> Vec<(Time, FaultKind)> {
    let mut faults = vec![
        (START + AWAY_FROM, FaultKind::Server(AWAY, way(seed))),
        (START + BACK, FaultKind::Server(AWAY, Mood::Up)),
    ];
    let (first, last) = (AWAY_FROM.as_secs(), BACK.as_secs() - 60);
    for _ in 0..random.within(0, 4) {
        let kind = random.pick(&[FaultKind::DropIncoming, FaultKind::DropOutgoing]).clone();
        faults.push((START + random.seconds(first, last), kind));
    }
    for _ in 0..if has_kills(seed) { random.within(1, 4) } else { 0 } {
        faults.push((START + random.seconds(first, last), FaultKind::Crash(random.within(0, 40) as u32)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// What the world kept about the messages of one company.
fn of_corp(world: &World, index: usize) -> impl Iterator<Item = &Kept> {
    let corp = corp(index);
    let accounts: BTreeSet<Account> =
        world.accounts.iter().filter(|truth| truth.corp == corp).map(|truth| truth.name.clone()).collect();
    world.disk.messages.values().filter(move |kept| accounts.contains(&kept.message.request.account))
}

/// How a message ended, and when.
fn end(kept: &Kept) -> (State, Time) {
    kept.outcome.as_ref().map_or((State::Queued, Time::MAX), |outcome| (outcome.state, outcome.at))
}

/// Asks what cannot be asked of a single step.
fn look_back(world: &World, seed: u64) -> Result<(), Violation> {
    lifetimes_are_kept(world, seed)?;
    if !has_kills(seed) {
        nothing_else_goes_wrong(world, seed)?;
        others_are_prompt(world)?;
    }
    the_hour_is_used(world)
}

/// What was too late is told to be, no sooner and no later, and was not tried any more.
fn lifetimes_are_kept(world: &World, seed: u64) -> Result<(), Violation> {
    let mut expired = 0;
    for kept in of_corp(world, AWAY) {
        let (seq, expires_at) = (kept.message.seq, kept.message.expires_at);
        if kept.attempts.iter().any(|attempt| attempt.at > expires_at) {
            return broken(Promise::True, format!("{seq} was tried after {expires_at}"));
        }
        let (state, at) = end(kept);
        if state != State::Expired {
            continue;
        }
        expired += 1;
        // An attempt that began in time has to end first.
        if at < expires_at || !has_kills(seed) && at > expires_at + Duration::from_secs(5) {
            return broken(Promise::True, format!("{seq} expired at {at} and not at {expires_at}"));
        }
    }
    assert!(expired > 0, "seed {seed}: nothing expires");
    Ok(())
}

/// All else is sent: only a server that takes requests and does not answer leaves doubts.
fn nothing_else_goes_wrong(world: &World, seed: u64) -> Result<(), Violation> {
    for index in [AWAY, OTHER] {
        let may_doubt = index == AWAY && way(seed) == Mood::Silent;
        for kept in of_corp(world, index) {
            let (state, _) = end(kept);
            let in_doubt = kept.attempts.iter().any(|one| matches!(one.end, Some((_, Verdict::Unknown { .. }))));
            let is_well = if in_doubt { may_doubt } else { state.says_sent() || state == State::Expired };
            if !is_well {
                return broken(Promise::True, format!("{} is {state:?}", kept.message.seq));
            }
        }
    }
    Ok(())
}

fn others_are_prompt(world: &World) -> Result<(), Violation> {
    for kept in of_corp(world, OTHER) {
        let (seq, received_at) = (kept.message.seq, kept.message.received_at);
        let waited = kept.attempts.first().map(|attempt| attempt.at.since(received_at));
        if waited.is_none_or(|waited| waited > PROMPT) {
            return broken(Promise::Prompt, format!("{seq} waits {waited:?} for a server that is up"));
        }
    }
    Ok(())
}

/// From the server's return until nothing waits any more, the places of the company's hour are taken: each from a request
/// until an hour after its end.
fn the_hour_is_used(world: &World) -> Result<(), Violation> {
    let limits = world.settings.limits.corp;
    let room = i64::from(limits.per_hour - limits.reserve);
    let from = (START + BACK).max(world.lived_since);
    let (mut waiting, mut taken) = (0, 0);
    let (mut unused, mut all) = (0, 0);
    let mut last = Time::default();
    for (at, waits, takes) in changes(world) {
        let nanos = if last < from { 0 } else { at.since(last).as_nanos() };
        if nanos > 0 && waiting == 0 {
            break;
        }
        unused += nanos * (room - taken).max(0) as u128;
        all += nanos * room as u128;
        (waiting, taken, last) = (waiting + waits, taken + takes, at);
    }
    let hours = all / room as u128 / HOUR.as_nanos();
    assert!(hours >= 2, "the backlog is gone after {hours} hours");
    if unused * 100 > all * UNUSED_PERCENT {
        let percent = unused as f64 / all as f64 * 100.0;
        return broken(Promise::Used, format!("{percent:.2} % of {hours} hours are not used, and messages wait"));
    }
    Ok(())
}

/// How many more messages of the company wait from a moment on, and how many more places of its hour are taken.
fn changes(world: &World) -> Vec<(Time, i64, i64)> {
    let mut changes = vec![((START + BACK).max(world.lived_since), 0, 0)];
    for kept in of_corp(world, AWAY) {
        let mut waits_since = Some(kept.message.received_at);
        for attempt in &kept.attempts {
            if let Some(since) = waits_since {
                changes.extend([(since, 1, 0), (attempt.at, -1, 0)]);
            }
            let Some((ended_at, verdict)) = &attempt.end else { continue };
            let is_free = matches!(verdict, Verdict::NotSent { why: NotSent::Connect, .. });
            let free_at = if is_free { *ended_at } else { *ended_at + HOUR };
            changes.extend([(attempt.at, 0, 1), (free_at, 0, -1)]);
            waits_since = matches!(verdict, Verdict::NotSent { .. }).then_some(*ended_at);
        }
        if let Some(since) = waits_since {
            changes.extend([(since, 1, 0), (end(kept).1, -1, 0)]);
        }
    }
    changes.sort_unstable();
    changes
}

fn run(seed: u64, sabotage: Option<Sabotage>) -> Run {
    seeds::run_and(World::new(Scenario::outage(seed), seed, sabotage), |world| look_back(world, seed))
}

#[test]
fn after_an_hour_away_the_backlog_goes_out_within_the_limits() {
    let seeds = number("SENDBRIDGE_SEED").map_or((0..SEEDS).collect(), |seed| vec![seed]);
    seeds::hold(&seeds, |seed| run(seed, None)).unwrap_or_else(|broken| panic!("{broken}"));
}

/// Deliberate mistakes with the promise that each breaks here. What the first two break is asked nowhere else.
pub const MISTAKES: [(Sabotage, Promise); 10] = [
    (Sabotage::AwayHoldsUpOthers, Promise::Prompt),
    (Sabotage::RarerAndRarer, Promise::Used),
    (Sabotage::CrashRetries, Promise::Once),
    (Sabotage::HourForgotten, Promise::Limits),
    (Sabotage::PlainQuota, Promise::Limits),
    (Sabotage::RefundEveryFailure, Promise::Limits),
    (Sabotage::RetryAfterTimeout, Promise::Once),
    (Sabotage::RetryToTail, Promise::Ordered),
    (Sabotage::SpacingFromRequest, Promise::Limits),
    (Sabotage::TimeoutIsSuccess, Promise::True),
];

#[test]
fn mistakes_about_an_hour_away_are_noticed() {
    for (mistake, promise) in MISTAKES {
        let caught = (0..SEEDS).find_map(|seed| Some((seed, run(seed, Some(mistake)).result.err()?)));
        let (seed, violation) = caught.unwrap_or_else(|| panic!("{mistake:?} is not noticed"));
        assert_eq!(violation.promise, promise, "{mistake:?}, seed {seed}: {violation}");
    }
}
