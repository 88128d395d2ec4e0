use super::Settings;
use super::backoff::Backoff;
use super::lost::Lost;
use super::packets::EventLoop;
use crate::clock::{Clock, jitter};
use crate::model::Time;
use crate::telemetry;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Event, MqttState};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio::{select, time};

/// A poll comes back once per keep-alive because of its own ping; one that takes this much longer hangs.
const WATCHDOG_SLACK: Duration = Duration::from_secs(10);

/// A connection that is ended within this time, again and again, is ended by somebody: old brokers close the
/// connection that another process takes over without a word.
const RIVAL_PATIENCE: Duration = Duration::from_secs(60);
const SHORT_LIVED_MAX: u32 = 3;
/// How soon a ping leaves for somebody who wants its answer.
const PING_SOON: Duration = Duration::from_secs(1);

/// A running connection. Dropping it ends it without a DISCONNECT, so that the broker publishes the will.
#[derive(Debug)]
pub struct Task {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Task {
    pub(super) fn spawn<S: Side + 'static>(wire: EventLoop, side: S, settings: &Settings) -> Self {
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

    /// Ready when the next event can be taken. Until then nothing is read.
    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Something was received or sent. An error closes the connection.
    fn handle_event(&mut self, event: Event, state: &MqttState) -> Result<(), Lost>;

    /// Whether a ping shall leave soon, because its answer is waited for. Asked after each event, and told once.
    fn wants_ping(&mut self) -> bool {
        false
    }

    /// The connection ended, or could not be made. Wipes the wire while it holds the lock of the senders.
    fn handle_lost(&mut self, wire: &mut EventLoop, lost: &Lost);

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

impl Phase {
    /// A connection came up.
    ///
    /// # Errors
    /// One is up already: the broker welcomes us twice.
    pub(super) fn rise(&mut self) -> Result<(), Lost> {
        match std::mem::replace(self, Self::Up) {
            Self::Down => Ok(()),
            Self::Up | Self::Closing | Self::Closed => Err(Lost::Inconsistent),
        }
    }
}

/// Locks what the senders and the polling task share.
pub(super) fn lock<T>(desk: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing done inside the lock can panic half way.
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::large_enum_variant, reason = "lives for one turn, and is nearly always the large one")]
enum Turn {
    Event(Event),
    Lost(Lost),
    /// Asked to stop while there was no connection.
    Ended,
}

/// Keeps one connection up until it is asked to stop.
async fn run<S: Side>(mut wire: EventLoop, mut side: S, mut backoff: Backoff, mut stop: watch::Receiver<bool>) {
    let clock = Clock::start();
    let mut closing = false;
    let mut short_lived: u32 = 0;
    loop {
        let mut connected_at = None;
        let mut patience = Patience::new(clock);
        let lost = loop {
            // What is there already needs no wait, and nothing of what a wait needs.
            let told = wire.told_next(|cx| side.poll_room(cx)).map(Turn::Event);
            let turn = match told {
                Some(turn) => turn,
                None => turn(&mut wire, &mut side, &mut stop, &mut closing, &mut patience).await,
            };
            match turn {
                Turn::Event(event) => {
                    patience.renew();
                    if let Event::Incoming(Packet::ConnAck(_)) = event {
                        connected_at = Some(clock.now());
                    }
                    if let Err(lost) = side.handle_event(event, &wire.state) {
                        break lost;
                    }
                    if side.wants_ping() {
                        wire.ping_within(PING_SOON);
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
        | Lost::Silent
        | Lost::UnreadableReason { .. }
        | Lost::Inconsistent
        | Lost::Broken { .. } => telemetry::broker_lost(client, &lost.to_string(), wait),
    }
}

/// Waits for one event, and connects first where there is no connection.
async fn turn<S: Side>(
    wire: &mut EventLoop,
    side: &mut S,
    stop: &mut watch::Receiver<bool>,
    closing: &mut bool,
    patience: &mut Patience,
) -> Turn {
    if !wire.is_connected() {
        // Connecting takes much room, and what stands here is moved for every event.
        let connecting = Box::pin(wire.connect());
        select! {
            biased;
            connected = connecting => if let Err(lost) = connected {
                return Turn::Lost(lost);
            },
            () = requested(stop), if !*closing => return Turn::Ended,
        }
        patience.renew();
    }
    let limit = wire.keep_alive() + WATCHDOG_SLACK;
    loop {
        select! {
            biased;
            told = wire.next(|cx| side.poll_room(cx)) => return told.map_or_else(Turn::Lost, Turn::Event),
            () = patience.over(limit) => return Turn::Lost(Lost::Silent),
            () = requested(stop), if !*closing => {
                *closing = true;
                if !side.close() {
                    return Turn::Ended;
                }
            }
        }
    }
}

/// For how long a connection may be silent. One timer serves many events: it is looked at again when it ends.
struct Patience {
    clock: Clock,
    heard_at: Time,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(clock: Clock) -> Self {
        Self { clock, heard_at: clock.now(), limit: Duration::ZERO, timer: None }
    }

    fn renew(&mut self) {
        self.heard_at = self.clock.now();
    }

    /// Returns when nothing was heard for so long. May be dropped and called again.
    async fn over(&mut self, limit: Duration) {
        if std::mem::replace(&mut self.limit, limit) != limit {
            self.timer = None;
        }
        loop {
            let left = limit.saturating_sub(self.clock.now().since(self.heard_at));
            if left.is_zero() {
                return;
            }
            self.timer.get_or_insert_with(|| Box::pin(time::sleep(left))).await;
            self.timer = None;
        }
    }
}

/// Returns when a stop was requested, or whoever could request it is gone.
async fn requested(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|requested| *requested).await;
}
