use super::doorway::Doorway;
use super::event_loop::{Phase, Side, Task, lock};
use super::lost::Lost;
use super::packets::EventLoop;
use super::{Settings, TlsError, options};
use crate::crash;
use crate::model::Ticket;
use crate::telemetry;
use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet as Received, Publish, RetainForwardRule, SubAck, SubscribeProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, MqttState};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many acknowledgements wait for being written inside rumqttc. What is more waits on the desk.
const QUEUE_LENGTH: usize = 256;

/// Where Mosquitto says what it is. Subscribed beside the filters; nothing hangs on an answer.
const VERSION_TOPIC: &str = "$SYS/broker/version";
/// Before it, Mosquitto lets expired messages at the head of a queue block the ones behind them for ever.
const MOSQUITTO_SOUND: (u32, u32, u32) = (2, 0, 15);

/// Something happened on the incoming connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Packets follow at once, redelivered ones first. When the session is not present, the broker had forgotten it
    /// and with it what was queued: that is normal at the first start only.
    Connected {
        generation: u64,
        session_present: bool,
    },
    /// The broker granted every filter.
    Subscribed,
    /// The broker refused a filter. Asked again once per keep-alive, because permissions may change.
    SubscribeRefused {
        filter: String,
        reason: String,
    },
    Packet(Packet),
    /// The connection ended, or one more attempt to make it failed. Tickets of before are void.
    Disconnected {
        why: Lost,
    },
}

/// A message as the broker delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    /// The publisher asked the broker to keep it. Seen on fresh messages too: stored ones are never sent to us.
    pub retain: bool,
    /// The broker says that it may have delivered it before. A hint only.
    pub duplicate: bool,
    /// To be given to [`Acknowledger::acknowledge`]. `None` at QoS 0.
    pub ticket: Option<Ticket>,
    pub response_topic: Option<String>,
    pub correlation: Option<Bytes>,
    /// What is left of it.
    pub expiry: Option<Duration>,
    pub user_properties: Vec<(String, String)>,
}

/// One durable session of the bridge, of which there are several, so that neither waits for the other.
#[derive(Clone, Debug)]
pub struct Session {
    /// What tells its client id from those of the others. Fixed across versions: the broker keeps the session under it.
    pub suffix: &'static str,
    /// Kept subscribed at QoS 1.
    pub filters: Vec<String>,
    /// What an older version subscribed to in this session, and the broker still knows. Taken back at each connect.
    pub abandoned: Vec<String>,
    /// How many packets the broker may have delivered without an acknowledgement. At least 1.
    pub receive_maximum: u16,
    /// Whether to look at the broker's version: one session of a bridge is enough.
    pub asks_version: bool,
}

impl Session {
    /// A session that never held anything else.
    pub fn new(suffix: &'static str, filters: Vec<String>, receive_maximum: u16) -> Self {
        Self { suffix, filters, abandoned: Vec::new(), receive_maximum, asks_version: false }
    }
}

/// Whoever takes what comes over a connection. Called by the task that polls it, so nothing in it may wait.
pub trait Receive: Send {
    /// Ready when it has room for one more packet. Until then nothing is read, and what comes waits with the kernel and
    /// the broker: one may deliver more than the receive maximum (Mosquitto before 2.0.13 does).
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Packets come only where there is room, everything else at any time.
    fn receive(&mut self, event: Incoming);
}

/// A queue, for a reader that takes its time.
#[derive(Debug)]
pub struct Queue {
    doorway: Doorway<Incoming>,
    /// What came without room for it: only what happens to the connection does.
    waiting: VecDeque<Incoming>,
}

impl Queue {
    pub fn new(queue: mpsc::Sender<Incoming>) -> Self {
        Self { doorway: Doorway::new(queue), waiting: VecDeque::new() }
    }
}

impl Receive for Queue {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(()) = self.doorway.poll_room(cx) {
            let Some(event) = self.waiting.pop_front() else { return Poll::Ready(()) };
            self.waiting.extend(self.doorway.put(event));
        }
        Poll::Pending
    }

    fn receive(&mut self, event: Incoming) {
        let event = if self.waiting.is_empty() { self.doorway.put(event) } else { Some(event) };
        self.waiting.extend(event);
    }
}

/// Connects with a durable session, and keeps its filters subscribed. Must be called within a runtime.
///
/// # Errors
/// [`TlsError`] when the certificates cannot be used.
pub fn connect_incoming(
    settings: &Settings,
    session: Session,
    receiver: impl Receive + 'static,
) -> Result<(Acknowledger, Task), TlsError> {
    let options = options::incoming(settings, &session)?;
    let client_id = options.client_id();
    let (client, wire) = EventLoop::new(options, QUEUE_LENGTH);
    let desk = Arc::new(Mutex::new(Desk {
        client,
        generation: 1,
        phase: Phase::Down,
        unacknowledged: BTreeSet::new(),
        waiting: VecDeque::new(),
    }));
    let side = IncomingSide {
        client_id,
        desk: Arc::clone(&desk),
        missing: session.filters.clone(),
        session,
        asked: Vec::new(),
        version_seen: false,
        receiver,
    };
    Ok((Acknowledger { desk }, Task::spawn(wire, side, settings)))
}

/// Acknowledges packets to the broker. Clones do the same.
#[derive(Clone)]
pub struct Acknowledger {
    desk: Arc<Mutex<Desk>>,
}

impl Acknowledger {
    /// Tells the broker that the packet is safe. Never waits. Acknowledgements leave in the order given.
    ///
    /// Does nothing for a ticket of an older connection, whose packet is delivered again with a new one, and for one
    /// that was used already.
    pub fn acknowledge(&self, ticket: Ticket) {
        let mut desk = lock(&self.desk);
        if ticket.generation != desk.generation || !desk.unacknowledged.remove(&ticket.packet) {
            telemetry::stale_acknowledgement(ticket);
            return;
        }
        desk.waiting.push_back(ticket.packet);
        desk.pass_on();
    }
}

/// What the acknowledger and the polling task share.
struct Desk {
    client: AsyncClient,
    /// Of the present connection, or of the next one when there is none.
    generation: u64,
    phase: Phase,
    /// Delivered and not acknowledged yet.
    unacknowledged: BTreeSet<u16>,
    /// Acknowledged and not yet in rumqttc's queue. Bounded by the number of packet ids.
    waiting: VecDeque<u16>,
}

impl Desk {
    /// Moves acknowledgements into rumqttc's queue while it has room. The rest follows when the task has polled: a
    /// full queue makes it write.
    fn pass_on(&mut self) {
        if self.phase == Phase::Down {
            return;
        }
        while let Some(&packet) = self.waiting.front() {
            // All that is read of it is the packet id.
            let publish = Publish { pkid: packet, qos: QoS::AtLeastOnce, ..Publish::default() };
            if self.client.try_ack(&publish).is_err() {
                return;
            }
            self.waiting.pop_front();
        }
        if self.phase == Phase::Closing && self.client.try_disconnect().is_ok() {
            self.phase = Phase::Closed;
        }
    }
}

struct IncomingSide<R> {
    client_id: String,
    desk: Arc<Mutex<Desk>>,
    session: Session,
    /// Not granted on this connection.
    missing: Vec<String>,
    /// What the last SUBSCRIBE asked for: SUBACK answers by position.
    asked: Vec<String>,
    /// Whether the broker's version was looked at.
    version_seen: bool,
    receiver: R,
}

impl<R: Receive> IncomingSide<R> {
    fn handle_connected(&mut self, session_present: bool) -> Result<(), Lost> {
        let generation = {
            let mut desk = lock(&self.desk);
            desk.phase.rise()?;
            desk.generation
        };
        telemetry::broker_connected(&self.client_id, session_present);
        self.receiver.receive(Incoming::Connected { generation, session_present });
        // Whatever the session: the broker's may be older than the configuration, and it may have been restarted.
        self.missing.clone_from(&self.session.filters);
        self.unsubscribe();
        self.subscribe();
        Ok(())
    }

    /// Takes back what the session holds from an older version. A broker that never held it says so, and nothing hangs
    /// on that; what it delivers until then is handled like everything else.
    fn unsubscribe(&self) {
        let desk = lock(&self.desk);
        for filter in &self.session.abandoned {
            // The queue of a connection that just came up has room.
            let _ = desk.client.try_unsubscribe(filter.as_str());
        }
    }

    fn subscribe(&mut self) {
        if self.missing.is_empty() {
            return;
        }
        let filters = self.missing.iter().map(|path| Filter {
            // Else each subscription would bring the stored messages again, and not be told from fresh ones.
            retain_forward_rule: RetainForwardRule::Never,
            preserve_retain: true,
            ..Filter::new(path.as_str(), QoS::AtLeastOnce)
        });
        // Stored and at QoS 0: it needs no acknowledgement, and the session keeps none of it.
        let version = self.session.asks_version.then_some(VERSION_TOPIC);
        let filters = filters.chain(version.map(|topic| Filter::new(topic, QoS::AtMostOnce)));
        let properties = SubscribeProperties { id: None, user_properties: Vec::new() };
        if lock(&self.desk).client.try_subscribe_many_with_properties(filters, properties).is_ok() {
            self.asked.clone_from(&self.missing);
            self.asked.extend(version.map(str::to_owned));
        }
        // A full queue is no loss: what is missing is asked for again at the next ping.
    }

    fn handle_suback(&mut self, suback: &SubAck) {
        let mut refused = Vec::new();
        let mut reasons = suback.return_codes.iter();
        for filter in std::mem::take(&mut self.asked) {
            match reasons.next() {
                _ if filter == VERSION_TOPIC => {}
                Some(SubscribeReasonCode::Success(_)) => self.missing.retain(|missing| *missing != filter),
                reason => refused.push((filter, reason.map_or("no answer".into(), |reason| format!("{reason:?}")))),
            }
        }
        for (filter, reason) in refused {
            telemetry::subscribe_refused(&filter, &reason);
            self.receiver.receive(Incoming::SubscribeRefused { filter, reason });
        }
        if self.missing.is_empty() {
            telemetry::subscribed(&self.client_id, self.session.filters.len());
            self.receiver.receive(Incoming::Subscribed);
        }
    }

    fn handle_publish(&mut self, publish: Publish) {
        if publish.topic == VERSION_TOPIC.as_bytes() {
            self.note_version(&publish.payload);
            return;
        }
        let ticket = {
            let mut desk = lock(&self.desk);
            if desk.phase != Phase::Up {
                // It was not acknowledged, so the broker keeps it for the next start.
                return;
            }
            let needs_ticket = publish.qos != QoS::AtMostOnce;
            if needs_ticket {
                desk.unacknowledged.insert(publish.pkid);
            }
            needs_ticket.then_some(Ticket { generation: desk.generation, packet: publish.pkid })
        };
        self.receiver.receive(Incoming::Packet(to_packet(publish, ticket)));
    }
}

impl<R> IncomingSide<R> {
    /// Once per process, because the broker says it after every connect.
    fn note_version(&mut self, payload: &[u8]) {
        let version = String::from_utf8_lossy(payload);
        if !std::mem::replace(&mut self.version_seen, true)
            && mosquitto_version(&version).is_some_and(|found| found < MOSQUITTO_SOUND)
        {
            telemetry::broker_outdated(&version);
        }
    }
}

impl<R: Receive> Side for IncomingSide<R> {
    fn client(&self) -> &str {
        &self.client_id
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match lock(&self.desk).phase {
            Phase::Up => self.receiver.poll_room(cx),
            // Packets are left to the next connection, and nothing else needs room.
            Phase::Down | Phase::Closing | Phase::Closed => Poll::Ready(()),
        }
    }

    fn handle_event(&mut self, event: Event, _: &MqttState) -> Result<(), Lost> {
        match event {
            Event::Incoming(Received::ConnAck(connack)) => self.handle_connected(connack.session_present)?,
            Event::Incoming(Received::Publish(publish)) => {
                crash::at("message_received");
                self.handle_publish(publish);
            }
            Event::Incoming(Received::SubAck(suback)) => self.handle_suback(&suback),
            Event::Incoming(Received::PingResp(_)) => self.subscribe(),
            // What was written before this event was polled may have reached the broker.
            Event::Outgoing(Outgoing::PubAck(_)) => crash::at("acknowledged"),
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
        lock(&self.desk).pass_on();
        Ok(())
    }

    fn handle_lost(&mut self, wire: &mut EventLoop, lost: &Lost) {
        {
            let mut desk = lock(&self.desk);
            // Packets that were read and not polled come again, like all that was not acknowledged.
            drop(wire.wipe());
            desk.generation += 1;
            desk.phase = Phase::Down;
            desk.unacknowledged.clear();
            desk.waiting.clear();
        }
        self.receiver.receive(Incoming::Disconnected { why: lost.clone() });
    }

    fn close(&mut self) -> bool {
        let mut desk = lock(&self.desk);
        if desk.phase == Phase::Down {
            return false;
        }
        desk.phase = Phase::Closing;
        desk.pass_on();
        true
    }
}

/// The number in `mosquitto version 2.0.11`; `None` for another broker.
fn mosquitto_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.strip_prefix("mosquitto version ")?.trim().splitn(3, '.');
    let mut next = || numbers.next()?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    Some((next()?, next()?, next()?))
}

fn to_packet(publish: Publish, ticket: Option<Ticket>) -> Packet {
    let properties = publish.properties.unwrap_or_default();
    Packet {
        // A broker checks topics; one that is not UTF-8 after all matches nothing of ours.
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload,
        qos: publish.qos as u8,
        retain: publish.retain,
        duplicate: publish.dup,
        ticket,
        response_topic: properties.response_topic,
        correlation: properties.correlation_data,
        expiry: properties.message_expiry_interval.map(|seconds| Duration::from_secs(seconds.into())),
        user_properties: properties.user_properties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_mosquitto_is_told_from_a_sound_one_and_from_others() {
        assert_eq!(mosquitto_version("mosquitto version 2.0.11"), Some((2, 0, 11)));
        assert_eq!(mosquitto_version("mosquitto version 2.1.0-rc1"), Some((2, 1, 0)));
        assert!(mosquitto_version("mosquitto version 2.0.9") < Some(MOSQUITTO_SOUND));
        assert_eq!(mosquitto_version("another 1.0.0"), None);
        assert_eq!(mosquitto_version("mosquitto version of mine"), None);
    }
}
