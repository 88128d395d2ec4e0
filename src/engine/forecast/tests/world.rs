//! An engine, and servers that answer after a fixed time.

use crate::engine::forecast::Play;
use crate::engine::forecast::scene::Watch;
use crate::engine::settings::MessageSettings;
use crate::engine::{Engine, EventLevel, IdConflict, SenderSettings, Settings};
use crate::model::{
    Account, Action, Command, CommandOrigin, CommandRequest, Corp, DirectoryEntry, Input, LastNumbers, MessageId,
    Options, Origin, Request, Scope, SenderName, Seq, Time, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) const START: Time = Time::from_millis(1_700_000_000_000);

pub(in crate::engine) fn settings() -> Settings {
    let common = crate::golden::default_settings();
    let senders = common.senders.into_iter().map(|sender| SenderSettings { connections: 256, ..sender });
    Settings {
        info: serde_json::Value::Null,
        broker_backlog_alarm: 0,
        senders: senders.collect(),
        messages: MessageSettings {
            ttl: Duration::from_secs(7 * 86_400),
            dedup_window: Duration::ZERO,
            id_conflict: IdConflict::Accept,
            queue_messages: 1_000_000,
            queue_bytes: u64::MAX,
            ..common.messages
        },
        events: EventLevel::Off,
        ..common
    }
}

/// An engine and servers that answer after a fixed time.
pub(in crate::engine) struct World {
    pub(in crate::engine) engine: Engine,
    pub(in crate::engine) now: Time,
    answer: Duration,
    answers: BTreeSet<(Time, Seq, u32)>,
    pub(super) sent: BTreeMap<Seq, Time>,
    /// What left beside requests, and when.
    pub(in crate::engine) actions: Vec<(Time, Action)>,
    /// Whether what the engine wants played is played, at once, for its status topics.
    plays: bool,
    ids: u64,
}

impl World {
    pub(in crate::engine) fn new(settings: Settings, answer: Duration) -> Self {
        let plays = settings.status.per_second > 0;
        let mut engine = Engine::new(settings, START, LastNumbers::default());
        engine.start(START);
        let (answers, sent, actions) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { engine, now: START, answer, answers, sent, actions, plays, ids: 0 }
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
        self.poll_once();
        while self.plays
            && let Some(play) = self.engine.poll_play(self.now)
        {
            self.engine.handle_forecast(Some(play.run()), self.now);
            self.poll_once();
        }
    }

    fn poll_once(&mut self) {
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
            let play = self.engine.play_due().filter(|_| self.plays);
            let next = [self.engine.poll_timeout(), play, answer].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            while let Some((_, seq, attempt)) = self.answers.first().copied().filter(|(at, _, _)| *at <= self.now) {
                self.answers.pop_first();
                let (at, verdict) = (self.now, Verdict::Confirmed { msg_id: None });
                self.handle(Input::Ended { seq, attempt, at, verdict });
            }
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    /// Has everything played, and every message noted.
    pub(super) fn foresee(&self) {
        self.engine.forecasts.keep(Play::new(&self.engine, Watch::Everybody).run());
    }

    pub(super) fn queued(&self) -> Vec<Seq> {
        let queued = self.engine.live.iter().filter(|(_, live)| live.state() == crate::model::State::Queued);
        queued.map(|(seq, _)| *seq).collect()
    }
}
