use super::{Account, Corp, LimitChange, LimitScope, Scope, Selection, SenderName, Time};

/// The number of a hold; never used twice in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldId(pub u64);

/// A stop that a person ordered. It survives restarts and ends by itself at `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub scope: Scope,
    pub reason: Box<str>,
    /// Who asked for it, as far as the command said.
    pub by: Option<Box<str>>,
    pub since: Time,
    pub until: Option<Time>,
}

/// Refuses new messages that meet a selection, for a while. Numbered like a hold, and ended like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub id: HoldId,
    pub selection: Selection,
    pub reason: Option<Box<str>>,
    pub by: Option<Box<str>>,
    pub since: Time,
    pub until: Time,
}

/// A limit that a person set. It survives restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    pub scope: LimitScope,
    /// `Configured` ends what was set before.
    pub change: LimitChange,
    pub by: Option<Box<str>>,
    pub since: Time,
    /// `None` for good.
    pub until: Option<Time>,
}

/// Why a queued message is not being sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// Somebody paused it.
    Paused(HoldId),
    /// Its own `notBefore`.
    Scheduled,
    /// Another message of its account goes first.
    Waiting,
    /// The account's spacing.
    Interval,
    /// A retry waits for its time.
    Retry,
    /// The company's hour is used up.
    Quota(Corp),
    /// The sender said "too frequent".
    CoolingDown,
    /// The account is not online at the sender.
    Offline(Account),
    /// Nobody knows the account's company yet.
    UnknownAccount,
    /// The server does not answer, or does not take our key, or is at its cap.
    Sender(SenderName),
    /// The first second after a start.
    Settling,
    /// Another message that cannot be told from it is in doubt.
    Twin,
}

impl HoldReason {
    /// What [`as_str`](Self::as_str) can answer.
    pub const WORDS: [&'static str; 12] = [
        "paused",
        "scheduled",
        "waiting",
        "interval",
        "retry",
        "quota",
        "cooling_down",
        "offline",
        "unknown_account",
        "sender",
        "settling",
        "twin",
    ];

    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Paused(_) => "paused",
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Interval => "interval",
            Self::Retry => "retry",
            Self::Quota(_) => "quota",
            Self::CoolingDown => "cooling_down",
            Self::Offline(_) => "offline",
            Self::UnknownAccount => "unknown_account",
            Self::Sender(_) => "sender",
            Self::Settling => "settling",
            Self::Twin => "twin",
        }
    }
}
