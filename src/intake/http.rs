//! The HTTP server: whether the process lives, and whether it works.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
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

/// Starts to listen.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(listen: SocketAddr, readiness: Readiness) -> io::Result<Server> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(readiness);
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
