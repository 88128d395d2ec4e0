//! Forecasts against what then happens, in random worlds where nothing changes.

use super::{EXACT_MAX, Flaw, Freshness, LIGHT_MAX, Watch};
use crate::engine::limits::GUARD;
use crate::engine::settings::{AccountLimits, CorpLimits, LimitSettings, MeasuredFrom, MessageSettings};
use crate::engine::tables::AccountKey;
use crate::engine::{Engine, EventLevel, IdConflict, SenderSettings, Settings, StatusSettings};
use crate::model::{
    Account, Action, Command, CommandOrigin, CommandRequest, Corp, DirectoryEntry, Input, LastNumbers, Lifetime,
    MessageId, OnDoubt, Options, Origin, Request, Scope, SenderName, Seq, Time, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const START: Time = Time::from_millis(1_700_000_000_000);
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

pub(in crate::engine) fn settings() -> Settings {
    Settings {
        info: serde_json::Value::Null,
        health_interval: None,
        broker_backlog_alarm: 0,
        senders: vec![SenderSettings {
            name: SenderName::new("main"),
            connections: 256,
            callbacks: false,
            doubt_window: Duration::ZERO,
            default_corp: None,
        }],
        accounts: Vec::new(),
        limits: LimitSettings {
            account: AccountLimits { interval: Duration::from_millis(500) },
            corp: CorpLimits { per_hour: 50_000, reserve: 1000, burst: None },
            accounts: Vec::new(),
            corps: Vec::new(),
            measured_from: MeasuredFrom::Response,
            cool_down: Duration::from_secs(2),
            cool_down_max: Duration::from_secs(60),
        },
        messages: MessageSettings {
            ttl: Duration::from_secs(7 * 86_400),
            dedup_window: Duration::ZERO,
            id_conflict: IdConflict::Accept,
            on_doubt: OnDoubt::Report,
            resends_max: 1,
            queue_messages: 1_000_000,
            queue_bytes: u64::MAX,
            queue_time: None,
            unknown_account_grace: Duration::from_secs(300),
        },
        events: EventLevel::Off,
        publish_window: 100,
        status: StatusSettings { per_second: 0, accounts_max: 10_000, idle: Duration::from_secs(600) },
    }
}

/// An engine and servers that answer after a fixed time.
pub(in crate::engine) struct World {
    pub(in crate::engine) engine: Engine,
    pub(in crate::engine) now: Time,
    answer: Duration,
    answers: BTreeSet<(Time, Seq, u32)>,
    sent: BTreeMap<Seq, Time>,
    /// What left beside requests, and when.
    pub(in crate::engine) actions: Vec<(Time, Action)>,
    ids: u64,
}

impl World {
    pub(in crate::engine) fn new(settings: Settings, answer: Duration) -> Self {
        let mut engine = Engine::new(settings, START, LastNumbers::default());
        engine.start(START);
        let (answers, sent, actions) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { engine, now: START, answer, answers, sent, actions, ids: 0 }
    }

    pub(in crate::engine) fn handle(&mut self, input: Input) {
        self.engine.handle(input, self.now);
    }

    pub(in crate::engine) fn list(&mut self, sender: &str, accounts: &[(String, String)]) {
        let entries = accounts.iter().map(|(account, corp)| DirectoryEntry {
            account: Account::new(account),
            corp: Some(Corp::new(corp)),
            online: Some(true),
        });
        let (sender, entries) = (SenderName::new(sender), entries.collect());
        self.handle(Input::Directory { sender, entries });
    }

    pub(in crate::engine) fn request(&mut self, account: &str, conversation: &str, options: Options) {
        self.ids += 1;
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&self.ids.to_le_bytes());
        let request = Request {
            id: MessageId::from_json(&self.ids.to_string()),
            kind: Arc::from("text"),
            account: Account::new(account),
            conversation: Box::from(conversation),
            origin: Origin::default(),
            options,
            fingerprint,
            shown: None,
            body: bytes::Bytes::from_static(b"{}"),
        };
        self.handle(Input::Request { ticket: None, request: Box::new(request) });
    }

    pub(in crate::engine) fn command(&mut self, command: Command) {
        let origin = CommandOrigin { name: command.name().into(), reply_to: None, transaction: None, by: None };
        self.handle(Input::Command { ticket: None, request: Box::new(CommandRequest::new(origin, Ok(command))) });
    }

    pub(in crate::engine) fn pause(&mut self, scope: Scope, duration: Option<Duration>) {
        self.command(Command::Pause { scope, reason: "test".into(), duration, until: None });
    }

    pub(in crate::engine) fn poll(&mut self) {
        for action in self.engine.poll_ready(self.now).actions {
            if let Action::Send { seq, attempt, .. } = action {
                self.answers.insert((self.now + self.answer, seq, attempt));
                self.sent.insert(seq, self.now);
            } else {
                self.actions.push((self.now, action));
            }
        }
        assert!(self.engine.poll_timeout().is_none_or(|at| at > self.now), "it would be asked again at once");
    }

    pub(in crate::engine) fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        self.poll();
        loop {
            let answer = self.answers.first().map(|(at, _, _)| *at);
            let next = self.engine.poll_timeout().into_iter().chain(answer).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            while let Some((_, seq, attempt)) = self.answers.first().copied().filter(|(at, _, _)| *at <= self.now) {
                self.answers.pop_first();
                self.handle(Input::Ended { seq, attempt, verdict: Verdict::Confirmed { msg_id: None } });
            }
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    fn queued(&self) -> Vec<Seq> {
        let queued = self.engine.live.iter().filter(|(_, live)| live.state() == crate::model::State::Queued);
        queued.map(|(seq, _)| *seq).collect()
    }
}

struct Plan {
    world: World,
    random: Random,
    accounts: Vec<(String, String)>,
    slot: Duration,
    about: String,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut settings = settings();
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
            let per_hour = random.within(5, 60) as u32;
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
                for account in 0..plan.random.within(1, 6) {
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
    fn wrong(mut self, flaw: Option<Flaw>) -> Vec<String> {
        self.world.advance(Duration::from_secs(20));
        self.requests(30);
        self.holds();
        let span = self.random.millis(0, 120_000);
        self.world.advance(span);
        self.requests(20);
        self.world.engine.forecasts.flaw = flaw;
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
        wrong
    }
}

#[test]
fn what_is_forecast_comes_true_within_a_slot() {
    let first = std::env::var("SENDBRIDGE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let wrong: Vec<(u64, Vec<String>)> =
        seeds.map(|seed| (seed, Plan::new(seed).wrong(None))).filter(|(_, wrong)| !wrong.is_empty()).collect();
    let first: Vec<_> = wrong.iter().map(|(seed, wrong)| (seed, wrong.len(), &wrong[..wrong.len().min(4)])).collect();
    assert!(wrong.is_empty(), "SENDBRIDGE_SEED=n for one of these {}: {first:#?}", wrong.len());
}

#[test]
fn a_forecast_with_a_flaw_is_noticed() {
    let flaws =
        [Flaw::AnswersAtOnce, Flaw::EmptyHour, Flaw::NoHeadStart, Flaw::NoHolds, Flaw::NoReserve, Flaw::OwnServer];
    for flaw in flaws {
        let noticed = (0..SEEDS).find(|seed| !Plan::new(*seed).wrong(Some(flaw)).is_empty());
        assert!(noticed.is_some(), "{flaw:?} is not noticed");
    }
}

/// How far the forecast of each account's last message was off, in slots, and how many hours away that message was. The
/// last of all is held against what was forecast for the company.
fn misses(seed: u64, exact_share: usize) -> (f64, Vec<(f64, f64)>) {
    let mut random = Random(seed);
    let mut settings = settings();
    let per_hour = if random.percent(70) { random.within(20, 300) as u32 } else { 50_000 };
    settings.limits.corp = CorpLimits { per_hour, reserve: per_hour / 50, burst: None };
    let answer = random.millis(1, 400);
    let slot = settings.limits.account.interval + GUARD + answer;
    let mut world = World::new(settings, answer);
    let accounts: Vec<_> = (0..random.within(1, 6)).map(|index| (format!("a{index}"), "corp".to_owned())).collect();
    world.list("main", &accounts);
    world.request(&accounts[0].0, "", Options::default());
    world.advance(Duration::from_secs(10));
    for (account, _) in &accounts {
        for _ in 0..random.within(50, 400) {
            world.request(account, "", Options::default());
        }
    }
    let span = random.millis(0, 30_000);
    world.advance(span);
    let queued: BTreeMap<Seq, AccountKey> = world.engine.live.iter().map(|(seq, live)| (*seq, live.account)).collect();
    let steps_max = queued.len() / exact_share + 1;
    let corp = world.engine.corp_keys[&Corp::new("corp")];
    let (forecast, _) = world.engine.run_forecast(corp, Freshness::Now, steps_max, Watch::Nobody);
    let from = world.now;
    world.advance(Duration::from_secs(150 * 3600));
    let mut last: BTreeMap<AccountKey, Time> = BTreeMap::new();
    for (seq, account) in queued {
        let at = world.sent[&seq];
        let entry = last.entry(account).or_insert(at);
        *entry = at.max(*entry);
    }
    let very_last = last.values().max().copied();
    let miss = |(account, actual): (AccountKey, Time)| {
        let of = if very_last == Some(actual) { &forecast.corps[&corp] } else { &forecast.accounts[&account] };
        let expected = of.last.expect("it will be sent");
        let off = expected.since(actual).max(actual.since(expected)).as_secs_f64() / slot.as_secs_f64();
        (off, actual.since(from).as_secs_f64() / 3600.0)
    };
    // How long one account takes for all places of an hour, in slots.
    let whole_hour = if per_hour < 1000 { f64::from(per_hour) } else { 0.0 };
    (whole_hour, last.into_iter().map(miss).collect())
}

#[test]
fn the_lighter_play_is_within_a_slot_too() {
    for seed in 0..60 {
        let (_, misses) = misses(seed, LIGHT_MAX);
        assert!(misses.iter().all(|(off, _)| *off <= 1.0), "seed {seed}: {misses:?}");
    }
}

#[test]
fn what_is_calculated_is_about_right() {
    for seed in 0..60 {
        // The company's last message. Which account it is of is a matter of ties here, where all answers take the
        // same time and many accounts become ready at the same moment.
        let (whole_hour, misses) = misses(seed, 4 * LIGHT_MAX);
        let last = misses.iter().max_by(|one, other| one.1.total_cmp(&other.1)).expect("there are accounts");
        // A percent of an hour is 36 slots of a second.
        assert!(last.0 <= 2.0 + whole_hour + 36.0 * last.1, "seed {seed}: {misses:?}");
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "it shows how long it takes, and asserts nothing of it")]
fn a_hundred_thousand_queued_messages_of_a_thousand_accounts() {
    let clock = crate::clock::Clock::start_at(START);
    let mut world = World::new(settings(), Duration::from_millis(20));
    let accounts: Vec<_> = (0..1000).map(|index| (format!("a{index}"), "corp".to_owned())).collect();
    world.list("main", &accounts);
    for _ in 0..100 {
        for (account, _) in &accounts {
            world.request(account, "", Options::default());
        }
    }
    world.advance(Duration::from_millis(700));
    let corp = world.engine.corp_keys[&Corp::new("corp")];
    for (what, steps_max, watch) in [
        ("played", EXACT_MAX, Watch::Nobody),
        ("played, every message noted", EXACT_MAX, Watch::Everybody),
        ("calculated", 0, Watch::Nobody),
    ] {
        let started = clock.now();
        let (forecast, sends) = world.engine.run_forecast(corp, Freshness::Now, steps_max, watch);
        println!(
            "{what}: {:?}, until {:?}",
            clock.now().since(started),
            forecast.corps[&corp].last.map(|at| at.since(world.now))
        );
        assert_eq!(forecast.accounts.len(), 1000);
        assert!(forecast.accounts.values().all(|expected| expected.last.is_some()));
        assert!(watch == Watch::Nobody || sends.len() > 90_000, "{}", sends.len());
    }
    let started = clock.now();
    for _ in 0..100_000 {
        world.engine.touch(AccountKey(0));
    }
    println!("100,000 marks: {:?}", clock.now().since(started));
}
