//! A TCP proxy that cuts connections after a random number of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

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
