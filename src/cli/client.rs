//! A client of the broker as any service could be one: publishes at QoS 1, and hears what it subscribed to.
//!
//! Two connections, as the bridge has them. What the broker has not acknowledged is published again over the next
//! connection, so it may arrive twice and is never lost.

use crate::mqtt::{
    Acknowledger, Incoming, Lost, OutgoingEvent, Outlet, Packet, Publish, PublishRefusal, Queue, Refused, Session,
    Settings, Task, TlsError, connect_incoming, connect_outgoing,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;

/// More events than can come before they are read: each of the 1,000 publishes that may be under way gives two.
const ROOM: usize = 4096;
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Something that the owner may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Publishes leave from now on.
    Connected,
    /// Either connection ended, or could not be made.
    Disconnected { why: Lost },
    /// Every filter is granted. Without a session what was published meanwhile is lost to us.
    Subscribed { session_present: bool },
    /// One is not, and the broker is asked again later.
    SubscribeRefused { filter: String, reason: String },
    /// The broker has a publish, or refused it.
    Acknowledged { token: u64, refusal: Option<PublishRefusal> },
    /// A publish that no broker would take. It is given up.
    Unfit { token: u64, why: Refused },
    /// To be acknowledged with [`Client::acknowledge`].
    Packet(Packet),
}

/// The two connections, and what the broker does not have yet.
pub struct Client {
    outlet: Outlet,
    acknowledger: Acknowledger,
    outgoing: mpsc::Receiver<OutgoingEvent>,
    incoming: mpsc::Receiver<Incoming>,
    connection: Option<u64>,
    session_present: bool,
    subscribed: bool,
    /// Given to us and not yet acknowledged by the broker, by token.
    open: BTreeMap<u64, Publish>,
    /// Those of them that the present connection was not given yet.
    waiting: VecDeque<u64>,
    /// Found unfit while they were handed over.
    unfit: VecDeque<(u64, Refused)>,
    next_token: u64,
    tasks: [Task; 2],
}

impl Client {
    /// Connects, and subscribes to `filters`. Must be called within a runtime.
    ///
    /// # Errors
    /// [`TlsError`], never at a broker without TLS.
    pub fn connect(settings: &Settings, filters: Vec<String>) -> Result<Self, TlsError> {
        let (events, outgoing) = mpsc::channel(ROOM);
        let (outlet, outgoing_task) = connect_outgoing(settings, None, move |event| {
            // The receiver is read whenever the owner waits; without one the owner is gone.
            let _ = events.try_send(event);
        })?;
        let (packets, incoming) = mpsc::channel(ROOM);
        let (acknowledger, incoming_task) =
            connect_incoming(settings, Session::new("in", filters, settings.receive_maximum), Queue::new(packets))?;
        Ok(Self {
            outlet,
            acknowledger,
            outgoing,
            incoming,
            connection: None,
            session_present: false,
            subscribed: false,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            unfit: VecDeque::new(),
            next_token: 1,
            tasks: [outgoing_task, incoming_task],
        })
    }

    /// Returns when it can publish and hear everything that it subscribed to.
    pub async fn ready(&mut self) {
        while self.connection.is_none() || !self.subscribed {
            // No answer can come before anything was published.
            self.next().await;
        }
    }

    /// Whether publishes leave now.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Publishes now, and again after a lost connection until the broker has it. Returns its token.
    pub fn publish(&mut self, topic: &str, payload: Bytes) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.open.insert(token, Publish::new(topic, payload));
        self.waiting.push_back(token);
        self.hand_over();
        token
    }

    /// How many publishes the broker has not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.open.len()
    }

    /// The next news. Loses nothing when it is dropped before.
    pub async fn next(&mut self) -> News {
        loop {
            if let Some((token, why)) = self.unfit.pop_front() {
                return News::Unfit { token, why };
            }
            let news = tokio::select! {
                Some(event) = self.outgoing.recv() => self.handle_outgoing(event),
                Some(event) = self.incoming.recv() => self.handle_incoming(event),
                else => std::future::pending().await,
            };
            if let Some(news) = news {
                return news;
            }
        }
    }

    /// News that are there already.
    pub fn try_next(&mut self) -> Option<News> {
        if let Some((token, why)) = self.unfit.pop_front() {
            return Some(News::Unfit { token, why });
        }
        while let Ok(event) = self.outgoing.try_recv() {
            if let Some(news) = self.handle_outgoing(event) {
                return Some(news);
            }
        }
        while let Ok(event) = self.incoming.try_recv() {
            if let Some(news) = self.handle_incoming(event) {
                return Some(news);
            }
        }
        None
    }

    /// The payload of the next packet, which is acknowledged. Loses nothing when it is dropped before.
    pub async fn answer(&mut self) -> Bytes {
        loop {
            if let News::Packet(packet) = self.next().await {
                self.acknowledge(&packet);
                return packet.payload;
            }
        }
    }

    /// Tells the broker that a packet is safe with us.
    pub fn acknowledge(&self, packet: &Packet) {
        if let Some(ticket) = packet.ticket {
            self.acknowledger.acknowledge(ticket);
        }
    }

    pub async fn close(self) {
        for task in self.tasks {
            task.disconnect(CLOSE_WAIT).await;
        }
    }

    fn handle_outgoing(&mut self, event: OutgoingEvent) -> Option<News> {
        match event {
            OutgoingEvent::Connected { connection, .. } => {
                self.connection = Some(connection);
                self.waiting = self.open.keys().copied().collect();
                self.hand_over();
                Some(News::Connected)
            }
            OutgoingEvent::Disconnected { why } => {
                self.connection = None;
                Some(News::Disconnected { why })
            }
            OutgoingEvent::Acknowledged { token, refusal, .. } => {
                self.open.remove(&token);
                Some(News::Acknowledged { token, refusal })
            }
            OutgoingEvent::Room => {
                self.hand_over();
                None
            }
            OutgoingEvent::Broker(_) => None,
        }
    }

    fn handle_incoming(&mut self, event: Incoming) -> Option<News> {
        match event {
            Incoming::Connected { session_present, .. } => {
                self.session_present = session_present;
                None
            }
            Incoming::Subscribed => {
                self.subscribed = true;
                Some(News::Subscribed { session_present: self.session_present })
            }
            Incoming::SubscribeRefused { filter, reason } => Some(News::SubscribeRefused { filter, reason }),
            Incoming::Packet(packet) => Some(News::Packet(packet)),
            Incoming::Disconnected { why } => Some(News::Disconnected { why }),
        }
    }

    /// Gives the connection what it has room for; the rest follows when it has more, or with the next one.
    fn hand_over(&mut self) {
        let Some(connection) = self.connection else { return };
        while let Some(&token) = self.waiting.front() {
            if let Some(publish) = self.open.get(&token) {
                match self.outlet.publish(connection, publish.clone(), token) {
                    Ok(()) => {}
                    Err(Refused::NotConnected | Refused::Full) => return,
                    Err(why @ (Refused::TooLarge { .. } | Refused::Invalid)) => {
                        self.open.remove(&token);
                        self.unfit.push_back((token, why));
                    }
                }
            }
            self.waiting.pop_front();
        }
    }
}
