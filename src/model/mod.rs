//! The words everybody speaks.
//!
//! Depends on nothing of ours. What comes in is an [`Input`], what the engine decided is a [`Ready`]:
//! records that must be durable, then actions that may leave. Everything between two rooms is one of these.

mod command;
mod event;
mod flow;
mod hold;
mod ids;
mod message;
mod outcome;
mod report;
mod time;

pub use command::{
    Command, CommandOrigin, CommandRequest, LimitChange, LimitScope, LogLevel, Page, Reply, Scope, Selection, Settled,
};
pub use event::{
    Callback, CallbackTicket, Conversation, ConversationKind, EVENTS, Event, Party, Phase, Seen, Shown, Signal, System,
};
pub use flow::{
    Action, Alarm, DirectoryEntry, Input, Job, LastNumbers, Link, Lookup, Outgoing, Publication, Ready, Record,
    SendEvent, SenderTrouble, Status, StatusTopic, Ticket,
};
pub use hold::{Block, Hold, HoldId, HoldReason, LimitOverride};
pub use ids::{Account, Corp, MessageId, SenderName, Seq};
pub use message::{
    BUILT_IN_KINDS, Fingerprint, Lifetime, Message, OnDoubt, Options, Origin, Refusal, ReplyTo, Request,
};
pub use outcome::{Code, Doubt, Fault, NotSent, Outcome, Sender, State, Verdict};
pub use report::{
    AccountReport, AccountState, BrokerReport, CorpReport, Counts, HealthReport, LatencyReport, LinkWord, Mode,
    Percentiles, ProcessReport, Rates, SenderReport, SenderWord,
};
pub use time::Time;
