//! The HTTP server: whether the process lives, whether it works, and how; and the callbacks.

mod door;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use door::Door;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What readiness is made of. The server only starts once the journal is restored.
#[derive(Clone)]
pub struct Readiness {
    /// Messages can arrive.
    pub subscribed: watch::Receiver<bool>,
    /// Commands can arrive.
    pub commanded: watch::Receiver<bool>,
    /// The outgoing connection is up: without it nobody would get an answer.
    pub publishing: watch::Receiver<bool>,
}

/// The metrics, which somebody else writes.
#[derive(Clone)]
pub struct Metrics(Arc<dyn Fn(bool) -> Text + Send + Sync>);

/// `None` as long as there is nothing to say.
type Text = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

impl Metrics {
    /// `write` is told whether the OpenMetrics form is wanted, or the older one.
    pub fn new(write: impl Fn(bool) -> Text + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }
}

/// The running server. Dropping it ends it.
pub struct Server {
    address: SocketAddr,
    door: Door,
}

impl Server {
    /// The address it listens on, with the port that the system chose where none was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, and returns when the requests that are in have their answers: after 1 s at most.
    pub async fn stop(self) {
        self.door.close().await;
    }
}

/// Starts to listen, also for callbacks.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(listen: SocketAddr, readiness: Readiness, page: Metrics, callbacks: Router) -> io::Result<Server> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(metrics).with_state(page))
        .merge(callbacks);
    Ok(Server { address, door: Door::open(listener, router) })
}

async fn healthz() -> &'static str {
    "up\n"
}

/// Says which connections are missing. Why they are is in the log: it may name what only operators are to know.
async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let Readiness { subscribed, commanded, publishing } = readiness;
    let connections = [("messages", subscribed), ("commands", commanded), ("answers", publishing)];
    let missing: Vec<&str> = connections.iter().filter(|(_, is_up)| !*is_up.borrow()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let missing = missing.join(", ");
    (StatusCode::SERVICE_UNAVAILABLE, format!("no session with the broker for {missing}: the log says why\n"))
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn metrics(State(page): State<Metrics>, headers: HeaderMap) -> Response {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open_metrics = accepts.into_iter().any(|value| value.contains("application/openmetrics-text"));
    let kind = if open_metrics { OPEN_METRICS } else { PLAIN };
    match (page.0)(open_metrics).await {
        Some(text) => ([(CONTENT_TYPE, kind)], text).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing was measured yet\n").into_response(),
    }
}
