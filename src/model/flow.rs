//! The contract between the engine and the edges.

use super::{
    Account, AccountReport, Block, CallJob, Callback, CallbackTicket, CommandOrigin, CommandRequest, Corp, CorpReport,
    Fault, Fingerprint, HealthReport, Hold, HoldId, Kept, LimitOverride, LogLevel, Message, MessageId, MessagesReport,
    Outcome, Page, Receipt, Refusal, Reply, ReplyTo, Request, Selection, SenderName, Seq, State, Time, Verdict,
};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the broker needs to hear to forget a delivered packet. Travels in with an input, and back as
/// [`Action::Acknowledge`] once the input is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The connection it came over: an acknowledgement for an older one is dropped, its packet comes again.
    pub generation: u64,
    pub packet: u16,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A valid request to send. `ticket` is `None` at QoS 0.
    Request {
        ticket: Option<Ticket>,
        request: Box<Request>,
    },
    /// A request that the parser refused.
    Refused {
        ticket: Option<Ticket>,
        refusal: Box<Refusal>,
    },
    Command {
        ticket: Option<Ticket>,
        request: Box<CommandRequest>,
    },
    /// A delivery that is none of ours.
    Ignored {
        ticket: Ticket,
    },
    /// An attempt ended.
    Ended {
        seq: Seq,
        attempt: u32,
        /// When its end was seen, which is before anybody has time to hear of it.
        at: Time,
        verdict: Verdict,
    },
    /// The broker acknowledged something published, or refused it for good.
    Published {
        what: Outgoing,
        refused: Option<Box<str>>,
    },
    /// The broker refused something published, for now.
    PublishAgain {
        what: Outgoing,
    },
    /// The outgoing connection came up (all that was not acknowledged is published again) or went down.
    Connected(bool),
    /// A server's account list.
    Directory {
        sender: SenderName,
        entries: Vec<DirectoryEntry>,
    },
    /// A server's account list could not be had.
    DirectoryFailed {
        sender: SenderName,
        trouble: SenderTrouble,
    },
    /// A vendor's system reported something. `ticket` is answered once it is durable.
    Callback {
        ticket: CallbackTicket,
        callback: Box<Callback>,
    },
    /// Whether the disk has room for new messages.
    StorageLow(bool),
    /// A retained status that the broker still has from before this connection.
    StatusSeen(StatusTopic),
    /// Whether a connection to the broker is up, for the health report.
    Link {
        which: Link,
        up: bool,
    },
    /// What the broker says of itself.
    Broker(BrokerFact),
    /// The journal's answer to a [`Action::Lookup`].
    Found(Box<Found>),
    /// Take no more messages and start no more attempts.
    Stop,
    /// A call of the sender's API ended: the data of its reply, or why there is none.
    Called {
        number: u64,
        result: Box<Result<serde_json::Value, Fault>>,
    },
}

/// One of the connections to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Incoming,
    Commands,
}

/// Something that the broker says of itself, or grants us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerFact {
    /// As it calls itself.
    Version(Box<str>),
    /// Messages that it has thrown away since it started, for any client.
    Dropped(u64),
    /// Messages that it holds, for any client.
    Stored(u64),
    /// Of these, those that it keeps for whoever subscribes.
    Retained(u64),
    /// Clients that are connected.
    Clients(u64),
    /// Memory that it uses.
    HeapBytes(u64),
    /// It knew nothing of our session for messages, and began a new one.
    NewSession,
    /// What it does not grant, in words, of all that the bridge relies on. Empty when all is well.
    Shortcomings(Vec<Box<str>>),
}

/// A status topic whose subject can go away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusTopic {
    Account(Account),
    Corp(Corp),
}

/// Why an account list could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderTrouble {
    Unauthorized,
    Unreachable,
}

/// One account of a server's account list (`GET /inner/user/wx/list`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub account: Account,
    pub corp: Option<Corp>,
    /// `Status` 0; `None` where the list does not say.
    pub online: Option<bool>,
}

/// What happened, in the order in which it must reach the disk. Replayed in the same order at a start.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Accepted(Arc<Message>),
    /// Durable before the first byte of the request.
    Attempted {
        seq: Seq,
        attempt: u32,
        at: Time,
        account: Account,
        corp: Corp,
        possibly_duplicate: bool,
    },
    Ended {
        seq: Seq,
        attempt: u32,
        at: Time,
        verdict: Verdict,
    },
    /// The message reached a final state, and its answer is due. A second one corrects the first, and is to be answered
    /// again.
    Finished {
        seq: Seq,
        outcome: Outcome,
    },
    /// A repeat asked for the answer at this address; `again` when it is due once more.
    Readdressed {
        seq: Seq,
        reply_to: Option<ReplyTo>,
        again: bool,
    },
    /// The broker has the answer. Where that is long after the end, a repeat is known for the window of deduplication
    /// from then on.
    Answered {
        seq: Seq,
        known_from: Option<Time>,
    },
    /// A request was refused, and that answer is due.
    Refused {
        number: u64,
        at: Time,
        refusal: Arc<Refusal>,
    },
    RefusalAnswered {
        number: u64,
    },
    Held(Hold),
    Released {
        hold: HoldId,
        at: Time,
        by: Option<Box<str>>,
    },
    Blocked(Block),
    Unblocked {
        block: HoldId,
        at: Time,
        by: Option<Box<str>>,
    },
    LimitSet(LimitOverride),
    /// An account's company or server became known or changed.
    Located {
        account: Account,
        corp: Corp,
        sender: SenderName,
        at: Time,
    },
    /// A command that changed something, with its reply for whoever repeats it.
    Commanded {
        at: Time,
        origin: CommandOrigin,
        /// Tells it from another one with the same transaction.
        fingerprint: Fingerprint,
        reply: Box<str>,
    },
    /// A callback, durable with all its events and signals. `number` is that of its first event; the others follow.
    Reported {
        number: u64,
        at: Time,
        callback: Arc<Callback>,
    },
    /// The broker has an event of a callback.
    EventPublished {
        number: u64,
    },
    /// Only replayed: an event of a callback that the broker does not have yet.
    EventOpen {
        number: u64,
    },
    /// What a callback tells of a message that was sent. Its answer stands.
    Receipt {
        seq: Seq,
        receipt: Receipt,
    },
    /// A callback proves that a message in doubt was sent. Its new end follows.
    Proven {
        seq: Seq,
        at: Time,
        msg_id: Option<Box<str>>,
    },
    /// An account went offline at its sender, or came back.
    Presence {
        account: Account,
        at: Time,
        online: bool,
    },
    /// An account sends nothing until then, because the sender called it too frequent so many times in a row; none for
    /// the end of such a row.
    CooledDown {
        account: Account,
        at: Time,
        until: Time,
        times: u32,
    },
    /// Only replayed: an attempt of the last hour that belongs to a message no longer live. One that never ended counts
    /// as ended at the replay.
    Spent {
        account: Account,
        corp: Corp,
        ended_at: Time,
    },
}

impl Record {
    /// Whether its durability may wait for a later commit: losing it only repeats a publish.
    pub const fn can_wait(&self) -> bool {
        matches!(self, Self::Answered { .. } | Self::RefusalAnswered { .. } | Self::EventPublished { .. })
    }

    /// Whether it may be written before records that wait: it changes nothing that they change.
    pub const fn may_overtake(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Attempted { .. })
    }
}

/// The highest numbers that a journal ever used; none is used twice, also after its row is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastNumbers {
    pub seq: Seq,
    pub refusal: u64,
    pub hold: u64,
    /// Of the events of callbacks.
    pub event: u64,
}

impl LastNumbers {
    /// Takes the numbers of a record into account.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Accepted(message) => self.seq = self.seq.max(message.seq),
            Record::Refused { number, .. } => self.refusal = self.refusal.max(*number),
            Record::Held(hold) => self.hold = self.hold.max(hold.id.0),
            Record::Blocked(block) => self.hold = self.hold.max(block.id.0),
            // What is replayed of a callback is what is left of it: without events its number is none.
            Record::Reported { number, callback, .. } if !callback.events.is_empty() => {
                self.event = self.event.max(number + callback.events.len() as u64 - 1);
            }
            Record::EventOpen { number } => self.event = self.event.max(*number),
            Record::Attempted { .. }
            | Record::Ended { .. }
            | Record::Finished { .. }
            | Record::Readdressed { .. }
            | Record::Answered { .. }
            | Record::RefusalAnswered { .. }
            | Record::Released { .. }
            | Record::Unblocked { .. }
            | Record::LimitSet(_)
            | Record::Located { .. }
            | Record::Commanded { .. }
            | Record::Reported { .. }
            | Record::EventPublished { .. }
            | Record::Receipt { .. }
            | Record::Proven { .. }
            | Record::Presence { .. }
            | Record::CooledDown { .. }
            | Record::Spent { .. } => {}
        }
    }
}

/// What must be published until the broker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outgoing {
    Answer(Seq),
    Refusal(u64),
    /// An event of a callback.
    Event(u64),
}

/// Questions that wait for the journal, at most. The engine refuses what is more, so asking never waits.
pub const LOOKUPS_MAX: usize = 64;

/// What may leave, once the records before it are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Acknowledge(Ticket),
    /// Make the request at `at`, or at once if that is over. The body is the journal's.
    Send {
        seq: Seq,
        attempt: u32,
        sender: SenderName,
        at: Time,
    },
    Publish(Outgoing),
    Event(SendEvent),
    Reply(Reply),
    /// Ask the journal. So many wait for it at once as [`LOOKUPS_MAX`], at most.
    Lookup(Lookup),
    /// Every hold and every block there is, after a change.
    Holds(Vec<Hold>, Vec<Block>),
    /// A retained status, when it changed or is due.
    Status(Status),
    /// Log that much from now on; `None` what the configuration says.
    LogLevel(Option<LogLevel>),
    Alarm(Alarm),
    RefreshDirectory {
        sender: SenderName,
    },
    /// The callback is durable: answer it.
    CallbackTaken(CallbackTicket),
    /// The callback cannot be taken now: have it brought again.
    CallbackRefused(CallbackTicket),
    /// Take deliveries from the broker, or leave them with it.
    Intake {
        open: bool,
    },
    /// Call the sender's API; its end is an [`Input::Called`] with the same number.
    Call(Box<CallJob>),
}

/// A step in a message's life, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendEvent {
    pub at: Time,
    /// `None` for a rejected request.
    pub seq: Option<Seq>,
    /// `None` means rejected.
    pub state: Option<State>,
    pub attempt: u32,
    pub possibly_duplicate: bool,
    /// For a rejected request: its refusal.
    pub refusal: Option<Arc<Refusal>>,
    /// For a final state: how it ended.
    pub outcome: Option<Arc<Outcome>>,
}

/// A retained status topic and what it says from now on.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// `None` clears the topic.
    Account(Account, Option<Box<AccountReport>>),
    Corp(Corp, Option<Box<CorpReport>>),
    /// Without what only the process can measure, which the bridge adds.
    Health(Box<HealthReport>),
}

/// A question that only the journal can answer, as [`Found`] with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub number: u64,
    pub question: Question,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Every message with this id. `known` are the numbers that the engine knows: found however far back they lie.
    Get { id: MessageId, account: Option<Account>, known: Vec<Seq> },
    /// Messages that meet a selection, newest first. `members` are the accounts of its company.
    List { selection: Selection, members: BTreeSet<Account>, states: Vec<State>, page: Page },
    /// The messages with this id, with all that sending them again takes.
    Retry { id: MessageId, account: Option<Account>, known: Vec<Seq> },
}

/// What the journal knows of a question. What is live the engine knows better, and it may have changed since.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub number: u64,
    pub result: Result<Findings, Fault>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Findings {
    Reports(MessagesReport),
    /// In ascending `seq`. `gone` is true when others were there, of which only the outcome is left.
    Kept {
        kept: Vec<Kept>,
        gone: bool,
    },
}

/// Something that a person must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// A stable word, such as `sender_unauthorized`.
    pub what: &'static str,
    pub about: Box<str>,
    pub message: Box<str>,
    pub at: Time,
}

/// What to do next. `records` are durable BEFORE any of `actions` is performed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    pub records: Vec<Record>,
    pub actions: Vec<Action>,
}

/// An event of a callback as the journal keeps it until the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedEvent {
    pub number: u64,
    /// One of [`EVENTS`](super::EVENTS).
    pub word: Box<str>,
    /// An [`Event`](super::Event) as JSON.
    pub payload: Bytes,
}

/// One request to make.
#[derive(Clone, Debug)]
pub struct Job {
    pub seq: Seq,
    pub attempt: u32,
    pub sender: SenderName,
    pub kind: Arc<str>,
    pub body: Bytes,
    /// Not before `at`, and before `expires_at`.
    pub at: Time,
    pub expires_at: Time,
}

/// Something to publish, with all that its payload is made of.
#[derive(Clone, Debug)]
pub enum Publication {
    Answer {
        seq: Seq,
        message: Arc<Message>,
        outcome: Arc<Outcome>,
    },
    Refusal {
        number: u64,
        refusal: Arc<Refusal>,
    },
    /// An event of a callback, as JSON, below the topic of events.
    Reported(ReportedEvent),
    Event {
        event: SendEvent,
        message: Option<Arc<Message>>,
    },
    Reply(Reply),
    Holds(Vec<Hold>, Vec<Block>),
    Status(Status),
    Alarm(Alarm),
}
