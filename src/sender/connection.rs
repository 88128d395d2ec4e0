//! Single HTTP connections, and those that are idle.
//!
//! A connection has no task of its own: whoever has an exchange over it moves it, so that one exchange wakes one task
//! and not two. An idle one is moved by nobody; whether the server has closed it is seen when it is taken.

use super::classify::{AnswerBody, Observed};
use super::client::{HEAD_BYTES_MAX, causes, read_body};
use crate::clock::Clock;
use crate::model::Time;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::http::response::Parts;
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower_service::Service;

type Socket = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;

/// One connection, with the way to give it a request.
pub(super) struct Line {
    requests: SendRequest<Full<Bytes>>,
    connection: Connection<Socket, Full<Bytes>>,
}

impl Line {
    /// # Errors
    /// When there is no connection, so that nothing can have been written to it.
    pub(super) async fn open(connector: BoundedConnector, address: Uri) -> Result<Box<Self>, Observed> {
        let socket = connector.connect(address).await;
        let socket = socket.map_err(|error| Observed::ConnectFailed { detail: causes(error.as_ref()) })?;
        let made = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(socket).await;
        let (requests, connection) = made.map_err(|error| Observed::ConnectFailed { detail: causes(&error) })?;
        Ok(Box::new(Self { requests, connection }))
    }

    /// Makes one exchange and moves the connection meanwhile. `head` has the head of the answer as soon as it is there.
    ///
    /// # Errors
    /// With the request in it when not a byte of that was written.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        body_max: usize,
        head: &mut Option<Parts>,
    ) -> Result<AnswerBody, TrySendError<Request<Full<Bytes>>>> {
        let Self { requests, connection } = self;
        let answering = async {
            let (parts, body) = requests.try_send_request(request).await?.into_parts();
            *head = Some(parts);
            Ok(read_body(body, body_max).await)
        };
        let mut answering = pin!(answering);
        let mut is_given = false;
        let mut has_ended = false;
        poll_fn(|cx| {
            // The connection must find the request, and after that the answer must find what the connection read.
            if !std::mem::replace(&mut is_given, true)
                && let Poll::Ready(answered) = answering.as_mut().poll(cx)
            {
                return Poll::Ready(answered);
            }
            // How it ended shows in the answer.
            has_ended = has_ended || Pin::new(&mut *connection).poll(cx).is_ready();
            answering.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it can carry another exchange, as far as can be seen from here.
    async fn is_usable(&mut self) -> bool {
        let has_ended = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.connection).poll(cx).is_ready())).await;
        !has_ended && self.requests.is_ready()
    }
}

/// The connections that carry no exchange.
pub(super) struct Idle {
    lines: Mutex<Lines<Box<Line>>>,
    max: usize,
    /// How long one may be used again.
    reuse: Duration,
    clock: Clock,
}

struct Lines<L> {
    /// With the time since when it is idle, the oldest first.
    waiting: VecDeque<(Time, L)>,
    /// Whether a task closes those whose time is over.
    is_swept: bool,
}

impl<L> Lines<L> {
    const fn new() -> Self {
        Self { waiting: VecDeque::new(), is_swept: false }
    }

    fn next(&mut self, now: Time, reuse: Duration) -> Option<L> {
        self.close_old(now, reuse);
        let oldest = self.waiting.front().map(|(since, _)| now.since(*since))?;
        let next = if oldest >= reuse / 2 { self.waiting.pop_front() } else { self.waiting.pop_back() };
        next.map(|(_, line)| line)
    }

    fn close_old(&mut self, now: Time, reuse: Duration) {
        while self.waiting.front().is_some_and(|(since, _)| now.since(*since) >= reuse) {
            self.waiting.pop_front();
        }
    }
}

impl Idle {
    pub(super) fn new(max: usize, reuse: Duration) -> Self {
        Self { lines: Mutex::new(Lines::new()), max, reuse, clock: Clock::start() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines<Box<Line>>> {
        // Nothing done inside the lock can panic half way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that the server has not closed: the one that was used last, so that no more are kept than are needed; but
    /// first whichever would soon be too old, so that what many requests at once need is there for the next many.
    pub(super) async fn take(&self) -> Option<Box<Line>> {
        loop {
            let mut line = self.lines().next(self.clock.now(), self.reuse)?;
            if line.is_usable().await {
                return Some(line);
            }
        }
    }

    /// Keeps a connection whose exchange is over, unless it ends with that.
    pub(super) async fn put(self: &Arc<Self>, mut line: Box<Line>) {
        if !line.is_usable().await {
            return;
        }
        let since = self.clock.now();
        let mut lines = self.lines();
        if lines.waiting.len() >= self.max {
            return;
        }
        lines.waiting.push_back((since, line));
        if !std::mem::replace(&mut lines.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.reuse));
        }
    }
}

/// Closes connections whose time is over, until there are none.
async fn sweep(idle: Weak<Idle>, reuse: Duration) {
    loop {
        tokio::time::sleep(reuse).await;
        let Some(idle) = idle.upgrade() else { return };
        let now = idle.clock.now();
        let mut lines = idle.lines();
        lines.close_old(now, reuse);
        if lines.waiting.is_empty() {
            lines.is_swept = false;
            return;
        }
    }
}

/// Connections that are opened at once, at most. A server queues some hundred that it has not accepted yet, and drops
/// what is over: the system tries again after a second, which is how late that message would be.
const OPENINGS_MAX: usize = 64;

/// A connector with one time limit over all that connecting takes, waiting for its turn included; the inner one has
/// none for TLS.
#[derive(Clone)]
pub(super) struct BoundedConnector {
    inner: HttpsConnector<HttpConnector>,
    limit: Duration,
    openings: Arc<Semaphore>,
}

impl BoundedConnector {
    pub(super) fn new(inner: HttpsConnector<HttpConnector>, limit: Duration) -> Self {
        Self { inner, limit, openings: Arc::new(Semaphore::new(OPENINGS_MAX)) }
    }

    async fn connect(mut self, address: Uri) -> Result<Socket, Box<dyn Error + Send + Sync>> {
        let connecting = async {
            // Never closed, so there is a turn in the end.
            let _turn = self.openings.acquire().await.ok();
            poll_fn(|cx| self.inner.poll_ready(cx)).await?;
            self.inner.call(address).await
        };
        match tokio::time::timeout(self.limit, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectTimedOut { limit: self.limit }.into()),
        }
    }
}

#[derive(Debug)]
struct ConnectTimedOut {
    limit: Duration,
}

impl fmt::Display for ConnectTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection within {:?}", self.limit)
    }
}

impl Error for ConnectTimedOut {}

#[cfg(test)]
mod tests {
    use super::*;

    const REUSE: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Time {
        Time::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn the_last_used_goes_first_and_before_it_what_would_soon_be_too_old() {
        let mut lines = Lines::new();
        lines.waiting.extend([(at(0), 'a'), (at(10), 'b'), (at(20), 'c'), (at(24), 'd')]);
        assert_eq!(lines.next(at(24), REUSE), Some('d'));
        assert_eq!(lines.next(at(25), REUSE), Some('a'), "half of its time is over");
        assert_eq!(lines.next(at(34), REUSE), Some('c'));
        assert_eq!(lines.next(at(60), REUSE), None, "all of its time is over");
        assert!(lines.waiting.is_empty());
    }

    #[test]
    fn what_many_at_once_need_is_there_for_the_next_many() {
        // Three at once every 30 ms, of which two come back and one is used again and again meanwhile.
        let mut lines = Lines::new();
        lines.waiting.extend([(at(0), 'a'), (at(0), 'b'), (at(0), 'c')]);
        let mut opened = 0;
        for now in (1..1000).step_by(5) {
            let wanted = if now % 30 == 1 { 3 } else { 1 };
            let used: Vec<_> = (0..wanted).map(|_| lines.next(at(now), REUSE)).collect();
            opened += used.iter().filter(|line| line.is_none()).count();
            lines.waiting.extend(used.into_iter().map(|line| (at(now + 1), line.unwrap_or('n'))));
        }
        assert_eq!((opened, lines.waiting.len()), (0, 3));
    }
}
