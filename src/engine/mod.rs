//! Decides: what is accepted, who sends next and when, what an answer means for a message, what is said about it.
//!
//! Pure: time is an argument, nothing is awaited, nothing is read or written, and the same inputs give the same
//! outputs. The order of use is [`replay`](Engine::replay) for all that the journal kept, [`start`](Engine::start)
//! once, then [`handle`](Engine::handle) and [`poll_ready`](Engine::poll_ready) for ever. What takes too long for a
//! loop comes out of [`poll_play`](Engine::poll_play), to be done elsewhere.
//!
//! # Invariants
//!
//! - A message is live or past, never both; a live one is in exactly one [`Phase`](tables::Phase).
//! - An account stands in exactly one [`Place`](tables::Place); one that waits costs one timer, not one per message.
//! - A send takes a place in both limits or in neither.
//! - Every final state goes through [`finish`](Engine::finish), which knows what may be said after a doubt.

mod accept;
mod attempt;
mod audit;
mod block;
mod board;
mod breaker;
mod call;
mod callback;
mod command;
mod correct;
mod cow_map;
mod directory;
mod evidence;
mod forecast;
mod health;
mod hold;
mod hour;
mod ids;
mod lanes;
mod ledger;
mod limits;
mod lookup;
mod outbox;
mod overrides;
mod poison;
mod presence;
mod receipt;
mod report;
mod restore;
mod retry;
mod sabotage;
mod schedule;
mod settings;
mod status;
mod steady;
mod tables;
mod timer;
mod transaction;

pub use evidence::EVIDENCE_KEPT;
pub use forecast::{Forecast, Play};
pub use health::CorpGauges;
pub use poison::{AtHand, delivery_key, poison_fault};
#[cfg(test)]
pub(crate) use sabotage::Sabotage;
pub use settings::{
    AccountLimits, AccountSettings, BrokerLimits, CallSettings, CorpLimits, EventLevel, IdConflict, LimitSettings,
    MeasuredFrom, MessageSettings, SenderSettings, Settings, StatusSettings,
};
pub use status::Counters;

use crate::model::{
    Account, Action, Alarm, Block, Corp, HoldId, Input, LastNumbers, LimitOverride, LimitScope, Outcome, Ready, Record,
    Refusal, SendEvent, Seq, State, Time,
};
use audit::Recount;
use board::Board;
use call::Calls;
use callback::Callbacks;
use command::{Drain, Sweep};
use cow_map::CowMap;
use evidence::Evidence;
use forecast::Forecasts;
use health::{Health, Rates};
use hold::Holds;
use ids::Ids;
use ledger::Ledger;
use limits::{Hours, Spacing};
use lookup::Lookups;
use outbox::Outbox;
use presence::Asked;
use status::Latch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use steady::SteadyClock;
use tables::{AccountKey, AccountState, CorpKey, CorpState, Flight, Live, Past, SenderKey, SenderState, Timer};
use transaction::Transactions;

/// How long after a start nothing is sent: bytes of the process before may still be on their way.
const SETTLE: Duration = Duration::from_secs(1);

/// The state machine behind the bridge. See the [module documentation](self).
pub struct Engine {
    settings: Settings,
    now: Time,
    settle_until: Time,
    /// Whether the journal holds an attempt of the last hour or of a live message.
    sent_before: bool,
    started: bool,
    /// The message that the replay is at.
    replayed_last: Option<Seq>,
    stopping: bool,
    storage_low: bool,

    clock: SteadyClock,
    spacing: Spacing,
    hours: Hours,

    live: CowMap<Seq, Live>,
    live_bytes: u64,
    past: BTreeMap<Seq, Past>,
    /// Past messages in the order in which deduplication forgets them, but for those that are not answered yet.
    forgetting: VecDeque<(Time, Seq)>,
    ids: Ids,
    flights: BTreeMap<Seq, Flight>,

    accounts: Vec<AccountState>,
    account_keys: BTreeMap<Account, AccountKey>,
    /// Accounts without a company.
    strangers: usize,
    corps: Vec<CorpState>,
    corp_keys: BTreeMap<Corp, CorpKey>,
    senders: Vec<SenderState>,

    timers: BTreeSet<(Time, Timer)>,
    deadlines: CowMap<(Time, Seq)>,

    holds: Holds,
    blocks: BTreeMap<HoldId, Block>,
    /// Limits that are not as configured.
    overrides: BTreeMap<LimitScope, LimitOverride>,
    /// Cancellations under way, in the order in which they came; the first one is being done.
    sweeps: VecDeque<Sweep>,
    drain: Option<Drain>,
    /// What the last [`Action::Intake`] said.
    intake_open: bool,
    /// The connection from which a message was left with the broker last. It is closed as soon as that can be.
    left_behind: Option<u64>,
    log_level_until: Option<Time>,
    /// Counts what could make a forecast another one.
    changes: u64,
    forecasts: Forecasts,
    board: Board,
    outbox: Outbox,
    callbacks: Callbacks,
    /// Whether any server has a source of callbacks: without one nothing is kept for them.
    has_callbacks: bool,
    evidence: Evidence,
    asked: Asked,
    /// Questions that the journal has not answered yet.
    lookups: Lookups,
    calls: Calls,
    transactions: Transactions,
    last: LastNumbers,
    ledger: Ledger,
    recount: Option<Recount>,
    rates: Rates,
    health: Health,
    storage: Latch,
    ready: Ready,
    /// Whose turn it is, for whoever has to say who made the engine panic.
    at_hand: Option<Seq>,
    /// Messages that ended the process too often.
    condemned: BTreeSet<Seq>,
    #[cfg(test)]
    sabotage: Option<Sabotage>,
}

impl Engine {
    /// An engine that knows nothing yet. `now` is the time of the start, on the axis of the journal's times.
    ///
    /// # Panics
    /// When `settings.senders` is empty.
    pub fn new(mut settings: Settings, now: Time, last: LastNumbers) -> Self {
        assert!(!settings.senders.is_empty(), "a bridge needs a server to send through");
        // Looked up for every entry of an account list.
        settings.accounts.sort_by(|a, b| a.account.cmp(&b.account));
        settings.limits.accounts.sort_by(|a, b| a.0.cmp(&b.0));
        settings.limits.corps.sort_by(|a, b| a.0.cmp(&b.0));
        let clock = SteadyClock::default();
        let mut engine = Self {
            now,
            settle_until: Time::default(),
            sent_before: false,
            started: false,
            replayed_last: None,
            stopping: false,
            storage_low: false,
            spacing: Spacing::new(clock.clone()),
            hours: Hours::new(clock.clone()),
            clock,
            live: CowMap::default(),
            live_bytes: 0,
            past: BTreeMap::new(),
            forgetting: VecDeque::new(),
            ids: Ids::default(),
            flights: BTreeMap::new(),
            accounts: Vec::new(),
            account_keys: BTreeMap::new(),
            strangers: 0,
            corps: Vec::new(),
            corp_keys: BTreeMap::new(),
            senders: settings.senders.iter().map(SenderState::new).collect(),
            timers: BTreeSet::new(),
            deadlines: CowMap::default(),
            holds: Holds::default(),
            blocks: BTreeMap::new(),
            overrides: BTreeMap::new(),
            sweeps: VecDeque::new(),
            drain: None,
            intake_open: true,
            left_behind: None,
            log_level_until: None,
            changes: 0,
            forecasts: Forecasts::default(),
            board: Board::new(settings.status),
            outbox: Outbox::new(settings.publish_window),
            callbacks: Callbacks::default(),
            has_callbacks: settings.senders.iter().any(|sender| sender.callbacks),
            evidence: Evidence::default(),
            asked: Asked::default(),
            lookups: Lookups::default(),
            calls: Calls::default(),
            transactions: Transactions::default(),
            last,
            ledger: Ledger::default(),
            recount: None,
            rates: Rates::default(),
            health: Health::new(now),
            storage: Latch::default(),
            ready: Ready::default(),
            at_hand: None,
            condemned: BTreeSet::new(),
            settings,
            #[cfg(test)]
            sabotage: None,
        };
        engine.clock.set(now);
        engine.add_configured_accounts();
        engine
    }

    /// Takes note of something that happened. What follows from it comes out of [`poll_ready`](Self::poll_ready).
    pub fn handle(&mut self, input: Input, now: Time) {
        let before = self.now;
        self.set_now(now);
        self.at_hand = None;
        if self.now > before {
            // The journal may do so too before this is polled again.
            self.forget();
        }
        match input {
            Input::Request { ticket, request } => self.handle_request(ticket, *request),
            Input::Refused { ticket, refusal } => self.handle_refused(ticket, *refusal),
            Input::Command { ticket, request } => self.handle_command(ticket, *request),
            Input::Ignored { ticket } => self.acknowledge(Some(ticket)),
            Input::Ended { seq, attempt, at, verdict } => self.handle_ended(seq, attempt, at, verdict),
            Input::Published { what, refused } => self.handle_published(what, refused),
            Input::PublishAgain { what } => self.outbox.again(what),
            Input::Connected(connected) => {
                self.outbox.connected(connected);
                self.board_connected(connected);
            }
            Input::Directory { sender, entries } => self.handle_directory(&sender, entries),
            Input::DirectoryFailed { sender, trouble } => self.handle_directory_failed(&sender, trouble),
            Input::Callback { ticket, callback } => self.handle_callback(ticket, *callback),
            Input::StorageLow(low) => self.handle_storage_low(low),
            Input::Link { which, up } => self.handle_link(which, up),
            Input::Broker(fact) => self.handle_broker(fact),
            Input::StatusSeen(topic) => self.status_seen(topic),
            Input::Found(found) => self.handle_found(*found),
            Input::Stop => {
                self.stopping = true;
                self.stop_calls();
                // Behind the acknowledgements of all that was taken, so that none of it comes again.
                self.steer_intake();
            }
            Input::Called { number, result } => self.handle_called(number, *result),
        }
    }

    /// Everything decided so far. The caller makes `records` durable before it performs any of `actions`.
    pub fn poll_ready(&mut self, now: Time) -> Ready {
        self.set_now(now);
        self.at_hand = None;
        self.fire_timers();
        self.dispatch();
        self.at_hand = None;
        self.publish();
        self.notice_drained();
        self.watch_health();
        self.publish_board();
        std::mem::take(&mut self.ready)
    }

    /// When [`poll_ready`](Self::poll_ready) has something to decide even if nothing happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        let settling = (self.settle_until > self.now).then_some(self.settle_until);
        let timer = self.timers.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| at);
        let forgetting = self.forgetting.front().map(|(at, _)| *at + self.settings.messages.dedup_window);
        [settling, timer, deadline, forgetting, self.health_due(), self.board_timeout()].into_iter().flatten().min()
    }

    /// True once nothing is in flight, no call is under way and every answer is with the broker.
    pub fn is_drained(&self) -> bool {
        self.flights.is_empty() && self.outbox.is_empty() && self.calls.is_idle()
    }

    /// Attempts that have begun and not ended.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn set_now(&mut self, now: Time) {
        // A caller whose clock stepped back only makes us slower.
        self.now = self.now.max(now);
        self.clock.set(self.now);
    }

    fn record(&mut self, record: Record) {
        self.ready.records.push(record);
    }

    fn act(&mut self, action: Action) {
        self.ready.actions.push(action);
    }

    fn alarm(&mut self, what: &'static str, about: &str, message: String) {
        let alarm = Alarm { what, about: Box::from(about), message: message.into(), at: self.now };
        self.act(Action::Alarm(alarm));
    }

    fn event(&mut self, seq: Seq, state: State, attempt: u32, possibly_duplicate: bool) {
        if self.settings.events == EventLevel::All {
            let (at, seq, state) = (self.now, Some(seq), Some(state));
            let event = SendEvent { at, seq, state, attempt, possibly_duplicate, refusal: None, outcome: None };
            self.act(Action::Event(event));
        }
    }

    fn event_final(&mut self, seq: Seq, outcome: &Outcome) {
        if self.settings.events != EventLevel::Off {
            self.act(Action::Event(SendEvent {
                at: self.now,
                seq: Some(seq),
                state: Some(outcome.state),
                attempt: outcome.attempts,
                possibly_duplicate: outcome.possibly_duplicate,
                refusal: None,
                outcome: Some(Arc::new(outcome.clone())),
            }));
        }
    }

    fn event_rejected(&mut self, refusal: &Arc<Refusal>) {
        if self.settings.events != EventLevel::Off {
            self.act(Action::Event(SendEvent {
                at: self.now,
                seq: None,
                state: None,
                attempt: 0,
                possibly_duplicate: false,
                refusal: Some(Arc::clone(refusal)),
                outcome: None,
            }));
        }
    }

    fn account(&self, key: AccountKey) -> &AccountState {
        &self.accounts[key.index()]
    }

    fn account_mut(&mut self, key: AccountKey) -> &mut AccountState {
        &mut self.accounts[key.index()]
    }

    fn sender_key(&self, name: &crate::model::SenderName) -> Option<SenderKey> {
        let index = self.senders.iter().position(|sender| sender.name == *name)?;
        u32::try_from(index).ok().map(SenderKey)
    }
}
