//! The built-in broker: for trying the bridge out, and for small sites.
//!
//! Speaks MQTT 3.1.1 and 5 on one port and keeps sessions in memory only: what is queued in it does not survive the
//! process. The journal does.

use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::task::JoinHandle;

/// Larger payloads are refused, as by the bridge's own connections.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// Messages that wait for one client that is away.
const QUEUED_MESSAGES_MAX: usize = 1_000_000;
const QUEUED_BYTES_MAX: usize = 1 << 30;

/// A running broker. Dropping it ends it.
pub struct Broker {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Broker {
    /// Starts a broker that lets everybody in; only for addresses that strangers cannot reach.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let storage = StorageConfig {
            backend: StorageBackend::Memory,
            base_dir: PathBuf::new(),
            max_queued_messages_per_client: QUEUED_MESSAGES_MAX,
            max_queued_bytes_per_client: QUEUED_BYTES_MAX,
            ..StorageConfig::default()
        };
        let config = BrokerConfig {
            bind_addresses: vec![listen],
            max_packet_size: PACKET_BYTES_MAX,
            storage_config: storage,
            ..BrokerConfig::default()
        };
        let mut broker = MqttBroker::with_config(config).await.map_err(io::Error::other)?;
        let address = broker.local_addr().unwrap_or(listen);
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move {
            // Ends with the task; a failure to accept is the broker's own to survive.
            let _ = broker.run().await;
        });
        // The sender of it lives in the task that was just started.
        let _ = ready.wait_for(|ready| *ready).await;
        Ok(Self { address, task })
    }

    /// Where it listens, with the port that the system chose where none was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}
