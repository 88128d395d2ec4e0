use super::event_loop::{Phase, Side, Task, lock};
use super::flights::Flights;
use super::lost::Lost;
use super::packets::EventLoop;
use super::publish::{Publish, Qos, to_properties, to_qos};
use super::stored::Stored;
use super::sys::{self, SysWatch};
use super::{Settings, TlsError, options};
use crate::crash;
use crate::model::BrokerFact;
use crate::telemetry;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet as Received, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttState};
use std::sync::{Arc, Mutex};

/// How many publishes wait for being written. More than the window, so that events at QoS 0 leave room for answers.
const QUEUE_LENGTH: usize = 2 * options::IN_FLIGHT_MAX_OUTGOING as usize;
/// Mosquitto says so when a payload is over its `message_size_limit`. rumqttc cannot read it.
const PACKET_TOO_LARGE: u8 = 0x95;

/// Something happened on the outgoing connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingEvent {
    /// From now on `connection` is good for publishing. Nothing of earlier ones is acknowledged any more: whatever is
    /// still open must be published again.
    Connected {
        connection: u64,
        /// How many publishes at QoS 1 may be unacknowledged.
        window: u16,
        /// The largest packet that the broker takes, in bytes.
        packet_bytes_max: Option<u32>,
    },
    /// The connection ended, or one more attempt to make it failed.
    Disconnected { why: Lost },
    /// The broker has the publish, or refused it. `is_unheard` when it says that nobody subscribes to the topic.
    Acknowledged { token: u64, refusal: Option<PublishRefusal>, is_unheard: bool },
    /// After a publish was refused with [`Refused::Full`]: there is room again.
    Room,
    /// The broker said something of itself.
    Broker(BrokerFact),
}

/// The broker's refusal of one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRefusal {
    /// MQTT's name of the reason, such as `NotAuthorized`.
    pub reason: String,
    /// Whether the same publish may pass later.
    pub retryable: bool,
}

/// Why a publish was not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no connection, or another one than the caller thinks.
    NotConnected,
    /// The window of unacknowledged publishes or the queue is full. [`OutgoingEvent::Room`] follows.
    Full,
    /// The broker would close the connection.
    TooLarge { packet_bytes: usize, packet_bytes_max: usize },
    /// The topic is empty or too long, or holds a wildcard, a control character or a non-character; or a property
    /// does. The broker would close the connection.
    Invalid,
}

/// Connects with a clean session, and with a will if one is given. Must be called within a runtime.
///
/// `on_event` is called by the task that polls the connection, so it must not wait. It needs room for two events per
/// unacknowledged publish at most.
pub fn connect_outgoing<'a>(
    settings: &Settings,
    will: impl Into<Option<&'a Publish>>,
    on_event: impl FnMut(OutgoingEvent) + Send + 'static,
) -> Result<(Outlet, Task), TlsError> {
    connect_outgoing_and_look(settings, will, Stored::none(), on_event)
}

/// The same, and looks for what is `stored` at each connection.
pub fn connect_outgoing_and_look<'a>(
    settings: &Settings,
    will: impl Into<Option<&'a Publish>>,
    stored: Stored,
    on_event: impl FnMut(OutgoingEvent) + Send + 'static,
) -> Result<(Outlet, Task), TlsError> {
    let options = options::outgoing(settings, will.into())?;
    let client_id = options.client_id();
    let (client, wire) = EventLoop::new(options, QUEUE_LENGTH);
    let desk = Arc::new(Mutex::new(Desk {
        client,
        connection: 1,
        phase: Phase::Down,
        window: 0,
        packet_bytes_max: None,
        flights: Flights::default(),
        holds_back: false,
        was_full: false,
    }));
    let side = OutgoingSide { client_id, desk: Arc::clone(&desk), stored, sys: SysWatch::new(settings), on_event };
    Ok((Outlet { desk }, Task::spawn(wire, side, settings)))
}

/// Publishes. Clones do the same.
#[derive(Clone)]
pub struct Outlet {
    desk: Arc<Mutex<Desk>>,
}

impl Outlet {
    /// Hands a publish to the connection `connection`, which the last [`OutgoingEvent::Connected`] named. Never waits.
    ///
    /// At QoS 1 one [`OutgoingEvent::Acknowledged`] with the token follows, unless the connection ends before. At
    /// QoS 0 nothing follows, and the token means nothing. A token that is published again before it was acknowledged
    /// is acknowledged twice.
    ///
    /// The connection is named because the owner learns of a new one later than this outlet: a publish in between
    /// would go out twice, once for itself and once with all that is open.
    pub fn publish(&self, connection: u64, publish: Publish, token: u64) -> Result<(), Refused> {
        if !publish.has_valid_topic() || !publish.has_valid_properties() {
            return Err(Refused::Invalid);
        }
        let mut desk = lock(&self.desk);
        if desk.phase != Phase::Up || desk.connection != connection {
            return Err(Refused::NotConnected);
        }
        let packet_bytes_max = desk.packet_bytes_max.map_or(PACKET_BYTES_MAX, |max| max as usize);
        // What may be too large is counted; for most packets a look is enough.
        if publish.packet_bytes_at_most() > packet_bytes_max {
            let packet_bytes = publish.packet_bytes();
            if packet_bytes > packet_bytes_max {
                return Err(Refused::TooLarge { packet_bytes, packet_bytes_max });
            }
        }
        if publish.qos == Qos::AtLeastOnce && !desk.has_room() {
            desk.was_full = true;
            return Err(Refused::Full);
        }
        let qos = publish.qos;
        let properties = to_properties(&publish);
        let Publish { topic, payload, retain, .. } = publish;
        if desk.client.try_publish_with_properties(topic, to_qos(qos), retain, payload, properties).is_err() {
            desk.was_full = true;
            return Err(Refused::Full);
        }
        if qos == Qos::AtLeastOnce {
            desk.flights.hand_over(token);
        }
        Ok(())
    }
}

/// What MQTT's length field can say.
const PACKET_BYTES_MAX: usize = 268_435_455;

/// What the outlet and the polling task share.
struct Desk {
    client: AsyncClient,
    /// The number of the present connection, or of the next one when there is none.
    connection: u64,
    phase: Phase,
    window: u16,
    packet_bytes_max: Option<u32>,
    flights: Flights,
    /// A subscription is about to end, which takes a packet id as publishes at QoS 1 do.
    holds_back: bool,
    /// Whether the owner waits for [`OutgoingEvent::Room`].
    was_full: bool,
}

impl Desk {
    /// Whether one more publish may be unacknowledged.
    fn has_room(&self) -> bool {
        !self.holds_back && self.flights.len() < self.window.into()
    }

    fn disconnect_if_closing(&mut self) {
        if self.phase == Phase::Closing && self.client.try_disconnect().is_ok() {
            self.phase = Phase::Closed;
        }
    }
}

struct OutgoingSide<F> {
    client_id: String,
    desk: Arc<Mutex<Desk>>,
    stored: Stored,
    sys: SysWatch,
    on_event: F,
}

impl<F: FnMut(OutgoingEvent) + Send> OutgoingSide<F> {
    fn handle_connected(&mut self, connack: &ConnAck) -> Result<(), Lost> {
        let properties = connack.properties.as_ref();
        let broker_window = properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX);
        let window = broker_window.min(options::IN_FLIGHT_MAX_OUTGOING);
        let packet_bytes_max = properties.and_then(|properties| properties.max_packet_size);
        let connection = {
            let mut desk = lock(&self.desk);
            desk.phase.rise()?;
            // First, because a broker may drop what follows many stored statuses.
            self.sys.ask(&desk.client);
            self.stored.ask(&desk.client);
            desk.window = window;
            desk.packet_bytes_max = packet_bytes_max;
            desk.connection
        };
        telemetry::broker_connected(&self.client_id, connack.session_present);
        (self.on_event)(OutgoingEvent::Connected { connection, window, packet_bytes_max });
        if self.sys.is_wanted() {
            let shortcomings = sys::shortcomings(properties);
            (self.on_event)(OutgoingEvent::Broker(BrokerFact::Shortcomings(shortcomings)));
        }
        Ok(())
    }

    fn acknowledged(&mut self, token: u64, refusal: Option<PublishRefusal>, is_unheard: bool) {
        if let Some(refusal) = &refusal {
            telemetry::publish_refused(token, &refusal.reason, refusal.retryable);
        }
        crash::at("publish_confirmed");
        (self.on_event)(OutgoingEvent::Acknowledged { token, refusal, is_unheard });
    }

    fn handle_puback(&mut self, puback: &PubAck, state: &MqttState) -> Result<(), Lost> {
        let token = lock(&self.desk).flights.land(puback.pkid);
        let Some(token) = token else { return Err(Lost::Inconsistent) };
        let refusal = refusal_of(puback.reason);
        let blocks = refusal.is_some() && state.collision.as_ref().is_some_and(|waiting| waiting.pkid == puback.pkid);
        self.acknowledged(token, refusal, is_unheard(puback.reason));
        // A refusal does not release the publish that waits for this packet id: rumqttc would stand for two pings.
        if blocks { Err(Lost::Inconsistent) } else { Ok(()) }
    }

    fn tell_of_room(&mut self) {
        let has_room = {
            let mut desk = lock(&self.desk);
            desk.disconnect_if_closing();
            self.stored.leave(&desk.client, desk.phase == Phase::Up && desk.flights.len() == 0);
            desk.holds_back = self.stored.holds_back();
            let has_room = desk.was_full && desk.phase == Phase::Up && desk.has_room();
            desk.was_full &= !has_room;
            has_room
        };
        if has_room {
            (self.on_event)(OutgoingEvent::Room);
        }
    }
}

impl<F: FnMut(OutgoingEvent) + Send> Side for OutgoingSide<F> {
    fn client(&self) -> &str {
        &self.client_id
    }

    fn handle_event(&mut self, event: Event, state: &MqttState) -> Result<(), Lost> {
        match event {
            Event::Incoming(Received::ConnAck(connack)) => self.handle_connected(&connack)?,
            Event::Incoming(Received::PubAck(puback)) => {
                self.sys.survived();
                self.handle_puback(&puback, state)?;
            }
            Event::Incoming(Received::Publish(publish)) => match sys::fact_of(&publish) {
                Some(fact) => (self.on_event)(OutgoingEvent::Broker(fact)),
                None => self.stored.handle_publish(&publish),
            },
            Event::Incoming(Received::SubAck(suback)) => self.stored.handle_suback(&suback),
            Event::Incoming(Received::PingResp(_)) => self.stored.handle_pong(),
            // QoS 0 has the packet id 0 and no token.
            Event::Outgoing(Outgoing::Publish(packet)) if packet != 0 => {
                if !lock(&self.desk).flights.take(packet) {
                    return Err(Lost::Inconsistent);
                }
            }
            // For QoS 2, which is not used here.
            Event::Incoming(Received::PubRec(_) | Received::PubComp(_)) => return Err(Lost::Inconsistent),
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
        self.tell_of_room();
        Ok(())
    }

    fn wants_ping(&mut self) -> bool {
        self.stored.wants_ping()
    }

    fn handle_lost(&mut self, wire: &mut EventLoop, lost: &Lost) {
        let mut landed = Vec::new();
        {
            let mut desk = lock(&self.desk);
            for event in wire.wipe() {
                match event {
                    Event::Outgoing(Outgoing::Publish(packet)) if packet != 0 => {
                        // After a loss the accounts may differ: then nothing more is believed.
                        if !desk.flights.take(packet) {
                            break;
                        }
                    }
                    Event::Incoming(Received::PubAck(puback)) => {
                        let said = (refusal_of(puback.reason), is_unheard(puback.reason));
                        landed.extend(desk.flights.land(puback.pkid).map(|token| (token, said)));
                    }
                    Event::Incoming(_) | Event::Outgoing(_) => {}
                }
            }
            if let Lost::UnreadableReason { packet, code } = *lost {
                // Published again, it would end the next connection too.
                landed.extend(desk.flights.land(packet).map(|token| (token, (Some(unreadable_refusal(code)), false))));
            }
            desk.flights.clear();
            desk.connection += 1;
            desk.phase = Phase::Down;
            desk.holds_back = false;
            desk.was_full = false;
        }
        self.sys.lost();
        for (token, (refusal, is_unheard)) in landed {
            self.acknowledged(token, refusal, is_unheard);
        }
        (self.on_event)(OutgoingEvent::Disconnected { why: lost.clone() });
    }

    fn close(&mut self) -> bool {
        let mut desk = lock(&self.desk);
        if desk.phase == Phase::Down {
            return false;
        }
        desk.phase = Phase::Closing;
        desk.disconnect_if_closing();
        true
    }
}

/// `None` when the broker has the publish.
fn refusal_of(reason: PubAckReason) -> Option<PublishRefusal> {
    let retryable = match reason {
        // Nobody listening is no failure of ours.
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return None,
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded => true,
        PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => false,
    };
    Some(PublishRefusal { reason: format!("{reason:?}"), retryable })
}

/// Whether the broker says that nobody subscribes to the topic (MQTT 5.0, section 3.4.2.1).
fn is_unheard(reason: PubAckReason) -> bool {
    reason == PubAckReason::NoMatchingSubscribers
}

fn unreadable_refusal(code: u8) -> PublishRefusal {
    let reason = if code == PACKET_TOO_LARGE { "PacketTooLarge".to_owned() } else { format!("{code:#04x}") };
    PublishRefusal { reason, retryable: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_later_is_retryable() {
        assert_eq!(refusal_of(PubAckReason::Success), None);
        assert_eq!(refusal_of(PubAckReason::NoMatchingSubscribers), None);
        let retryable = |reason| refusal_of(reason).map(|refusal| (refusal.reason, refusal.retryable));
        assert_eq!(retryable(PubAckReason::QuotaExceeded), Some(("QuotaExceeded".into(), true)));
        assert_eq!(retryable(PubAckReason::NotAuthorized), Some(("NotAuthorized".into(), false)));
        assert_eq!(unreadable_refusal(0x95).reason, "PacketTooLarge");
        assert_eq!(unreadable_refusal(0xA1).reason, "0xa1");
    }
}
