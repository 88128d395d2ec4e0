//! The demo's publisher: publishes at QoS 1 and hears the answers, over connections of its own.

use crate::model::Ticket;
use crate::mqtt::{
    Acknowledger, Incoming, OutgoingEvent, Outlet, Overrun, Packet, Publish, Session, Settings, Task, TlsError,
    connect_incoming, connect_outgoing,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;

/// More events than the demo can have under way.
const ROOM: usize = 4096;
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A publisher as any service could be one.
pub struct Client {
    outlet: Outlet,
    acknowledger: Acknowledger,
    outgoing: mpsc::Receiver<OutgoingEvent>,
    incoming: mpsc::Receiver<Incoming>,
    connection: Option<u64>,
    subscribed: bool,
    /// Given to us and not yet acknowledged by the broker, by token.
    open: BTreeMap<u64, Publish>,
    /// Those of them that the present connection was not given yet.
    waiting: VecDeque<u64>,
    next_token: u64,
    tasks: [Task; 2],
}

impl Client {
    /// Connects, and subscribes to `filter`.
    ///
    /// # Errors
    /// [`TlsError`], never at a broker without TLS.
    pub fn connect(settings: &Settings, filter: &str) -> Result<Self, TlsError> {
        let (events, outgoing) = mpsc::channel(ROOM);
        let will = Publish::new("demo/publisher", "gone");
        let (outlet, outgoing_task) = connect_outgoing(settings, &will, move |event| {
            // The receiver is read whenever the demo waits; without one the demo is over.
            let _ = events.try_send(event);
        })?;
        let (packets, incoming) = mpsc::channel(ROOM);
        let on_event = move |event| packets.try_send(event).map_err(|_| Overrun);
        let session = Session::new("in", vec![filter.to_owned()], settings.receive_maximum);
        let (acknowledger, incoming_task) = connect_incoming(settings, session, on_event)?;
        Ok(Self {
            outlet,
            acknowledger,
            outgoing,
            incoming,
            connection: None,
            subscribed: false,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_token: 1,
            tasks: [outgoing_task, incoming_task],
        })
    }

    /// Returns when it can publish and hear answers.
    pub async fn ready(&mut self) {
        while self.connection.is_none() || !self.subscribed {
            // No answer can come before anything was published.
            self.step().await;
        }
    }

    /// Publishes now, and again after a lost connection until the broker has it.
    pub fn publish(&mut self, topic: &str, payload: Bytes) {
        let token = self.next_token;
        self.next_token += 1;
        self.open.insert(token, Publish::new(topic, payload));
        self.waiting.push_back(token);
        self.hand_over();
    }

    /// How many publishes the broker has not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.open.len()
    }

    /// The payload of the next answer. Loses nothing when it is dropped before.
    pub async fn answer(&mut self) -> Bytes {
        loop {
            if let Some(packet) = self.step().await {
                return packet.payload;
            }
        }
    }

    pub async fn close(self) {
        for task in self.tasks {
            task.disconnect(CLOSE_WAIT).await;
        }
    }

    /// Handles one event of either connection; it may be an answer.
    async fn step(&mut self) -> Option<Packet> {
        tokio::select! {
            Some(event) = self.outgoing.recv() => {
                self.handle_outgoing(event);
                None
            }
            Some(event) = self.incoming.recv() => self.handle_incoming(event),
            else => std::future::pending().await,
        }
    }

    fn handle_outgoing(&mut self, event: OutgoingEvent) {
        match event {
            OutgoingEvent::Connected { connection, .. } => {
                self.connection = Some(connection);
                self.waiting = self.open.keys().copied().collect();
                self.hand_over();
            }
            OutgoingEvent::Disconnected { .. } => self.connection = None,
            OutgoingEvent::Acknowledged { token, .. } => drop(self.open.remove(&token)),
            OutgoingEvent::Room => self.hand_over(),
        }
    }

    fn handle_incoming(&mut self, event: Incoming) -> Option<Packet> {
        match event {
            Incoming::Subscribed => self.subscribed = true,
            Incoming::Packet(packet) => {
                self.acknowledge(packet.ticket);
                return Some(packet);
            }
            Incoming::Connected { .. } | Incoming::SubscribeRefused { .. } | Incoming::Disconnected { .. } => {}
        }
        None
    }

    fn acknowledge(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.acknowledger.acknowledge(ticket);
        }
    }

    /// Gives the connection what it has room for; the rest follows when it has more, or with the next one.
    fn hand_over(&mut self) {
        let Some(connection) = self.connection else { return };
        while let Some(token) = self.waiting.front() {
            if let Some(publish) = self.open.get(token)
                && self.outlet.publish(connection, publish.clone(), *token).is_err()
            {
                return;
            }
            self.waiting.pop_front();
        }
    }
}
