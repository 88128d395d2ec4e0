//! The words everybody speaks.
//!
//! Depends on nothing of ours. What comes in is an [`Input`], what the engine decided is a [`Ready`]:
//! records that must be durable, then actions that may leave. Everything between two rooms is one of these.

mod command;
mod flow;
mod hold;
mod ids;
mod message;
mod outcome;
mod time;

pub use command::{Command, CommandOrigin, CommandRequest, Reply, Scope};
pub use flow::{
    Action, Alarm, DirectoryEntry, Input, Job, LastNumbers, Lookup, Outgoing, Publication, Ready, Record, SendEvent,
    SenderTrouble, Ticket,
};
pub use hold::{Hold, HoldId, HoldReason};
pub use ids::{Account, Corp, MessageId, SenderName, Seq};
pub use message::{
    BUILT_IN_KINDS, Fingerprint, Lifetime, Message, OnDoubt, Options, Origin, Refusal, ReplyTo, Request,
};
pub use outcome::{Code, Doubt, Fault, NotSent, Outcome, Sender, State, Verdict};
pub use time::Time;
