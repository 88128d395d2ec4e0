//! The pretend sender: a real HTTP server that answers like quntool's openAPI, sends nothing, holds its clients to both
//! limits by its own clock, and does wrong what it is told to do wrong.
//!
//! - What it saw is in its [`Ledger`]; that is what tests, demo and benchmarks believe, not the bridge's own word.
//! - A request that breaks a limit is counted, answered with the platform's code for it, and has no effect.
//! - Everything random comes from a seed and from the request itself.

mod admin;
pub mod callback;
mod calls;
mod connection;
mod control;
mod faults;
mod ledger;
mod sends;
mod server;

pub use callback::{CallbackSettings, Happening, Report, When};
pub use faults::{Act, Behaviour, Faults, RequestInfo, Rule, Script};
pub use ledger::{AccountEntry, Arrived, CorpEntry, Ledger, LedgerMode, Limits, MessageEntry};

use crate::clock::Clock;
use bytes::Bytes;
use callback::{CallbackLedger, Genuine, Others, Outbox};
use server::{Shared, State};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Where the paths of the API begin.
pub const BASE_PATH: &str = "/gnapi/open";

/// An account that is logged in, or was, at the pretend sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PretendAccount {
    pub account: Box<str>,
    /// `None` for an account that has not said yet which company it is of.
    pub corp: Option<Box<str>>,
    pub online: bool,
}

impl PretendAccount {
    pub fn online(account: &str, corp: &str) -> Self {
        Self { account: Box::from(account), corp: Some(Box::from(corp)), online: true }
    }
}

/// What tells one message from another in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageKey {
    /// The text of this field, or the digest of the body where it is missing.
    Field(Box<str>),
    /// The digest of the body.
    Digest,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Port 0 for any.
    pub listen: SocketAddr,
    pub api_key: String,
    pub accounts: Vec<PretendAccount>,
    /// The company of accounts that are not listed; `None` if those cannot send.
    pub default_corp: Option<Box<str>>,
    pub limits: Limits,
    pub ledger: LedgerMode,
    pub message_key: MessageKey,
    /// Between arrival and answer.
    pub latency: RangeInclusive<Duration>,
    pub seed: u64,
    /// Whether the paths below `/sandbox/` are answered, to anyone who can connect.
    pub admin: bool,
    pub callbacks: CallbackSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api_key: "pretend".to_owned(),
            accounts: Vec::new(),
            default_corp: None,
            limits: Limits {
                account_interval: Duration::from_millis(500),
                corp_limit: 50_000,
                corp_window: Duration::from_secs(3600),
            },
            ledger: LedgerMode::Full,
            message_key: MessageKey::Field(Box::from("content")),
            latency: Duration::ZERO..=Duration::ZERO,
            seed: 1,
            admin: false,
            callbacks: CallbackSettings::default(),
        }
    }
}

/// A running pretend sender. Stops when it is dropped.
pub struct Pretend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Pretend {
    /// # Errors
    /// When the address cannot be bound, or that of the callbacks is none.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listen = settings.listen;
        let accounts = settings.accounts.iter().map(|known| (known.account.clone(), known.clone()));
        let mut outbox = Outbox::default();
        outbox.target = settings.callbacks.url.as_deref().map(callback::target).transpose()?;
        let state = State::new(&settings, accounts.collect::<BTreeMap<_, _>>(), outbox);
        let shared = Arc::new(Shared::new(settings, state, Clock::start()));
        let mut pretend = Self { address: listen, shared, accepting: None };
        pretend.come_up().await?;
        Ok(pretend)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a sender's `url` must be.
    pub fn url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.address)
    }

    /// A copy of everything seen so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.state().book.ledger().clone()
    }

    /// Reads the ledger without a copy of it; it is not written meanwhile.
    pub fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(self.shared.state().book.ledger())
    }

    /// From the next arrival on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Adds an account, or changes one.
    pub fn set_account(&self, account: PretendAccount) {
        self.shared.state().accounts.insert(account.account.clone(), account);
    }

    pub fn set_api_key(&self, api_key: &str) {
        api_key.clone_into(&mut self.shared.state().api_key);
    }

    /// Where quntool's callbacks go from now on; those that are tried again, too.
    ///
    /// # Errors
    /// When it is no address over plain HTTP.
    pub fn set_callback_url(&self, url: &str) -> io::Result<()> {
        self.shared.state().outbox.target = Some(callback::target(url)?);
        Ok(())
    }

    /// Where the other systems' callbacks go.
    pub fn set_others(&self, others: Others) {
        self.shared.state().outbox.others = others;
    }

    /// Lets something happen to an account, and reports it as `report` says. The `msgId` of the callback, where
    /// callbacks are made. Begins a task, so the caller must be on the runtime.
    pub fn happen(&self, happening: &Happening, report: &Report) -> Option<Box<str>> {
        self.shared.happen(happening, report)
    }

    /// Posts the callbacks that are held back.
    pub fn release_callbacks(&self) {
        callback::release(&self.shared);
    }

    /// Returns as soon as the ledger of callbacks is as `is_enough` wants it.
    pub async fn wait_for_callbacks(&self, is_enough: impl Fn(&CallbackLedger) -> bool) {
        let mut changes = self.shared.courier.changes();
        while !self.with_ledger(|ledger| is_enough(&ledger.callbacks)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes any other request once, such as a callback of another system. Status and body of the answer, or `None`
    /// for no answer.
    pub async fn request(&self, url: &str, genuine: Genuine) -> Option<(u16, Bytes)> {
        self.shared.courier.exchange(url, genuine).await
    }

    /// Closes the listener and every connection at once, requests under way included. The ledger stays, and callbacks
    /// go on.
    pub async fn go_down(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // The only error is the abort that was just asked for.
            let _ = accepting.await;
        }
    }

    /// Listens again at the same address. Does nothing while it is up.
    ///
    /// # Errors
    /// When somebody else has the address by now.
    pub async fn come_up(&mut self) -> io::Result<()> {
        if self.accepting.is_none() {
            let listener = tokio::net::TcpListener::bind(self.address).await?;
            self.address = listener.local_addr()?;
            self.accepting = Some(tokio::spawn(server::accept(listener, Arc::clone(&self.shared))));
        }
        Ok(())
    }

    /// Stops for good, and says what was seen.
    pub async fn stop(mut self) -> Ledger {
        self.go_down().await;
        self.ledger()
    }
}

impl Drop for Pretend {
    fn drop(&mut self) {
        self.shared.courier.end();
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

#[cfg(test)]
mod tests;
