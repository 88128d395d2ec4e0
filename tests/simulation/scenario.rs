//! What will happen in a run: who publishes what and when, and everything that goes wrong.

use super::random::Random;
use crate::engine::{
    AccountLimits, AccountSettings, BrokerLimits, CallSettings, CorpLimits, EventLevel, IdConflict, LimitSettings,
    MeasuredFrom, MessageSettings, SenderSettings, Settings, StatusSettings,
};
use crate::model::{
    Account, Code, Command, Corp, Fault, Lifetime, LimitChange, LimitScope, MessageId, OnDoubt, Options, Origin,
    Refusal, ReplyTo, Request, Scope, Selection, SenderName, Settled, Time,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The true time at which every run starts.
pub const START: Time = Time::from_millis(1_700_000_000_000);
/// After this nothing goes wrong any more, in most worlds.
pub const FAULTS: Duration = Duration::from_secs(600);

pub struct Scenario {
    pub settings: Settings,
    pub accounts: Vec<AccountTruth>,
    /// What reaches the broker, and when.
    pub packets: Vec<(Time, Payload)>,
    pub faults: Vec<(Time, FaultKind)>,
    /// Whether requests may go wrong at all while the servers are up.
    pub calm: bool,
    /// Whether clocks may be set between two lives.
    pub clocks: bool,
    /// Nothing goes wrong any more, and nobody publishes, so long after the start.
    pub ends: Duration,
}

/// What is true of an account, whatever the bridge knows.
#[derive(Clone)]
pub struct AccountTruth {
    pub name: Account,
    pub corp: Corp,
    pub sender: usize,
    /// `None`: no list ever names it.
    pub listed_at: Option<Time>,
    pub online: bool,
}

impl AccountTruth {
    /// An account that its list names from the start, on the first server.
    pub fn listed(index: usize, corp: Corp) -> Self {
        let name = Account::new(&format!("account{index}"));
        Self { name, corp, sender: 0, listed_at: Some(START), online: true }
    }
}

#[derive(Clone)]
pub enum Payload {
    Request { request: Box<Request>, weak: bool },
    Bad(Box<Refusal>),
    Command { command: Command, transaction: Option<Box<str>> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Up,
    Down,
    Busy,
    /// It takes requests and never answers.
    Silent,
    Unauthorized,
}

#[derive(Clone, Debug)]
pub enum FaultKind {
    /// The process dies so many steps later.
    Crash(u32),
    DropIncoming,
    DropOutgoing,
    /// Both at once, and for so long nothing connects.
    BrokerAway(Duration),
    Server(usize, Mood),
    Online(usize, bool),
    Move(usize, Corp),
    StorageLow(bool),
}

pub fn corp(index: usize) -> Corp {
    Corp::new(&format!("corp{index}"))
}

pub fn sender_name(index: usize) -> SenderName {
    SenderName::new(&format!("server{index}"))
}

pub fn request(account: &Account, id: u64, body: u8) -> Request {
    let mut fingerprint = [0; 16];
    fingerprint[0] = body;
    fingerprint[8..].copy_from_slice(&id.to_le_bytes());
    Request {
        id: MessageId::from_json(&id.to_string()),
        kind: Arc::from("text"),
        account: account.clone(),
        conversation: Box::from(if id.is_multiple_of(3) { "S:1" } else { "S:2" }),
        origin: Origin::default(),
        options: Options::default(),
        fingerprint,
        // Few contents, so that many messages cannot be told apart in a chat; and some that show nothing.
        shown: (id % 7 != 6).then_some([(id % 2) as u8; 16]),
        body: Bytes::from_static(b"{\"content\":\"x\"}"),
    }
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let calm = random.percent(6);
        let servers = 1 + usize::from(random.percent(40));
        let corps = 1 + random.below(3);
        let accounts: Vec<AccountTruth> = (0..2 + random.below(5))
            .map(|index| AccountTruth {
                name: Account::new(&format!("account{index}")),
                corp: corp(random.below(corps)),
                sender: random.below(servers),
                listed_at: match random.below(10) {
                    0 if !calm => None,
                    1 if !calm => Some(START + random.seconds(1, 400)),
                    _ => Some(START),
                },
                online: true,
            })
            .collect();
        let settings = settings(&mut random, servers, &accounts);
        let packets = packets(&mut random, &accounts, corps, calm);
        let faults = if calm { Vec::new() } else { faults(&mut random, accounts.len(), servers, corps) };
        Self { settings, accounts, packets, faults, calm, clocks: true, ends: FAULTS }
    }

    /// A company's hour that binds, accounts that always have something to send, and nothing that goes wrong.
    pub fn bound(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let truths: Vec<AccountTruth> = (0..4).map(|index| AccountTruth::listed(index, corp(0))).collect();
        let mut settings = settings(&mut random, 1, &truths);
        settings.limits.corp = CorpLimits { per_hour: 40, reserve: 4, burst: None };
        settings.messages.ttl = Duration::from_secs(90_000);
        settings.messages.queue_messages = 10_000;
        settings.limits.measured_from = MeasuredFrom::Response;
        settings.accounts.clear();
        let mut packets = Vec::new();
        for id in 0..240 {
            // The later an account's number, the more it has to send: they share all the same.
            let account = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3][id as usize % 10];
            let request = Box::new(request(&truths[account].name, id, 0));
            packets.push((START + random.millis(0, 2000), Payload::Request { request, weak: false }));
        }
        packets.sort_by_key(|(at, _)| *at);
        Self { settings, accounts: truths, packets, faults: Vec::new(), calm: true, clocks: true, ends: FAULTS }
    }
}

pub(super) fn settings(random: &mut Random, servers: usize, accounts: &[AccountTruth]) -> Settings {
    let per_hour = random.within(6, 40) as u32;
    let doubt_window = if random.percent(50) { Duration::ZERO } else { random.seconds(2, 60) };
    let callbacks = random.percent(60);
    let senders = (0..servers)
        .map(|index| SenderSettings {
            name: sender_name(index),
            connections: 1 + random.below(6),
            callbacks,
            doubt_window,
            default_corp: None,
            calls: CallSettings::default(),
        })
        .collect();
    let few = accounts.len() == 2;
    let accounts = accounts
        .iter()
        .filter(|_| random.percent(15))
        .map(|truth| AccountSettings {
            account: truth.name.clone(),
            corp: Some(truth.corp.clone()),
            sender: Some(sender_name(truth.sender)),
        })
        .collect();
    let measured_from = if random.percent(85) { MeasuredFrom::Response } else { MeasuredFrom::Request };
    Settings {
        senders,
        accounts,
        limits: LimitSettings {
            account: AccountLimits { interval: Duration::from_millis(500) },
            corp: CorpLimits { per_hour, reserve: per_hour / 8, burst: random.percent(10).then_some(per_hour / 2) },
            accounts: Vec::new(),
            corps: Vec::new(),
            measured_from,
            cool_down: Duration::from_secs(2),
            cool_down_max: Duration::from_secs(60),
            ahead: Duration::from_millis([0, 5, 60][per_hour as usize % 3]),
        },
        messages: MessageSettings {
            ttl: random.seconds(60, 10_000),
            dedup_window: random.seconds(0, 1800),
            id_conflict: if random.percent(80) { IdConflict::Reject } else { IdConflict::Accept },
            on_doubt: OnDoubt::Report,
            resends_max: random.within(1, 3) as u32,
            queue_messages: if random.percent(90) { 10_000 } else { 20 },
            queue_bytes: 1_000_000,
            queue_time: None,
            unknown_account_grace: random.seconds(5, 120),
        },
        events: EventLevel::All,
        publish_window: 1 + random.below(8),
        info: serde_json::Value::Null,
        health_interval: Some(Duration::from_secs(60)),
        broker_backlog_alarm: 0,
        broker_limits: BrokerLimits::default(),
        // In some worlds, because each report is a forecast and takes its time.
        status: StatusSettings { per_second: if few { 2 } else { 0 }, accounts_max: 1, idle: Duration::from_secs(60) },
    }
}

fn packets(random: &mut Random, accounts: &[AccountTruth], corps: usize, calm: bool) -> Vec<(Time, Payload)> {
    let mut packets = Vec::new();
    let count = random.within(10, 70);
    let spread = random.within(1, 300);
    for id in 0..count {
        let at = START + random.seconds(0, spread);
        let mut first = request(&random.pick(accounts).name, id, 0);
        first.options = options(random, at);
        if random.percent(30) {
            first.origin.suffix = Some(Box::from("service"));
        }
        let weak = random.percent(5);
        let mut repeats = vec![(at, first.clone())];
        while random.percent(20) {
            let mut again = first.clone();
            again.fingerprint[0] = u8::from(random.percent(20));
            let topic = Box::from("reply/again");
            again.origin.reply_to = random.percent(50).then_some(ReplyTo { topic, correlation: None });
            repeats.push((at + random.seconds(0, 900), again));
        }
        packets
            .extend(repeats.into_iter().map(|(at, request)| (at, Payload::Request { request: request.into(), weak })));
        if random.percent(4) {
            let fault = Fault::new(Code::InvalidJson, "the payload is no JSON");
            let refusal = Refusal { id: None, account: None, origin: Origin::default(), fault };
            packets.push((at, Payload::Bad(Box::new(refusal))));
        }
    }
    if !calm {
        commands(random, &mut packets, accounts, corps, count);
    }
    packets.sort_by_key(|(at, _)| *at);
    packets
}

fn options(random: &mut Random, at: Time) -> Options {
    Options {
        priority: random.percent(40).then(|| random.within(0, 9) as u8),
        not_before: random.percent(10).then(|| at + random.seconds(0, 300)),
        lifetime: match random.below(10) {
            0 => Some(Lifetime::For(random.seconds(0, 60))),
            1 => Some(Lifetime::Until(at + random.seconds(1, 4000))),
            _ => None,
        },
        message_expiry: random.percent(5).then(|| random.seconds(1, 100)),
        on_doubt: match random.below(4) {
            0 => Some(OnDoubt::Resend),
            1 => Some(OnDoubt::Hold),
            2 => Some(OnDoubt::Report),
            _ => None,
        },
        tag: random.percent(40).then(|| tag(random)),
    }
}

fn commands(
    random: &mut Random,
    packets: &mut Vec<(Time, Payload)>,
    accounts: &[AccountTruth],
    corps: usize,
    messages: u64,
) {
    for number in 0..random.within(0, 6) {
        let at = START + random.seconds(0, 500);
        let account = random.pick(accounts);
        let scope = match random.below(5) {
            0 => Scope::All,
            1 => Scope::Sender(sender_name(account.sender)),
            2 => Scope::Corp(corp(random.below(corps))),
            3 => Scope::Conversation(account.name.clone(), Box::from("S:1")),
            _ => Scope::Account(account.name.clone()),
        };
        let duration = random.percent(50).then(|| random.seconds(1, 200));
        let pause = Command::Pause { scope: scope.clone(), reason: Box::from("test"), duration, until: None };
        let transaction = random.percent(50).then(|| number.to_string().into());
        packets.push((at, Payload::Command { command: pause.clone(), transaction: transaction.clone() }));
        if transaction.is_some() || random.percent(30) {
            packets.push((at + random.seconds(0, 5), Payload::Command { command: pause, transaction }));
        }
        for resume_at in [at + random.seconds(0, 300), START + FAULTS] {
            let command = Command::Resume { scope: scope.clone() };
            packets.push((resume_at, Payload::Command { command, transaction: None }));
        }
    }
    afterwards(random, packets);
    for _ in 0..random.within(0, 8) {
        cancel(random, packets, accounts, corps, messages);
    }
    for _ in 0..random.within(0, 4) {
        set_limit(random, packets, accounts, corps);
    }
    if random.percent(20) {
        let at = START + random.seconds(0, 500);
        let order = |on| Payload::Command { command: Command::Drain { on }, transaction: None };
        packets.push((at, order(true)));
        if random.percent(50) {
            let off = at + random.seconds(0, 50);
            packets.push((off, order(false)));
            packets.push((off + random.seconds(0, 40), order(true)));
        }
        packets.push((START + FAULTS, order(false)));
    }
}

fn cancel(
    random: &mut Random,
    packets: &mut Vec<(Time, Payload)>,
    accounts: &[AccountTruth],
    corps: usize,
    messages: u64,
) {
    let mut id = MessageId::from_json(&random.within(0, messages).to_string());
    let mut at = START + random.seconds(0, 400);
    if let (published, Payload::Request { request, .. }) = random.pick(packets).clone() {
        // While it is on its way, or soon after.
        id = request.id;
        at = published + random.millis(0, 2000);
    }
    let account = random.percent(30).then(|| random.pick(accounts).name.clone());
    let conversation = random.percent(20).then(|| Box::from("S:1"));
    let selection = match random.below(6) {
        0 | 1 => Selection::of_id(id, None),
        2 => Selection { corp: Some(corp(random.below(corps))), conversation, ..Selection::default() },
        3 => Selection { conversation: Some(Box::from("S:1")), account, ..Selection::default() },
        4 => Selection { account: Some(random.pick(accounts).name.clone()), conversation, ..Selection::default() },
        _ => Selection { tag: Some(tag(random)), account, conversation, ..Selection::default() },
    };
    let dry_run = random.percent(20);
    let block_for = random.percent(40).then(|| random.seconds(1, 200));
    let command = Command::MessageCancel { selection, dry_run, block_for, reason: None };
    let transaction = random.percent(30).then(|| random.below(3).to_string().into());
    packets.push((at, Payload::Command { command: command.clone(), transaction: transaction.clone() }));
    if random.percent(30) {
        packets.push((at + random.millis(0, 50), Payload::Command { command, transaction }));
    }
}

fn tag(random: &mut Random) -> Box<str> {
    Box::from(if random.percent(50) { "red" } else { "blue" })
}

/// Within what is configured and beyond it; nothing stays set for ever.
fn set_limit(random: &mut Random, packets: &mut Vec<(Time, Payload)>, accounts: &[AccountTruth], corps: usize) {
    let at = START + random.seconds(0, 500);
    let (scope, change) = if random.percent(50) {
        let interval = LimitChange::Interval(random.millis(300, 6000));
        (LimitScope::Account(random.pick(accounts).name.clone()), interval)
    } else {
        (LimitScope::Corp(corp(random.below(corps))), LimitChange::PerHour(random.within(1, 30) as u32))
    };
    let duration = random.percent(50).then(|| random.seconds(1, 300));
    let set = Command::LimitsSet { scope: scope.clone(), change, duration, until: None };
    packets.push((at, Payload::Command { command: set, transaction: None }));
    let reset = Command::LimitsSet { scope, change: LimitChange::Configured, duration: None, until: None };
    packets.push((START + FAULTS, Payload::Command { command: reset, transaction: None }));
}

/// People who look at what became of a message, and have it sent again or settle the doubt about it.
fn afterwards(random: &mut Random, packets: &mut Vec<(Time, Payload)>) {
    for number in 0..random.within(0, 25) {
        let (published, Payload::Request { request, .. }) = random.pick(packets).clone() else { continue };
        let (id, account) = (request.id, random.percent(70).then_some(request.account));
        let command = if random.percent(60) {
            Command::MessageRetry { id, account }
        } else {
            // What is true is known when it is said.
            Command::MessageResolve { id, account, settled: Settled::Failed { reason: None } }
        };
        let transaction = random.percent(50).then(|| format!("after {number}").into());
        let mut at = (published + random.seconds(0, 120)).min(START + FAULTS);
        packets.push((at, Payload::Command { command: command.clone(), transaction: transaction.clone() }));
        while transaction.is_some() && random.percent(50) {
            at = at + random.millis(0, 3000);
            packets.push((at, Payload::Command { command: command.clone(), transaction: transaction.clone() }));
        }
    }
}

fn faults(random: &mut Random, accounts: usize, servers: usize, corps: usize) -> Vec<(Time, FaultKind)> {
    let mut faults = Vec::new();
    let last = FAULTS.as_secs() - 100;
    for _ in 0..random.within(0, 5) {
        faults.push((START + random.seconds(0, last), FaultKind::Crash(random.within(0, 40) as u32)));
    }
    for _ in 0..random.within(0, 5) {
        faults.push((START + random.seconds(0, last), FaultKind::DropIncoming));
    }
    for _ in 0..random.within(0, 5) {
        faults.push((START + random.seconds(0, last), FaultKind::DropOutgoing));
    }
    for _ in 0..random.within(0, 3) {
        let (at, server) = (START + random.seconds(0, last), random.below(servers));
        let mood = *random.pick(&[Mood::Down, Mood::Busy, Mood::Unauthorized]);
        faults.push((at, FaultKind::Server(server, mood)));
        faults.push((at + random.seconds(1, 90), FaultKind::Server(server, Mood::Up)));
    }
    for _ in 0..random.within(0, 2) {
        let (at, account) = (START + random.seconds(0, last), random.below(accounts));
        faults.push((at, FaultKind::Online(account, false)));
        faults.push((at + random.seconds(1, 90), FaultKind::Online(account, true)));
    }
    for _ in 0..random.within(0, 3) {
        let at = START + random.seconds(0, last);
        faults.push((at, FaultKind::Move(random.below(accounts), corp(random.below(corps)))));
    }
    if random.percent(20) {
        let at = START + random.seconds(0, last);
        faults.push((at, FaultKind::StorageLow(true)));
        faults.push((at + random.seconds(1, 60), FaultKind::StorageLow(false)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
