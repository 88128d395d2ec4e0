//! A server that answers each request with the next step of a script, on real sockets, and remembers what it saw.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Keeps the connection open.
    Answer(Vec<u8>),
    AnswerAndClose(Vec<u8>),
    AnswerAndReset(Vec<u8>),
    /// Holds the connection until the client closes it.
    AnswerAndHold(Vec<u8>),
    /// The first, and then the second until the client closes the connection.
    AnswerWithout(Vec<u8>, &'static [u8]),
    /// Resets the connection once the head of the request is there, whatever is still to come.
    ResetAfterHead,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A whole request on the connection with this number.
    Request { connection: usize, head: String, body: Vec<u8> },
    /// The client closed the connection that was held.
    Closed { connection: usize },
}

/// Stops when it is dropped.
pub struct Scripted {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let log = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let accepting = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                let mut connection = 0;
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, connection, Arc::clone(&script), Arc::clone(&log)));
                    connection += 1;
                }
            }
        });
        Self { address, log, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}/gnapi/open", self.address)
    }

    pub fn log(&self) -> Vec<Seen> {
        lock(&self.log).clone()
    }

    /// The connection of each request, in order.
    pub fn requests(&self) -> Vec<usize> {
        let connection = |seen| match seen {
            Seen::Request { connection, .. } => Some(connection),
            Seen::Closed { .. } => None,
        };
        self.log().into_iter().filter_map(connection).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The bytes of a whole answer.
pub fn answer(status: &str, more_headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{more_headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The bytes of the answer of a send that worked.
pub fn sent(msg_id: &str) -> Vec<u8> {
    answer("200 OK", "", &format!(r#"{{"msg":"","code":0,"data":{{"msgId":"{msg_id}"}}}}"#))
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<Mutex<VecDeque<Step>>>,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let _ = stream.set_nodelay(true);
    let mut received = Vec::new();
    loop {
        let Some(head_end) = read_until(&mut stream, &mut received, head_end).await else { return };
        let next = lock(&script).pop_front().unwrap_or_else(|| Step::Answer(sent("beyond-the-script")));
        if matches!(next, Step::ResetAfterHead) {
            let _ = stream.set_zero_linger();
            return;
        }
        let head = String::from_utf8_lossy(&received[..head_end]).into_owned();
        let end = head_end + content_length(&head);
        let enough = |received: &[u8]| (received.len() >= end).then_some(end);
        if read_until(&mut stream, &mut received, enough).await.is_none() {
            return;
        }
        let body = received[head_end..end].to_vec();
        received.drain(..end);
        lock(&log).push(Seen::Request { connection, head, body });
        match next {
            Step::Answer(bytes) => {
                let _ = stream.write_all(&bytes).await;
            }
            Step::AnswerAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Step::AnswerAndReset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.set_zero_linger();
                return;
            }
            Step::AnswerAndHold(bytes) => {
                let _ = stream.write_all(&bytes).await;
                while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
                lock(&log).push(Seen::Closed { connection });
                return;
            }
            Step::AnswerWithout(bytes, again) => {
                let _ = stream.write_all(&bytes).await;
                while stream.write_all(again).await.is_ok() {}
                return;
            }
            Step::ResetAfterHead => return,
        }
    }
}

/// Reads until `end` finds what it looks for, or returns `None` when the client is gone.
async fn read_until(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = end(received) {
            return Some(end);
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

fn head_end(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

fn content_length(head: &str) -> usize {
    let value = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    value.map_or(0, |digits| digits.parse().expect("a number"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
