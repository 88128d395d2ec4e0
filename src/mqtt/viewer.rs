//! The connection of somebody who only looks: it subscribes, stored messages included, and now and then asks.
//!
//! Nothing hangs on it, so it is simpler than the bridge's own. Each connection has a client of its own, and whatever
//! one of them still held is gone with it: nothing can leave or arrive twice. It waits while the reader is behind, and
//! the broker drops what it cannot hand over; the bridge never notices.

use super::backoff::Backoff;
use super::lost::Lost;
use super::packets::EventLoop;
use super::publish::{Publish, Qos, to_properties, to_qos};
use super::{Settings, TlsError, options};
use crate::clock::{Clock, jitter};
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, RetainForwardRule, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::{select, time};

/// Packets that wait for being written: a few subscriptions, and what a person asks for.
const QUEUE_LENGTH: usize = 64;
/// A poll comes back once per keep-alive because of its own ping; one that takes this much longer hangs.
const WATCHDOG_SLACK: Duration = Duration::from_secs(10);

/// Something happened on the connection.
#[derive(Clone, Debug)]
pub enum Viewed {
    /// The broker lets us in; the stored messages of every filter follow.
    Connected(ViewOutlet),
    /// The broker answered the subscription: what it refused, with its reason, or nothing. What is stored comes after.
    Subscribed { refused: Vec<(String, String)> },
    Message {
        topic: String,
        payload: bytes::Bytes,
        /// It was stored: it tells how things were, not what has just happened.
        stored: bool,
    },
    /// There is no connection; the next attempt follows after `wait`.
    Disconnected { why: Lost, wait: Duration },
}

/// Publishes over one connection, and over no later one.
#[derive(Clone, Debug)]
pub struct ViewOutlet {
    client: AsyncClient,
}

impl ViewOutlet {
    /// Hands a publish to the connection. Never waits. False when it is no use to try: the connection has ended, its
    /// queue is full, or the broker would close it for this publish.
    pub fn publish(&self, publish: Publish) -> bool {
        if !publish.has_valid_topic() || !publish.has_valid_properties() {
            return false;
        }
        let properties = to_properties(&publish);
        let Publish { topic, payload, qos, retain, .. } = publish;
        self.client.try_publish_with_properties(topic, to_qos(qos), retain, payload, properties).is_ok()
    }
}

/// A running viewer. Dropping it ends it.
pub struct Viewer {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Viewer {
    /// Says goodbye to the broker, and waits for that at most `within`.
    pub async fn close(mut self, within: Duration) {
        self.stop.send_replace(true);
        // What has not ended by then is cut.
        let _ = time::timeout(within, &mut self.running).await;
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Connects with a clean session, and again whenever the connection is lost. Must be called within a runtime.
///
/// # Errors
/// [`TlsError`], never at a broker without TLS.
pub fn connect_viewer(
    settings: &Settings,
    filters: Vec<(String, Qos)>,
    events: mpsc::Sender<Viewed>,
) -> Result<Viewer, TlsError> {
    let options = options::viewer(settings)?;
    let backoff = Backoff::new(settings.retry_delay_min, settings.retry_delay_max);
    let (stop, stop_seen) = watch::channel(false);
    let running = tokio::spawn(run(options, filters, backoff, events, stop_seen));
    Ok(Viewer { stop, running })
}

/// Why a connection is no more.
enum End {
    Lost {
        why: Lost,
        was_connected: bool,
    },
    /// Nobody wants it any longer.
    Unwanted,
}

async fn run(
    options: MqttOptions,
    filters: Vec<(String, Qos)>,
    mut backoff: Backoff,
    events: mpsc::Sender<Viewed>,
    mut stop: watch::Receiver<bool>,
) {
    let clock = Clock::start();
    loop {
        let (client, event_loop) = EventLoop::new(options.clone(), QUEUE_LENGTH);
        let began_at = clock.now();
        let (why, was_connected) = match connection(client, event_loop, &filters, &events, &mut stop).await {
            End::Lost { why, was_connected } => (why, was_connected),
            End::Unwanted => return,
        };
        let wait = backoff.next(was_connected.then(|| clock.now().since(began_at)));
        let wait = wait / 2 + jitter(wait / 2);
        if events.send(Viewed::Disconnected { why, wait }).await.is_err() {
            return;
        }
        select! {
            () = clock.sleep_until(Some(clock.now() + wait)) => {}
            () = requested(&mut stop) => return,
        }
    }
}

/// One connection from its beginning to its end.
async fn connection(
    client: AsyncClient,
    mut event_loop: EventLoop,
    filters: &[(String, Qos)],
    events: &mpsc::Sender<Viewed>,
    stop: &mut watch::Receiver<bool>,
) -> End {
    let mut was_connected = false;
    let mut closing = false;
    loop {
        let polled = {
            let patience = event_loop.keep_alive() + WATCHDOG_SLACK;
            let poll = time::timeout(patience, async {
                event_loop.connect().await?;
                event_loop.next(|_| Poll::Ready(())).await
            });
            tokio::pin!(poll);
            loop {
                select! {
                    polled = &mut poll => break polled,
                    () = requested(stop), if !closing => {
                        closing = true;
                        if !was_connected || client.try_disconnect().is_err() {
                            return End::Unwanted;
                        }
                    }
                }
            }
        };
        let event = match polled {
            _ if closing && !matches!(polled, Ok(Ok(_))) => return End::Unwanted,
            Ok(Ok(event)) => event,
            Ok(Err(why)) => return End::Lost { why, was_connected },
            Err(_) => return End::Lost { why: Lost::Silent, was_connected },
        };
        let Some(viewed) = view(event, &client, filters) else { continue };
        was_connected |= matches!(viewed, Viewed::Connected(_));
        // Waits for the reader: the broker keeps or drops what comes meanwhile. A reader that is gone wants no more.
        if !closing && events.send(viewed).await.is_err() {
            return End::Unwanted;
        }
    }
}

fn view(event: Event, client: &AsyncClient, filters: &[(String, Qos)]) -> Option<Viewed> {
    match event {
        Event::Incoming(Packet::ConnAck(_)) => {
            let wanted = filters.iter().map(|(path, qos)| Filter {
                retain_forward_rule: RetainForwardRule::OnEverySubscribe,
                ..Filter::new(path.as_str(), to_qos(*qos))
            });
            // The queue of a new connection is empty.
            let _ = client.try_subscribe_many(wanted);
            Some(Viewed::Connected(ViewOutlet { client: client.clone() }))
        }
        Event::Incoming(Packet::SubAck(suback)) => Some(Viewed::Subscribed { refused: refused(&suback, filters) }),
        Event::Incoming(Packet::Publish(publish)) => Some(Viewed::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            stored: publish.retain,
        }),
        Event::Incoming(_) | Event::Outgoing(_) => None,
    }
}

/// The filters that the broker did not grant: it answers by position.
fn refused(suback: &SubAck, filters: &[(String, Qos)]) -> Vec<(String, String)> {
    let mut reasons = suback.return_codes.iter();
    let mut refused = Vec::new();
    for (filter, _) in filters {
        match reasons.next() {
            Some(SubscribeReasonCode::Success(_)) => {}
            Some(reason) => refused.push((filter.clone(), format!("{reason:?}"))),
            None => refused.push((filter.clone(), "no answer".to_owned())),
        }
    }
    refused
}

/// Returns when a stop was requested, or whoever could request it is gone.
async fn requested(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|requested| *requested).await;
}
