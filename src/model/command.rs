use super::{
    Account, AccountState, Call, Corp, Fault, Fingerprint, HoldId, MessageId, ReplyTo, SenderName, State, Time,
};
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

/// Which messages a command is about: all that meet every condition given.
///
/// Invariant: at least one is given where messages are to be cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub id: Option<MessageId>,
    pub account: Option<Account>,
    pub conversation: Option<Box<str>>,
    pub corp: Option<Corp>,
    pub tag: Option<Box<str>>,
}

impl Selection {
    /// Every message with this id, of one account if one is named.
    pub fn of_id(id: MessageId, account: Option<Account>) -> Self {
        Self { id: Some(id), account, ..Self::default() }
    }
}

/// Which part of a list a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries, at most: 1 to 1,000.
    pub limit: usize,
    /// The `next` of the page before; `None` for the first.
    pub after: Option<Box<str>>,
}

/// Which holds and blocks are wanted: those that name all of this, and all of them where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldFilter {
    pub sender: Option<SenderName>,
    pub corp: Option<Corp>,
    /// Those of its conversations too.
    pub account: Option<Account>,
}

impl HoldFilter {
    pub fn takes_scope(&self, scope: &Scope) -> bool {
        let (sender, corp, account) = match scope {
            Scope::All => (None, None, None),
            Scope::Sender(name) => (Some(name), None, None),
            Scope::Corp(corp) => (None, Some(corp), None),
            Scope::Account(account) | Scope::Conversation(account, _) => (None, None, Some(account)),
        };
        self.takes(sender, corp, account)
    }

    pub fn takes_selection(&self, selection: &Selection) -> bool {
        self.takes(None, selection.corp.as_ref(), selection.account.as_ref())
    }

    fn takes(&self, sender: Option<&SenderName>, corp: Option<&Corp>, account: Option<&Account>) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, named: Option<&T>) -> bool {
            wanted.is_none() || wanted == named
        }
        is(self.sender.as_ref(), sender) && is(self.corp.as_ref(), corp) && is(self.account.as_ref(), account)
    }
}

/// Whose limits a command is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitScope {
    Account(Account),
    Corp(Corp),
}

/// What a limit becomes. The configured limit is its ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitChange {
    /// Of an account: the spacing, never shorter than configured.
    Interval(Duration),
    /// Of a company: sends in an hour, never more than configured.
    PerHour(u32),
    /// What the configuration says.
    Configured,
}

/// How a person settles a doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Sent { msg_id: Option<Box<str>> },
    Failed { reason: Option<Box<str>> },
}

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Health,
    Info,
    AccountList {
        corp: Option<Corp>,
        /// Only those that are doing this.
        state: Option<AccountState>,
        page: Page,
    },
    AccountGet {
        account: Account,
    },
    CorpList {
        page: Page,
    },
    CorpGet {
        corp: Corp,
    },
    HoldList {
        filter: HoldFilter,
        page: Page,
    },
    MessageGet {
        id: MessageId,
        account: Option<Account>,
    },
    MessageList {
        selection: Selection,
        states: Vec<State>,
        page: Page,
    },
    MessageCancel {
        selection: Selection,
        dry_run: bool,
        /// For how long new arrivals that meet the selection are refused, too.
        block_for: Option<Duration>,
        reason: Option<Box<str>>,
    },
    MessageRetry {
        id: MessageId,
        account: Option<Account>,
    },
    MessageResolve {
        id: MessageId,
        account: Option<Account>,
        settled: Settled,
    },
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
    /// Ends one hold or one block.
    ResumeHold {
        hold: HoldId,
    },
    LimitsGet {
        scope: Option<LimitScope>,
    },
    LimitsSet {
        scope: LimitScope,
        change: LimitChange,
        duration: Option<Duration>,
        until: Option<Time>,
    },
    DirectoryRefresh {
        sender: Option<SenderName>,
    },
    /// Takes no more messages (`on`), or takes them again.
    Drain {
        on: bool,
    },
    LogLevel {
        level: LogLevel,
        /// `None` until the next start.
        duration: Option<Duration>,
    },
    SenderCall(Box<Call>),
}

/// How much the process logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Command {
    /// Every command name with its place under `<base>/request/`.
    pub const NAMES: [&'static str; 20] = [
        "account/get",
        "account/list",
        "corp/get",
        "corp/list",
        "directory/refresh",
        "drain",
        "health",
        "hold/list",
        "info",
        "limits/get",
        "limits/set",
        "log/level",
        "message/cancel",
        "message/get",
        "message/list",
        "message/resolve",
        "message/retry",
        "pause",
        "resume",
        "sender/call",
    ];

    /// Its place under `<base>/request/`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Info => "info",
            Self::AccountList { .. } => "account/list",
            Self::AccountGet { .. } => "account/get",
            Self::CorpList { .. } => "corp/list",
            Self::CorpGet { .. } => "corp/get",
            Self::HoldList { .. } => "hold/list",
            Self::MessageGet { .. } => "message/get",
            Self::MessageList { .. } => "message/list",
            Self::MessageCancel { .. } => "message/cancel",
            Self::MessageRetry { .. } => "message/retry",
            Self::MessageResolve { .. } => "message/resolve",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } | Self::ResumeHold { .. } => "resume",
            Self::LimitsGet { .. } => "limits/get",
            Self::LimitsSet { .. } => "limits/set",
            Self::DirectoryRefresh { .. } => "directory/refresh",
            Self::Drain { .. } => "drain",
            Self::LogLevel { .. } => "log/level",
            Self::SenderCall(_) => "sender/call",
        }
    }

    /// Whether it changes anything, and so is journaled and done once per transaction.
    pub const fn is_change(&self) -> bool {
        match self {
            Self::MessageCancel { dry_run, .. } => !*dry_run,
            Self::Pause { .. }
            | Self::Resume { .. }
            | Self::ResumeHold { .. }
            | Self::MessageRetry { .. }
            | Self::MessageResolve { .. }
            | Self::LimitsSet { .. }
            | Self::Drain { .. }
            | Self::LogLevel { .. }
            // What it comes to is known when it is planned.
            | Self::SenderCall(_) => true,
            Self::DirectoryRefresh { .. }
            | Self::MessageGet { .. }
            | Self::MessageList { .. }
            | Self::AccountGet { .. }
            | Self::AccountList { .. }
            | Self::CorpGet { .. }
            | Self::CorpList { .. }
            | Self::HoldList { .. }
            | Self::LimitsGet { .. }
            | Self::Health
            | Self::Info => false,
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

/// How long a command that was done is known by its transaction, also across restarts.
pub const TRANSACTION_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// A command as it came in: understood, or refused with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRequest {
    pub origin: CommandOrigin,
    pub command: Result<Command, Fault>,
    /// When it is not worth doing any more, as the command said (`expiresAt`).
    pub expires_at: Option<Time>,
    /// The MQTT 5 message expiry that was left when it arrived: nothing left means that it came too late.
    pub message_expiry: Option<Duration>,
    /// A digest of its name and its own fields: equal for two that ask for the same thing.
    pub fingerprint: Fingerprint,
    /// The broker says that it delivered this before, and does not know whether it arrived.
    pub is_redelivered: bool,
}

impl CommandRequest {
    /// A command without an end, and told apart from no other.
    pub fn new(origin: CommandOrigin, command: Result<Command, Fault>) -> Self {
        Self {
            origin,
            command,
            expires_at: None,
            message_expiry: None,
            fingerprint: Fingerprint::default(),
            is_redelivered: false,
        }
    }

    /// Whether it is too late to do it.
    pub fn has_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now) || self.message_expiry.is_some_and(|left| left.is_zero())
    }
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub origin: CommandOrigin,
    pub result: Result<serde_json::Value, Fault>,
}
