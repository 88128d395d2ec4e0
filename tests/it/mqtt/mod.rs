//! The broker connection against a real Mosquitto.

mod connecting;
mod incoming;
mod outgoing;
mod peers;

use sendbridge::mqtt::{
    Acknowledger, BrokerUrl, Incoming, Lost, OutgoingEvent, Outlet, Packet, Publish, PublishRefusal, Queue, Session,
    Settings, Stored, Task, connect_incoming, connect_outgoing_and_look,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No test needs it; a broken one ends by it.
const DEADLINE: Duration = Duration::from_secs(60);
/// More events than any test has under way.
const ROOM: usize = 100_000;

/// Settings that reconnect fast.
fn settings(url: &str, client_id: &str) -> Settings {
    Settings {
        retry_delay_min: Duration::from_millis(2),
        retry_delay_max: Duration::from_millis(20),
        ..Settings::new(BrokerUrl::parse(url).expect("a URL"), client_id)
    }
}

/// An incoming connection and what it reported.
struct Inbox {
    acknowledger: Acknowledger,
    events: mpsc::Receiver<Incoming>,
    /// How often there was no room for an event.
    task: Task,
}

impl Inbox {
    fn open(settings: &Settings, filter: &str) -> Self {
        Self::open_with_room(settings, filter, ROOM)
    }

    fn open_with_room(settings: &Settings, filter: &str, room: usize) -> Self {
        let session = Session::new("in", vec![filter.to_owned()], settings.receive_maximum);
        let session = Session { asks_version: true, ..session };
        Self::open_session(settings, session, room)
    }

    fn open_session(settings: &Settings, session: Session, room: usize) -> Self {
        let (sender, events) = mpsc::channel(room);
        let (acknowledger, task) = connect_incoming(settings, session, Queue::new(sender)).expect("usable");
        Self { acknowledger, events, task }
    }

    async fn event(&mut self) -> Incoming {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("it runs")
    }

    /// Waits for the next connection; returns its generation and whether the session was present.
    async fn connected(&mut self) -> (u64, bool) {
        loop {
            if let Incoming::Connected { generation, session_present } = self.event().await {
                return (generation, session_present);
            }
        }
    }

    async fn subscribed(&mut self) {
        while self.event().await != Incoming::Subscribed {}
    }

    async fn disconnected(&mut self) -> Lost {
        loop {
            if let Incoming::Disconnected { why } = self.event().await {
                return why;
            }
        }
    }

    async fn packet(&mut self) -> Packet {
        loop {
            if let Incoming::Packet(packet) = self.event().await {
                return packet;
            }
        }
    }

    fn acknowledge(&self, packet: &Packet) {
        self.acknowledger.acknowledge(packet.ticket.expect("QoS 1"));
    }

    async fn close(self) {
        assert!(self.task.disconnect(DEADLINE).await, "it closed in order");
    }
}

/// An outgoing connection and what it reported.
struct Outbox {
    outlet: Outlet,
    events: mpsc::Receiver<OutgoingEvent>,
    task: Task,
    connection: u64,
}

impl Outbox {
    fn open(settings: &Settings) -> Self {
        Self::open_looking_for(settings, Stored::new(Vec::new(), |_| ()))
    }

    fn open_looking_for(settings: &Settings, stored: Stored) -> Self {
        let (sender, events) = mpsc::channel(ROOM);
        let will = Publish { retain: true, ..Publish::new("state", "offline") };
        let on_event = move |event| sender.try_send(event).expect("room for every event");
        let (outlet, task) = connect_outgoing_and_look(settings, &will, stored, on_event).expect("usable");
        Self { outlet, events, task, connection: 0 }
    }

    /// Opens a connection and waits for it.
    async fn open_connected(settings: &Settings) -> Self {
        let mut outbox = Self::open(settings);
        outbox.connected().await;
        outbox
    }

    async fn event(&mut self) -> OutgoingEvent {
        let event = timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("it runs");
        if let OutgoingEvent::Connected { connection, .. } = event {
            self.connection = connection;
        }
        event
    }

    async fn connected(&mut self) {
        while !matches!(self.event().await, OutgoingEvent::Connected { .. }) {}
    }

    async fn disconnected(&mut self) -> Lost {
        loop {
            if let OutgoingEvent::Disconnected { why } = self.event().await {
                return why;
            }
        }
    }

    /// Publishes and waits for the broker's word.
    async fn send(&mut self, publish: Publish) -> Option<PublishRefusal> {
        self.outlet.publish(self.connection, publish, u64::MAX).expect("room");
        loop {
            if let OutgoingEvent::Acknowledged { token, refusal, .. } = self.event().await {
                assert_eq!(token, u64::MAX);
                return refusal;
            }
        }
    }

    /// Publishes numbers as payloads to `topic` and waits until the broker has them all.
    async fn send_numbers(&mut self, topic: &str, numbers: std::ops::Range<u64>) {
        for number in numbers {
            assert_eq!(self.send(Publish::new(topic, number.to_string())).await, None);
        }
    }
}

fn number(packet: &Packet) -> u64 {
    let text = std::str::from_utf8(&packet.payload).expect("digits");
    text.trim_start().parse().expect("digits")
}
