//! Forecasts against what then happens, in random worlds where nothing changes.

mod questions;
mod world;

pub(in crate::engine) use world::{World, settings};

use super::{AnswerTime, Expected, Flaw, Play, SOON_MAX, SOON_STEP, Watch};
use crate::engine::SenderSettings;
use crate::engine::limits::GUARD;
use crate::engine::settings::{CorpLimits, MeasuredFrom};
use crate::model::{Account, Corp, Lifetime, Options, Scope, SenderName, Time};
use std::collections::BTreeSet;
use std::time::Duration;
use world::START;

const SEEDS: u64 = 300;

/// SplitMix64: the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.within(low, high))
    }
}

const INSTANT: Duration = Duration::from_nanos(1);

#[test]
fn a_few_times_are_kept_and_the_first_of_them_that_is_not_over_is_next() {
    let at = |steps: u32| START + steps * SOON_STEP;
    let mut expected = Expected::default();
    assert_eq!(expected.next(START), None);
    expected.at(at(1));
    expected.at(at(2) - INSTANT);
    assert_eq!(expected.soon, [at(1)], "too near to the one before");
    expected.at(at(2));
    assert_eq!((expected.soon.len(), expected.last), (2, Some(at(2))));
    assert_eq!((expected.next(at(1)), expected.next(at(1) + INSTANT)), (Some(at(1)), Some(at(2))));
    // Behind the last that is kept there is the last of all, where none can be missing between them.
    expected.at(at(3) - INSTANT);
    assert_eq!(expected.next(at(2) + INSTANT), Some(at(3) - INSTANT));
    assert_eq!(expected.next(at(3) - INSTANT), Some(at(3) - INSTANT));
    assert_eq!(expected.next(at(3)), None);
    (3..60).for_each(|steps| expected.at(at(steps)));
    assert_eq!((expected.soon.len(), expected.last), (SOON_MAX, Some(at(59))));
    let kept = expected.soon[SOON_MAX - 1];
    assert_eq!((expected.next(kept), expected.next(kept + INSTANT)), (Some(kept), None));
}

#[test]
fn the_time_of_answers_follows_them_slowly_and_begins_with_the_first() {
    let millis = Duration::from_millis;
    let mut answers = AnswerTime::default();
    assert_eq!(answers.mean(), millis(100));
    answers.observe(millis(800));
    assert_eq!(answers.mean(), millis(800));
    answers.observe(millis(1600));
    assert_eq!(answers.mean(), millis(900));
    answers.observe(Duration::ZERO);
    assert_eq!(answers.mean(), Duration::from_micros(787_500));
    let engine = crate::engine::Engine::new(settings(), START, crate::model::LastNumbers::default());
    let name = settings().senders[0].name.clone();
    assert_eq!(engine.answer_estimate(&name), Some(millis(100)));
    assert_eq!(engine.answer_estimate(&SenderName::new("nobody")), None);
}

struct Plan {
    world: World,
    random: Random,
    accounts: Vec<(String, String)>,
    slot: Duration,
    about: String,
}

impl Plan {
    /// With so many times the accounts and the places in the hour.
    fn new(seed: u64, scale: u64) -> Self {
        let mut random = Random(seed);
        let mut settings = settings();
        // Nobody takes the answers here: what is over is not looked at again and again.
        settings.messages.dedup_window = Duration::from_secs(7 * 86_400);
        let second = SenderSettings { name: SenderName::new("second"), ..settings.senders[0].clone() };
        if random.percent(30) {
            settings.senders.push(second);
        }
        for sender in &mut settings.senders {
            sender.connections = if random.percent(40) { random.within(1, 4) } else { 256 } as usize;
        }
        let limits = &mut settings.limits;
        limits.account.interval = random.millis(100, 2000);
        if random.percent(60) {
            let per_hour = (scale * random.within(5, 60)) as u32;
            let reserve = per_hour * random.within(0, 30) as u32 / 100;
            let burst = random.percent(20).then(|| random.within(1, per_hour.into()) as u32);
            limits.corp = CorpLimits { per_hour, reserve, burst };
        }
        if random.percent(20) {
            limits.measured_from = MeasuredFrom::Request;
        }
        let answer = random.millis(1, 900);
        let slot = limits.account.interval + GUARD + answer;
        let about = format!("{:?} {answer:?} {:?}", settings.limits, settings.senders);
        let corps = random.within(1, 3);
        let names: Vec<String> = settings.senders.iter().map(|sender| sender.name.as_str().to_owned()).collect();
        let mut plan = Self { world: World::new(settings, answer), random, accounts: Vec::new(), slot, about };
        for sender in names {
            let mut accounts = Vec::new();
            for corp in 0..corps {
                for account in 0..scale * plan.random.within(1, 6) {
                    accounts.push((format!("{sender}-{corp}-{account}"), format!("corp{corp}")));
                }
            }
            plan.world.list(&sender, &accounts);
            // So that its answer time is known.
            plan.world.request(&accounts[0].0, "", Options::default());
            plan.accounts.extend(accounts);
        }
        plan
    }

    fn requests(&mut self, most: u64) {
        let hours = self.random.percent(50);
        for index in 0..self.accounts.len() {
            let account = self.accounts[index].0.clone();
            for _ in 0..self.random.within(0, most) {
                let mut options = Options::default();
                if self.random.percent(30) {
                    options.priority = Some(self.random.within(0, 9) as u8);
                }
                if self.random.percent(10) {
                    let wait = self.random.millis(1, if hours { 7_200_000 } else { 60_000 });
                    options.not_before = Some(self.world.now + wait);
                }
                if self.random.percent(10) {
                    options.lifetime = Some(Lifetime::For(self.random.millis(10_000, 6 * 3_600_000)));
                }
                let conversation = format!("c{}", self.random.within(0, 2));
                self.world.request(&account, &conversation, options);
            }
        }
    }

    fn holds(&mut self) {
        for _ in 0..self.random.within(0, 3) {
            let index = self.random.within(0, self.accounts.len() as u64 - 1) as usize;
            let (account, corp) = self.accounts[index].clone();
            let account = Account::new(&account);
            let (scope, may_last) = match self.random.within(0, 4) {
                0 => (Scope::All, false),
                1 => (Scope::Corp(Corp::new(&corp)), false),
                2 => (Scope::Account(account), true),
                3 => (Scope::Conversation(account, "c1".into()), true),
                _ => (Scope::Sender(SenderName::new("main")), false),
            };
            let for_ever = may_last && self.random.percent(40);
            let duration = (!for_ever).then(|| self.random.millis(1000, 600_000));
            self.world.pause(scope, duration);
        }
    }

    /// What was forecast for each message and did not come true within a slot.
    fn wrong(self, flaw: Option<Flaw>) -> Vec<String> {
        self.wrong_of(flaw).0
    }

    /// The same, and how many were forecast.
    fn wrong_of(mut self, flaw: Option<Flaw>) -> (Vec<String>, usize) {
        self.world.advance(Duration::from_secs(20));
        self.requests(30);
        self.holds();
        let span = self.random.millis(0, 120_000);
        self.world.advance(span);
        self.requests(20);
        self.world.engine.forecasts.flaw = flaw;
        self.world.foresee();
        let queued = self.world.queued();
        let (from, slot) = (self.world.now, self.slot);
        let expected: Vec<_> = queued.iter().map(|seq| (*seq, self.world.engine.expected_at(*seq))).collect();
        let all = self.world.engine.drain_eta_all();
        self.world.advance(Duration::from_secs(30 * 3600));
        let mut wrong = Vec::new();
        let about = format!("{} {:?}", self.about, self.world.engine.holds.values().collect::<Vec<_>>());
        let mut last = None;
        for (seq, expected) in expected {
            let actual = self.world.sent.get(&seq).copied();
            last = last.max(actual);
            let differs = match (expected, actual) {
                (Some(expected), Some(actual)) => expected.since(actual).max(actual.since(expected)) > slot,
                (None, None) => false,
                // Beyond the end of this test.
                (Some(expected), None) => expected < self.world.now,
                (None, Some(_)) => true,
            };
            if differs {
                let shown = |at: Option<Time>| at.map(|at| at.since(from).as_secs_f64());
                wrong.push(format!("{seq}: expected {:?}, went {:?}", shown(expected), shown(actual)));
            }
        }
        if self.world.queued().is_empty()
            && last.zip(all).is_some_and(|(last, all)| all.since(last).max(last.since(all)) > slot)
        {
            wrong.push(format!("all out at {all:?} and not at {last:?}"));
        }
        if !wrong.is_empty() {
            wrong.insert(0, about);
        }
        (wrong, queued.len())
    }
}

#[test]
fn what_is_forecast_comes_true_within_a_slot() {
    let first = std::env::var("SENDBRIDGE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let wrong: Vec<(u64, Vec<String>)> =
        seeds.map(|seed| (seed, Plan::new(seed, 1).wrong(None))).filter(|(_, wrong)| !wrong.is_empty()).collect();
    let first: Vec<_> = wrong.iter().map(|(seed, wrong)| (seed, wrong.len(), &wrong[..wrong.len().min(4)])).collect();
    assert!(wrong.is_empty(), "SENDBRIDGE_SEED=n for one of these {}: {first:#?}", wrong.len());
}

#[test]
fn a_forecast_with_a_flaw_is_noticed() {
    let flaws =
        [Flaw::AnswersAtOnce, Flaw::EmptyHour, Flaw::EndlessServer, Flaw::NoHeadStart, Flaw::NoHolds, Flaw::NoReserve];
    for flaw in flaws {
        let noticed = (0..SEEDS).find(|seed| !Plan::new(*seed, 1).wrong(Some(flaw)).is_empty());
        assert!(noticed.is_some(), "{flaw:?} is not noticed");
    }
}

/// The seed of the largest world, and what says how large it is.
const LARGEST: u64 = 1006;
const SCALE: &str = "SENDBRIDGE_FORECAST_SCALE";

/// Worlds in which thousands of accounts have long queues of every priority, with all else that can happen to them.
#[test]
fn long_queues_go_as_forecast() {
    let mut most = 0;
    // A larger one takes its time.
    let largest = std::env::var(SCALE).ok().and_then(|scale| scale.parse().ok()).unwrap_or(200);
    let plans = (1000..LARGEST).map(|seed| (seed, 30)).chain([(LARGEST, largest)]);
    for (seed, scale) in plans {
        let (wrong, count) = Plan::new(seed, scale).wrong_of(None);
        most = most.max(count);
        assert!(
            wrong.is_empty(),
            "seed {seed}: {count} messages, {}: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(6)]
        );
    }
    assert!(most > 30_000, "{most} are not many");
}

/// How many messages wait in the world whose cost is measured; of a hundredth as many accounts.
const MEASURED: &str = "SENDBRIDGE_FORECAST_MESSAGES";

#[test]
#[allow(clippy::print_stdout, reason = "it shows how long it takes, and asserts nothing of it")]
fn what_a_forecast_costs() {
    let messages = std::env::var(MEASURED).ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let clock = crate::clock::Clock::start_at(START);
    let mut settings = settings();
    settings.messages.queue_messages = messages + 1000;
    let mut world = World::new(settings, Duration::from_millis(20));
    let accounts: Vec<_> = (0..messages / 100).map(|index| (format!("a{index}"), "corp".to_owned())).collect();
    world.list("main", &accounts);
    for round in 0..100 {
        for (account, _) in &accounts {
            let priority = Some(if round % 10 == 0 { (round / 10) as u8 } else { 4 });
            world.request(account, "", Options { priority, ..Options::default() });
        }
    }
    world.advance(Duration::from_millis(1700));
    for what in ["first", "again"] {
        let started = clock.now();
        let play = Play::new(&world.engine, Watch::These(BTreeSet::new()));
        let copied = clock.now();
        let queued = world.queued().len();
        let begun = clock.now();
        let forecast = play.run();
        let span = clock.now().since(begun);
        let eta = forecast.corps[0].1.last.map(|at| at.since(world.now));
        println!(
            "{what}: {queued} messages of {} accounts until {eta:?}: copied in {:?}, played in {span:?}, {} ns each",
            accounts.len(),
            copied.since(started),
            span.as_nanos() / queued as u128,
        );
        assert_eq!(forecast.accounts.len(), accounts.len());
        assert!(forecast.accounts.iter().all(|(_, expected)| expected.last.is_some()));
        drop(forecast);
        let started = clock.now();
        world.advance(Duration::from_secs(1));
        println!("the second after: {:?}", clock.now().since(started));
    }
    let started = clock.now();
    for _ in 0..100_000 {
        world.engine.touch(crate::engine::tables::AccountKey(0));
    }
    println!("100,000 marks: {:?}", clock.now().since(started));
}
