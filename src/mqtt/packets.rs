//! The loop under rumqttc: its client, its account of the session and its packets, over a stream of ours.
//!
//! rumqttc's own loop hands every packet to the kernel by itself, which cost the bridge five writes a message and a
//! quarter of its time. This one lets what is due at the same time leave in one write: what was asked for since the
//! last write waits for one turn of the scheduler, in which whoever else is ready may add to it, and no longer.
//!
//! # Invariants
//!
//! - Nothing waits for a timer, and nothing waits for more to come: an idle process writes at once.
//! - Packets leave in the order in which they were asked for.
//! - A peer that does not read stops the taking of requests, and not the reading.
//! - Where there is no room for what comes nothing is read, and writing goes on.

use super::lost::Lost;
use super::stream::{self, Stream};
use bytes::{Buf, BytesMut};
use flume::r#async::RecvFut;
use flume::{Receiver, TryRecvError};
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Connect, ConnectReturnCode, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions, MqttState, Request, StateError};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{self, Sleep};

/// With so much unsent no more requests are taken, in bytes.
const UNSENT_MAX: usize = 64 * 1024;
/// With so much unsent it is written at once, in bytes.
const UNSENT_WORTH: usize = 16 * 1024;
/// The room that is made for a read, in bytes. A payload keeps what was read with it in memory, so it is not large.
const READ_BYTES: usize = 16 * 1024;
/// With less room than this there is new one, in bytes.
const READ_BYTES_LEAST: usize = 2 * 1024;

/// rumqttc's account of one connection after the other, and the stream of the present one.
pub(super) struct EventLoop {
    pub(super) options: MqttOptions,
    pub(super) state: MqttState,
    requests: Receiver<Request>,
    /// Wakes the task when a request comes.
    waiting: Option<RecvFut<'static, Request>>,
    link: Option<Link>,
}

impl EventLoop {
    /// `queue` bounds what waits for being written, in packets.
    pub(super) fn new(options: MqttOptions, queue: usize) -> (AsyncClient, Self) {
        let (requests_in, requests) = flume::bounded(queue);
        let state = new_state(&options);
        (AsyncClient::from_senders(requests_in), Self { options, state, requests, waiting: None, link: None })
    }

    /// The keep-alive that holds now, in whole seconds: a broker may have its own.
    pub(super) fn keep_alive(&self) -> Duration {
        self.link.as_ref().map_or(self.options.keep_alive(), |link| link.keep_alive)
    }

    /// The next ping of this connection leaves after `span`, unless the keep-alive makes it leave before.
    pub(super) fn ping_within(&mut self, span: Duration) {
        if let Some(link) = &mut self.link {
            link.ping_due.set(time::sleep(span.min(link.keep_alive)));
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Connects, where there is no connection. [`Self::next`] tells of it.
    ///
    /// # Errors
    /// It did not come about. [`Self::wipe`] must come before the next call.
    pub(super) async fn connect(&mut self) -> Result<(), Lost> {
        if self.link.is_some() {
            return Ok(());
        }
        let limit = Duration::from_secs(self.options.connection_timeout());
        let opened = time::timeout(limit, Link::open(&self.options)).await;
        let (link, connack) = opened.map_err(|_| too_slow(limit))??;
        self.link = Some(link);
        self.state.handle_incoming_packet(Packet::ConnAck(connack))?;
        Ok(())
    }

    /// What happened already and was not told yet, if there is room for it.
    pub(super) fn told_next(&mut self, room: impl FnOnce(&mut Context<'_>) -> Poll<()>) -> Option<Event> {
        if self.state.events.is_empty() {
            return None;
        }
        // Nobody is woken by it: whoever gets nothing here waits for the next.
        room(&mut Context::from_waker(Waker::noop())).is_ready().then(|| self.state.events.pop_front()).flatten()
    }

    /// Waits until something happens over the connection. May be dropped and called again.
    ///
    /// As long as `room` is not ready nothing is told and nothing is read: what the broker sends waits with the kernel
    /// and then with the broker. What is to be written is written all the same.
    ///
    /// # Errors
    /// The connection is gone, or there is none. [`Self::wipe`] must come before the next call.
    pub(super) async fn next(&mut self, mut room: impl FnMut(&mut Context<'_>) -> Poll<()>) -> Result<Event, Lost> {
        let polled = poll_fn(|cx| self.poll_link(cx, &mut room)).await;
        if polled.is_err() {
            self.link = None;
        }
        polled
    }

    /// Drops the connection, and all that was asked for or is unacknowledged; returns the events that were not told.
    pub(super) fn wipe(&mut self) -> VecDeque<Event> {
        self.link = None;
        // Its place in the line may hold a request.
        self.waiting = None;
        self.requests.drain().for_each(drop);
        // A new state and not its own clean(), which keeps a packet id collision, the last packet id and the last
        // broker's window: each of them wedges a later connection.
        std::mem::replace(&mut self.state, new_state(&self.options)).events
    }

    fn poll_link(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Poll<Result<Event, Lost>> {
        let Self { state, requests, waiting, link, .. } = self;
        let Some(link) = link else { return Poll::Ready(Err(StateError::ConnectionAborted.into())) };
        let has_room = room(cx).is_ready();
        if has_room && let Some(event) = state.events.pop_front() {
            return Poll::Ready(Ok(event));
        }
        link.take_requests(state, requests, waiting, cx)?;
        link.poll_ping(state, cx)?;
        link.poll_write(cx)?;
        if has_room {
            link.poll_read(state, cx)?;
            if let Some(event) = state.events.pop_front() {
                return Poll::Ready(Ok(event));
            }
        }
        if !link.unsent.is_empty() && !std::mem::replace(&mut link.has_waited, true) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

fn new_state(options: &MqttOptions) -> MqttState {
    MqttState::new(options.get_outgoing_inflight_upper_limit().unwrap_or(u16::MAX), options.manual_acks())
}

fn too_slow(limit: Duration) -> Lost {
    Lost::Broken { error: format!("no connection came about within {limit:?}") }
}

/// Whoever could ask for anything is gone, which ends before the task does only in a mistake of ours.
fn abandoned() -> Lost {
    Lost::Broken { error: "nobody is left who could use the connection".to_owned() }
}

/// One connection.
struct Link {
    stream: Box<dyn Stream>,
    received: BytesMut,
    received_max: Option<u32>,
    unsent: BytesMut,
    /// What the broker takes, in bytes.
    packet_bytes_max: Option<u32>,
    /// Written, and perhaps not flushed.
    flush_due: bool,
    /// What is unsent has waited for its turn of the scheduler.
    has_waited: bool,
    /// How many publishes may be unacknowledged.
    in_flight_max: u16,
    keep_alive: Duration,
    ping_due: Pin<Box<Sleep>>,
}

impl Link {
    /// Connects and introduces us.
    async fn open(options: &MqttOptions) -> Result<(Self, ConnAck), Lost> {
        let mut link = Self {
            stream: stream::open(options).await?,
            received: BytesMut::with_capacity(READ_BYTES),
            received_max: options.max_packet_size(),
            unsent: BytesMut::new(),
            packet_bytes_max: None,
            flush_due: false,
            has_waited: false,
            in_flight_max: options.get_outgoing_inflight_upper_limit().unwrap_or(u16::MAX),
            keep_alive: options.keep_alive(),
            ping_due: Box::pin(time::sleep(options.keep_alive())),
        };
        let connect = Connect {
            client_id: options.client_id(),
            // The options hold whole seconds that fit.
            keep_alive: u16::try_from(options.keep_alive().as_secs()).unwrap_or(u16::MAX),
            clean_start: options.clean_start(),
            properties: options.connect_properties(),
        };
        link.put(&Packet::Connect(connect, options.last_will(), options.credentials()))?;
        link.stream.write_all_buf(&mut link.unsent).await?;
        link.stream.flush().await?;
        let packet = loop {
            match link.next_packet()? {
                Some(packet) => break packet,
                None if link.stream.read_buf(&mut link.received).await? == 0 => {
                    return Err(StateError::ConnectionAborted.into());
                }
                None => {}
            }
        };
        let Packet::ConnAck(connack) = packet else { return Err(StateError::WrongPacket.into()) };
        if connack.code != ConnectReturnCode::Success {
            return Err(Lost::Refused { reason: format!("{:?}", connack.code) });
        }
        link.agree(&connack);
        Ok((link, connack))
    }

    /// Takes over what the broker wants to be otherwise.
    fn agree(&mut self, connack: &ConnAck) {
        let Some(properties) = &connack.properties else { return };
        self.packet_bytes_max = properties.max_packet_size;
        self.in_flight_max = properties.receive_max.unwrap_or(self.in_flight_max).min(self.in_flight_max);
        // One of zero switches it off for MQTT; ours shows in time that a broker is gone.
        if let Some(seconds) = properties.server_keep_alive.filter(|seconds| *seconds > 0) {
            self.keep_alive = Duration::from_secs(seconds.into());
            self.put_off_ping();
        }
    }

    fn put_off_ping(&mut self) {
        self.ping_due.set(time::sleep(self.keep_alive));
    }

    fn put(&mut self, packet: &Packet) -> Result<(), Lost> {
        packet.write(&mut self.unsent, self.packet_bytes_max).map_err(StateError::from)?;
        Ok(())
    }

    /// The next packet of what was received, if all of it is there.
    fn next_packet(&mut self) -> Result<Option<Packet>, Lost> {
        // Of what cannot be read nothing is left afterwards.
        let acknowledged = puback_id(&self.received);
        match Packet::read(&mut self.received, self.received_max) {
            Ok(packet) => Ok(Some(packet)),
            Err(PacketError::InsufficientBytes(missing)) => {
                if self.received.capacity() - self.received.len() < missing.max(READ_BYTES_LEAST) {
                    self.received.reserve(missing.max(READ_BYTES));
                }
                Ok(None)
            }
            Err(error) => Err(unreadable(acknowledged, error)),
        }
    }

    /// Moves requests into `unsent`, as far as there is room for them there and in the broker's window.
    fn take_requests(
        &mut self,
        state: &mut MqttState,
        requests: &Receiver<Request>,
        waiting: &mut Option<RecvFut<'static, Request>>,
        cx: &mut Context<'_>,
    ) -> Result<(), Lost> {
        while self.unsent.len() < UNSENT_MAX && state.inflight() < self.in_flight_max && state.collision.is_none() {
            let request = match requests.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Disconnected) => return Err(abandoned()),
                Err(TryRecvError::Empty) => {
                    let next = waiting.get_or_insert_with(|| requests.clone().into_recv_async());
                    let Poll::Ready(request) = Pin::new(next).poll(cx) else { return Ok(()) };
                    *waiting = None;
                    request.map_err(|_| abandoned())?
                }
            };
            if let Some(packet) = state.handle_outgoing_packet(request)? {
                self.put(&packet)?;
            }
        }
        // What frees the window comes in by reading, and what frees room goes out by writing: both wake the task.
        Ok(())
    }

    fn poll_ping(&mut self, state: &mut MqttState, cx: &mut Context<'_>) -> Result<(), Lost> {
        while self.ping_due.as_mut().poll(cx).is_ready() {
            self.put_off_ping();
            if let Some(packet) = state.handle_outgoing_packet(Request::PingReq)? {
                self.put(&packet)?;
            }
        }
        Ok(())
    }

    /// Writes what is unsent, unless it is little that has not waited yet.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        if !self.has_waited && !self.unsent.is_empty() && self.unsent.len() < UNSENT_WORTH {
            return Ok(());
        }
        while !self.unsent.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, &self.unsent) else { return Ok(()) };
            match written? {
                0 => return Err(StateError::ConnectionAborted.into()),
                written => self.unsent.advance(written),
            }
            self.flush_due = true;
        }
        self.has_waited = false;
        if self.flush_due && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.flush_due = false;
        }
        Ok(())
    }

    /// Reads until something came of it, or nothing more is there.
    fn poll_read(&mut self, state: &mut MqttState, cx: &mut Context<'_>) -> Result<(), Lost> {
        loop {
            while let Some(packet) = self.next_packet()? {
                if let Some(packet) = state.handle_incoming_packet(packet)? {
                    self.put(&packet)?;
                }
            }
            if !state.events.is_empty() {
                return Ok(());
            }
            let Poll::Ready(count) = std::pin::pin!(self.stream.read_buf(&mut self.received)).poll(cx) else {
                return Ok(());
            };
            if count? == 0 {
                return Err(StateError::ConnectionAborted.into());
            }
        }
    }
}

/// The packet id of a PUBACK (MQTT 5, 3.4), if these bytes begin with one.
fn puback_id(bytes: &[u8]) -> Option<u16> {
    let [0x40, rest @ ..] = bytes else { return None };
    // The length takes one to four bytes, of which the last has no highest bit.
    let length = rest.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let id = rest.get(length..length + 2)?;
    Some(u16::from_be_bytes([id[0], id[1]]))
}

/// rumqttc gives the same error for an unknown reason in any packet: only in a PUBACK it is about a publish.
fn unreadable(acknowledged: Option<u16>, error: PacketError) -> Lost {
    match (acknowledged, &error) {
        (Some(packet), PacketError::InvalidConnectReturnCode(code)) => Lost::UnreadableReason { packet, code: *code },
        _ => StateError::Deserialization(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_acknowledgement_names_the_publish_that_it_is_about() {
        assert_eq!(puback_id(&[0x40, 3, 0, 7, 0x95]), Some(7));
        assert_eq!(puback_id(&[0x40, 0x84, 0x80, 0x00, 0x12, 0x34, 0x95, 0]), Some(0x1234));
        for other in [&[0x40, 3, 0][..], &[0x40], &[], &[0x50, 3, 0, 7, 0x95], &[0x40, 0xff, 0xff, 0xff, 0xff, 0, 7]] {
            assert_eq!(puback_id(other), None, "{other:?}");
        }
        let unknown = || PacketError::InvalidConnectReturnCode(0x95);
        assert_eq!(unreadable(Some(7), unknown()), Lost::UnreadableReason { packet: 7, code: 0x95 });
        assert!(matches!(unreadable(None, unknown()), Lost::Broken { .. }));
        assert!(matches!(unreadable(Some(7), PacketError::MalformedPacket), Lost::Broken { .. }));
    }
}
