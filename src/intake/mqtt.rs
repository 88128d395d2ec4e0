//! Deliveries from the broker, as inputs.

use super::{PacketMeta, Settings, parse_command, parse_request};
use crate::contain;
use crate::model::{Code, Fault, Input, Origin, Refusal, Ticket};
use crate::mqtt::topics::{self, Topics};
use crate::mqtt::{self, Acknowledger, Incoming, Overrun, Packet, Task, TlsError};
use crate::telemetry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long closing waits for the broker.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Bits of a ticket's generation that count connections; the bits above count how often intake was opened.
const GENERATION_BITS: u32 = 40;

/// The incoming connection, which can be closed to leave deliveries with the broker, and opened again.
pub struct Intake {
    mqtt: mqtt::Settings,
    settings: Arc<Settings>,
    inputs: mpsc::Sender<Input>,
    subscribed: watch::Sender<bool>,
    desk: Arc<Mutex<Desk>>,
    connection: Option<Task>,
}

/// Acknowledges deliveries. Clones do the same.
#[derive(Clone)]
pub struct Acknowledgements(Arc<Mutex<Desk>>);

struct Desk {
    /// How often intake was opened: tickets of an earlier opening mean nothing to the present one.
    opened: u64,
    acknowledger: Option<Acknowledger>,
}

impl Acknowledgements {
    /// Tells the broker that a delivery is safe. Never waits; does nothing for a ticket of an earlier connection.
    pub fn acknowledge(&self, ticket: Ticket) {
        let desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ticket.generation >> GENERATION_BITS == desk.opened
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
        mqtt: mqtt::Settings,
        settings: Arc<Settings>,
        inputs: mpsc::Sender<Input>,
        subscribed: watch::Sender<bool>,
    ) -> Self {
        let desk = Arc::new(Mutex::new(Desk { opened: 0, acknowledger: None }));
        Self { mqtt, settings, inputs, subscribed, desk, connection: None }
    }

    pub fn acknowledgements(&self) -> Acknowledgements {
        Acknowledgements(Arc::clone(&self.desk))
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
            opened: desk.opened,
            settings: Arc::clone(&self.settings),
            inputs: self.inputs.clone(),
            subscribed: self.subscribed.clone(),
        };
        let filters = self.settings.topics.subscriptions();
        let (acknowledger, task) =
            mqtt::connect_incoming(&self.mqtt, filters, move |event| reception.handle_event(event))?;
        desk.acknowledger = Some(acknowledger);
        self.connection = Some(task);
        Ok(())
    }

    /// Disconnects. The broker keeps what comes, and what was not acknowledged, for the next opening.
    pub async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.disconnect(CLOSE_WAIT).await;
            self.desk.lock().unwrap_or_else(PoisonError::into_inner).acknowledger = None;
            self.subscribed.send_replace(false);
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
    opened: u64,
    settings: Arc<Settings>,
    inputs: mpsc::Sender<Input>,
    subscribed: watch::Sender<bool>,
}

impl Reception {
    fn handle_event(&self, event: Incoming) -> Result<(), Overrun> {
        match event {
            Incoming::Connected { .. } | Incoming::SubscribeRefused { .. } => Ok(()),
            Incoming::Subscribed => {
                self.subscribed.send_replace(true);
                Ok(())
            }
            Incoming::Disconnected { .. } => {
                self.subscribed.send_replace(false);
                Ok(())
            }
            Incoming::Packet(packet) => self.handle_packet(packet),
        }
    }

    fn handle_packet(&self, packet: Packet) -> Result<(), Overrun> {
        let Ok(room) = self.inputs.try_reserve() else {
            if packet.qos == 0 {
                // Nobody was promised anything about it, and nothing brings it back.
                telemetry::weak_message_dropped();
                return Ok(());
            }
            return Err(Overrun);
        };
        let topics: &Topics = &self.settings.topics;
        let opened = self.opened << GENERATION_BITS;
        let meta = PacketMeta {
            qos: packet.qos,
            retain: packet.retain,
            response_topic: packet.response_topic,
            correlation: packet.correlation,
            expiry: packet.expiry,
            ticket: packet.ticket.map(|ticket| Ticket { generation: opened | ticket.generation, ..ticket }),
        };
        match topics.classify(&packet.topic) {
            topics::Incoming::Send { suffix } => {
                let ticket = meta.ticket;
                let parse = || parse_request(&self.settings, suffix, meta, &packet.payload);
                room.send(contained(ticket, suffix, parse));
            }
            topics::Incoming::Command { name } => {
                let ticket = meta.ticket;
                room.send(contained(ticket, None, || parse_command(&self.settings, name, meta, &packet.payload)));
            }
            // A subscription of an earlier configuration that the broker still keeps: take it, or it blocks the rest.
            topics::Incoming::Other => {
                telemetry::foreign_topic(&packet.topic);
                if let Some(ticket) = meta.ticket {
                    room.send(Input::Ignored { ticket });
                }
            }
        }
        Ok(())
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
