//! Doubts that we make ourselves: a request that leaves over a connection which the server is just closing.

use super::{BODY, PATIENT, Settings, doubt, sender, settings};
use crate::model::{Doubt, Seq};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SENDS: u64 = 100_000;
const SENDERS: u64 = 256;
/// Longer than a connection rests by default before it is used again, by ten milliseconds.
const SERVER_IDLE: Duration = Duration::from_millis(60);
/// None where nothing stands still for the ten milliseconds between the two.
const DOUBTS_MAX: usize = 100;

/// Answers what comes over one connection until nothing comes for `SERVER_IDLE`, and closes it without a word.
async fn serve(mut socket: TcpStream, seen: Arc<AtomicU64>) {
    let mut request = Vec::new();
    let is_whole = |request: &[u8]| request.ends_with(BODY);
    loop {
        let read = tokio::time::timeout(SERVER_IDLE, socket.read_buf(&mut request)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return;
        }
        if is_whole(&request) {
            request.clear();
            seen.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}";
            if socket.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// What became of so many sends with pauses around the time after which the server closes.
struct Outcome {
    doubts: Vec<Doubt>,
    seen: u64,
    connections: u64,
}

async fn send_with_pauses(sends: u64, reuse_idle: Duration) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let (seen, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, opened) = (Arc::clone(&seen), Arc::clone(&connections));
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(socket, Arc::clone(&counted)));
        }
    });
    let mut senders = JoinSet::new();
    for first in 0..SENDERS {
        // With connections of its own: shared ones would hardly ever rest.
        let sender = sender(&Settings { reuse_idle, ..settings(&url) });
        senders.spawn(async move {
            let mut doubts = Vec::new();
            for number in (first..sends).step_by(SENDERS as usize) {
                // Pauses of 30 to 89 ms, in no order: they are what is tried.
                tokio::time::sleep(Duration::from_millis(30 + number * 37 % 60)).await;
                let verdict = sender.perform(Seq(number), 1, "text", Bytes::from_static(BODY)).await;
                doubts.extend(doubt(&verdict));
            }
            doubts
        });
    }
    let doubts = tokio::time::timeout(PATIENT * 30, senders.join_all()).await.expect("in time").concat();
    server.abort();
    Outcome { doubts, seen: seen.load(Ordering::Relaxed), connections: connections.load(Ordering::Relaxed) }
}

/// How many end in doubt is a figure, and few; each of the others the server saw. With connections that are used again
/// however long they rested there are more, or the server never closes one at the wrong moment and nothing is shown.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; before a release"]
async fn a_server_that_closes_idle_connections_leaves_few_doubts() {
    let careless = send_with_pauses(SENDS, Duration::from_secs(10)).await;
    let careful = send_with_pauses(SENDS, Settings::REUSE_IDLE_DEFAULT).await;
    for Outcome { doubts, seen, connections } in [&careless, &careful] {
        assert!(*seen >= SENDS - doubts.len() as u64 && *seen <= SENDS, "{seen} requests, {} doubts", doubts.len());
        assert!(*connections > SENDERS && *connections < SENDS, "{connections} connections: some are to rest too long");
    }
    eprintln!("figure: own-doubts-control = {} of {SENDS} sends", careless.doubts.len());
    eprintln!("figure: own-doubts = {} of {SENDS} sends, {} connections", careful.doubts.len(), careful.connections);
    assert!(careful.doubts.len() <= DOUBTS_MAX && careful.doubts.len() < careless.doubts.len());
}
