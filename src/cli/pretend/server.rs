//! Accepts, routes and answers.

use super::callback::{Courier, Outbox};
use super::connection::{Ending, Payload, Socket};
use super::faults::{Act, Faults};
use super::ledger::Book;
use super::sends::{Asked, Decided, decide};
use super::{BASE_PATH, MessageKey, PretendAccount, Settings, control};
use crate::clock::Clock;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

pub struct Shared {
    pub clock: Clock,
    pub message_key: MessageKey,
    pub latency: RangeInclusive<Duration>,
    pub seed: u64,
    pub courier: Courier,
    admin: bool,
    state: Mutex<State>,
}

pub struct State {
    pub book: Book,
    pub faults: Faults,
    pub accounts: BTreeMap<Box<str>, PretendAccount>,
    pub default_corp: Option<Box<str>>,
    pub api_key: String,
    pub outbox: Outbox,
    /// The last `server_id` that was given away.
    pub server_id: u64,
}

impl State {
    pub fn new(settings: &Settings, accounts: BTreeMap<Box<str>, PretendAccount>, outbox: Outbox) -> Self {
        Self {
            book: Book::new(settings.ledger, settings.limits),
            faults: Faults::None,
            accounts,
            default_corp: settings.default_corp.clone(),
            api_key: settings.api_key.clone(),
            outbox,
            server_id: 1_000_000,
        }
    }

    pub fn next_server_id(&mut self) -> u64 {
        self.server_id += 1;
        self.server_id
    }
}

impl Shared {
    pub fn new(settings: Settings, state: State, clock: Clock) -> Self {
        let Settings { message_key, latency, seed, admin, callbacks, .. } = settings;
        Self { clock, message_key, latency, seed, courier: Courier::new(callbacks), admin, state: Mutex::new(state) }
    }

    /// The state, also after a script of faults has panicked: the panic is that test's own failure.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until it is aborted, and every connection with it.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // What failed here is the client's connection, which is gone.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let ending = Ending::default();
                let socket = Socket::new(stream, ending.clone());
                connections.spawn(serve(socket, ending, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(socket: Socket, ending: Ending, shared: Arc<Shared>) {
    let service = service_fn(|request| handle(Arc::clone(&shared), request, ending.clone()));
    let mut server = hyper::server::conn::http1::Builder::new();
    // Broken connections are what this server is for.
    let _ = server.header_read_timeout(None).serve_connection(socket, service).await;
}

async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    ending: Ending,
) -> Result<Response<Payload>, BrokenOnPurpose> {
    let path = request.uri().path();
    if shared.admin && path.starts_with("/sandbox/") {
        return Ok(control::handle(&shared, request).await);
    }
    let key = request.headers().get("apikey").map(HeaderValue::as_bytes);
    let authorized = key == Some(shared.state().api_key.as_bytes());
    if !authorized {
        shared.state().book.count_unauthorized();
        return Ok(json(StatusCode::UNAUTHORIZED, r#"{"msg":"apikey","code":401,"data":null}"#));
    }
    match (request.method(), path.strip_prefix(BASE_PATH)) {
        (&Method::GET, Some("/inner/user/wx/list")) => Ok(json(StatusCode::OK, list(&shared, request.uri().query()))),
        (&Method::POST, Some(path)) if is_send(path) => handle_send(&shared, request, &ending).await,
        (_, Some(path)) if !is_send(path) => Ok(super::calls::handle(&shared, request).await),
        _ => Ok(json(StatusCode::NOT_FOUND, r#"{"msg":"no such path","code":404,"data":null}"#)),
    }
}

fn is_send(path: &str) -> bool {
    let kind = path.strip_prefix("/msg/");
    let is_msg = kind.is_some_and(|kind| !kind.is_empty() && !kind.contains('/'));
    is_msg || path == "/miniProgram/send" || path == "/videonum/send"
}

async fn handle_send(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    ending: &Ending,
) -> Result<Response<Payload>, BrokenOnPurpose> {
    let _under_way = UnderWay::new(shared);
    let (head, body) = request.into_parts();
    let Some(body) = read_body(body).await else {
        return Ok(json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"msg":"too large","code":413,"data":null}"#));
    };
    let path = head.uri.path().strip_prefix(BASE_PATH).unwrap_or_default();
    let request_id = head.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let Decided { delay, act, msg_id, early } = decide(shared, &Asked { path, request_id, body: &body });
    if let Some(early) = early {
        // It ends by itself; that it does with the whole sender concerns nobody who still waits.
        let _ = early.await;
    }
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match act {
        Act::Answer => Ok(json(StatusCode::OK, sent(&msg_id))),
        Act::Code { code, msg } => {
            let answer = serde_json::json!({ "msg": msg, "code": code, "data": null });
            Ok(json(StatusCode::OK, answer.to_string()))
        }
        Act::Status { status, retry_after } => {
            let mut answer = Response::new(Payload::whole(Bytes::new()));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
                answer.headers_mut().insert(RETRY_AFTER, value);
            }
            Ok(answer)
        }
        Act::Html => Ok(Response::new(Payload::whole("<!DOCTYPE html><title>welcome</title>"))),
        Act::Cut => Ok(Response::new(Payload::cut(sent(&msg_id)))),
        // Ends when the client closes the connection, because the server then drops this future.
        Act::Silence => std::future::pending().await,
        Act::Reset => {
            ending.reset();
            Err(BrokenOnPurpose)
        }
    }
}

fn sent(msg_id: &str) -> String {
    format!(r#"{{"msg":"","code":0,"data":{{"msgId":"{msg_id}"}}}}"#)
}

/// The account list: those online, unless the query asks for all.
fn list(shared: &Shared, query: Option<&str>) -> String {
    let is_asked = |pair: &str| pair.eq_ignore_ascii_case("IsOnline=false");
    let all = query.is_some_and(|query| query.split('&').any(is_asked));
    let state = shared.state();
    let shown = state.accounts.values().filter(|known| all || known.online);
    let accounts: Vec<serde_json::Value> = shown
        .map(|known| {
            serde_json::json!({
                "hostname": "pretend",
                "wxId": known.account,
                "userId": "internal-1",
                "username": "",
                "corp_id": known.corp.as_deref().unwrap_or(""),
                "corp_short_name": "",
                "Status": u8::from(!known.online),
                "QrCode": null,
            })
        })
        .collect();
    serde_json::json!({ "msg": "", "code": 0, "data": accounts }).to_string()
}

pub async fn read_body(body: Incoming) -> Option<Bytes> {
    Some(Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes())
}

pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Payload> {
    let mut answer = Response::new(Payload::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Counts a request as under way for as long as it exists, also when its client goes away.
struct UnderWay<'a> {
    shared: &'a Shared,
}

impl<'a> UnderWay<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.state().book.enter();
        Self { shared }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.shared.state().book.leave();
    }
}

/// Makes the HTTP server give up the connection without an answer.
#[derive(Debug)]
struct BrokenOnPurpose;

impl fmt::Display for BrokenOnPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for BrokenOnPurpose {}
