//! Doubts that we make ourselves: a request that leaves over a connection which the server is just closing.

use super::{BODY, PATIENT, doubt, sender, settings};
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
/// None where nothing stands still.
const DOUBTS_MAX: usize = 1_000;

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

/// So many sends with pauses around the time after which the server closes. How many end in doubt is a figure, and few;
/// each of the others the server saw.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute; before a release"]
async fn a_server_that_closes_idle_connections_leaves_few_doubts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let seen = Arc::new(AtomicU64::new(0));
    let (counted, accepted) = (Arc::clone(&seen), Arc::new(AtomicU64::new(0)));
    let opened = Arc::clone(&accepted);
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(socket, Arc::clone(&counted)));
        }
    });
    let mut senders = JoinSet::new();
    for first in 0..SENDERS {
        // With connections of its own: shared ones would hardly ever rest.
        let sender = sender(&settings(&url));
        senders.spawn(async move {
            let mut doubts = Vec::new();
            for number in (first..SENDS).step_by(SENDERS as usize) {
                // Pauses of 30 to 89 ms, in no order.
                tokio::time::sleep(Duration::from_millis(30 + number * 37 % 60)).await;
                let verdict = sender.perform(Seq(number), 1, "text", Bytes::from_static(BODY)).await;
                doubts.extend(doubt(&verdict));
            }
            doubts
        });
    }
    let doubts: Vec<Doubt> = tokio::time::timeout(PATIENT * 30, senders.join_all()).await.expect("in time").concat();
    server.abort();
    let (seen, accepted) = (seen.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed));
    assert!(doubts.len() <= DOUBTS_MAX, "{} doubts", doubts.len());
    assert!(seen >= SENDS - doubts.len() as u64 && seen <= SENDS, "{seen} requests, {} doubts", doubts.len());
    assert!(accepted > SENDERS && accepted < SENDS, "{accepted} connections: they were to be used again, and closed");
    eprintln!("figure: own-doubts = {} of {SENDS} sends, over {accepted} connections", doubts.len());
}
