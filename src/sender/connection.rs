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
    lines: Mutex<Lines>,
    max: usize,
    /// How long one may be used again.
    reuse: Duration,
    clock: Clock,
}

#[derive(Default)]
struct Lines {
    /// With the time since when it is idle, the oldest first.
    waiting: VecDeque<(Time, Box<Line>)>,
    /// Whether a task closes those whose time is over.
    is_swept: bool,
}

impl Idle {
    pub(super) fn new(max: usize, reuse: Duration) -> Self {
        Self { lines: Mutex::new(Lines::default()), max, reuse, clock: Clock::start() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing done inside the lock can panic half way.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last, if the server has not closed it.
    pub(super) async fn take(&self) -> Option<Box<Line>> {
        loop {
            let (since, mut line) = self.lines().waiting.pop_back()?;
            if self.clock.now().since(since) >= self.reuse {
                // The others are older.
                self.lines().waiting.clear();
                return None;
            }
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
        while lines.waiting.front().is_some_and(|(since, _)| now.since(*since) >= reuse) {
            lines.waiting.pop_front();
        }
        if lines.waiting.is_empty() {
            lines.is_swept = false;
            return;
        }
    }
}

/// A connector with one time limit over all that connecting takes; the inner one has none for TLS.
#[derive(Clone)]
pub(super) struct BoundedConnector {
    pub(super) inner: HttpsConnector<HttpConnector>,
    pub(super) limit: Duration,
}

impl BoundedConnector {
    async fn connect(mut self, address: Uri) -> Result<Socket, Box<dyn Error + Send + Sync>> {
        let connecting = async {
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
