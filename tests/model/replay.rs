//! The model against the engine: random walks through the one, each decision made by the other too, and what is on disk
//! compared after every commit.
//!
//! Time is what the walk makes of it: the engine is told of a moment only when the model acts on it. Between decisions to
//! send its server is held, because the engine would otherwise send as soon as it may.

#![allow(clippy::wildcard_enum_match_arm, reason = "a check picks the few cases that it is about")]

use super::bridge::Rules;
use super::mistakes::Policy;
use super::state::{Phase, State, View, Window};
use super::step::Step;
use bytes::Bytes;
use sendbridge::engine::{
    AccountLimits, AccountSettings, BrokerLimits, CallSettings, CorpLimits, Engine, EventLevel, IdConflict,
    LimitSettings, MeasuredFrom, MessageSettings, SenderSettings, Settings, StatusSettings,
};
use sendbridge::model as m;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const START: m::Time = m::Time::from_millis(1_700_000_000_000);
const LIFETIME: Duration = Duration::from_secs(400);
pub const WINDOW: Duration = Duration::from_secs(100);
/// A doubt that a crash leaves behind begins when nothing of the old process can arrive any more.
const SETTLE: Duration = Duration::from_secs(1);
/// Longer than the wait after a start, and than any spacing.
const BEFORE_ATTEMPT: Duration = Duration::from_millis(1500);

/// The engine, its disk and its clock, on a walk.
pub struct Real {
    settings: Settings,
    engine: Option<Engine>,
    now: m::Time,
    /// What is durable, and what is decided and not durable yet.
    log: Vec<m::Record>,
    pending: Vec<m::Record>,
    /// The attempt under way.
    attempt: Option<(m::Seq, u32)>,
    doubt_until: m::Time,
    expires_at: m::Time,
    policy: Policy,
}

/// What the disk says of the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub phase: Phase,
    pub flag: bool,
    pub doubts: u8,
    pub earlier: Phase,
    pub earlier_flag: bool,
}

impl Kept {
    pub fn of(view: &View) -> Self {
        let View { phase, flag, doubts, earlier, earlier_flag, .. } = *view;
        Self { phase, flag, doubts, earlier, earlier_flag }
    }
}

impl Real {
    pub fn new(rules: &Rules) -> Self {
        let mut real = Self {
            settings: settings(rules),
            engine: None,
            now: START,
            log: Vec::new(),
            pending: Vec::new(),
            attempt: None,
            doubt_until: START,
            expires_at: START + LIFETIME,
            policy: rules.policy,
        };
        real.start();
        real
    }

    /// Whether the engine's times can bring about this step. With one length for every doubt and every lifetime not
    /// every order of the two can happen at every moment.
    pub fn can_follow(&self, step: Step, before: &State) -> bool {
        let phase = before.memory.phase;
        let is_open = phase == Phase::InDoubt && before.window == Window::Open;
        let waits = matches!(phase, Phase::Queued | Phase::Again | Phase::Held);
        // Time does not go back with a kill: what was due before it is due at once after it.
        let is_late = waits && before.over && self.now >= self.expires_at && step != Step::Expire;
        let is_due = phase == Phase::InDoubt && !is_open && self.now >= self.doubt_until && step != Step::DoubtEnds;
        if before.up && (is_late || is_due) && lets_engine_decide(step) {
            return false;
        }
        match step {
            Step::WindowPasses => before.over || self.doubt_until + SETTLE < self.expires_at,
            Step::LifetimePasses => !is_open || self.expires_at + SETTLE * 2 < self.doubt_until,
            Step::Attempt => self.now + BEFORE_ATTEMPT * 2 < self.expires_at,
            // The engine says at once what the model says in two steps.
            Step::DoubtEnds | Step::Start => !(self.policy == Policy::Hold && before.over),
            _ => true,
        }
    }

    /// Time goes by before something is tried, if the message's lifetime allows it.
    pub fn wait(&mut self, span: Duration) {
        if self.now + span + BEFORE_ATTEMPT * 2 < self.expires_at {
            self.now = self.now + span;
        }
    }

    /// False when the engine does not follow: it has nothing to send.
    pub fn follow(&mut self, step: Step, before: &State, after: &State) -> bool {
        // A doubt that begins after the lifetime ends after it, too.
        if before.over && matches!(step, Step::GiveUp | Step::Start) {
            self.now = self.now.max(self.expires_at);
        }
        match step {
            Step::Take => {
                if before.memory.phase == Phase::Absent {
                    self.expires_at = self.now + LIFETIME;
                }
                let request = Box::new(request(self.policy));
                self.handle(m::Input::Request { ticket: None, request });
            }
            Step::Commit => {
                self.poll();
                self.log.append(&mut self.pending);
            }
            Step::Kill => {
                self.engine = None;
                self.pending.clear();
                self.attempt = None;
            }
            Step::Start => {
                if before.window != Window::Open {
                    self.now = self.now.max(self.doubt_until);
                }
                self.start();
                self.doubt_begins(before, after);
            }
            Step::Attempt => return self.send(),
            Step::GiveUp => {
                self.end(m::Verdict::Unknown { why: m::Doubt::Timeout, detail: Box::default() });
                self.doubt_begins(before, after);
            }
            Step::HearConfirmed => {
                let slot = before.memory.open_slot().expect("an attempt is under way");
                self.end(m::Verdict::Confirmed { msg_id: Some(platform_id(slot)) });
            }
            Step::HearRefused => self.end(m::Verdict::Refused { sender: m::Sender::default() }),
            Step::HearNotSent => {
                self.end(m::Verdict::NotSent { why: m::NotSent::Unauthorized, detail: Box::default() });
            }
            Step::TakeCallback => {
                let slot = (before.memory.seen ^ after.memory.seen).trailing_zeros() as usize;
                let callback = Box::new(callback(slot, self.now));
                self.handle(m::Input::Callback { ticket: m::CallbackTicket(1), callback });
            }
            Step::DoubtEnds => {
                self.now = self.now.max(self.doubt_until);
                self.poll();
            }
            Step::Expire => {
                self.now = self.now.max(self.expires_at);
                self.poll();
            }
            Step::Cancel => {
                let selection = m::Selection::of_id(id(), None);
                self.command(m::Command::MessageCancel { selection, dry_run: false, block_for: None, reason: None });
            }
            Step::SettleSent => self.settle(m::Settled::Sent { msg_id: None }),
            Step::SettleFailed => self.settle(m::Settled::Failed { reason: None }),
            Step::Retry => {
                self.command(m::Command::MessageRetry { id: id(), account: None });
                self.expires_at = self.now + LIFETIME;
            }
            // What happens to the network, at the sender and to answers decides nothing.
            _ => {}
        }
        true
    }

    fn doubt_begins(&mut self, before: &State, after: &State) {
        if after.memory.phase == Phase::InDoubt && before.memory.phase == Phase::Sending {
            self.doubt_until = self.now + WINDOW + SETTLE;
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the process runs")
    }

    fn handle(&mut self, input: m::Input) {
        let now = self.now;
        self.engine().handle(input, now);
    }

    /// Lets the engine decide, and answers what it asks the journal.
    fn poll(&mut self) {
        let now = self.now;
        let ready = self.engine().poll_ready(now);
        for record in &ready.records {
            if let m::Record::Attempted { seq, attempt, .. } = record {
                self.attempt = Some((*seq, *attempt));
            }
        }
        self.pending.extend(ready.records);
        for action in ready.actions {
            if let m::Action::Lookup(lookup) = action {
                let kept = self.kept_message();
                let result = Ok(m::Findings::Kept { kept: vec![kept], gone: false });
                self.handle(m::Input::Found(Box::new(m::Found { number: lookup.number, result })));
            }
        }
    }

    fn start(&mut self) {
        let mut last = m::LastNumbers::default();
        self.log.iter().for_each(|record| last.see(record));
        let mut engine = Engine::new(self.settings.clone(), self.now, last);
        self.log.iter().for_each(|record| engine.replay(record.clone()));
        engine.start(self.now);
        self.engine = Some(engine);
        self.hold(true);
    }

    fn hold(&mut self, is_held: bool) {
        let sender = m::SenderName::new("main");
        self.handle(if is_held {
            m::Input::DirectoryFailed { sender, trouble: m::SenderTrouble::Unauthorized }
        } else {
            m::Input::Directory { sender, entries: Vec::new() }
        });
    }

    fn send(&mut self) -> bool {
        self.now = self.now + BEFORE_ATTEMPT;
        self.attempt = None;
        self.hold(false);
        self.poll();
        self.hold(true);
        self.attempt.is_some()
    }

    fn end(&mut self, verdict: m::Verdict) {
        let (seq, attempt) = self.attempt.take().expect("an attempt is under way");
        self.handle(m::Input::Ended { seq, attempt, at: self.now, verdict });
    }

    fn command(&mut self, command: m::Command) {
        let origin = m::CommandOrigin { name: command.name().into(), reply_to: None, transaction: None, by: None };
        let request = Box::new(m::CommandRequest::new(origin, Ok(command)));
        self.handle(m::Input::Command { ticket: None, request });
        self.poll();
    }

    fn settle(&mut self, settled: m::Settled) {
        self.command(m::Command::MessageResolve { id: id(), account: None, settled });
    }

    /// The message as the journal has it, to be sent again.
    fn kept_message(&self) -> m::Kept {
        let mut kept: Option<m::Kept> = None;
        for record in &self.log {
            match (record, &mut kept) {
                (m::Record::Accepted(message), kept) => {
                    *kept = Some(m::Kept { message: Arc::clone(message), outcome: None, doubted: false });
                }
                (m::Record::Ended { verdict: m::Verdict::Unknown { .. }, .. }, Some(kept)) => kept.doubted = true,
                (m::Record::Finished { outcome, .. }, Some(kept)) => kept.outcome = Some(outcome.clone()),
                _ => {}
            }
        }
        kept.expect("a message was accepted")
    }

    /// What the records say, read without the engine.
    pub fn on_disk(&self) -> Kept {
        let mut lives: BTreeMap<m::Seq, (Phase, bool, u8)> = BTreeMap::new();
        for record in &self.log {
            match record {
                m::Record::Accepted(message) => {
                    let flag = message.retry.is_some_and(|retry| retry.possibly_duplicate);
                    lives.insert(message.seq, (Phase::Queued, flag, 0));
                }
                m::Record::Attempted { seq, possibly_duplicate, .. } => {
                    let life = lives.get_mut(seq).expect("an attempt of a message");
                    (life.0, life.1) = (Phase::Sending, life.1 | possibly_duplicate);
                }
                m::Record::Ended { seq, verdict, .. } => {
                    let life = lives.get_mut(seq).expect("the end of an attempt of a message");
                    match verdict {
                        m::Verdict::Unknown { .. } => (life.0, life.2) = (Phase::InDoubt, life.2 + 1),
                        m::Verdict::NotSent { .. } => life.0 = Phase::Queued,
                        m::Verdict::Confirmed { .. } | m::Verdict::Refused { .. } => {}
                    }
                }
                m::Record::Finished { seq, outcome } => {
                    let life = lives.get_mut(seq).expect("the end of a message");
                    (life.0, life.1) = (phase_of(outcome.state), outcome.possibly_duplicate);
                }
                _ => {}
            }
        }
        let mut newest_first = lives.into_values().rev();
        let (phase, flag, doubts) = newest_first.next().unwrap_or((Phase::Absent, false, 0));
        let (earlier, earlier_flag, _) = newest_first.next().unwrap_or((Phase::Absent, false, 0));
        assert_eq!(newest_first.next(), None, "the message has a third life");
        Kept { phase, flag, doubts, earlier, earlier_flag }
    }
}

/// Whether everything that is due by then comes along with the step.
fn lets_engine_decide(step: Step) -> bool {
    matches!(
        step,
        Step::Commit
            | Step::Attempt
            | Step::DoubtEnds
            | Step::Expire
            | Step::Cancel
            | Step::SettleSent
            | Step::SettleFailed
            | Step::Retry
    )
}

fn phase_of(state: m::State) -> Phase {
    match state {
        m::State::Queued => Phase::Queued,
        m::State::Sending => Phase::Sending,
        m::State::InDoubt => Phase::InDoubt,
        m::State::Sent | m::State::Delivered | m::State::Undelivered => Phase::Sent,
        m::State::Failed => Phase::Failed,
        m::State::Unresolved => Phase::Unresolved,
        m::State::Expired => Phase::Expired,
        m::State::Cancelled => Phase::Cancelled,
    }
}

fn id() -> m::MessageId {
    m::MessageId::from_json("\"one\"")
}

fn platform_id(slot: usize) -> Box<str> {
    format!("m{slot}").into()
}

fn request(policy: Policy) -> m::Request {
    let on_doubt = match policy {
        Policy::Report => m::OnDoubt::Report,
        Policy::Resend => m::OnDoubt::Resend,
        Policy::Hold => m::OnDoubt::Hold,
    };
    m::Request {
        id: id(),
        kind: Arc::from("text"),
        account: m::Account::new("a"),
        conversation: "S:1".into(),
        origin: m::Origin::default(),
        options: m::Options { on_doubt: Some(on_doubt), ..m::Options::default() },
        fingerprint: [1; 16],
        shown: Some([2; 16]),
        body: Bytes::from_static(b"{}"),
    }
}

fn callback(slot: usize, at: m::Time) -> m::Callback {
    let seen = m::Seen {
        account: m::Account::new("a"),
        conversation: Some("S:1".into()),
        send_msg_id: Some(platform_id(slot)),
        by_api: true,
        shown: Some([2; 16]),
        error: 0,
        error_text: None,
        at,
    };
    let sender = Some(m::SenderName::new("main"));
    m::Callback { sender, key: [slot as u8; 16], events: Vec::new(), signals: vec![m::Signal::Seen(seen)] }
}

fn settings(rules: &Rules) -> Settings {
    let sender = m::SenderName::new("main");
    let account = AccountSettings {
        account: m::Account::new("a"),
        corp: Some(m::Corp::new("corp")),
        sender: Some(sender.clone()),
    };
    Settings {
        senders: vec![SenderSettings {
            name: sender,
            connections: 8,
            callbacks: true,
            doubt_window: WINDOW,
            default_corp: None,
            calls: CallSettings::default(),
        }],
        accounts: vec![account],
        limits: LimitSettings {
            account: AccountLimits { interval: Duration::from_millis(1) },
            corp: CorpLimits { per_hour: 50_000, reserve: 0, burst: None },
            accounts: Vec::new(),
            corps: Vec::new(),
            measured_from: MeasuredFrom::Response,
            cool_down: Duration::from_secs(1),
            cool_down_max: Duration::from_secs(1),
            ahead: Duration::ZERO,
        },
        messages: MessageSettings {
            ttl: LIFETIME,
            dedup_window: Duration::from_secs(36_000),
            id_conflict: IdConflict::Reject,
            on_doubt: m::OnDoubt::Report,
            resends_max: u32::from(rules.resends_max),
            queue_messages: 1000,
            queue_bytes: 1_000_000,
            queue_time: None,
            unknown_account_grace: Duration::from_secs(36_000),
        },
        events: EventLevel::Off,
        publish_window: 100,
        info: serde_json::Value::Null,
        health_interval: None,
        broker_backlog_alarm: 0,
        broker_limits: BrokerLimits::default(),
        status: StatusSettings { per_second: 0, accounts_max: 0, idle: Duration::from_secs(1) },
    }
}
