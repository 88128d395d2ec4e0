//! Brings callbacks to whoever they are for, and tries again what met 503 or nobody.
//!
//! - A callback has a task of its own: the client that caused it may go away, the callback comes all the same.
//! - Tasks end with the pretend sender. While it is only down, they go on: a server that cannot be reached still calls.

use super::{CallbackSettings, Delivery, Genuine, Happening, Made, Others, Report, Scene, When};
use crate::cli::pretend::PretendAccount;
use crate::cli::pretend::server::{Shared, State};
use crate::clock;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Requests under way at once.
const REQUESTS_MAX: usize = 64;
/// Most of an answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is the same for all callbacks.
pub struct Courier {
    pub settings: CallbackSettings,
    client: Client<HttpConnector, Full<Bytes>>,
    slots: Semaphore,
    /// Sent to whenever the ledger of callbacks changes.
    changes: watch::Sender<()>,
    ended: watch::Sender<bool>,
}

/// What waits, and where it goes. The number of a callback is that of its ledger.
#[derive(Default)]
pub struct Outbox {
    pub target: Option<Uri>,
    pub others: Others,
    held: Vec<Parcel>,
    after_next: Vec<Parcel>,
}

/// One callback with all its copies.
struct Parcel {
    numbers: Vec<u64>,
    made: Made,
}

/// # Errors
/// When it is no address over plain HTTP.
pub fn target(url: &str) -> io::Result<Uri> {
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    uri.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "callbacks go to an address that begins with http://")
    })
}

impl Courier {
    pub fn new(settings: CallbackSettings) -> Self {
        Self {
            settings,
            client: Client::builder(TokioExecutor::new()).build_http(),
            slots: Semaphore::new(REQUESTS_MAX),
            changes: watch::Sender::new(()),
            ended: watch::Sender::new(false),
        }
    }

    /// Ends every task.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Hears of every change of the ledger from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Makes one request; what came back, or `None` for nothing.
    pub async fn exchange(&self, url: &str, genuine: Genuine) -> Option<(u16, Bytes)> {
        let _slot = self.slots.acquire().await.ok()?;
        let Genuine { is_get, query, headers, body } = genuine;
        let url = if query.is_empty() { url.to_owned() } else { format!("{url}?{query}") };
        let mut request = Request::builder().method(if is_get { "GET" } else { "POST" }).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).ok()?;
        let exchange = async {
            let (head, body) = self.client.request(request).await.ok()?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?.to_bytes();
            Some((head.status.as_u16(), body))
        };
        tokio::time::timeout(self.settings.retry.answer_wait, exchange).await.ok().flatten()
    }
}

/// Posts `made` as its report says, `latency` from now where that says nothing else. The task that does so is returned
/// where it has begun.
pub fn post(
    shared: &Arc<Shared>,
    state: &mut State,
    made: Made,
    report: &Report,
    latency: Duration,
) -> Option<JoinHandle<()>> {
    let numbers = (0..report.copies).map(|_| state.book.enter_callback(&made)).collect();
    shared.courier.changes.send_replace(());
    let parcel = Parcel { numbers, made };
    let wait = match report.when {
        When::After(more) => latency.saturating_add(more),
        When::Early => Duration::ZERO,
        When::AfterNext => {
            state.outbox.after_next.push(parcel);
            return None;
        }
        When::Held => {
            state.outbox.held.push(parcel);
            return None;
        }
        When::Never => return None,
    };
    Some(start(shared, parcel, wait))
}

/// Posts everything that is held, and what waits for a next callback.
pub fn release(shared: &Arc<Shared>) {
    let mut state = shared.state();
    let parcels: Vec<_> = state.outbox.held.drain(..).collect();
    let waiting: Vec<_> = state.outbox.after_next.drain(..).collect();
    drop(state);
    for parcel in parcels.into_iter().chain(waiting) {
        start(shared, parcel, Duration::ZERO);
    }
}

fn start(shared: &Arc<Shared>, parcel: Parcel, wait: Duration) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let mut ended = shared.courier.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|is_ended| *is_ended) => {}
            () = carry(&shared, parcel, wait) => {}
        }
    })
}

async fn carry(shared: &Shared, parcel: Parcel, wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    deliver(shared, &parcel).await;
    let Some(newest) = parcel.numbers.last() else { return };
    let is_overtaken = |waiting: &mut Parcel| waiting.numbers.last().is_some_and(|number| number < newest);
    let overtaken: Vec<_> = shared.state().outbox.after_next.extract_if(.., is_overtaken).collect();
    for parcel in overtaken {
        deliver(shared, &parcel).await;
    }
}

async fn deliver(shared: &Shared, Parcel { numbers, made }: &Parcel) {
    let courier = &shared.courier;
    let retry = courier.settings.retry;
    for number in numbers {
        let mut pause = retry.pause;
        for attempt in 1..=retry.attempts_max.max(1) {
            // Read each time: a bridge may come back at another address.
            let target = shared.state().outbox.target.clone();
            let answer = match target {
                Some(target) => courier.exchange(&target.to_string(), Genuine::json(made.body.clone())).await,
                None => None,
            };
            let delivery = answer.map_or(Delivery::Unanswered, |(status, _)| Delivery::Answered(status));
            let is_last = attempt >= retry.attempts_max;
            shared.state().book.attempted_callback(*number, delivery, attempt == 1, is_last);
            courier.changes.send_replace(());
            if is_last || !delivery.is_tried_again() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }
}

impl Shared {
    /// Lets something happen, and reports it where callbacks are made: the `msgId` of the callback.
    pub fn happen(self: &Arc<Self>, happening: &Happening, report: &Report) -> Option<Box<str>> {
        let settings = &self.courier.settings;
        let mut state = self.state();
        let state = &mut *state;
        let corp = state.take_place(happening);
        if state.outbox.target.is_none() || !report.is_made(true) {
            return None;
        }
        let send_msg_id = clock::random_uuid().to_string();
        let scene = Scene {
            at: self.clock.now(),
            server_id: state.next_server_id(),
            user: &settings.user,
            corp: &corp,
            msg_id: &send_msg_id,
        };
        let made = happening.said(&scene, report).made(settings, scene.at);
        let msg_id = made.msg_id.clone();
        // Nobody waits for it.
        drop(post(self, state, made, report, Duration::ZERO));
        Some(msg_id)
    }
}

impl State {
    /// Puts a login or its end into effect, and says which company the account is of.
    fn take_place(&mut self, happening: &Happening) -> Box<str> {
        let name = Box::<str>::from(happening.account());
        let corp = self.default_corp.clone();
        let newcomer = PretendAccount { account: name.clone(), corp: corp.clone(), online: true };
        match happening {
            Happening::Offline { .. } => self.accounts.entry(name.clone()).or_insert(newcomer).online = false,
            Happening::Login { corp, .. } => {
                let known = self.accounts.entry(name.clone()).or_insert(newcomer);
                known.online = true;
                if corp.is_some() {
                    known.corp.clone_from(corp);
                }
            }
            Happening::Qrcode { .. }
            | Happening::SafetyCheck { .. }
            | Happening::Received { .. }
            | Happening::Typed { .. }
            | Happening::ContactAdded { .. }
            | Happening::ContactLost { .. }
            | Happening::SystemText { .. }
            | Happening::GroupCreated(_)
            | Happening::GroupMembersAdded(_)
            | Happening::GroupMembersRemoved(_)
            | Happening::GroupMemberLeft(_)
            | Happening::GroupRenamed(_)
            | Happening::BroadcastConfirm { .. }
            | Happening::Other { .. } => {}
        }
        self.accounts.get(&name).map_or(corp, |known| known.corp.clone()).unwrap_or_default()
    }
}
