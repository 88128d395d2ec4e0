//! The connection to the broker, shared by intake and publisher.
//!
//! Three connections. Acknowledgements queued behind publishes would wait for them, and a command behind a flood of
//! messages, or behind an intake that is closed, would come too late to be of use:
//!
//! ```text
//!  connect_incoming  <id>-in        durable session, acknowledges by hand, subscribes only: messages
//!  connect_incoming  <id>-commands  the same: commands
//!  connect_outgoing  <id>-out       clean session, publishes, owns the will, looks once at what is stored, hears what
//!                                   the broker says of itself
//! ```
//!
//! Who only watches a bridge takes [`connect_viewer`] instead.
//!
//! Behind this module is rumqttc, whose client forgets: after a reconnect it drops, overwrites or resends what it had
//! been given, each under other circumstances. So nothing of ours rests on its memory. Its client, its account of a
//! session and its packets are used as they are; the loop that moves them is ours (`packets`), over streams of ours
//! (`stream`), because its own writes every packet by itself.
//!
//! # Invariants
//!
//! - Each connection has one task, which polls and never waits for anything of ours; a watchdog bounds each poll. Where
//!   we have no room for what comes it stops reading, and goes on writing.
//! - When a connection ends, all that rumqttc remembers is wiped under the lock that the senders take, and the number
//!   of the connection grows: nothing given to an old connection can reach a new one.
//! - A token is acknowledged at most once, and only on the broker's word. What a lost connection had not acknowledged
//!   is the owner's to publish again.
//! - An acknowledgement of a packet leaves at most once, in the order in which they were given, and only over the
//!   connection on which the packet came.
//! - What the broker would answer by closing the connection is refused before it is sent: it would be sent again, and
//!   close the next one.

mod backoff;
mod doorway;
mod event_loop;
mod flights;
mod incoming;
mod lost;
mod options;
mod outgoing;
mod packets;
mod publish;
mod stored;
mod stream;
mod sys;
mod tls;
mod url;
mod viewer;

pub mod broker;
pub mod topics;

pub use doorway::Doorway;
pub use event_loop::Task;
pub use incoming::{Acknowledger, Incoming, Packet, Queue, Receive, Session, connect_incoming};
pub use lost::Lost;
pub use outgoing::{OutgoingEvent, Outlet, PublishRefusal, Refused, connect_outgoing, connect_outgoing_and_look};
pub use publish::{Publish, Qos};
pub use stored::Stored;
pub use tls::{ClientIdentity, TlsError, TlsSettings};
pub use url::{BrokerUrl, Scheme, UrlError};
pub use viewer::{ViewOutlet, Viewed, Viewer, connect_viewer};

use secrecy::SecretString;
use std::time::Duration;

/// How to reach the broker. All connections are made from the same settings.
#[derive(Clone, Debug)]
pub struct Settings {
    pub url: BrokerUrl,
    /// The connections append `-in`, `-commands` and `-out`. Fixed across restarts: the broker keeps sessions under it.
    pub client_id: String,
    /// Whole seconds, at least 5; what is less counts as 5.
    pub keep_alive: Duration,
    /// How many messages the broker may have delivered without an acknowledgement. At least 1.
    pub receive_maximum: u16,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// Only used where the URL's scheme asks for TLS.
    pub tls: TlsSettings,
    /// The broker withholds larger packets, and we would refuse them.
    pub max_packet_bytes: u32,
    /// How long the broker keeps the session, and what is queued in it, while the bridge is away. Whole seconds.
    pub session_expiry: Duration,
    /// The first wait after a lost connection; it doubles up to `retry_delay_max`.
    pub retry_delay_min: Duration,
    pub retry_delay_max: Duration,
    /// Whether the outgoing connection asks the broker how it does: [`OutgoingEvent::Broker`] tells what it says.
    pub watch_broker: bool,
}

impl Settings {
    /// Settings with the defaults for everything but the two things that have none.
    pub fn new(url: BrokerUrl, client_id: impl Into<String>) -> Self {
        Self {
            url,
            client_id: client_id.into(),
            keep_alive: Duration::from_secs(20),
            receive_maximum: 1000,
            username: None,
            password: None,
            tls: TlsSettings::default(),
            max_packet_bytes: 1 << 20,
            session_expiry: Duration::from_secs(14 * 24 * 3600),
            retry_delay_min: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(30),
            watch_broker: false,
        }
    }
}
