//! TCP proxies: one cuts connections after a random number of bytes, one takes nothing more from a client.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Cuts each of its first connections, then lets all through.
pub struct Proxy {
    port: u16,
    cuts: Arc<AtomicUsize>,
    from_clients: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Forwards to `target` on 127.0.0.1. Each of the first `cuts` connections carries 1 to `bytes_max` bytes, both
    /// directions together, and is then reset; how many follows from `seed`.
    pub async fn start(target: u16, cuts: usize, bytes_max: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let done = Arc::new(AtomicUsize::new(0));
        let from_clients = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn({
            let (done, from_clients) = (Arc::clone(&done), Arc::clone(&from_clients));
            async move {
                let mut random = seed | 1;
                while let Ok((client, _)) = listener.accept().await {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let may_cut = done.load(Ordering::Relaxed) < cuts;
                    let budget = if may_cut { 1 + random % bytes_max } else { u64::MAX };
                    tokio::spawn(forward(client, target, budget, Arc::clone(&done), Arc::clone(&from_clients)));
                }
            }
        });
        Self { port, cuts: done, from_clients, accepting }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// How many connections were cut so far.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }

    /// How many bytes clients have sent so far.
    pub fn carried_up(&self) -> u64 {
        self.from_clients.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    mut client: TcpStream,
    target: u16,
    mut budget: u64,
    cuts: Arc<AtomicUsize>,
    from_clients: Arc<AtomicU64>,
) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut up, mut down) = (vec![0; 4096], vec![0; 4096]);
    loop {
        let (count, from_client) = tokio::select! {
            read = client.read(&mut up) => (read, true),
            read = server.read(&mut down) => (read, false),
        };
        let Ok(count @ 1..) = count else { return };
        // The last packet is cut in the middle: its beginning still arrives.
        let passed = usize::try_from(budget).unwrap_or(usize::MAX).min(count);
        let written =
            if from_client { server.write_all(&up[..passed]).await } else { client.write_all(&down[..passed]).await };
        if written.is_err() {
            return;
        }
        if from_client {
            from_clients.fetch_add(passed as u64, Ordering::Relaxed);
        }
        budget -= passed as u64;
        if budget == 0 {
            cuts.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Forwards everything between MQTT clients and a broker, and while it is shut nothing from one client but its CONNECT.
/// What the broker sends passes always.
pub struct Gate {
    port: u16,
    is_open: watch::Sender<bool>,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// Forwards to `target` on 127.0.0.1; it can be shut for the client with this id. It is open.
    pub async fn start(target: u16, client_id: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let is_open = watch::Sender::new(true);
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepting = tokio::spawn({
            let (is_open, connections) = (is_open.clone(), Arc::clone(&connections));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let passing = pass(client, target, client_id, is_open.subscribe());
                    connections.lock().expect("not poisoned").spawn(passing);
                }
            }
        });
        Self { port, is_open, connections, accepting }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn shut(&self) {
        self.is_open.send_replace(false);
    }

    /// What was held back goes on, if its connection is still there.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Ends every connection, and with them what is held back.
    pub fn cut(&self) {
        self.connections.lock().expect("not poisoned").abort_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Until either side is closed.
async fn pass(client: TcpStream, target: u16, client_id: &str, mut is_open: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let connect = read_connect(&mut from_client).await?;
        to_server.write_all(&connect).await?;
        let may_be_held = connect.windows(client_id.len()).any(|bytes| bytes == client_id.as_bytes());
        let mut bytes = vec![0; 4096];
        loop {
            let count = from_client.read(&mut bytes).await?;
            // Nothing more is read while this waits, so the client soon finds no room.
            let may_pass = !may_be_held || is_open.wait_for(|is_open| *is_open).await.is_ok();
            if count == 0 || !may_pass {
                return io::Result::Ok(());
            }
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    tokio::select! {
        _ = up => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

/// The bytes of the first packet, in which a client says its id.
async fn read_connect(client: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut packet = vec![client.read_u8().await?];
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = client.read_u8().await?;
        packet.push(byte);
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let head = packet.len();
    packet.resize(head + length, 0);
    client.read_exact(&mut packet[head..]).await?;
    Ok(packet)
}
