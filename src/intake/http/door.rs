//! The door of the HTTP server: who comes in, and for how long.
//!
//! # Invariants
//!
//! - A guest costs bounded memory: so many header fields, so many bytes of them, one request at a time.
//! - A guest costs bounded time. Every head, the first as every later one, has to come whole within [`HEAD_WAIT`], and
//!   nothing else stands still for longer than [`STALL_WAIT`].
//! - There are [`GUESTS_MAX`] guests at most. A newcomer takes the place of whoever has waited the longest without
//!   being answered: so slow guests, as many as may come, keep nobody out. One that is being answered never gives way.

use crate::telemetry;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service as _;

/// Connections at once. Those that are being answered are fewer by far, see the bounds of whoever answers.
const GUESTS_MAX: usize = 512;
/// Those that were told to go and have not gone yet, beside them.
const LEAVING_MAX: usize = 64;
/// How long a head may take, and how long a connection may be idle before its next one.
const HEAD_WAIT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_FIELDS_MAX: usize = 64;
/// How long an answer may take to be made, or to be read.
const STALL_WAIT: Duration = Duration::from_secs(15);
/// After an answer that refused a body the rest of it is read for so long: closing earlier would take the answer away
/// from a client that has not read it yet.
const LINGER_WAIT: Duration = Duration::from_secs(1);
/// Before the system is asked again for a connection that it could not give.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);
/// How long a stop waits for answers on their way.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// An open door. Dropping it ends all that goes through it.
pub(super) struct Door {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Door {
    pub(super) fn open(listener: TcpListener, router: Router) -> Self {
        let (closing, closed) = watch::channel(false);
        Self { closing, task: tokio::spawn(receive(listener, router, closed)) }
    }

    /// Takes nobody in any more, and returns when those who are in have their answers: after 1 s at most.
    pub(super) async fn close(mut self) {
        self.closing.send_replace(true);
        // It ends by itself, or with the process.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(listener: TcpListener, router: Router, mut closing: watch::Receiver<bool>) {
    let lobby = Arc::new(Lobby::default());
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = closing.changed() => break,
            Some(_) = guests.join_next() => {}
            accepted = listener.accept(), if guests.len() < GUESTS_MAX + LEAVING_MAX => match accepted {
                Ok((stream, _)) => {
                    // Only makes answers quicker.
                    let _ = stream.set_nodelay(true);
                    if let Some(place) = lobby.enter() {
                        guests.spawn(entertain(stream, place, router.clone(), closing.clone()));
                    }
                }
                Err(error) => {
                    telemetry::http_accept_failed(&error);
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            }
        }
    }
    drop(listener);
    let goodbye = async { while guests.join_next().await.is_some() {} };
    // Who has not gone by then is dropped.
    let _ = tokio::time::timeout(GOODBYE_WAIT, goodbye).await;
}

/// One connection, from its first byte to its last.
async fn entertain<S>(stream: S, place: Place, router: Router, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let place = Arc::new(place);
    let answering = Arc::clone(&place);
    let service = service_fn(move |request: Request<Incoming>| {
        let (place, mut router) = (Arc::clone(&answering), router.clone());
        let answer = async move {
            place.is_answered();
            let answer = router.call(request.map(Body::new)).await;
            place.waits();
            answer
        };
        Box::pin(answer) as Pin<Box<dyn Future<Output = Result<_, Infallible>> + Send>>
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_headers(HEAD_FIELDS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(4 * HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut is_closing = false;
    loop {
        let moves = place.moves();
        tokio::select! {
            // What went wrong is the guest's own affair.
            _ = poll_fn(|context| connection.poll_without_shutdown(context)) => break,
            () = place.gives_way() => return,
            _ = closing.changed(), if !is_closing => {
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = tokio::time::sleep(STALL_WAIT) => if place.moves() == moves { return },
        }
    }
    let stream = connection.into_parts().io.into_inner();
    tokio::select! {
        _ = tokio::time::timeout(LINGER_WAIT, linger(stream)) => {}
        () = place.gives_way() => {}
    }
}

/// Says that nothing more will come, and hears out whoever still speaks.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut unheard = [0; 4096];
    if stream.shutdown().await.is_ok() {
        while stream.read(&mut unheard).await.is_ok_and(|count| count > 0) {}
    }
}

/// Who is in, and who of them waits.
#[derive(Default)]
struct Lobby(Mutex<Rows>);

#[derive(Default)]
struct Rows {
    inside: usize,
    /// The number of the last turn.
    last: u64,
    /// By their turns, so that the first has waited the longest.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Rows {
    fn line_up(&mut self, leave: &Arc<Notify>) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, Arc::clone(leave));
        self.last
    }
}

impl Lobby {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where all that are in are being answered.
    fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut rows = self.rows();
        if rows.inside >= GUESTS_MAX {
            let (_, leave) = rows.waiting.pop_first()?;
            leave.notify_one();
        }
        rows.inside += 1;
        let leave = Arc::new(Notify::new());
        let turn = AtomicU64::new(rows.line_up(&leave));
        drop(rows);
        Some(Place { lobby: Arc::clone(self), leave, turn, moves: AtomicU64::new(0) })
    }
}

/// The place of one guest.
struct Place {
    lobby: Arc<Lobby>,
    leave: Arc<Notify>,
    turn: AtomicU64,
    moves: AtomicU64,
}

impl Place {
    fn is_answered(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.lobby.rows().waiting.remove(&self.turn.load(Ordering::Relaxed));
    }

    fn waits(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        self.turn.store(self.lobby.rows().line_up(&self.leave), Ordering::Relaxed);
    }

    /// Grows with each request and each answer.
    fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    async fn gives_way(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rows = self.lobby.rows();
        rows.inside -= 1;
        rows.waiting.remove(&self.turn.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests;
