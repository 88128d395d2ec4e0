use super::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Where a message is in its life.
///
/// ```text
/// Queued --> Sending --> Sent --> Delivered | Undelivered
///   ^  |        |-----> Failed
///   |  |        '-----> InDoubt --> Sent | Unresolved --> Sent
///   |  |                   |
///   '--|-------------------'   (a resend, flagged)
///      '--> Expired | Cancelled
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Queued,
    Sending,
    InDoubt,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Unresolved,
    Expired,
    Cancelled,
}

impl State {
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Sending,
        Self::InDoubt,
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Failed,
        Self::Unresolved,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The word for it on topics and in the journal; stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Unresolved => "unresolved",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state that `as_str` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    pub const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Sending | Self::InDoubt => false,
            Self::Sent
            | Self::Delivered
            | Self::Undelivered
            | Self::Failed
            | Self::Unresolved
            | Self::Expired
            | Self::Cancelled => true,
        }
    }

    /// Whether it says that the message was sent. A callback may say later that it did not arrive, which takes back
    /// nothing of what its publisher was told.
    pub const fn says_sent(self) -> bool {
        match self {
            Self::Sent | Self::Delivered | Self::Undelivered => true,
            Self::Queued
            | Self::Sending
            | Self::InDoubt
            | Self::Failed
            | Self::Unresolved
            | Self::Expired
            | Self::Cancelled => false,
        }
    }

    /// Whether it says that no attempt worked. Not the opposite of [`State::says_sent`]: what is open, in doubt or
    /// unresolved says neither.
    pub const fn says_not_sent(self) -> bool {
        match self {
            Self::Failed | Self::Expired | Self::Cancelled => true,
            Self::Queued
            | Self::Sending
            | Self::InDoubt
            | Self::Sent
            | Self::Delivered
            | Self::Undelivered
            | Self::Unresolved => false,
        }
    }
}

/// What one attempt has proven. Four variants, because four different things happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sender's own word that it did it.
    Confirmed { msg_id: Option<Box<str>> },
    /// The sender's own word that it will not do it.
    Refused { sender: Sender },
    /// Proof that this attempt had no effect; another one may.
    NotSent { why: NotSent, detail: Box<str> },
    /// Nobody can know.
    Unknown { why: Doubt, detail: Box<str> },
}

/// What the sender's API said when it refused, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    pub http: u16,
    pub code: Option<i64>,
    pub msg: Box<str>,
}

/// Why an attempt provably had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// No connection came about: concerns the whole server.
    Connect,
    /// 503: concerns the whole server.
    Busy { retry_after: Option<Duration> },
    /// "Too frequent": concerns the account.
    TooFrequent { retry_after: Option<Duration> },
    /// A code or message that the configuration lists as temporary.
    Temporary { retry_after: Option<Duration> },
    /// The account is not online at the sender.
    Offline,
    /// The API key was not taken: concerns the whole server.
    Unauthorized,
    /// It was too old when its request was to be made: the commit that goes before had taken long.
    Expired,
}

impl NotSent {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Busy { .. } => "busy",
            Self::TooFrequent { .. } => "too_frequent",
            Self::Temporary { .. } => "temporary",
            Self::Offline => "offline",
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
        }
    }
}

/// Why nobody can know whether an attempt worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    Timeout,
    /// The connection broke after the request may have left.
    Reset,
    /// An answer came, but not one that can be read.
    Unreadable,
    /// A status that says nothing about the effect: 5xx, 3xx.
    Status(u16),
    /// The bridge stopped between the request and its answer.
    Crash,
    /// The API answered with a code that the configuration lists as unknown.
    Code(i64),
}

impl Doubt {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Unreadable => "unreadable",
            Self::Status(_) => "status",
            Self::Crash => "crash",
            Self::Code(_) => "code",
        }
    }
}

/// The stable codes of an error answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidJson,
    InvalidField,
    UnknownType,
    TooLarge,
    Retained,
    IdConflict,
    QueueFull,
    UnknownAccount,
    Refused,
    Unresolved,
    Expired,
    Cancelled,
    Blocked,
    /// A person found that nothing was sent.
    NotSent,
    UnknownCommand,
    NotFound,
    /// The message is there, and in a state in which it cannot be done.
    WrongState,
    /// The disk is nearly full.
    StorageLow,
    Internal,
    /// A call of the sender's API is none of those that may be made.
    PathNotAllowed,
    /// A call of the sender's API would have sent a message.
    SendPath,
    /// Too many calls are under way, or the sender says that it is busy: nothing was done.
    Busy,
    /// No connection to the sender came about: nothing was done.
    Unreachable,
    /// No answer to a call that only reads: nothing can have changed.
    Timeout,
    /// An answer that cannot be read, to a call that only reads: nothing can have changed.
    BadAnswer,
    /// An answer that is too long, to a call that only reads: nothing can have changed.
    AnswerTooLarge,
    /// A file that was to be downloaded could not be had: nothing was done.
    FileUnavailable,
}

impl Code {
    pub const ALL: [Self; 27] = [
        Self::InvalidJson,
        Self::InvalidField,
        Self::UnknownType,
        Self::TooLarge,
        Self::Retained,
        Self::IdConflict,
        Self::QueueFull,
        Self::UnknownAccount,
        Self::Refused,
        Self::Unresolved,
        Self::Expired,
        Self::Cancelled,
        Self::Blocked,
        Self::NotSent,
        Self::UnknownCommand,
        Self::NotFound,
        Self::WrongState,
        Self::StorageLow,
        Self::Internal,
        Self::PathNotAllowed,
        Self::SendPath,
        Self::Busy,
        Self::Unreachable,
        Self::Timeout,
        Self::BadAnswer,
        Self::AnswerTooLarge,
        Self::FileUnavailable,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "INVALID_JSON",
            Self::InvalidField => "INVALID_FIELD",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::TooLarge => "TOO_LARGE",
            Self::Retained => "RETAINED",
            Self::IdConflict => "ID_CONFLICT",
            Self::QueueFull => "QUEUE_FULL",
            Self::UnknownAccount => "UNKNOWN_ACCOUNT",
            Self::Refused => "REFUSED",
            Self::Unresolved => "UNRESOLVED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::Blocked => "BLOCKED",
            Self::NotSent => "NOT_SENT",
            Self::UnknownCommand => "UNKNOWN_COMMAND",
            Self::NotFound => "NOT_FOUND",
            Self::WrongState => "WRONG_STATE",
            Self::StorageLow => "STORAGE_LOW",
            Self::Internal => "INTERNAL",
            Self::PathNotAllowed => "PATH_NOT_ALLOWED",
            Self::SendPath => "SEND_PATH",
            Self::Busy => "BUSY",
            Self::Unreachable => "UNREACHABLE",
            Self::Timeout => "TIMEOUT",
            Self::BadAnswer => "BAD_ANSWER",
            Self::AnswerTooLarge => "ANSWER_TOO_LARGE",
            Self::FileUnavailable => "FILE_UNAVAILABLE",
        }
    }

    /// The code that `as_str` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// Whether the same request may succeed when it is made again later.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::QueueFull
            | Self::UnknownAccount
            | Self::Expired
            | Self::Blocked
            | Self::NotSent
            | Self::StorageLow
            | Self::Internal
            | Self::Busy
            | Self::Unreachable
            | Self::Timeout
            | Self::BadAnswer
            | Self::FileUnavailable => true,
            Self::InvalidJson
            | Self::InvalidField
            | Self::UnknownType
            | Self::TooLarge
            | Self::Retained
            | Self::IdConflict
            | Self::Refused
            | Self::Unresolved
            | Self::Cancelled
            | Self::UnknownCommand
            | Self::NotFound
            | Self::WrongState
            | Self::PathNotAllowed
            | Self::SendPath
            | Self::AnswerTooLarge => false,
        }
    }
}

/// Why something did not happen: the `error` of an answer or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// Names the field, the rule and what to do; never a message's text.
    pub message: Box<str>,
    pub field: Option<Box<str>>,
    /// The sender's own words, where it spoke.
    pub sender: Option<Sender>,
}

impl Fault {
    pub fn new(code: Code, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into(), field: None, sender: None }
    }

    /// A refusal that concerns one field of the request.
    pub fn of_field(code: Code, field: &str, message: impl Into<Box<str>>) -> Self {
        Self { code, message: message.into(), field: Some(Box::from(field)), sender: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

/// How a message ended. Its answer is made from this and the request alone.
///
/// Invariant: `state` is final; `fault` is `Some` when `state` is neither `Sent` nor a receipt of it. The event of an
/// `Undelivered` has one, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub state: State,
    pub at: Time,
    pub msg_id: Option<Box<str>>,
    pub fault: Option<Fault>,
    pub attempts: u32,
    pub possibly_duplicate: bool,
}

/// What a callback tells of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// `Delivered` or `Undelivered`.
    pub state: State,
    pub at: Time,
    /// The system's code for it: 0 for what was delivered.
    pub error: i64,
    /// The system's own words, where it is an error.
    pub text: Option<Box<str>>,
}
