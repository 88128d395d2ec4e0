//! The addresses that the vendors' systems call: `/callback/<source>/<secret>`.
//!
//! A callback is answered once it is durable, and within the time that its system allows whatever else goes on: nothing
//! here waits for the broker. What cannot be taken in time is refused with 503, so that the system brings it again.
//!
//! # Invariants
//!
//! - Nothing of a body is read for whoever does not know the secret in the path.
//! - Between the door and the disk there are at most [`PLACES`] callbacks of [`PLACE_BYTES`] each, or fewer larger
//!   ones: a quarter of what one turn of the loop takes, and little to write. So no flood of them fills the channel of
//!   inputs or makes a turn long. A place is free again when the callback is durable or refused, not when somebody
//!   stops waiting for it.
//! - One source has half of the places at most: a flood from one system leaves room for the others.

use super::{Answer, Arrival, Arrived, Kind, Source};
use crate::clock::Clock;
use crate::crash;
use crate::intake::rarely::Rarely;
use crate::model::{Callback, CallbackTicket, Input};
use crate::telemetry;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How long a body may take to arrive whole.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// How long a callback may take to become durable. WeCom gives up after 1 s, Yunxin after 2 s.
const DURABLE_WAIT: Duration = Duration::from_millis(800);
/// Room between the door and the disk.
const PLACES: u32 = 256;
const PLACE_BYTES: usize = 32 * 1024;
const SOURCE_PLACES: u32 = PLACES / 2;

/// What the engine says of callbacks, brought to the requests that wait for it.
#[derive(Clone, Default)]
pub struct Taken(Arc<Mutex<BTreeMap<u64, Waiting>>>);

/// A callback that the loop has.
struct Waiting {
    told: oneshot::Sender<()>,
    _room: Room,
}

/// Places that are taken until this is dropped.
struct Room {
    _of_all: OwnedSemaphorePermit,
    _of_source: OwnedSemaphorePermit,
}

impl Taken {
    /// The callback is durable.
    pub fn tell(&self, ticket: CallbackTicket) {
        if let Some(Waiting { told, .. }) = self.remove(ticket) {
            // Whoever waited may have gone.
            let _ = told.send(());
        }
    }

    /// The callback was not taken.
    pub fn refuse(&self, ticket: CallbackTicket) {
        self.remove(ticket);
    }

    fn remove(&self, ticket: CallbackTicket) -> Option<Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket.0)
    }

    fn wait(&self, ticket: CallbackTicket, room: Room) -> oneshot::Receiver<()> {
        let (told, telling) = oneshot::channel();
        let waiting = Waiting { told, _room: room };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket.0, waiting);
        telling
    }
}

struct Desk {
    windows: BTreeMap<Box<str>, Window>,
    body_bytes_max: usize,
    inputs: mpsc::Sender<Input>,
    clock: Clock,
    taken: Taken,
    next_ticket: AtomicU64,
    places: Arc<Semaphore>,
    forged: Rarely,
}

struct Window {
    source: Source,
    places: Arc<Semaphore>,
}

/// The routes of these sources. What comes in goes to `inputs`; `taken` tells when it is durable.
pub fn routes(
    sources: Vec<Source>,
    body_bytes_max: usize,
    inputs: mpsc::Sender<Input>,
    clock: Clock,
    taken: Taken,
) -> Router {
    let window = |source: Source| {
        (source.name.clone(), Window { source, places: Arc::new(Semaphore::new(SOURCE_PLACES as usize)) })
    };
    let desk = Desk {
        windows: sources.into_iter().map(window).collect(),
        body_bytes_max,
        inputs,
        clock,
        taken,
        next_ticket: AtomicU64::new(0),
        places: Arc::new(Semaphore::new(PLACES as usize)),
        forged: Rarely::new(),
    };
    Router::new().route("/callback/{source}/{secret}", any(receive)).with_state(Arc::new(desk))
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    Path((name, secret)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Names are no secret; what is behind an unknown one is answered like a wrong secret.
    let Some(Window { source, places }) = desk.windows.get(name.as_str()) else {
        return refused(StatusCode::UNAUTHORIZED);
    };
    if !source.is_secret(&secret) {
        desk.note_forged(source);
        return refused(StatusCode::UNAUTHORIZED);
    }
    let is_get = method == Method::GET;
    if !is_get && method != Method::POST {
        return wrong_method(source);
    }
    let length = if is_get { 0 } else { length(&headers).unwrap_or(desk.body_bytes_max) };
    if length > desk.body_bytes_max {
        return refused(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let Some(room) = desk.room(places, length) else { return late(source) };
    let body = match tokio::time::timeout(BODY_WAIT, to_bytes(body, length)).await {
        _ if is_get => Bytes::new(),
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refused(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT),
    };
    let query = pairs(&query.unwrap_or_default());
    let headers: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let arrival = Arrival { is_get, secret: &secret, query: &query, headers: &headers, body: &body };
    match source.read(arrival, desk.clock.now()) {
        Arrived::Callback(callback, answer) => {
            if desk.take(callback, room).await {
                answered(answer)
            } else {
                late(source)
            }
        }
        Arrived::Answer(answer) => answered(answer),
        Arrived::Forged => {
            desk.note_forged(source);
            refused(StatusCode::UNAUTHORIZED)
        }
        Arrived::Unreadable(why) => {
            telemetry::callback_unreadable(&source.name, why.as_str());
            refused(StatusCode::BAD_REQUEST)
        }
        Arrived::WrongMethod => wrong_method(source),
    }
}

/// What the head says of the body's length.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Desk {
    fn note_forged(&self, source: &Source) {
        if let Some(count) = self.forged.told() {
            telemetry::callback_forged(&source.name, count);
        }
    }

    /// Room for a body of so many bytes, in small change: a callback of some kilobytes takes one place.
    fn room(&self, of_source: &Arc<Semaphore>, bytes: usize) -> Option<Room> {
        let places = u32::try_from(bytes.div_ceil(PLACE_BYTES)).unwrap_or(PLACES).max(1);
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(places).ok();
        Some(Room { _of_source: take(of_source)?, _of_all: take(&self.places)? })
    }

    /// Whether it is durable, in time.
    async fn take(&self, callback: Box<Callback>, room: Room) -> bool {
        let ticket = CallbackTicket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let mut limit = std::pin::pin!(tokio::time::sleep(DURABLE_WAIT));
        let way = tokio::select! {
            way = self.inputs.reserve() => way.ok(),
            () = &mut limit => None,
        };
        let Some(way) = way else { return false };
        crash::at("callback_received");
        let telling = self.taken.wait(ticket, room);
        way.send(Input::Callback { ticket, callback });
        tokio::select! {
            told = telling => told.is_ok(),
            () = limit => false,
        }
    }
}

/// To a system whose callback cannot be taken now. Yunxin asks before somebody may act, and only once: that is never
/// held up.
fn late(source: &Source) -> Response {
    match source.kind {
        Kind::Yunxin { .. } => answered(Answer::allow()),
        Kind::Quntool | Kind::Guid(_) | Kind::Wecom { .. } => {
            telemetry::callback_late(&source.name);
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "busy\n").into_response()
        }
    }
}

fn wrong_method(source: &Source) -> Response {
    let methods = match source.kind {
        Kind::Wecom { .. } => "GET, POST",
        Kind::Quntool | Kind::Guid(_) | Kind::Yunxin { .. } => "POST",
    };
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(methods));
    response
}

fn answered(answer: Answer) -> Response {
    ([(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response()
}

fn refused(status: StatusCode) -> Response {
    (status, format!("{}\n", status.canonical_reason().unwrap_or_default().to_ascii_lowercase())).into_response()
}

/// The pairs of a query. A plus is a plus: WeCom sends base64 with it. Pure.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let escape = (byte == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                plain.push(value);
                index += 3;
            }
            None => {
                plain.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use tokio::task::JoinHandle;
    use tower_service::Service as _;

    const SECRET: &str = "0123456789abcdef";
    const BODY_BYTES_MAX: usize = 1024 * 1024;

    /// WeCom's, the shortest that a vendor waits.
    const VENDOR_WAIT: Duration = Duration::from_secs(1);

    /// Three sources, and a loop that does not come to them.
    fn door() -> (Router, mpsc::Receiver<Input>, Taken) {
        let source = |name: &str| Source {
            name: Box::from(name),
            secret: Box::from(SECRET),
            sender: None,
            personal_data: false,
            kind: Kind::Quntool,
        };
        let (inputs, inputs_due) = mpsc::channel(1000);
        let taken = Taken::default();
        let sources = ["a", "b", "c"].map(source).into();
        (routes(sources, BODY_BYTES_MAX, inputs, Clock::start(), taken.clone()), inputs_due, taken)
    }

    fn post(router: &Router, source: &str, id: usize, bytes: usize) -> JoinHandle<StatusCode> {
        let mut router = router.clone();
        let body = format!(r#"{{"type":"x","msgId":"{id}","data":"{}"}}"#, "x".repeat(bytes));
        let request = Request::post(format!("/callback/{source}/{SECRET}")).header(header::CONTENT_LENGTH, body.len());
        let request = request.body(Body::from(body)).expect("a request");
        tokio::spawn(async move { router.call(request).await.expect("it always answers").status() })
    }

    async fn all(posts: Vec<JoinHandle<StatusCode>>) -> Vec<StatusCode> {
        let mut statuses = Vec::new();
        for post in posts {
            statuses.push(post.await.expect("no panic"));
        }
        statuses
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_never_given_more_than_there_are_places() {
        let (router, mut inputs_due, taken) = door();
        let first = all((0..200).map(|id| post(&router, "a", id, 0)).collect());
        let first = tokio::time::timeout(VENDOR_WAIT, first).await.expect("answered while the vendor still listens");
        assert!(first.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(inputs_due.len(), SOURCE_PLACES as usize);
        // Those who waited have gone; what they brought is still there.
        for round in 0..5 {
            let more =
                (0..200).flat_map(|id| ["a", "b", "c"].map(|source| post(&router, source, 1000 * round + id, 0)));
            let more = all(more.collect()).await;
            assert!(more.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
            assert_eq!(inputs_due.len(), PLACES as usize);
        }
        // The loop goes on: refused or taken, each makes room for one more.
        for is_taken in [true, false].into_iter().cycle().take(PLACES as usize) {
            let Some(Input::Callback { ticket, .. }) = inputs_due.recv().await else { panic!("a callback") };
            if is_taken { taken.tell(ticket) } else { taken.refuse(ticket) }
        }
        let telling = tokio::spawn(async move {
            while let Some(Input::Callback { ticket, .. }) = inputs_due.recv().await {
                taken.tell(ticket);
            }
        });
        let statuses = all((0..SOURCE_PLACES as usize).map(|id| post(&router, "a", id, 0)).collect()).await;
        assert!(statuses.iter().all(|status| *status == StatusCode::OK));
        drop(router);
        telling.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn large_ones_take_more_room() {
        let (router, inputs_due, _taken) = door();
        let large = BODY_BYTES_MAX - 100;
        let statuses = all((0..20).map(|id| post(&router, "a", id, large)).collect()).await;
        assert!(statuses.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(inputs_due.len(), SOURCE_PLACES as usize * PLACE_BYTES / BODY_BYTES_MAX);
        assert_eq!(post(&router, "b", 0, BODY_BYTES_MAX).await.expect("no panic"), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_plus_stays_and_escapes_are_read() {
        let wanted = [("a", "x+/y=="), ("b", "%4"), ("c", "你"), ("d", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(pairs("a=x+%2Fy%3D%3d&b=%4&c=%E4%BD%A0&d=&e"), wanted);
    }
}
