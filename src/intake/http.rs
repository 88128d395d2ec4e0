//! The HTTP server: whether the process lives, whether it works, and how.

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

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
    task: JoinHandle<()>,
}

impl Server {
    /// The address it listens on, with the port that the system chose where none was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
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
    let task = tokio::spawn(async move {
        // Only ever ends with the task: accepting is tried again after an error.
        let _ = axum::serve(listener, router).await;
    });
    Ok(Server { address, task })
}

async fn healthz() -> &'static str {
    "up\n"
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    let Readiness { subscribed, commanded, publishing } = readiness;
    if *subscribed.borrow() && *commanded.borrow() && *publishing.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no session with the broker\n")
    }
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
