use super::{Account, Corp, Fault, HoldId, MessageId, ReplyTo, SenderName, Time};
use std::time::Duration;

/// What a pause or a cancellation applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    All,
    Sender(SenderName),
    Corp(Corp),
    Account(Account),
    Conversation(Account, Box<str>),
}

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Pause {
        scope: Scope,
        reason: Box<str>,
        duration: Option<Duration>,
        until: Option<Time>,
    },
    /// Ends the holds of exactly this scope.
    Resume {
        scope: Scope,
    },
    ResumeHold {
        hold: HoldId,
    },
    MessageGet {
        id: MessageId,
        account: Option<Account>,
    },
    MessageCancel {
        id: MessageId,
        account: Option<Account>,
        dry_run: bool,
    },
    AccountGet {
        account: Account,
    },
    Health,
}

impl Command {
    /// Every command name with its place under `<base>/request/`.
    pub const NAMES: [&'static str; 6] = ["account/get", "health", "message/cancel", "message/get", "pause", "resume"];

    /// Whether it changes anything, and so is journaled and done once per transaction.
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Pause { .. } | Self::Resume { .. } | Self::ResumeHold { .. } | Self::MessageCancel { .. } => true,
            Self::MessageGet { .. } | Self::AccountGet { .. } | Self::Health => false,
        }
    }
}

/// Where a command came from, which is where its reply goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOrigin {
    /// What followed `<base>/request/`.
    pub name: Box<str>,
    pub reply_to: Option<ReplyTo>,
    /// The JSON text of `transaction`, echoed exactly.
    pub transaction: Option<Box<str>>,
    /// Who asked, as far as the command said (`by`).
    pub by: Option<Box<str>>,
}

/// A command as it came in: understood, or refused with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRequest {
    pub origin: CommandOrigin,
    pub command: Result<Command, Fault>,
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub origin: CommandOrigin,
    pub result: Result<serde_json::Value, Fault>,
}
