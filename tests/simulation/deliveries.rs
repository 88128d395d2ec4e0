//! What the broker delivers, over one connection for messages and one for commands, and what of it is taken.

use super::network::Broker;
use super::orders::order;
use super::promises::{Promise, Violation, broken};
use super::scenario::Payload;
use super::world::{Event, World};
use crate::model::{Account, Input, Link, Ticket, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Default)]
struct Connection {
    /// No two have the same.
    number: u64,
    up: bool,
    deliver_last: Time,
}

/// What the broker knows of the two connections.
#[derive(Default)]
pub(super) struct Deliveries {
    messages: Connection,
    commands: Connection,
    connection_last: u64,
    /// What the bridge said last.
    intake_closed: bool,
    /// Closings that the bridge has ordered and that are not carried out.
    closings: u32,
    pub(super) unacknowledged: BTreeSet<usize>,
    /// Messages that were taken, and the last one of each account.
    taken: BTreeSet<usize>,
    taken_last: BTreeMap<Account, usize>,
}

impl Deliveries {
    fn connection(&mut self, link: Link) -> &mut Connection {
        match link {
            Link::Incoming => &mut self.messages,
            Link::Commands => &mut self.commands,
        }
    }

    /// Ends a connection. What is under way on it is lost. Returns the number of the next one.
    fn end(&mut self, link: Link) -> u64 {
        self.connection_last += 1;
        let number = self.connection_last;
        *self.connection(link) = Connection { number, ..Connection::default() };
        number
    }

    /// As when the process is gone.
    pub(super) fn end_all(&mut self) {
        self.end(Link::Incoming);
        self.end(Link::Commands);
        (self.intake_closed, self.closings) = (false, 0);
    }
}

impl World {
    fn is_weak(&self, packet: usize) -> bool {
        matches!(self.packets[packet].1, Payload::Request { weak: true, .. })
    }

    fn link_of(&self, packet: usize) -> Link {
        match self.packets[packet].1 {
            Payload::Command { .. } => Link::Commands,
            Payload::Request { .. } | Payload::Bad(_) => Link::Incoming,
        }
    }

    /// Whether a packet's connection is still this one.
    pub(super) fn is_connected(&mut self, number: u64, packet: usize) -> bool {
        let link = self.link_of(packet);
        self.broker.deliveries.connection(link).number == number
    }

    pub(super) fn packet(&mut self, packet: usize) {
        if !self.is_weak(packet) {
            self.broker.deliveries.unacknowledged.insert(packet);
        }
        let link = self.link_of(packet);
        if self.broker.deliveries.connection(link).up {
            self.send_packet(packet);
        }
    }

    /// Both connections are made, for the first time in a life.
    pub(super) fn connect_incoming(&mut self) {
        for link in [Link::Incoming, Link::Commands] {
            let after = self.random.millis(1, 300);
            let number = self.broker.deliveries.end(link);
            self.schedule_connection(after, Event::IncomingUp { number });
        }
    }

    pub(super) fn drop_incoming(&mut self, away: Duration) {
        for link in [Link::Incoming, Link::Commands] {
            let number = self.broker.deliveries.end(link);
            self.schedule_connection(away, Event::IncomingUp { number });
        }
    }

    pub(super) fn incoming_up(&mut self, number: u64) {
        let Broker { deliveries, .. } = &mut self.broker;
        let link = match number {
            _ if number == deliveries.messages.number && !deliveries.intake_closed => Link::Incoming,
            _ if number == deliveries.commands.number => Link::Commands,
            _ => return,
        };
        let connection = deliveries.connection(link);
        if self.bridge.is_none() || std::mem::replace(&mut connection.up, true) {
            return;
        }
        for packet in deliveries.unacknowledged.clone() {
            if self.link_of(packet) == link {
                self.send_packet(packet);
            }
        }
    }

    /// Packets arrive in the order in which they were sent.
    fn send_packet(&mut self, packet: usize) {
        let soon = self.now + self.random.millis(0, 20);
        let link = self.link_of(packet);
        let connection = self.broker.deliveries.connection(link);
        let at = soon.max(connection.deliver_last);
        connection.deliver_last = at;
        let number = connection.number;
        self.schedule_at(at, Event::Deliver { number, packet });
    }

    pub(super) fn deliver(&mut self, number: u64, packet: usize) {
        let ticket = (!self.is_weak(packet)).then_some(Ticket { generation: number, packet: packet as u16 });
        let payload = &self.packets[packet].1;
        let is_known =
            matches!(payload, Payload::Request { request, .. } if self.disk.same_as(request).next().is_some());
        self.trace.counts.delivered(payload, is_known);
        let input = match payload.clone() {
            Payload::Request { request, .. } => Input::Request { ticket, request },
            Payload::Bad(refusal) => Input::Refused { ticket, refusal },
            Payload::Command { command, transaction } => {
                self.orders.delivered(packet, self.disk.numbers().seq);
                Input::Command { ticket, request: Box::new(order(packet, command, transaction)) }
            }
        };
        self.input(input);
    }

    /// The bridge wants messages, or none. A closing takes its time, and messages come until then. It is carried out
    /// also when the bridge has thought better of it: only a new connection brings back what was left with the broker.
    pub(super) fn steer_intake(&mut self, open: bool) {
        let deliveries = &mut self.broker.deliveries;
        deliveries.intake_closed = !open;
        if !open {
            deliveries.closings += 1;
            let after = self.random.millis(0, 20);
            self.schedule(after, Event::IntakeCloses { life: self.life });
        } else if deliveries.closings == 0 {
            self.open_intake();
        }
    }

    pub(super) fn close_intake(&mut self) {
        self.broker.deliveries.closings -= 1;
        self.broker.deliveries.end(Link::Incoming);
        if !self.broker.deliveries.intake_closed {
            self.open_intake();
        }
    }

    fn open_intake(&mut self) {
        let away = self.random.seconds(0, 5);
        let number = self.broker.deliveries.messages.number;
        self.schedule_connection(away, Event::IncomingUp { number });
    }

    pub(super) fn acknowledge(&mut self, ticket: Ticket) -> Result<(), Violation> {
        let packet = usize::from(ticket.packet);
        let is_kept = match &self.packets[packet].1 {
            Payload::Request { request, .. } => {
                self.disk.same_as(request).next().is_some()
                    || self.disk.refusals.values().any(|kept| kept.refusal.id.as_ref() == Some(&request.id))
            }
            Payload::Bad(refusal) => self.disk.refusals.values().any(|kept| *kept.refusal == **refusal),
            Payload::Command { .. } => true,
        };
        if !is_kept {
            return broken(Promise::Kept, format!("packet {packet} is acknowledged and not on disk"));
        }
        let link = self.link_of(packet);
        let Connection { number, up, .. } = *self.broker.deliveries.connection(link);
        if ticket.generation == number && up {
            let after = self.random.millis(0, 20);
            self.schedule(after, Event::AckArrives { number, packet });
        }
        self.check_taken(packet)
    }

    /// What is published first for an account is taken first.
    fn check_taken(&mut self, packet: usize) -> Result<(), Violation> {
        let Payload::Request { request, .. } = &self.packets[packet].1 else { return Ok(()) };
        let Deliveries { taken, taken_last, .. } = &mut self.broker.deliveries;
        let last = taken_last.entry(request.account.clone()).or_insert(packet);
        if taken.insert(packet) && packet < *last {
            return broken(Promise::Ordered, format!("packet {packet} is taken after packet {last} of its account"));
        }
        *last = packet.max(*last);
        Ok(())
    }
}
