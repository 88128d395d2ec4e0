use crate::model::{Account, CallRules, Corp, OnDoubt, SenderName};
use std::time::Duration;

/// What the engine decides by. Every duration is a length of engine time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one.
    pub senders: Vec<SenderSettings>,
    pub accounts: Vec<AccountSettings>,
    pub limits: LimitSettings,
    pub messages: MessageSettings,
    pub events: EventLevel,
    /// Answers published and not yet acknowledged by the broker, at most.
    pub publish_window: usize,
    /// The data of the reply to `info`.
    pub info: serde_json::Value,
    /// How often the health report is given and the books are counted anew; `None` for never.
    pub health_interval: Option<Duration>,
    /// So many messages stored in the broker are an alarm; 0 for none.
    pub broker_backlog_alarm: u64,
    pub broker_limits: BrokerLimits,
    pub status: StatusSettings,
}

/// What is an alarm of what the broker tells; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Clients connected.
    pub clients: u64,
    /// Memory in use.
    pub heap_bytes: u64,
}

/// The retained topics of accounts and companies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusSettings {
    /// Publishes a second, all topics together, at most. Zero turns them off.
    pub per_second: usize,
    /// Accounts shown at the same time, at most.
    pub accounts_max: usize,
    /// For how long an account or a company without work stays shown.
    pub idle: Duration,
}

#[derive(Clone, Debug)]
pub struct SenderSettings {
    pub name: SenderName,
    /// Requests in flight, at most.
    pub connections: usize,
    /// Whether a source of callbacks tells about this server's messages and accounts.
    pub callbacks: bool,
    /// How long a doubt waits for proof; zero where no callback of this server is configured.
    pub doubt_window: Duration,
    /// The company of accounts that nobody lists.
    pub default_corp: Option<Corp>,
    pub calls: CallSettings,
}

/// Calls of one server's API that send nothing.
#[derive(Clone, Debug)]
pub struct CallSettings {
    pub rules: CallRules,
    /// Under way at once, at most; beside those of sends.
    pub connections: usize,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self { rules: CallRules::default(), connections: 4 }
    }
}

#[derive(Clone, Debug)]
pub struct AccountSettings {
    pub account: Account,
    pub corp: Option<Corp>,
    pub sender: Option<SenderName>,
}

#[derive(Clone, Debug)]
pub struct LimitSettings {
    pub account: AccountLimits,
    pub corp: CorpLimits,
    /// Overrides by account and by company.
    pub accounts: Vec<(Account, AccountLimits)>,
    pub corps: Vec<(Corp, CorpLimits)>,
    pub measured_from: MeasuredFrom,
    /// The first wait after "too frequent", which doubles up to the second.
    pub cool_down: Duration,
    pub cool_down_max: Duration,
    /// How long before its moment a send is decided at most, so that it is durable when the moment comes and leaves at
    /// once. An order that comes in between finds it on its way.
    pub ahead: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    pub interval: Duration,
}

/// Invariant: `reserve <= per_hour`, `burst <= per_hour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorpLimits {
    pub per_hour: u32,
    /// Places of the hour that only priority 8 and 9 may use.
    pub reserve: u32,
    /// Sends that may follow each other without smoothing; `None` means all of the hour.
    pub burst: Option<u32>,
}

/// From where the spacing of an account counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredFrom {
    /// The answer to the previous request: proven at the receiver, one request in flight per account.
    Response,
    /// The start of the previous request: faster, and only as good as the network is even.
    Request,
}

#[derive(Clone, Debug)]
pub struct MessageSettings {
    pub ttl: Duration,
    pub dedup_window: Duration,
    pub id_conflict: IdConflict,
    pub on_doubt: OnDoubt,
    /// How often a message may be sent again after a doubt, with `onDoubt: "resend"`.
    pub resends_max: u32,
    pub queue_messages: usize,
    pub queue_bytes: u64,
    /// The longest wait at an account's own rate.
    pub queue_time: Option<Duration>,
    pub unknown_account_grace: Duration,
}

/// What to do with a known id that comes with another body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdConflict {
    Reject,
    Accept,
}

/// Which steps of a message's life are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLevel {
    All,
    Final,
    Off,
}
