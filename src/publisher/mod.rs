//! Performs `Publish`: answers until the broker has them, everything else as well as it can be done.
//!
//! # Invariants
//!
//! - An answer is reported as published only when the broker has acknowledged it on every topic that it goes to, or
//!   has refused it for good.
//! - Nothing is remembered across connections: after each connect the engine hands out again what is still open.
//! - Answers, replies and all else come over channels of their own, so that a flood of events cannot stand before an
//!   answer, or push out the reply to the command that would stop it.
//! - Of a retained topic the latest word always gets to the broker, however slow it is: QoS 1, because nothing would
//!   correct a lost one until the next change, and a board instead of a line.

pub mod payload;

mod audience;

mod board;

mod drops;

mod notices;

mod outbound;

mod passing;

mod retained;

#[cfg(test)]
mod tests;

use crate::contain;
use crate::model::{Block, BrokerFact, Hold, InfoReport, Input, Outgoing, Publication, StatusTopic};
use crate::mqtt::topics::Topics;
use crate::mqtt::{self, OutgoingEvent, Outlet, Publish, Qos, Refused, Stored, Task, TlsError};
use crate::telemetry;
use audience::Audience;
use board::{Board, Retained};
use drops::{DropWatch, Drops};
use outbound::{Outbound, Part, answered_by};
use passing::passed_on;
use retained::RetainedOpen;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Events and alarms that wait for being published. What comes on top is dropped, and counted.
const NOTICES_MAX: usize = 4096;
/// The same for replies.
const REPLIES_MAX: usize = 4096;
/// What may wait for the connection before replies wait too.
const REPLIES_BEHIND_MAX: usize = 4096;
/// The wait before a publish that the broker refused for now is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// How long a stop waits for the broker.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long a stop waits for the last words on retained topics.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);
/// Stored statuses that wait for being told. What comes on top is seen at the next connection.
const SEEN_MAX: usize = 65_536;
/// The token of our own retained state, whose acknowledgement only a stop waits for.
const STATE_TOKEN: u64 = 0;

/// The way to the publisher. Clones lead to the same one.
#[derive(Clone)]
pub struct Publisher {
    answers: mpsc::Sender<Publication>,
    /// Events of callbacks.
    reported: mpsc::Sender<Publication>,
    notices: mpsc::Sender<Publication>,
    board: Arc<Board>,
    replies: mpsc::Sender<Publication>,
    drops: Drops,
}

impl Publisher {
    /// Never waits. An answer must be given within a runtime.
    pub fn publish(&self, publication: Publication) {
        let (is_answer, channel) = match publication {
            Publication::Answer { .. } | Publication::Refusal { .. } => (true, &self.answers),
            Publication::Reported(_) => (true, &self.reported),
            Publication::Reply(_) => (false, &self.replies),
            Publication::Event { .. } | Publication::Alarm(_) => (false, &self.notices),
            Publication::Status(status) => return self.board.put(Retained::Status(status)),
            Publication::Holds(holds, blocks) => {
                return self.board.put(Retained::Holds(Arc::new((holds, blocks))));
            }
        };
        match channel.try_send(publication) {
            Ok(()) => {}
            Err(TrySendError::Full(answer)) if is_answer => {
                // The engine hands out no more than its window, but after a reconnect it hands out what the publisher
                // may not have taken yet from before: that waits aside, because nothing would bring it back.
                let channel = channel.clone();
                tokio::spawn(async move {
                    // Without a publisher the next start publishes it.
                    let _ = channel.send(answer).await;
                });
            }
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.drops.add(),
        }
    }

    /// Events and replies dropped because the broker did not take them fast enough.
    pub fn dropped(&self) -> u64 {
        self.drops.count()
    }
}

/// The running publisher.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Says `stopped` on the state topic, waits for the broker to have it, and disconnects without the will.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        // It ends by itself: every wait inside is bounded.
        let _ = self.task.await;
    }
}

/// Connects and publishes from now on, `info` at each connection. `window` is the number of answers that the engine
/// hands out at once; `connected` tells whether anything can be published.
///
/// # Errors
/// [`TlsError`] when the certificates cannot be used.
pub fn start(
    settings: &mqtt::Settings,
    topics: Arc<Topics>,
    info: InfoReport,
    window: usize,
    inputs: mpsc::Sender<Input>,
    connected: watch::Sender<bool>,
) -> Result<(Publisher, Running), TlsError> {
    let (answers, answers_due) = mpsc::channel(window.max(1));
    let (reported, reported_due) = mpsc::channel(window.max(1));
    let (notices, notices_due) = mpsc::channel(NOTICES_MAX);
    let (replies, replies_due) = mpsc::channel(REPLIES_MAX);
    let (events, events_seen) = mpsc::channel(6 * window.max(1) + NOTICES_MAX + REPLIES_MAX);
    let will = state(&topics, "offline");
    let (seen_set, seen) = mpsc::channel(SEEN_MAX);
    let (outlet, connection) =
        mqtt::connect_outgoing_and_look(settings, &will, stored(&topics, seen_set), passed_on(events))?;
    let drops = Drops::default();
    let board = Arc::new(Board::default());
    let (stop, stop_seen) = oneshot::channel();
    let desk = Desk::new(topics, info, Arc::clone(&board), outlet, (connected, inputs), drops.clone());
    let due =
        Waiting { answers: answers_due, reported: reported_due, replies: replies_due, notices: notices_due, seen };
    let task = tokio::spawn(run(desk, connection, due, events_seen, stop_seen));
    Ok((Publisher { answers, reported, notices, replies, board, drops }, Running { stop, task }))
}

/// Tells of the statuses that the broker still has from before a connection.
fn stored(topics: &Arc<Topics>, seen: mpsc::Sender<StatusTopic>) -> Stored {
    let topics_of_statuses = Arc::clone(topics);
    let mut missed: u64 = 0;
    Stored::new(topics.status_filters(), move |topic| {
        if let Some(status) = topics_of_statuses.status_of(topic)
            && seen.try_send(status).is_err()
        {
            missed += 1;
            if missed.is_power_of_two() {
                telemetry::stored_statuses_missed(missed);
            }
        }
    })
}

fn state(topics: &Topics, word: &str) -> Publish {
    Publish { retain: true, ..Publish::new(topics.state(), payload::state(word)) }
}

/// What is to be published, and told, beside the board.
struct Waiting {
    answers: mpsc::Receiver<Publication>,
    reported: mpsc::Receiver<Publication>,
    replies: mpsc::Receiver<Publication>,
    notices: mpsc::Receiver<Publication>,
    seen: mpsc::Receiver<StatusTopic>,
}

/// What comes after the answers.
enum Next {
    Notice(Publication),
    Retained(Retained),
    Seen(StatusTopic),
}

/// What the publisher's task owns.
struct Desk {
    outbound: Outbound,
    info: Arc<InfoReport>,
    board: Arc<Board>,
    retained: RetainedOpen,
    /// As last published: a new connection's broker may not have it.
    last_holds: Option<Arc<(Vec<Hold>, Vec<Block>)>>,
    outlet: Outlet,
    /// The connection that publishes go over, if there is one.
    connection: Option<u64>,
    /// Whether there is one, for whoever asks whether the bridge works.
    connected: watch::Sender<bool>,
    inputs: mpsc::Sender<Input>,
    /// What each unacknowledged token belongs to, for the answers among them.
    open: BTreeMap<u64, Outgoing>,
    /// For each open answer, how many of its publishes are unacknowledged, and what the broker refused about it.
    parts: BTreeMap<Outgoing, Parts>,
    /// Handed over and not yet taken by the connection.
    pending: VecDeque<(u64, Publish)>,
    next_token: u64,
    state_acknowledged: bool,
    audience: Audience,
    drops: DropWatch,
}

#[derive(Debug, Default)]
struct Parts {
    open: usize,
    refused: Option<Box<str>>,
}

async fn run(
    mut desk: Desk,
    connection: Task,
    mut due: Waiting,
    mut events: mpsc::Receiver<OutgoingEvent>,
    mut stop: oneshot::Receiver<()>,
) {
    loop {
        // What cannot leave yet holds back what follows, so that a slow broker fills channels and not memory.
        let has_room = desk.pending.is_empty();
        let takes_notices = has_room && desk.audience.has_room();
        let takes_replies = desk.connection.is_some() && desk.pending.len() < REPLIES_BEHIND_MAX;
        let shows = desk.connection.is_some() && desk.retained.has_room();
        let Waiting { answers, reported, replies, notices, seen } = &mut due;
        tokio::select! {
            biased;
            Some(event) = events.recv() => desk.handle_event(event).await,
            Some(reply) = replies.recv(), if takes_replies => desk.publish(reply).await,
            Some(publication) = answers.recv() => desk.publish(publication).await,
            () = desk.retained.waited() => {}
            Some(event) = reported.recv(), if has_room => desk.publish(event).await,
            next = next(notices, seen, &desk.board, shows), if takes_notices => match next {
                Next::Notice(publication) => desk.publish_notices(publication, notices).await,
                Next::Retained(retained) => desk.publish_retained(retained).await,
                Next::Seen(topic) => desk.tell(Input::StatusSeen(topic)).await,
            },
            _ = &mut stop => break,
        }
    }
    desk.stop(&mut events).await;
    connection.disconnect(STOP_WAIT).await;
}

/// In no order, so that a flood of one kind keeps none of the others waiting. Nothing is lost when it is given up.
async fn next(
    notices: &mut mpsc::Receiver<Publication>,
    seen: &mut mpsc::Receiver<StatusTopic>,
    board: &Board,
    shows: bool,
) -> Next {
    tokio::select! {
        Some(notice) = notices.recv() => Next::Notice(notice),
        retained = board.next(), if shows => Next::Retained(retained),
        Some(topic) = seen.recv() => Next::Seen(topic),
        else => std::future::pending().await,
    }
}

impl Desk {
    /// Nothing is published yet. The two channels are told of the connection, and of what became of publishes.
    fn new(
        topics: Arc<Topics>,
        info: InfoReport,
        board: Arc<Board>,
        outlet: Outlet,
        (connected, inputs): (watch::Sender<bool>, mpsc::Sender<Input>),
        drops: Drops,
    ) -> Self {
        Self {
            outbound: Outbound::new(topics),
            info: Arc::new(info),
            board,
            retained: RetainedOpen::default(),
            last_holds: None,
            outlet,
            connection: None,
            connected,
            inputs,
            open: BTreeMap::new(),
            parts: BTreeMap::new(),
            pending: VecDeque::new(),
            next_token: STATE_TOKEN + 1,
            state_acknowledged: false,
            audience: Audience::default(),
            drops: DropWatch::new(drops),
        }
    }

    async fn handle_event(&mut self, event: OutgoingEvent) {
        match event {
            OutgoingEvent::Connected { connection, window, .. } => {
                self.forget();
                self.connection = Some(connection);
                self.connected.send_replace(true);
                self.hand_over(STATE_TOKEN, state(self.outbound.topics(), "online")).await;
                self.retained.connected(window);
                self.repeat_retained();
                self.tell(Input::Connected(true)).await;
            }
            OutgoingEvent::Disconnected { .. } => {
                if self.connection.is_some() {
                    self.forget();
                    self.tell(Input::Connected(false)).await;
                }
            }
            OutgoingEvent::Acknowledged { token: STATE_TOKEN, .. } => self.state_acknowledged = true,
            OutgoingEvent::Acknowledged { token, refusal, is_unheard } => {
                if self.acknowledge_event(token, refusal.is_some(), is_unheard) {
                    return self.publish_events().await;
                }
                if self.acknowledge_retained(token, refusal.as_ref()) {
                    return;
                }
                if refusal.as_ref().is_some_and(|refusal| refusal.retryable) {
                    return self.try_again(token);
                }
                self.close(token, refusal.map(|refusal| refusal.reason.into())).await;
            }
            OutgoingEvent::Room => {
                self.flush().await;
                self.publish_events().await;
            }
            OutgoingEvent::Broker(fact) => {
                if let BrokerFact::Version(version) = &fact {
                    self.audience.serves(version);
                }
                self.tell(Input::Broker(fact)).await;
            }
        }
    }

    /// An old connection's publishes are nobody's any more: the engine hands out what is open.
    fn forget(&mut self) {
        self.connection = None;
        self.connected.send_replace(false);
        self.open.clear();
        self.parts.clear();
        self.pending.clear();
        self.audience.lose();
        self.reopen_retained();
    }

    async fn publish(&mut self, publication: Publication) {
        let answer = answered_by(&publication);
        let Some(parts) = contain::contained(|| self.outbound.parts(publication)) else {
            telemetry::poison_contained_outgoing();
            if let Some(what) = answer {
                // Tried again it would fail again, after every start.
                let refused = Some(Box::from("the bridge failed to write it, which is a mistake of the bridge"));
                self.tell(Input::Published { what, refused }).await;
            }
            return;
        };
        for Part { what, publish } in parts {
            let token = self.token();
            if self.connection.is_none() {
                return;
            }
            if let Some(what) = what {
                self.open.insert(token, what);
                self.parts.entry(what).or_default().open += 1;
            }
            self.hand_over(token, publish).await;
        }
    }

    async fn hand_over(&mut self, token: u64, publish: Publish) {
        self.pending.push_back((token, publish));
        self.flush().await;
    }

    async fn flush(&mut self) {
        while let Some((token, publish)) = self.pending.pop_front() {
            let Some(connection) = self.connection else { return };
            // What may be lost is not tried again, and most publishes are such.
            let kept = (publish.qos == Qos::AtLeastOnce).then(|| publish.clone());
            match self.outlet.publish(connection, publish, token) {
                Ok(()) => {}
                Err(Refused::Full) => match kept {
                    Some(publish) => {
                        self.pending.push_front((token, publish));
                        return;
                    }
                    None => self.drops.add(),
                },
                // The next connection starts from what the engine has.
                Err(Refused::NotConnected) => return,
                Err(Refused::TooLarge { packet_bytes, packet_bytes_max }) => {
                    let reason = format!("a packet of {packet_bytes} bytes, the broker takes {packet_bytes_max}");
                    self.close(token, Some(reason.into())).await;
                }
                Err(Refused::Invalid) => self.close(token, Some(Box::from("the topic is not valid"))).await,
            }
        }
    }

    /// One publish of an answer is done with; the last one closes it.
    async fn close(&mut self, token: u64, refused: Option<Box<str>>) {
        if self.audience.unanswered(token) || self.give_up_retained(token, refused.as_deref().unwrap_or_default()) {
            return;
        }
        let Some(what) = self.open.remove(&token) else { return };
        let Some(parts) = self.parts.get_mut(&what) else { return };
        parts.open -= 1;
        parts.refused = parts.refused.take().or(refused);
        if parts.open == 0 {
            let refused = self.parts.remove(&what).and_then(|parts| parts.refused);
            self.tell(Input::Published { what, refused }).await;
        }
    }

    /// The broker refused a publish for now: the engine hands its answer out again, a little later.
    fn try_again(&mut self, token: u64) {
        let Some(what) = self.open.remove(&token) else { return };
        if self.parts.remove(&what).is_none() {
            return;
        }
        // It is handed out whole, so what the broker says of its other publishes is of no use any more.
        self.open.retain(|_, of| *of != what);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RETRY_WAIT).await;
            // Without a bridge there is nobody left to tell.
            let _ = inputs.send(Input::PublishAgain { what }).await;
        });
    }

    async fn tell(&self, input: Input) {
        // Without a bridge there is nobody left to tell.
        let _ = self.inputs.send(input).await;
    }

    fn token(&mut self) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    async fn stop(&mut self, events: &mut mpsc::Receiver<OutgoingEvent>) {
        if self.connection.is_none() {
            return;
        }
        self.audience.hurry();
        self.publish_events().await;
        let _ = tokio::time::timeout(LAST_WORDS_WAIT, self.say_last_words(events)).await;
        self.state_acknowledged = false;
        let stopped = state(self.outbound.topics(), "stopped");
        self.hand_over(STATE_TOKEN, stopped).await;
        let acknowledged = async {
            while !self.state_acknowledged && self.connection.is_some() {
                let Some(event) = events.recv().await else { return };
                self.handle_event(event).await;
            }
        };
        let _ = tokio::time::timeout(STOP_WAIT, acknowledged).await;
    }
}

impl Desk {
    /// Publishes what is still on the board, and waits until the broker has it.
    async fn say_last_words(&mut self, events: &mut mpsc::Receiver<OutgoingEvent>) {
        while self.connection.is_some() {
            if self.pending.is_empty()
                && self.retained.has_room()
                && let Some(retained) = self.board.take()
            {
                self.publish_retained(retained).await;
            } else if self.pending.is_empty() && self.retained.is_empty() {
                return;
            } else {
                let Some(event) = events.recv().await else { return };
                self.handle_event(event).await;
            }
        }
    }
}
