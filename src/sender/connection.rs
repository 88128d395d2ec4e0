//! Single HTTP connections.
//!
//! A connection has no task of its own: whoever has an exchange over it moves it, so that one exchange wakes one task
//! and not two. An [idle](super::idle) one is moved by nobody.

use super::classify::{AnswerBody, Observed};
use super::client::{HEAD_BYTES_MAX, causes, read_body};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::http::response::Parts;
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
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
    pub(super) async fn is_usable(&mut self) -> bool {
        let has_ended = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.connection).poll(cx).is_ready())).await;
        !has_ended && self.requests.is_ready()
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
