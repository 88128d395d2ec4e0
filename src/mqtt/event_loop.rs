use super::Settings;
use super::backoff::Backoff;
use crate::clock::{Clock, jitter};
use crate::telemetry;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, MqttState, StateError};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::{select, time};

/// A poll comes back once per keep-alive because of its own ping; one that takes this much longer hangs in a write to
/// a peer that stopped reading, for which rumqttc has no time-out.
const WATCHDOG_SLACK: Duration = Duration::from_secs(10);

/// A connection that is ended within this time, again and again, is ended by somebody: old brokers close the
/// connection that another process takes over without a word.
const RIVAL_PATIENCE: Duration = Duration::from_secs(60);
const SHORT_LIVED_MAX: u32 = 3;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The broker refused us, with this reason: a wrong password, no permission, a forbidden client id.
    Refused { reason: String },
    /// Another client connected with our client id.
    TakenOver,
    /// The broker closed the connection and said why.
    Closed { reason: String },
    /// We closed it, because more arrived than there is room for; it is delivered again.
    Overrun,
    /// Nothing moved for longer than the keep-alive.
    Silent,
    /// The broker acknowledged a publish with a reason that the client cannot read.
    UnreadableReason { code: u8 },
    /// rumqttc's account of the packets differs from ours, or has come to a stand.
    Inconsistent,
    /// The network, TLS, or the packets on it.
    Broken { error: String },
}

impl Lost {
    /// Whether another process with our client id would look like this from here.
    const fn may_be_a_rival(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Closed { .. } => true,
            Self::Refused { .. }
            | Self::TakenOver
            | Self::Overrun
            | Self::Silent
            | Self::UnreadableReason { .. }
            | Self::Inconsistent => false,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason } => write!(f, "the broker refuses the connection: {reason}"),
            Self::TakenOver => f.write_str("another client connected with the same client id"),
            Self::Closed { reason } => write!(f, "the broker closed the connection: {reason}"),
            Self::Overrun => f.write_str("more arrived than there is room for"),
            Self::Silent => f.write_str("nothing moved for longer than the keep-alive"),
            Self::UnreadableReason { code } => write!(f, "the broker sent the unreadable reason code {code:#04x}"),
            Self::Inconsistent => f.write_str("the account of the packets under way became inconsistent"),
            Self::Broken { error } => f.write_str(error),
        }
    }
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        if let ConnectionError::ConnectionRefused(code) = &error {
            return Self::Refused { reason: format!("{code:?}") };
        }
        if let ConnectionError::MqttState(state) = &error {
            if let StateError::ServerDisconnect { reason_code, .. } = state {
                if *reason_code == DisconnectReasonCode::SessionTakenOver {
                    return Self::TakenOver;
                }
                return Self::Closed { reason: format!("{reason_code:?}") };
            }
            if let StateError::Deserialization(PacketError::InvalidConnectReturnCode(code)) = state {
                return Self::UnreadableReason { code: *code };
            }
        }
        Self::Broken { error: error.to_string() }
    }
}

/// A running connection. Dropping it ends it without a DISCONNECT, so that the broker publishes the will.
#[derive(Debug)]
pub struct Task {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Task {
    pub(super) fn spawn<S: Side + 'static>(wire: Wire, side: S, settings: &Settings) -> Self {
        let (stop, stop_seen) = watch::channel(false);
        let backoff = Backoff::new(settings.retry_delay_min, settings.retry_delay_max);
        Self { stop, running: tokio::spawn(run(wire, side, backoff, stop_seen)) }
    }

    /// Sends what was given before, then DISCONNECT, and waits until the broker has closed the connection. False when
    /// that took longer than `within`: then the connection was cut.
    ///
    /// Waits for no acknowledgement of what was published.
    pub async fn disconnect(mut self, within: Duration) -> bool {
        self.stop.send_replace(true);
        time::timeout(within, &mut self.running).await.is_ok()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// What differs between the two directions. Called by the task that polls, so nothing in it may wait.
pub(super) trait Side: Send {
    /// The client id, for the log.
    fn client(&self) -> &str;

    /// Something was received or sent. An error closes the connection.
    fn handle_event(&mut self, event: Event, state: &MqttState) -> Result<(), Lost>;

    /// The connection ended, or could not be made. Wipes the wire while it holds the lock of the senders.
    fn handle_lost(&mut self, wire: &mut Wire, lost: &Lost);

    /// Asks for DISCONNECT behind all that is queued, and lets nothing more in. False when there is no connection.
    fn close(&mut self) -> bool;
}

/// Where a connection stands, for those who send over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Down,
    Up,
    /// DISCONNECT goes out behind all that is queued, as soon as the queue has room for it.
    Closing,
    /// It is in the queue.
    Closed,
}

/// Locks what the senders and the polling task share.
pub(super) fn lock<T>(desk: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing done inside the lock can panic half way.
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// rumqttc's event loop, and what it takes to make it forget.
pub(super) struct Wire {
    event_loop: EventLoop,
    /// As we want them: the event loop overwrites its own with what a broker says in CONNACK.
    options: MqttOptions,
}

impl Wire {
    /// `queue` bounds what waits for being written, in packets.
    pub(super) fn new(options: MqttOptions, queue: usize) -> (AsyncClient, Self) {
        let (client, event_loop) = AsyncClient::new(options.clone(), queue);
        (client, Self { event_loop, options })
    }

    /// Drops the connection with all that was queued or unacknowledged, and returns the events that were not polled.
    ///
    /// The caller holds the lock of the senders: what they queued is gone afterwards, without a gap.
    pub(super) fn wipe(&mut self) -> VecDeque<Event> {
        let unpolled = std::mem::take(&mut self.event_loop.state.events);
        self.event_loop.clean();
        self.event_loop.pending.clear();
        // A new state and not its own clean(), which keeps a packet id collision, the last packet id and the last
        // broker's window: each of them wedges a later connection.
        let limit = self.options.get_outgoing_inflight_upper_limit().unwrap_or(u16::MAX);
        self.event_loop.state = MqttState::new(limit, self.options.manual_acks());
        self.event_loop.options = self.options.clone();
        unpolled
    }
}

#[allow(clippy::large_enum_variant, reason = "lives for one turn, and is nearly always the large one")]
enum Turn {
    Event(Event),
    Lost(Lost),
    /// Asked to stop while there was no connection.
    Ended,
}

/// Keeps one connection up until it is asked to stop.
async fn run<S: Side>(mut wire: Wire, mut side: S, mut backoff: Backoff, mut stop: watch::Receiver<bool>) {
    let clock = Clock::start();
    let mut closing = false;
    let mut short_lived: u32 = 0;
    loop {
        let mut connected_at = None;
        let lost = loop {
            match turn(&mut wire, &mut side, &mut stop, &mut closing).await {
                Turn::Event(event) => {
                    if let Event::Incoming(Packet::ConnAck(_)) = event {
                        connected_at = Some(clock.now());
                        keep_alive_of_zero_means_ours(&mut wire);
                    }
                    if let Err(lost) = side.handle_event(event, &wire.event_loop.state) {
                        break lost;
                    }
                }
                Turn::Lost(lost) => break lost,
                Turn::Ended => return,
            }
        };
        side.handle_lost(&mut wire, &lost);
        if closing {
            return;
        }
        let lasted = connected_at.map(|at| clock.now().since(at));
        // Whoever took over is a second bridge: reconnecting at once would take it back, and so on for ever.
        let wait = if lost == Lost::TakenOver { backoff.longest() } else { backoff.next(lasted) };
        let wait = wait / 2 + jitter(wait / 2);
        tell(side.client(), &lost, wait);
        if lost.may_be_a_rival() {
            // None says nothing: there was no connection to end.
            match lasted {
                Some(lasted) if lasted > RIVAL_PATIENCE => short_lived = 0,
                Some(_) => short_lived += 1,
                None => {}
            }
            if short_lived >= SHORT_LIVED_MAX {
                telemetry::broker_connection_short_lived(side.client(), short_lived);
            }
        }
        select! {
            () = clock.sleep_until(Some(clock.now() + wait)) => {}
            () = requested(&mut stop) => return,
        }
    }
}

fn tell(client: &str, lost: &Lost, wait: Duration) {
    match lost {
        Lost::Refused { reason } => telemetry::broker_refused(client, reason, wait),
        Lost::TakenOver => telemetry::broker_taken_over(client, wait),
        Lost::Closed { .. }
        | Lost::Overrun
        | Lost::Silent
        | Lost::UnreadableReason { .. }
        | Lost::Inconsistent
        | Lost::Broken { .. } => telemetry::broker_lost(client, &lost.to_string(), wait),
    }
}

/// One poll, which nothing but the watchdog cancels: a cancelled write is lost to the wire and not to the account.
async fn turn<S: Side>(wire: &mut Wire, side: &mut S, stop: &mut watch::Receiver<bool>, closing: &mut bool) -> Turn {
    let patience = wire.event_loop.options.keep_alive() + WATCHDOG_SLACK;
    let poll = time::timeout(patience, wire.event_loop.poll());
    tokio::pin!(poll);
    loop {
        select! {
            biased;
            polled = &mut poll => {
                return match polled {
                    Ok(Ok(event)) => Turn::Event(event),
                    Ok(Err(error)) => Turn::Lost(error.into()),
                    Err(_) => Turn::Lost(Lost::Silent),
                };
            }
            () = requested(stop), if !*closing => {
                *closing = true;
                if !side.close() {
                    return Turn::Ended;
                }
            }
        }
    }
}

/// A server keep-alive of zero switches it off for MQTT, and makes rumqttc ping without a pause.
fn keep_alive_of_zero_means_ours(wire: &mut Wire) {
    if wire.event_loop.options.keep_alive().is_zero() {
        wire.event_loop.options.set_keep_alive(wire.options.keep_alive());
    }
}

/// Returns when a stop was requested, or whoever could request it is gone.
async fn requested(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|requested| *requested).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode;

    #[test]
    fn tells_what_a_person_must_know_apart() {
        let disconnect = |reason_code| {
            Lost::from(ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string: None }))
        };
        assert_eq!(disconnect(DisconnectReasonCode::SessionTakenOver), Lost::TakenOver);
        assert_eq!(
            disconnect(DisconnectReasonCode::ServerShuttingDown),
            Lost::Closed { reason: "ServerShuttingDown".into() }
        );
        assert_eq!(
            Lost::from(ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword)),
            Lost::Refused { reason: "BadUserNamePassword".into() }
        );
        assert_eq!(
            Lost::from(ConnectionError::MqttState(StateError::Deserialization(PacketError::InvalidConnectReturnCode(
                0x95
            )))),
            Lost::UnreadableReason { code: 0x95 }
        );
    }
}
