//! The addresses that the vendors' systems call: `/callback/<source>/<secret>`.
//!
//! A callback is answered once it is durable, and within the time that its system allows whatever else goes on: nothing
//! here waits for the broker. What cannot be taken in time is refused with 503, so that the system brings it again.

use super::{Answer, Arrival, Arrived, Kind, Source};
use crate::clock::Clock;
use crate::model::{CallbackTicket, Input};
use crate::telemetry;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How long a request may take to arrive whole.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// How long a callback may take to become durable. WeCom gives up after 1 s, Yunxin after 2 s.
const DURABLE_WAIT: Duration = Duration::from_millis(800);
/// Callbacks that are not durable yet, at most: a flood of them must not stand before the messages.
const WAITING_MAX: usize = 256;

/// What the engine says of callbacks, brought to the requests that wait for it.
#[derive(Clone, Default)]
pub struct Taken(Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>);

impl Taken {
    /// The callback is durable.
    pub fn tell(&self, ticket: CallbackTicket) {
        if let Some(waiting) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket.0) {
            // Whoever waited may have gone.
            let _ = waiting.send(());
        }
    }

    /// The callback was not taken.
    pub fn refuse(&self, ticket: CallbackTicket) {
        self.forget(ticket);
    }

    fn wait(&self, ticket: CallbackTicket) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket.0, sender);
        receiver
    }

    fn forget(&self, ticket: CallbackTicket) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket.0);
    }
}

struct Desk {
    sources: BTreeMap<Box<str>, Source>,
    body_bytes_max: usize,
    inputs: mpsc::Sender<Input>,
    clock: Clock,
    taken: Taken,
    next_ticket: AtomicU64,
    waiting: Semaphore,
}

/// The routes of these sources. What comes in goes to `inputs`; `taken` tells when it is durable.
pub fn routes(
    sources: Vec<Source>,
    body_bytes_max: usize,
    inputs: mpsc::Sender<Input>,
    clock: Clock,
    taken: Taken,
) -> Router {
    let desk = Desk {
        sources: sources.into_iter().map(|source| (source.name.clone(), source)).collect(),
        body_bytes_max,
        inputs,
        clock,
        taken,
        next_ticket: AtomicU64::new(0),
        waiting: Semaphore::new(WAITING_MAX),
    };
    Router::new().route("/callback/{source}/{secret}", any(receive)).with_state(Arc::new(desk))
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    Path((source, secret)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let is_get = match method {
        Method::GET => true,
        Method::POST => false,
        _ => return refused(StatusCode::METHOD_NOT_ALLOWED),
    };
    // Names are no secret; what is behind an unknown one is answered like a wrong secret.
    let Some(source) = desk.sources.get(source.as_str()) else {
        return refused(StatusCode::UNAUTHORIZED);
    };
    let body = match tokio::time::timeout(BODY_WAIT, to_bytes(body, desk.body_bytes_max)).await {
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
        Arrived::Callback(callback, answer) => desk.take(source, *callback, answer).await,
        Arrived::Answer(answer) => answered(answer),
        Arrived::Forged => {
            telemetry::callback_forged(&source.name);
            refused(StatusCode::UNAUTHORIZED)
        }
        Arrived::Unreadable(why) => {
            telemetry::callback_unreadable(&source.name, why.as_str());
            refused(StatusCode::BAD_REQUEST)
        }
        Arrived::WrongMethod => refused(StatusCode::METHOD_NOT_ALLOWED),
    }
}

impl Desk {
    async fn take(&self, source: &Source, callback: crate::model::Callback, answer: Answer) -> Response {
        // The operation behind a request of Yunxin is never held up, and is not asked about again.
        let is_asked_once = matches!(source.kind, Kind::Yunxin { .. });
        let late = || if is_asked_once { answered(answer.clone()) } else { busy() };
        let Ok(_place) = self.waiting.try_acquire() else { return late() };
        let ticket = CallbackTicket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let durable = self.taken.wait(ticket);
        let input = Input::Callback { ticket, callback: Box::new(callback) };
        let taken = async {
            if self.inputs.send(input).await.is_err() {
                return false;
            }
            durable.await.is_ok()
        };
        let is_taken = tokio::time::timeout(DURABLE_WAIT, taken).await.unwrap_or(false);
        self.taken.forget(ticket);
        if is_taken { answered(answer) } else { late() }
    }
}

fn answered(answer: Answer) -> Response {
    ([(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response()
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "busy\n").into_response()
}

fn refused(status: StatusCode) -> Response {
    (status, format!("{}\n", status.canonical_reason().unwrap_or_default().to_ascii_lowercase())).into_response()
}

/// The pairs of a query. A plus is a plus: WeCom sends base64 with it.
fn pairs(query: &str) -> Vec<(String, String)> {
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

    #[test]
    fn a_plus_stays_and_escapes_are_read() {
        let wanted = [("a", "x+/y=="), ("b", "%4"), ("c", "你"), ("d", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(pairs("a=x+%2Fy%3D%3d&b=%4&c=%E4%BD%A0&d=&e"), wanted);
    }
}
