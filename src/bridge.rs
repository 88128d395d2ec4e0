//! The loop, and the only owner of the state.
//!
//! ```text
//!  inputs --all that wait--> engine.handle --> engine.poll_ready --> journal.commit --> edges
//!     ^                                                                                  |
//!     '------------------------- verdicts, acknowledgements ------------------------------'
//! ```
//!
//! One turn takes all waiting inputs, decides once, commits once, and then acts. That is group commit, and it is the
//! whole argument for durability: an action of a turn leaves only after every record of that turn, and of every turn
//! before, is on disk.
//!
//! # Invariants
//!
//! - Performing an action never waits, so the cycle of channels cannot block. The channels on which anyone waits are
//!   `inputs` and `commands`, and both are emptied in every turn, commands first.
//! - After a commit whose fate is unknown nothing is performed any more.

pub(crate) mod deferred;
mod gauges;
mod letters;
mod plays;
mod poison;
mod room;
mod start;
mod watchers;

pub use start::{Refusals, Resumed, restore, resume_time, start_clock};

pub mod metrics;

#[cfg(test)]
mod commands_tests;
#[cfg(test)]
mod full_tests;
#[cfg(test)]
mod poison_tests;

use crate::clock::{BootReading, Clock};
use crate::contain;
use crate::crash;
use crate::engine::Engine;
use crate::journal::{self, Anchor, Batch, CommitError, Journal, Suspect};
use crate::model::{
    Action, CallJob, CallbackTicket, Input, Job, LogLevel, Lookup, Outgoing, Publication, Ready, Record, Refusal,
    SenderName, Seq, Status, Ticket, Time,
};
use crate::telemetry;
use deferred::Deferred;
use gauges::Gauges;
use letters::Letters;
use plays::Plays;
use room::Room;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub use watchers::{MetricsWindow, Watchers, watch};

/// Inputs that one turn takes at most: what bounds the size of a commit.
const TURN_INPUTS_MAX: usize = 1024;
/// And commands beside them.
const TURN_COMMANDS_MAX: usize = 256;
/// How often time is noted in the journal, while anything is written at all.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(1);
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a commit waits that found no room on the disk.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// How long a stop waits for requests in flight, and for answers to reach the broker.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Where actions go. Nothing here may wait.
pub struct Edges {
    pub acknowledge: Box<dyn FnMut(Ticket) + Send>,
    pub send: Box<dyn FnMut(Job) + Send>,
    pub publish: Box<dyn FnMut(Publication) + Send>,
    /// Tells whoever brought a callback whether it was taken.
    pub answer_callback: Box<dyn FnMut(CallbackTicket, bool) + Send>,
    pub look_up: Box<dyn FnMut(Lookup) + Send>,
    pub call: Box<dyn FnMut(CallJob) + Send>,
    pub refresh_directory: Box<dyn FnMut(SenderName) + Send>,
    pub open_intake: Box<dyn FnMut(bool) + Send>,
    /// Tells whoever supervises the process that the loop goes on.
    pub beat: Box<dyn FnMut(Time) + Send>,
    /// `None` goes back to what was configured.
    pub set_log_level: Box<dyn FnMut(Option<LogLevel>) + Send>,
}

/// Why the loop ended before it was told to.
#[derive(Debug)]
pub enum BridgeError {
    /// Nobody knows what is on disk: stop at once, and recover from it.
    Commit(CommitError),
    /// The journal does not hold what it was told to keep.
    Missing(Seq),
    /// The same for an event of a callback.
    MissingEvent(u64),
    /// The journal cannot be read back.
    Restore(journal::ReadError),
    /// The engine panicked, over this if that is known; what it holds is not to be trusted any more.
    Panicked(Option<Suspect>),
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(error) => write!(f, "a commit of the journal failed: {error}"),
            Self::Missing(seq) => write!(f, "the journal has no body for message {seq}, which is to be sent"),
            Self::MissingEvent(number) => write!(f, "the journal has no event {number}, which is to be published"),
            Self::Restore(error) => write!(f, "the journal cannot be read back: {error}"),
            Self::Panicked(Some(suspect)) => write!(f, "handling {suspect} failed, which is a mistake of the bridge"),
            Self::Panicked(None) => f.write_str("the engine failed, which is a mistake of the bridge"),
        }
    }
}

impl std::error::Error for BridgeError {}

/// The loop's state.
pub struct Bridge {
    engine: Engine,
    journal: Journal,
    clock: Clock,
    inputs: mpsc::Receiver<Input>,
    commands: mpsc::Receiver<Input>,
    edges: Edges,
    letters: Letters,
    refusals: BTreeMap<u64, Arc<Refusal>>,
    deferred: Deferred,
    anchored_at: Time,
    prune_at: Time,
    room: Room,
    guard: poison::Guard,
    /// The last message that is on disk.
    durable: Seq,
    stop_by: Option<Time>,
    gauges: Gauges,
    watchers: Watchers,
    plays: Plays,
}

impl Bridge {
    /// `engine` has been started; `refusals` are those that it replayed and that are not answered yet. What comes by
    /// `commands` goes before all that waits in `inputs`.
    pub fn new(
        engine: Engine,
        journal: Journal,
        clock: Clock,
        inputs: mpsc::Receiver<Input>,
        commands: mpsc::Receiver<Input>,
        edges: Edges,
        refusals: BTreeMap<u64, Arc<Refusal>>,
    ) -> Self {
        Self {
            guard: poison::Guard::new(journal.suspects()),
            durable: journal.last_numbers().seq,
            engine,
            journal,
            clock,
            inputs,
            commands,
            edges,
            letters: Letters::default(),
            refusals,
            deferred: Deferred::default(),
            anchored_at: Time::default(),
            prune_at: clock.now(),
            room: Room::default(),
            stop_by: None,
            gauges: Gauges::new(),
            watchers: Watchers::default(),
            plays: Plays::default(),
        }
    }

    /// Lets somebody look at how it does.
    pub fn watched_by(self, watchers: Watchers) -> Self {
        Self { watchers, ..self }
    }

    /// Runs until a [`Input::Stop`] was carried out, or until every sender of inputs is gone.
    ///
    /// # Errors
    /// [`BridgeError`] when the process has to stop at once.
    pub async fn run(mut self) -> Result<(), BridgeError> {
        let mut batch = Vec::with_capacity(TURN_INPUTS_MAX);
        self.look().await?;
        let mut is_first = true;
        loop {
            let now = self.clock.now();
            (self.edges.beat)(now);
            let Some(ready) = contain::contained(|| self.engine.poll_ready(now)) else {
                return Err(self.accuse(poison::Name::Nobody).await);
            };
            let has_holds = ready.actions.iter().any(|action| matches!(action, Action::Holds(..)));
            self.carry_out(ready, now).await?;
            // The engine is silent about no holds, and the broker may have the list of an earlier life.
            if std::mem::take(&mut is_first) && !has_holds {
                (self.edges.publish)(Publication::Holds(Vec::new(), Vec::new()));
            }
            if self.is_stopped(now) {
                break;
            }
            let mut first = None;
            // What the turn before left is next.
            if batch.is_empty() {
                let play_at = self.play(now).await?;
                let wake_at = self.wake_at().into_iter().chain(play_at).min();
                tokio::select! {
                    biased;
                    forecast = self.plays.next() => self.take_forecast(forecast).await?,
                    Some(command) = self.commands.recv() => first = Some(command),
                    taken = self.inputs.recv_many(&mut batch, TURN_INPUTS_MAX) => if taken == 0 { break },
                    () = self.clock.sleep_until(wake_at) => {}
                    Some(()) = self.watchers.metrics_asked.recv() => self.show_metrics(),
                }
            }
            self.take(first, &mut batch).await?;
        }
        self.finish().await
    }

    /// Before anything is taken: the disk may be short of room already.
    async fn look(&mut self) -> Result<(), BridgeError> {
        let committed = self.journal.commit(Batch::default()).await.map_err(BridgeError::Commit)?;
        self.notice_space(&committed);
        Ok(())
    }

    /// Takes what comes first, as much as the disk has room for. `first` is the command that has come already.
    async fn take(&mut self, first: Option<Input>, batch: &mut Vec<Input>) -> Result<(), BridgeError> {
        let now = self.clock.now();
        while let Ok(took) = self.watchers.requests.try_recv() {
            self.gauges.sent(took, now);
        }
        // Both channels in every turn, so that neither waits for the other to be empty; and commands first, whatever
        // the disk has room for.
        let mut taken: Vec<Input> = first.into_iter().collect();
        while taken.len() < TURN_COMMANDS_MAX
            && let Ok(command) = self.commands.try_recv()
        {
            taken.push(command);
        }
        while batch.len() < TURN_INPUTS_MAX
            && let Ok(input) = self.inputs.try_recv()
        {
            batch.push(input);
        }
        let fitting = self.room.fitting(batch);
        taken.extend(batch.drain(..fitting));
        for input in taken {
            if input == Input::Stop {
                self.stop_by = Some(now + STOP_WAIT);
            }
            let (input, poison) = self.guard.look(input);
            if let Some(about) = poison {
                self.perform(Action::Alarm(poison::alarm(about, now)))?;
            }
            if let Input::Called { result, .. } = &input {
                self.gauges.called(result.is_ok());
            }
            let name = poison::Name::of(&input);
            let handle = || {
                self.engine.handle(input, now);
                // Passed by what can be named only.
                if !matches!(name, poison::Name::Nobody) {
                    crash::at("handled");
                }
            };
            if contain::contained(handle).is_none() {
                return Err(self.accuse(name).await);
            }
        }
        if now >= self.prune_at {
            self.prune_at = now + if self.room.is_low { ANCHOR_INTERVAL } else { PRUNE_INTERVAL };
            self.journal.start_pruning(now);
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Time> {
        [self.engine.poll_timeout(), self.deferred.until(), Some(self.prune_at), self.stop_by]
            .into_iter()
            .flatten()
            .min()
    }

    /// Makes the records durable, then performs the actions.
    async fn carry_out(&mut self, ready: Ready, now: Time) -> Result<(), BridgeError> {
        let Ready { records, actions } = ready;
        // While space is low, only a commit tells when there is room again.
        let look = self.room.is_low && now.since(self.anchored_at) >= ANCHOR_INTERVAL;
        for record in &records {
            self.note(record);
            self.gauges.note(record, now);
        }
        let wanted = self.letters.wanted(&actions);
        if let Some(records) = self.deferred.take(records, &actions, now, look || !wanted.is_empty()) {
            self.commit(records, wanted, now).await?;
        }
        for action in actions {
            let name = crash::name_of_action(&action);
            crash::at_action("performing", name);
            self.perform(action)?;
            crash::at_action("performed", name);
        }
        self.letters.trim();
        Ok(())
    }

    /// Remembers of a record what its actions will need.
    fn note(&mut self, record: &Record) {
        match record {
            Record::Accepted(message) => {
                // On disk before the engine is asked again: nothing that is accepted waits for a later commit.
                self.durable = message.seq;
                self.letters.accept(message);
            }
            Record::Finished { seq, outcome } => self.letters.finish(*seq, outcome),
            Record::Readdressed { seq, .. } => self.letters.forget(*seq),
            // The journal knows the state that the message has now.
            Record::Answered { seq, .. } | Record::Receipt { seq, .. } => self.letters.forget(*seq),
            Record::Refused { number, refusal, .. } => {
                self.refusals.insert(*number, Arc::clone(refusal));
            }
            Record::RefusalAnswered { number } => {
                self.refusals.remove(number);
            }
            Record::Attempted { .. }
            | Record::Ended { .. }
            | Record::Held(_)
            | Record::Released { .. }
            | Record::Blocked(_)
            | Record::Unblocked { .. }
            | Record::LimitSet(_)
            | Record::Located { .. }
            | Record::Commanded { .. }
            | Record::Reported { .. }
            | Record::EventPublished { .. }
            | Record::EventOpen { .. }
            | Record::Proven { .. }
            | Record::Presence { .. }
            | Record::CooledDown { .. }
            | Record::Spent { .. } => {}
        }
    }

    async fn commit(&mut self, records: Vec<Record>, wanted: letters::Wanted, now: Time) -> Result<(), BridgeError> {
        let anchor = self.anchor(now);
        let batch = Arc::new(Batch {
            records,
            load: wanted.messages,
            load_answers: wanted.answers,
            load_events: wanted.events,
            anchor,
        });
        let mut was_full = false;
        let committed = loop {
            let begun_at = self.clock.now();
            match self.journal.commit(Arc::clone(&batch)).await {
                Ok(committed) => {
                    let ended_at = self.clock.now();
                    self.gauges.committed(ended_at.since(begun_at), ended_at);
                    crash::at_records("durable", &batch.records);
                    break committed;
                }
                Err(CommitError::Full) => {
                    // Nothing of it happened. Until there is room nothing is taken and nothing is sent.
                    telemetry::journal_full();
                    if !std::mem::replace(&mut was_full, true) {
                        self.alarm_room(
                            "storage_full",
                            "the disk is full: nothing is taken, sent or answered until there is room",
                        )?;
                    }
                    (self.edges.beat)(begun_at);
                    tokio::time::sleep(FULL_WAIT).await;
                }
                Err(error) => return Err(BridgeError::Commit(error)),
            }
        };
        // Where space was low before, or is now, the engine says the rest.
        if was_full && !self.room.is_low && !committed.low_space {
            self.alarm_room("storage_ok", "the disk has room again")?;
        }
        self.notice_space(&committed);
        self.letters.load(committed.messages, committed.answers, committed.events);
        Ok(())
    }

    fn anchor(&mut self, now: Time) -> Option<Anchor> {
        if now.since(self.anchored_at) < ANCHOR_INTERVAL {
            return None;
        }
        self.anchored_at = now;
        let BootReading { boot_id, since_boot } = BootReading::now();
        Some(Anchor { time: self.clock.now(), boot_id, since_boot, wall: crate::clock::wall() })
    }

    fn perform(&mut self, action: Action) -> Result<(), BridgeError> {
        match action {
            Action::Acknowledge(ticket) => (self.edges.acknowledge)(ticket),
            Action::Send { seq, attempt, sender, at } => {
                let message = self.letters.message(seq).ok_or(BridgeError::Missing(seq))?;
                let (kind, body) = (Arc::clone(&message.request.kind), message.request.body.clone());
                let expires_at = message.expires_at;
                (self.edges.send)(Job { seq, attempt, sender, kind, body, at, expires_at });
            }
            Action::Publish(Outgoing::Answer(seq)) => match self.letters.answer(seq) {
                Some((message, outcome)) => {
                    self.gauges.answering(seq, message.received_at);
                    (self.edges.publish)(Publication::Answer { seq, message, outcome });
                }
                None => return Err(BridgeError::Missing(seq)),
            },
            Action::Publish(Outgoing::Refusal(number)) => {
                if let Some(refusal) = self.refusals.get(&number) {
                    (self.edges.publish)(Publication::Refusal { number, refusal: Arc::clone(refusal) });
                }
            }
            Action::Publish(Outgoing::Event(number)) => match self.letters.event(number) {
                Some(event) => (self.edges.publish)(Publication::Reported(event)),
                None => return Err(BridgeError::MissingEvent(number)),
            },
            Action::CallbackTaken(ticket) => (self.edges.answer_callback)(ticket, true),
            Action::CallbackRefused(ticket) => (self.edges.answer_callback)(ticket, false),
            Action::Event(event) => {
                let message = event.seq.and_then(|seq| self.letters.message(seq));
                (self.edges.publish)(Publication::Event { event, message });
            }
            Action::Reply(reply) => {
                let reply = self.complete_reply(reply);
                (self.edges.publish)(Publication::Reply(reply));
            }
            Action::Lookup(lookup) => (self.edges.look_up)(lookup),
            Action::Holds(holds, blocks) => (self.edges.publish)(Publication::Holds(holds, blocks)),
            Action::Status(Status::Health(report)) => self.publish_health(report),
            Action::Status(status) => (self.edges.publish)(Publication::Status(status)),
            Action::LogLevel(level) => (self.edges.set_log_level)(level),
            Action::Alarm(alarm) => {
                telemetry::alarm(&alarm);
                self.gauges.alarmed(&alarm);
                (self.edges.publish)(Publication::Alarm(alarm));
            }
            Action::RefreshDirectory { sender } => (self.edges.refresh_directory)(sender),
            Action::Intake { open } => (self.edges.open_intake)(open),
            Action::Call(job) => (self.edges.call)(*job),
        }
        Ok(())
    }

    fn is_stopped(&self, now: Time) -> bool {
        self.stop_by.is_some_and(|by| self.engine.is_drained() || now >= by)
    }

    /// Leaves the journal as a clean stop leaves it.
    async fn finish(mut self) -> Result<(), BridgeError> {
        let now = self.clock.now();
        telemetry::bridge_drained(self.engine.in_flight());
        crash::at("closing");
        self.anchored_at = Time::default();
        let records = self.deferred.take_all();
        self.commit(records, letters::Wanted::default(), now).await?;
        self.journal.close().await.map_err(BridgeError::Commit)?;
        crash::at("closed");
        Ok(())
    }
}
