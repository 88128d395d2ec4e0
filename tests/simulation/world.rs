//! The loop of the bridge over virtual edges, one event at a time, with a crash possible between any two steps.

use super::disk::Disk;
use super::kinds::Kind;
use super::network::Broker;
use super::orders::Orders;
use super::promises::{Promise, Receiver, Violation, broken};
use super::random::Random;
use super::scenario::{AccountTruth, FaultKind, Mood, Payload, START, Scenario};
use super::server::Server;
use super::trace::Trace;
use crate::bridge::deferred::Deferred;
use crate::engine::{EVIDENCE_KEPT, Engine, Forecast, MeasuredFrom, Sabotage, Settings};
use crate::model::{
    Account, Action, Callback, Command, Corp, Found, Input, NotSent, Outgoing, Ready, Record, Request, Seq, Settled,
    State, Time, Verdict,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long a forecast is played.
const PLAY: Duration = Duration::from_millis(1300);
/// A run that is not over by then is stuck.
const DEADLINE: Duration = Duration::from_secs(40 * 3600);

pub struct World {
    pub(super) settings: Settings,
    pub(super) accounts: Vec<AccountTruth>,
    pub(super) packets: Vec<(Time, Payload)>,
    pub(super) calm: bool,
    pub(super) clocks: bool,
    pub(super) ends: Time,
    sabotage: Option<Sabotage>,
    pub(super) random: Random,
    /// The true time, which no clock of the bridge shows.
    pub(super) now: Time,
    pub(super) events: BTreeMap<(Time, u64), Event>,
    event_last: u64,
    pub(super) disk: Disk,
    pub(super) server: Server,
    pub(super) receiver: Receiver,
    pub(super) broker: Broker,
    pub(super) bridge: Option<Bridge>,
    pub(super) life: u32,
    /// When this life began.
    pub(super) lived_since: Time,
    /// What the bridge's clock shows beyond the true time.
    pub(super) wall_nanos: i128,
    crash_in: Option<u32>,
    /// What a commit broke of which nobody heard that it was durable.
    failed: Option<Violation>,
    pub(super) moods: Vec<Mood>,
    pub(super) trace: Trace,
    /// In which life, and until when by its clock, an account that was too fast sends nothing.
    cooling: BTreeMap<Account, (u32, Time)>,
    /// The good replies of this life, by name and transaction: a repeat gets the same.
    pub(super) replies: BTreeMap<(Box<str>, Box<str>), serde_json::Value>,
    pub(super) orders: Orders,
    /// What was unfinished and unanswered before the commit whose actions are performed.
    pub(super) before: (usize, usize),
    /// The ends that the last commit gave each message, in order, as far as no event has said them.
    pub(super) unsaid: BTreeMap<Seq, VecDeque<State>>,
    /// How often a callback was taken for what became of a message.
    pub(super) attributions: u64,
    /// Callbacks that are not answered yet.
    pub(super) tickets: BTreeMap<u64, Box<Callback>>,
    pub(super) ticket_last: u64,
    pub(super) callback_last: u64,
    /// In which life, and until when by its clock, a message was in doubt at the end of its last attempt.
    pub(super) doubted: BTreeMap<Seq, (u32, Time)>,
    /// Every arrival, for those who want to count.
    pub arrivals: Vec<(Time, Account, Corp)>,
}

/// What a crash takes away.
pub(super) struct Bridge {
    pub(super) engine: Engine,
    pub(super) inbox: Vec<Input>,
    /// What a play told that is over.
    pub(super) foreseen: Option<Box<Forecast>>,
    /// Records that wait for another commit.
    deferred: Deferred,
    /// What is being committed.
    committing: Option<Ready>,
    wake_at: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Event {
    Packet(usize),
    Deliver { number: u64, packet: usize },
    AckArrives { number: u64, packet: usize },
    IncomingUp { number: u64 },
    IntakeCloses { life: u32 },
    OutgoingUp { generation: u64 },
    PublishArrives { generation: u64, what: Outgoing },
    Published { generation: u64, what: Outgoing, refused: bool },
    Fault(FaultKind),
    Arrival(usize),
    Answer { request: usize, echo: bool },
    Found { life: u32, found: Box<Found> },
    Foreseen { life: u32, forecast: Box<Forecast> },
    DirectoryTick { life: u32 },
    DirectoryAnswer { life: u32, sender: usize },
    Callback(Box<Callback>),
    Wake,
    CommitDone { life: u32 },
    Restart,
}

/// A person who settles a doubt has seen what the receiver got. Where two messages of one id differ in that, nobody asks.
fn tell_the_truth(input: &mut Input, disk: &mut Disk, server: &Server) {
    let Input::Command { request, .. } = input else { return };
    let Ok(Command::MessageResolve { id, account, settled }) = &mut request.command else { return };
    let mut sent = BTreeSet::new();
    for kept in disk.messages.values() {
        let Request { id: of, account: by, fingerprint, .. } = &kept.message.request;
        if of == id && account.as_ref().is_none_or(|account| account == by) {
            let lives = disk.messages.values().filter(|one| one.message.request.fingerprint == *fingerprint);
            let lives: Vec<_> =
                lives.filter(|one| one.message.request.id == *of && one.message.request.account == *by).collect();
            // Lives after each other by a person's order are one message; what came again after deduplication had
            // forgotten it is another one.
            if lives.iter().filter(|one| one.message.retry.is_none()).count() > 1 {
                sent.extend(lives.iter().map(|one| server.has_effect(one.message.seq)));
            } else {
                sent.insert(lives.iter().any(|one| server.has_effect(one.message.seq)));
            }
        }
    }
    if sent.len() > 1 {
        request.command = Ok(Command::Health);
        request.origin.transaction = None;
        return;
    }
    *settled = match sent.first() {
        Some(true) => Settled::Sent { msg_id: Some(Box::from("seen")) },
        Some(false) | None => Settled::Failed { reason: None },
    };
    disk.words.push((id.clone(), settled.clone()));
}

impl World {
    pub fn new(scenario: Scenario, seed: u64, sabotage: Option<Sabotage>) -> Self {
        let Scenario { settings, accounts, packets, faults, calm, clocks, ends } = scenario;
        let limits = &settings.limits;
        let proves_spacing = limits.measured_from == MeasuredFrom::Response;
        let receiver = Receiver::new(limits.account.interval, limits.corp.per_hour as usize, proves_spacing);
        let mut world = Self {
            moods: vec![Mood::Up; settings.senders.len()],
            settings,
            accounts,
            packets,
            calm,
            clocks,
            ends: START + ends,
            sabotage,
            random: Random::new(seed ^ 0x5eed),
            now: START,
            events: BTreeMap::new(),
            event_last: 0,
            disk: Disk::default(),
            server: Server::default(),
            receiver,
            broker: Broker::default(),
            bridge: None,
            life: 0,
            lived_since: START,
            wall_nanos: 0,
            crash_in: None,
            failed: None,
            trace: Trace::default(),
            cooling: BTreeMap::new(),
            replies: BTreeMap::new(),
            orders: Orders::default(),
            before: (0, 0),
            unsaid: BTreeMap::new(),
            attributions: 0,
            tickets: BTreeMap::new(),
            ticket_last: 0,
            callback_last: 0,
            doubted: BTreeMap::new(),
            arrivals: Vec::new(),
        };
        for (index, (at, _)) in world.packets.clone().into_iter().enumerate() {
            world.schedule_at(at, Event::Packet(index));
        }
        for (at, fault) in faults {
            world.schedule_at(at, Event::Fault(fault));
        }
        world.schedule_at(START, Event::Restart);
        world
    }

    /// Runs until everything is answered. An error names the promise that broke first.
    pub fn run(&mut self) -> Result<(), Violation> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.happen(event)?;
            if !self.crashes() {
                self.step()?;
            }
            if let Some(violation) = self.failed.take() {
                return Err(violation);
            }
            if self.is_over() {
                return self.look_back();
            }
            if self.now > START + DEADLINE {
                break;
            }
        }
        let what = format!(
            "stuck: {} unfinished, {} unanswered, {} packets with the broker",
            self.disk.unfinished,
            self.disk.unanswered,
            self.broker.deliveries.unacknowledged.len()
        );
        broken(Promise::Progress, what)
    }

    fn is_over(&self) -> bool {
        self.now > self.ends + Duration::from_secs(1200)
            && self.broker.deliveries.unacknowledged.is_empty()
            && self.disk.unfinished == 0
            && self.disk.unanswered == 0
            && self.server.under_way == 0
            && self.bridge.as_ref().is_some_and(|bridge| {
                bridge.committing.is_none() && bridge.deferred.until().is_none() && bridge.engine.is_drained()
            })
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub(super) fn schedule_at(&mut self, at: Time, event: Event) {
        self.event_last += 1;
        self.events.insert((at, self.event_last), event);
    }

    /// What the bridge's clock shows.
    pub(super) fn clock(&self) -> Time {
        let nanos = i128::from(self.now.as_nanos()) + self.wall_nanos;
        Time::from_nanos(u64::try_from(nanos).unwrap_or_default())
    }

    pub(super) fn input(&mut self, input: Input) {
        if let Some(bridge) = &mut self.bridge {
            bridge.inbox.push(input);
        }
    }

    /// One round of the loop, up to the commit.
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        let (clock, now) = (self.clock(), self.now);
        let Some(bridge) = &mut self.bridge else { return Ok(()) };
        let is_due = bridge.wake_at.is_some_and(|at| at <= now);
        if bridge.committing.is_some() || (bridge.inbox.is_empty() && bridge.foreseen.is_none() && !is_due) {
            return Ok(());
        }
        if let Some(forecast) = bridge.foreseen.take() {
            bridge.engine.handle_forecast(Some(*forecast), clock);
        }
        for mut input in std::mem::take(&mut bridge.inbox) {
            tell_the_truth(&mut input, &mut self.disk, &self.server);
            self.trace.line(now, || format!("input {input:?}"));
            bridge.engine.handle(input, clock);
        }
        let ready = bridge.engine.poll_ready(clock);
        if let Err(what) = bridge.engine.account_for_everything() {
            return broken(Promise::Seen, what);
        }
        let says_so = |action: &Action| matches!(action, Action::Alarm(alarm) if alarm.what == "unbalanced");
        if let Some(alarm) = ready.actions.iter().find(|action| says_so(action)) {
            return broken(Promise::Seen, format!("all is accounted for, and the engine says {alarm:?}"));
        }
        let play = bridge.engine.poll_play(clock);
        let timeout = bridge.engine.poll_timeout().into_iter().chain(bridge.engine.play_due()).min();
        // Some commits are made because an action needs the journal: no matter which.
        let commits_anyway = self.event_last.is_multiple_of(50);
        let Ready { records, actions } = ready;
        let due = bridge.deferred.take(records, &actions, clock, commits_anyway);
        let commits = due.is_some();
        let ready = Ready { records: due.unwrap_or_default(), actions };
        if timeout.is_some_and(|at| at <= clock) {
            return broken(Promise::Progress, format!("asked at {clock}, to be asked again at {timeout:?}"));
        }
        let wake_at = timeout.into_iter().chain(bridge.deferred.until()).filter(|at| *at < Time::MAX).min();
        let wake_at = wake_at.map(|at| now + at.since(clock));
        bridge.wake_at = wake_at;
        if let Some(at) = wake_at {
            self.schedule_at(at, Event::Wake);
        }
        if let Some(play) = play {
            let (life, forecast) = (self.life, Box::new(play.run()));
            self.schedule(PLAY, Event::Foreseen { life, forecast });
        }
        if self.crashes() {
            return Ok(());
        }
        if !commits {
            self.before = (self.disk.unfinished, self.disk.unanswered);
            return self.perform_all(ready);
        }
        let Some(bridge) = &mut self.bridge else { return Ok(()) };
        bridge.committing = Some(ready);
        let span = if self.random.percent(3) { self.random.millis(10, 900) } else { self.random.millis(0, 5) };
        self.schedule(span, Event::CommitDone { life: self.life });
        Ok(())
    }

    pub(super) fn commit_done(&mut self) -> Result<(), Violation> {
        let Some(ready) = self.bridge.as_mut().and_then(|bridge| bridge.committing.take()) else { return Ok(()) };
        self.before = (self.disk.unfinished, self.disk.unanswered);
        self.append(&ready.records)?;
        self.compare_with_disk()?;
        if self.crashes() {
            return Ok(());
        }
        self.perform_all(ready)
    }

    /// What the engine knows to be under way is what the disk holds.
    fn compare_with_disk(&self) -> Result<(), Violation> {
        let live =
            self.bridge.as_ref().map(|bridge| bridge.engine.counters().states).map_or(0, |states| {
                states.get(State::Queued) + states.get(State::Sending) + states.get(State::InDoubt)
            });
        if live != self.disk.unfinished as u64 {
            return broken(Promise::Seen, format!("{live} live, {} on disk", self.disk.unfinished));
        }
        Ok(())
    }

    fn append(&mut self, records: &[Record]) -> Result<(), Violation> {
        self.unsaid.clear();
        for record in records {
            self.trace.line(self.now, || format!("record {record:?}"));
            self.check_record(record)?;
            self.check_attribution(record)?;
            self.check_order(record)?;
            let end = match record {
                Record::Finished { seq, outcome } => Some((seq, outcome.state)),
                Record::Receipt { seq, receipt } => Some((seq, receipt.state)),
                _ => None,
            };
            if let Some((seq, state)) = end {
                self.unsaid.entry(*seq).or_default().push_back(state);
            }
            if let Record::Ended { seq, at, verdict: Verdict::NotSent { why: NotSent::TooFrequent { .. }, .. }, .. } =
                record
                && let Some(kept) = self.disk.messages.get(seq)
            {
                let until = *at + self.settings.limits.cool_down;
                self.cooling.insert(kept.message.request.account.clone(), (self.life, until));
            }
            self.disk.clock = self.clock();
            self.disk.append(record.clone(), self.settings.messages.dedup_window, self.now)?;
        }
        self.disk.anchor = Some((self.clock(), self.now));
        Ok(())
    }

    /// What only the world around the disk can tell of a record.
    fn check_record(&self, record: &Record) -> Result<(), Violation> {
        match record {
            Record::EventPublished { number } if !self.broker.acknowledged.contains(&Outgoing::Event(*number)) => {
                broken(Promise::Kept, format!("event {number} is closed and the broker does not have it"))
            }
            Record::Answered { seq, .. } if !self.broker.acknowledged.contains(&Outgoing::Answer(*seq)) => {
                broken(Promise::Kept, format!("the answer of {seq} is closed and the broker does not have it"))
            }
            Record::Attempted { seq, corp, at, account, .. } => {
                if self.cooling.get(account).is_some_and(|(life, until)| *life == self.life && until > at) {
                    return broken(Promise::Held, format!("{seq} is sent while {account} cools down"));
                }
                let located = &self.disk.located;
                let is_member = |account: &Account| located.get(account).is_some_and(|(own, _, _)| own == corp);
                let counted = self.receiver.counted(corp, is_member, self.now);
                let urgent = self.disk.messages.get(seq).is_none_or(|kept| kept.message.priority >= 8);
                let reserve = if urgent { 0 } else { self.settings.limits.corp.reserve as usize };
                let (per_hour, reserve) = self.hour_in_force(corp, reserve);
                if counted + reserve >= per_hour {
                    return broken(Promise::Limits, format!("{seq} would be send {} of {corp}", counted + 1));
                }
                Ok(())
            }
            Record::Finished { seq, outcome } => self.check_effects(*seq, outcome.state),
            _ => Ok(()),
        }
    }

    /// What is said to have had no effect has none, now and later.
    fn check_effects(&self, seq: Seq, state: State) -> Result<(), Violation> {
        // In any of its lives: they are one message to its publisher.
        let effect = self.disk.lives(seq).any(|kept| self.server.has_effect(kept.message.seq));
        if state.says_not_sent() && effect {
            return broken(Promise::True, format!("{seq} is called {} and has an effect", state.as_str()));
        }
        if state.says_sent() && !effect {
            return broken(Promise::True, format!("{seq} is called {} and has no effect", state.as_str()));
        }
        Ok(())
    }

    fn perform_all(&mut self, ready: Ready) -> Result<(), Violation> {
        for action in ready.actions {
            self.trace.line(self.now, || format!("action {action:?}"));
            self.perform(action)?;
            if self.crashes() {
                return Ok(());
            }
        }
        match self.unsaid.pop_first() {
            Some((seq, states)) => broken(Promise::Seen, format!("no event says that {seq} is {states:?}")),
            None => Ok(()),
        }
    }

    /// Whether the process dies here.
    fn crashes(&mut self) -> bool {
        match self.crash_in {
            Some(0) if self.bridge.is_some() => {
                self.crash_in = None;
                self.crash();
                true
            }
            Some(steps) => {
                self.crash_in = Some(steps.saturating_sub(1));
                false
            }
            None => false,
        }
    }

    pub(super) fn crash_soon(&mut self, steps: u32) {
        self.crash_in = Some(steps);
    }

    fn crash(&mut self) {
        self.trace.line(self.now, || "crash".to_owned());
        self.trace.counts.count(Kind::Crash);
        let committing = self.bridge.take().and_then(|bridge| bridge.committing);
        if let Some(ready) = committing
            && self.random.percent(50)
        {
            // A commit under way may be durable although nobody heard of it.
            self.trace.line(self.now, || "the commit was durable".to_owned());
            self.trace.counts.count(Kind::CommitDurableAtCrash);
            self.failed = self.append(&ready.records).err();
        }
        // Events are not kept: those of a life that ended here are never said.
        self.unsaid.clear();
        self.broker.lose_connections();
        let away = match self.random.below(20) {
            0 => self.random.seconds(600, 4000),
            1..=5 => self.random.seconds(3, 60),
            _ => self.random.millis(10, 3000),
        };
        self.schedule(away, Event::Restart);
    }

    pub(super) fn restart(&mut self) -> Result<(), Violation> {
        self.life += 1;
        self.replies.clear();
        self.tickets.clear();
        self.orders.restart();
        self.lived_since = self.now;
        let true_age = self.turn_the_wall_clock();
        let clock = self.clock();
        let shift = self.disk.anchor.map_or(0, |(shown, _)| {
            i128::from(clock.as_nanos()) - i128::from(shown.as_nanos()) - true_age.as_nanos() as i128
        });
        self.disk.begin_life(clock, self.now, shift);
        let mut engine = Engine::new(self.settings.clone(), clock, self.disk.numbers());
        engine.sabotage(self.sabotage);
        for record in self.disk.replay(clock, self.settings.messages.dedup_window.max(EVIDENCE_KEPT)) {
            engine.replay(record);
        }
        engine.start(clock);
        let (life, unfinished) = (self.life, self.disk.unfinished);
        self.trace.line(self.now, || format!("life {life} begins at {clock} with {unfinished} unfinished"));
        self.bridge = Some(Bridge {
            engine,
            inbox: Vec::new(),
            foreseen: None,
            deferred: Deferred::default(),
            committing: None,
            wake_at: Some(self.now),
        });
        self.reconnect();
        self.schedule(Duration::ZERO, Event::DirectoryTick { life });
        Ok(())
    }
}
