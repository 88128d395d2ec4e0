//! Deliveries from the broker, as inputs.

use super::rarely::Rarely;
use super::{PacketMeta, Settings, parse_command, parse_request};
use crate::contain;
use crate::model::{BrokerFact, Code, Fault, Input, Link, Origin, Refusal, Ticket};
use crate::mqtt::topics::{self, Topics};
use crate::mqtt::{self, Acknowledger, Doorway, Incoming, Packet, Receive, Session, Task, TlsError};
use crate::telemetry;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long closing waits for the broker.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Bits of a ticket's generation that count connections; the bits above count how often intake was opened.
const GENERATION_BITS: u32 = 40;
/// The bit of a ticket's generation that tells the two connections apart.
const COMMANDS_BIT: u64 = 1 << 63;

static FOREIGN: Rarely = Rarely::new();

/// One of the incoming connections, which can be closed to leave deliveries with the broker, and opened again.
///
/// Messages and commands have one each: a flood of messages, or an intake that is closed because the disk is nearly
/// full, must not make the bridge deaf to the commands that would help. So nothing is promised about the order of a
/// command and a message. A command that the broker still delivers over the messages' connection, because an older
/// version had subscribed it there, is done like any other.
pub struct Intake {
    link: Link,
    mqtt: mqtt::Settings,
    settings: Arc<Settings>,
    inputs: mpsc::Sender<Input>,
    subscribed: watch::Sender<bool>,
    desk: Arc<Mutex<Desk>>,
    connection: Option<Task>,
}

/// Acknowledges deliveries of both connections. Clones do the same.
#[derive(Clone)]
pub struct Acknowledgements {
    incoming: Arc<Mutex<Desk>>,
    commands: Arc<Mutex<Desk>>,
}

struct Desk {
    /// How often intake was opened: tickets of an earlier opening mean nothing to the present one.
    opened: u64,
    acknowledger: Option<Acknowledger>,
}

/// What marks the tickets of a connection.
const fn mark(link: Link) -> u64 {
    match link {
        Link::Incoming => 0,
        Link::Commands => COMMANDS_BIT,
    }
}

impl Acknowledgements {
    pub fn new(incoming: &Intake, commands: &Intake) -> Self {
        Self { incoming: Arc::clone(&incoming.desk), commands: Arc::clone(&commands.desk) }
    }

    /// Tells the broker that a delivery is safe. Never waits; does nothing for a ticket of an earlier connection.
    pub fn acknowledge(&self, ticket: Ticket) {
        let desk = if ticket.generation & COMMANDS_BIT == 0 { &self.incoming } else { &self.commands };
        let desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        if (ticket.generation & !COMMANDS_BIT) >> GENERATION_BITS == desk.opened
            && let Some(acknowledger) = &desk.acknowledger
        {
            let generation = ticket.generation & ((1 << GENERATION_BITS) - 1);
            acknowledger.acknowledge(Ticket { generation, ..ticket });
        }
    }
}

impl Intake {
    /// Intake that is still closed. `subscribed` tells whether deliveries can come.
    pub fn new(
        link: Link,
        mqtt: mqtt::Settings,
        settings: Arc<Settings>,
        inputs: mpsc::Sender<Input>,
        subscribed: watch::Sender<bool>,
    ) -> Self {
        let desk = Arc::new(Mutex::new(Desk { opened: 0, acknowledger: None }));
        Self { link, mqtt, settings, inputs, subscribed, desk, connection: None }
    }

    fn session(&self) -> Session {
        let topics = &self.settings.topics;
        match self.link {
            Link::Incoming => Session {
                abandoned: vec![topics.command_filter()],
                asks_version: true,
                ..Session::new("in", topics.message_filters(), self.mqtt.receive_maximum)
            },
            Link::Commands => Session::new("commands", vec![topics.command_filter()], self.mqtt.receive_maximum),
        }
    }

    /// Connects, and subscribes. Does nothing when it is open.
    ///
    /// # Errors
    /// [`TlsError`] when the certificates cannot be used.
    pub fn open(&mut self) -> Result<(), TlsError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.opened += 1;
        let reception = Reception {
            opened: mark(self.link) | desk.opened << GENERATION_BITS,
            settings: Arc::clone(&self.settings),
            inputs: Doorway::new(self.inputs.clone()),
            subscribed: self.subscribed.clone(),
        };
        let (acknowledger, task) = mqtt::connect_incoming(&self.mqtt, self.session(), reception)?;
        desk.acknowledger = Some(acknowledger);
        self.connection = Some(task);
        Ok(())
    }

    /// Disconnects. The broker keeps what comes, and what was not acknowledged, for the next opening.
    pub async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.disconnect(CLOSE_WAIT).await;
            self.desk.lock().unwrap_or_else(PoisonError::into_inner).acknowledger = None;
            self.subscribed.send_if_modified(std::mem::take);
        }
    }
}

/// Tells the engine whenever a connection comes up or goes down. Never misses the last change, and never makes the
/// connection wait: where inputs have no room, a change that was undone meanwhile is not told.
pub async fn tell_link(which: Link, mut subscribed: watch::Receiver<bool>, inputs: mpsc::Sender<Input>) {
    while subscribed.changed().await.is_ok() {
        let up = *subscribed.borrow_and_update();
        if inputs.send(Input::Link { which, up }).await.is_err() {
            return;
        }
    }
}

/// Parses, and turns a panic of the parser into a refusal. A delivery that ends the process would be delivered again
/// after every start, for ever.
fn contained(ticket: Option<Ticket>, suffix: Option<&str>, parse: impl FnOnce() -> Input) -> Input {
    contain::contained(parse).unwrap_or_else(|| {
        telemetry::poison_contained();
        let message = "the bridge failed to read this message, which is a mistake of the bridge; it is not sent: report \
             it with the payload";
        let origin = Origin { suffix: suffix.map(Box::from), reply_to: None, weak: ticket.is_none() };
        let fault = Fault::new(Code::Internal, message);
        Input::Refused { ticket, refusal: Box::new(Refusal { id: None, account: None, origin, fault }) }
    })
}

/// What the polling task calls.
struct Reception {
    /// What of a ticket's generation does not change while this opening lasts.
    opened: u64,
    settings: Arc<Settings>,
    inputs: Doorway<Input>,
    subscribed: watch::Sender<bool>,
}

impl Receive for Reception {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inputs.poll_room(cx)
    }

    fn receive(&mut self, event: Incoming) {
        match event {
            // Commands are for those who wait for a reply, and ask again.
            Incoming::Connected { session_present: false, .. } if self.opened & COMMANDS_BIT == 0 => {
                // Room is taken only once the connection is up: where there is none, the log alone says it.
                let _ = self.inputs.put(Input::Broker(BrokerFact::NewSession));
            }
            Incoming::Connected { .. } | Incoming::SubscribeRefused { .. } => {}
            Incoming::Subscribed => self.set_subscribed(true),
            Incoming::Disconnected { .. } => self.set_subscribed(false),
            Incoming::Packet(packet) => self.handle_packet(packet),
        }
    }
}

impl Reception {
    fn pass_on(&mut self, input: Input) {
        let unwanted = self.inputs.put(input);
        debug_assert!(unwanted.is_none(), "room was taken before it was read");
    }

    /// Every attempt that fails says so again: only what changed is told.
    fn set_subscribed(&self, up: bool) {
        self.subscribed.send_if_modified(|subscribed| std::mem::replace(subscribed, up) != up);
    }

    fn handle_packet(&mut self, packet: Packet) {
        let settings = Arc::clone(&self.settings);
        let topics: &Topics = &settings.topics;
        let meta = PacketMeta {
            qos: packet.qos,
            retain: packet.retain,
            response_topic: packet.response_topic,
            correlation: packet.correlation,
            expiry: packet.expiry,
            ticket: packet.ticket.map(|ticket| Ticket { generation: self.opened | ticket.generation, ..ticket }),
            is_redelivered: packet.duplicate,
        };
        match topics.classify(&packet.topic) {
            topics::Incoming::Send { suffix } => {
                let ticket = meta.ticket;
                let parse = || parse_request(&settings, suffix, meta, &packet.payload);
                self.pass_on(contained(ticket, suffix, parse));
            }
            topics::Incoming::Command { name } => {
                let ticket = meta.ticket;
                self.pass_on(contained(ticket, None, || parse_command(&settings, name, meta, &packet.payload)));
            }
            // A subscription of an earlier configuration that the broker still keeps: take it, or it blocks the rest.
            topics::Incoming::Other => {
                if let Some(count) = FOREIGN.told() {
                    telemetry::foreign_topic(&packet.topic, count);
                }
                if let Some(ticket) = meta.ticket {
                    self.pass_on(Input::Ignored { ticket });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_panics_refuses_the_delivery_and_goes_on() {
        let ticket = Some(Ticket { generation: 1, packet: 7 });
        let input = contained(ticket, Some("app"), || panic!("a bug"));
        let Input::Refused { ticket: Some(returned), refusal } = input else { panic!("{input:?}") };
        assert_eq!(Some(returned), ticket);
        assert_eq!((refusal.fault.code, refusal.origin.suffix.as_deref()), (Code::Internal, Some("app")));
        assert_eq!(contained(ticket, None, || Input::Stop), Input::Stop);
    }
}
