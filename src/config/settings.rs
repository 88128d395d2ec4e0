//! The configuration as it is meant: checked, with every default filled in, grouped like the file.

use crate::model::{Account, Corp, OnDoubt, SenderName};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything an operator decided. `app.rs` takes it apart; no room below it sees it.
#[derive(Clone, Debug)]
pub struct Config {
    pub mqtt: Mqtt,
    pub topics: Topics,
    pub messages: Messages,
    /// At least one; names are unique.
    pub senders: Vec<Sender>,
    /// Each account at most once, each of an existing sender.
    pub accounts: Vec<AccountOf>,
    pub limits: Limits,
    pub store: Store,
    pub http: Http,
    pub callbacks: Vec<Callback>,
    pub broker: Broker,
    pub log: Log,
}

/// A text that no `Debug` shows, and the file it came from, if it did.
#[derive(Clone, Debug)]
pub struct Secret {
    pub value: SecretString,
    pub file: Option<PathBuf>,
}

/// The contents of a PEM file, read once at start. Holds certificates only, nothing secret.
#[derive(Clone, Debug)]
pub struct Pem {
    pub file: PathBuf,
    pub text: String,
}

/// The certificate the bridge shows to the broker, and its key.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub certificate: Pem,
    pub key: Secret,
}

#[derive(Clone, Debug)]
pub struct Mqtt {
    /// Scheme `mqtt`, `mqtts`, `ws` or `wss`, a host, no credentials.
    pub url: String,
    /// Without the `-in`, `-commands` and `-out` that the three connections append.
    pub client_id: String,
    /// Whole seconds, 5 at least.
    pub keep_alive: Duration,
    /// How many messages the broker may hand over before one is acknowledged.
    pub receive_maximum: u16,
    /// So many messages stored in the broker are an alarm; 0 for none.
    pub broker_backlog_alarm: u64,
    /// So many clients of the broker are an alarm; 0 for none.
    pub broker_clients_alarm: u64,
    /// So many bytes of the broker's memory are an alarm; 0 for none.
    pub broker_memory_alarm: u64,
    pub username: Option<String>,
    /// Only together with `username`.
    pub password: Option<Secret>,
    /// In place of the public authorities.
    pub ca: Option<Pem>,
    pub client: Option<ClientCertificate>,
}

#[derive(Clone, Debug)]
pub struct Topics {
    /// Filters; none of them matches a topic on which the bridge itself speaks.
    pub send: Vec<String>,
    pub answer: String,
    pub base: String,
    pub reply_topics: Vec<String>,
    pub events: Events,
    /// How often the health report is published, if nothing important changes.
    pub health_interval: Duration,
    /// Publishes of account and company status a second, at most; zero turns them off.
    pub status_per_second: usize,
    /// Accounts shown at the same time, at most.
    pub status_accounts: usize,
    /// For how long an account or a company without work stays shown.
    pub status_idle: Duration,
}

/// Which changes of a message's state become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    All,
    Final,
    Off,
}

#[derive(Clone, Debug)]
pub struct Messages {
    /// Bytes of a payload.
    pub max_message: u64,
    pub ttl: Duration,
    /// Not above `store.retention`.
    pub dedup_window: Duration,
    pub id_conflict: IdConflict,
    pub on_doubt: OnDoubt,
    pub doubt_window: Duration,
    /// How often one message may be sent again after a doubt, where its publisher wants that.
    pub max_resends: u32,
    pub queue_messages: u64,
    /// Bytes of all bodies together; not below `max_message`.
    pub queue_bytes: u64,
    /// The longest wait at an account's own rate; `None` is no such bound.
    pub queue_time: Option<Duration>,
    pub unknown_account_grace: Duration,
}

/// What a known id with another body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdConflict {
    Reject,
    Accept,
}

/// One server of the sender's API.
#[derive(Clone, Debug)]
pub struct Sender {
    pub name: SenderName,
    pub kind: SenderKind,
    /// Scheme `http` or `https`, no credentials, no query, no slash at the end.
    pub url: String,
    /// Fit for an HTTP header: visible ASCII only.
    pub api_key: Secret,
    /// In place of the public authorities.
    pub ca: Option<Pem>,
    /// For the whole request; above `connect_timeout`.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub connections: u16,
    /// How long an idle connection may be used again; zero is never.
    pub reuse_idle: Duration,
    pub directory_refresh: Duration,
    pub busy_means_not_done: bool,
    pub default_corp: Option<Corp>,
    pub temporary: Vec<Sign>,
    pub offline: Vec<Sign>,
    pub unknown: Vec<Sign>,
    /// Further message types and their paths below `url`.
    pub types: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderKind {
    Quntool,
}

/// What an answer of the sender is recognised by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Its `code`.
    Code(i64),
    /// A part of its `msg`.
    Word(String),
}

/// An account whose company or server the operator states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOf {
    pub account: Account,
    pub corp: Corp,
    pub sender: SenderName,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub account_interval: Duration,
    pub corp: CorpLimit,
    pub measured_from: MeasuredFrom,
    pub cool_down: Duration,
    /// Not below `cool_down`.
    pub cool_down_max: Duration,
    /// Each company at most once; what it leaves out is filled in from `corp`.
    pub corps: BTreeMap<Corp, CorpLimit>,
    pub accounts: BTreeMap<Account, Duration>,
}

/// The hour of one company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorpLimit {
    pub per_hour: u32,
    /// Percent of the hour that is kept for urgent messages.
    pub reserve: u8,
    /// How many may go at once; not above `per_hour`, and `None` is all of it.
    pub burst: Option<u32>,
}

/// From which moment of a send the next one of its account is spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredFrom {
    Response,
    Request,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub path: PathBuf,
    pub retention: Duration,
    /// Counted from the final state; not above `retention`.
    pub body_retention: Duration,
    /// Bytes free on the disk below which intake stops.
    pub low_space: u64,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
}

/// Where the sender reports what became of a message.
#[derive(Clone, Debug)]
pub struct Callback {
    pub name: String,
    pub kind: CallbackKind,
    pub secret: Secret,
    pub sender: SenderName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackKind {
    Quntool,
}

/// The built-in broker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// `None` is no broker.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub level: Level,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
}

/// The words of the file for each choice. Reading and showing use the same table, so they cannot disagree.
pub(super) mod choices {
    use super::{CallbackKind, Events, Format, IdConflict, Level, MeasuredFrom, OnDoubt, SenderKind};

    pub const EVENTS: &[(&str, Events)] = &[("all", Events::All), ("final", Events::Final), ("off", Events::Off)];
    pub const ID_CONFLICT: &[(&str, IdConflict)] = &[("reject", IdConflict::Reject), ("accept", IdConflict::Accept)];
    pub const ON_DOUBT: &[(&str, OnDoubt)] =
        &[("report", OnDoubt::Report), ("resend", OnDoubt::Resend), ("hold", OnDoubt::Hold)];
    pub const SENDER_KIND: &[(&str, SenderKind)] = &[("quntool", SenderKind::Quntool)];
    pub const CALLBACK_KIND: &[(&str, CallbackKind)] = &[("quntool", CallbackKind::Quntool)];
    pub const MEASURED_FROM: &[(&str, MeasuredFrom)] =
        &[("response", MeasuredFrom::Response), ("request", MeasuredFrom::Request)];
    pub const LEVEL: &[(&str, Level)] = &[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    pub const FORMAT: &[(&str, Format)] = &[("json", Format::Json), ("text", Format::Text)];

    /// The word for a value; every value of a choice is in its table.
    pub fn word<T: PartialEq>(choices: &[(&'static str, T)], value: &T) -> &'static str {
        choices.iter().find(|(_, choice)| choice == value).map_or("", |(word, _)| word)
    }
}

impl Level {
    /// The word that log filters understand.
    pub fn as_str(self) -> &'static str {
        choices::word(choices::LEVEL, &self)
    }
}
