//! The words everybody speaks.
//!
//! Depends on nothing of ours. What comes in is an [`Input`], what the engine decided is a [`Ready`]:
//! records that must be durable, then actions that may leave. Everything between two rooms is one of these.

mod call;
mod command;
mod event;
mod flow;
mod hold;
mod ids;
mod message;
mod nesting;
mod outcome;
mod report;
mod time;
mod words;

pub use call::{
    Call, CallContent, CallFile, CallJob, CallRule, CallRules, JsonText, Method, OFFERED, Offered, Planned, QueryPair,
    UPLOAD_PATH, percent_decoded,
};
pub use command::{
    Command, CommandOrigin, CommandRequest, HoldFilter, LimitChange, LimitScope, LogLevel, Page, Reply, Scope,
    Selection, Settled, TRANSACTION_WINDOW,
};
pub use event::{
    CALLBACK_WINDOW, CALLBACKS_KNOWN_MAX, Callback, CallbackTicket, Conversation, ConversationKind, EVENTS, Event,
    Party, Phase, Seen, Shown, Signal, System,
};
pub use flow::{
    Action, Alarm, BrokerFact, DirectoryEntry, Findings, Found, Input, Job, LOOKUPS_MAX, LastNumbers, Link, Lookup,
    Outgoing, Publication, Question, Ready, Record, ReportedEvent, SendEvent, SenderTrouble, Status, StatusTopic,
    Ticket,
};
pub use hold::{Block, Hold, HoldId, HoldReason, LimitOverride};
pub use ids::{Account, Corp, MessageId, SenderName, Seq};
pub use message::{
    BUILT_IN_KINDS, Fingerprint, Kept, Lifetime, Message, OnDoubt, Options, Origin, Refusal, ReplyTo, Request, Retry,
};
pub use nesting::{TOLD_NESTING_MAX, is_too_deep};
pub use outcome::{Code, Doubt, Fault, NotSent, Outcome, Receipt, Sender, State, Verdict};
pub use report::{
    AccountReport, AccountState, AttemptReport, AttemptWord, BrokerReport, CorpReport, Counts, ErrorReport,
    HealthReport, InfoLimits, InfoReport, LatencyReport, LinkWord, MessageReport, MessagesReport, Mode, PauseReport,
    Percentiles, ProcessReport, Rates, ReceiptReport, SenderReport, SenderWord, TopicReport,
};
pub use time::Time;
pub use words::{ALARMS, EventWord, one_of};
