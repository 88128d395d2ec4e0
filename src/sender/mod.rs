//! Performs sends: one request per attempt, and what it proved.
//!
//! ```text
//! perform --> request (pure) --> client (sockets) --> classify (pure) --> Verdict
//! ```
//!
//! - One call of [`Sender::perform`] makes at most one request that can reach the server. Retries are decided by the
//!   engine and made by calling again.
//! - The body leaves byte for byte as it came.
//! - Every ending is a [`Verdict`]; nothing here can fail in another way once a [`Sender`] exists.

mod request;

mod client;

mod connection;

mod idle;

mod quotes;

pub mod classify;

pub mod directory;

pub mod call;

pub use call::CallSettings;
pub use classify::{RETRY_AFTER_MAX, Rules, Sign};

use crate::clock::Clock;
use crate::crash;
use crate::model::{self, CallJob, DirectoryEntry, Fault, SenderName, SenderTrouble, Seq, Verdict};
use crate::telemetry;
use bytes::Bytes;
use call::Caller;
use classify::classify;
use client::{Exchanger, Reach};
use request::Routes;
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Largest answer to a send that is read, in bytes; the documented ones have about a hundred.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One server of the sender's API.
pub struct Settings {
    pub name: SenderName,
    /// Where its paths begin, such as `http://127.0.0.1:8080/gnapi/open`.
    pub url: String,
    pub api_key: SecretString,
    /// From the start of a request to the last byte of its answer.
    pub timeout: Duration,
    /// For name resolution, TCP and TLS together. Shorter than `timeout`.
    pub connect_timeout: Duration,
    /// Most requests at once, and most idle connections.
    pub connections: usize,
    /// How long an idle connection may be used again; zero for never. A server that announces how long it keeps one
    /// (`Keep-Alive: timeout=5`) has half of that in place of it, 10 s at most.
    ///
    /// A server that closes idle connections sooner than this, and does not announce it, makes doubts: a request that
    /// leaves at that moment is lost, and nobody can see from here that it was. One that closes after every answer
    /// without a word can lose one request in ten to it, so such a server needs zero.
    pub reuse_idle: Duration,
    pub rules: Rules,
    /// PEM of the only certificate authorities to trust, instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Paths below `url` for further types, or for the known ones differently.
    pub paths: BTreeMap<String, String>,
    pub calls: CallSettings,
}

impl Settings {
    /// What the configuration says when it says nothing.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
    pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
    /// A place is taken from the decision to the turn that hears of the verdict, two commits longer than the request is
    /// under way: of a server that takes 20 ms and is kept busy all the time about 200 are at the server.
    pub const CONNECTIONS_DEFAULT: usize = 320;
    pub const REUSE_IDLE_DEFAULT: Duration = Duration::from_millis(50);

    /// Settings with every default.
    pub fn new(name: SenderName, url: impl Into<String>, api_key: SecretString) -> Self {
        Self {
            name,
            url: url.into(),
            api_key,
            timeout: Self::TIMEOUT_DEFAULT,
            connect_timeout: Self::CONNECT_TIMEOUT_DEFAULT,
            connections: Self::CONNECTIONS_DEFAULT,
            reuse_idle: Self::REUSE_IDLE_DEFAULT,
            rules: Rules::default(),
            ca_pem: None,
            paths: BTreeMap::new(),
            calls: CallSettings::default(),
        }
    }
}

/// Why no sender can be made of its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    Url {
        url: Box<str>,
        rule: &'static str,
    },
    /// Its address is not repeated, because it holds a secret.
    UrlWithCredentials,
    ApiKey,
    Path {
        path: Box<str>,
    },
    Timeouts {
        connect: Duration,
        total: Duration,
    },
    Connections,
    Certificates {
        reason: Box<str>,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, rule } => write!(f, "url {url:?} {rule}"),
            Self::UrlWithCredentials => f.write_str("url must name a host and must not hold a user or a password"),
            Self::ApiKey => f.write_str("api_key must be one line of visible ASCII and not empty"),
            Self::Path { path } => write!(f, "path {path:?} cannot be part of a URL"),
            Self::Timeouts { connect, total } => {
                write!(f, "connect_timeout ({connect:?}) must be above zero and below timeout ({total:?})")
            }
            Self::Connections => write!(f, "connections must be between 1 and {}", Semaphore::MAX_PERMITS),
            Self::Certificates { reason } => write!(f, "ca_file cannot be used: {reason}"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// One server, ready for requests. Shared by all attempts.
pub struct Sender {
    name: SenderName,
    routes: Routes,
    exchanger: Exchanger,
    caller: Caller,
    rules: Rules,
    slots: Semaphore,
    clock: Clock,
}

impl Sender {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// When no request could ever be made with these settings.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self, SettingsError> {
        let Settings { name, url, api_key, timeout, connect_timeout, connections, reuse_idle, .. } = settings;
        let Settings { rules, ca_pem, paths, calls, .. } = settings;
        if *connections == 0 || *connections > Semaphore::MAX_PERMITS {
            return Err(SettingsError::Connections);
        }
        let reach = Reach {
            timeout: *timeout,
            connect_timeout: *connect_timeout,
            connections: *connections,
            reuse_idle: *reuse_idle,
            ca_pem: ca_pem.as_deref(),
        };
        Ok(Self {
            name: name.clone(),
            routes: Routes::new(url, api_key, paths)?,
            exchanger: Exchanger::new(&reach)?,
            caller: Caller::new(calls, &reach)?,
            rules: rules.clone(),
            slots: Semaphore::new(*connections),
            clock,
        })
    }

    pub fn name(&self) -> &SenderName {
        &self.name
    }

    /// Whether a type has a path here.
    pub fn knows(&self, kind: &str) -> bool {
        self.routes.knows(kind)
    }

    /// Makes one attempt and says what it proved.
    ///
    /// Waits for a slot while `connections` requests are under way; the time-outs begin after that. Whoever drops the
    /// future early knows nothing: the request may have had its effect.
    pub async fn perform(&self, seq: Seq, attempt: u32, kind: &str, body: Bytes) -> Verdict {
        let Some(request) = self.routes.send(seq, attempt, kind, body.clone()) else {
            let msg = format!("no path is configured for the type {kind:?}").into_boxed_str();
            return Verdict::Refused { sender: model::Sender { http: 0, code: None, msg } };
        };
        // Never closed, so there is always a permit in the end.
        let _slot = self.slots.acquire().await.ok();
        crash::at("request_begun");
        let observed = self.exchanger.exchange(request, ANSWER_BYTES_MAX).await;
        crash::at("request_ended");
        let mut verdict = classify(observed, &self.rules, self.clock.now());
        quotes::hide(&mut verdict, self.routes.key(), &body);
        telemetry::attempt_ended(&self.name, seq, attempt, &verdict);
        verdict
    }

    /// Calls a path of the API that sends nothing. Needs no slot and shares no connection with sends.
    ///
    /// # Errors
    /// Why there is no data, with a code that says whether the call may have had an effect.
    pub async fn call(&self, job: CallJob) -> Result<Value, Fault> {
        let (number, path) = (job.number, job.path.clone());
        let begun_at = self.clock.now();
        let mut result = self.caller.call(&self.routes, &self.rules, job).await;
        if let Err(Fault { sender: Some(sender), .. }) = &mut result {
            quotes::hide_key(&mut sender.msg, self.routes.key());
        }
        let why = result.as_ref().err().map_or("", |fault| fault.code.as_str());
        telemetry::call_ended(&self.name, number, &path, why, self.clock.now().since(begun_at));
        result
    }

    /// Reads the server's account list. Needs no slot: it must come through while sends are slow.
    ///
    /// # Errors
    /// When the list could not be had; nothing about any account follows from that.
    pub async fn directory(&self) -> Result<Vec<DirectoryEntry>, SenderTrouble> {
        let observed = self.exchanger.exchange(self.routes.directory(), directory::DIRECTORY_BYTES_MAX).await;
        match directory::read(observed) {
            Ok(entries) => {
                telemetry::directory_read(&self.name, entries.len());
                Ok(entries)
            }
            Err(failure) => {
                telemetry::directory_failed(&self.name, failure.trouble, &failure.detail);
                Err(failure.trouble)
            }
        }
    }
}

#[cfg(test)]
mod scripted;

#[cfg(test)]
mod tests;
