//! Publishes a list and takes down its answers, through lost connections, restarts and interrupts.
//!
//! Invariants: a row is noted durably before it is published for the first time; its answer is in the results file
//! before the broker is told that we have it; a row with an answer is never published again, and one without is
//! published again only while the bridge is sure to know it.

use super::dispatch::Dispatch;
use super::forecast::Forecast;
use super::json::Members;
use super::plan::Item;
use super::progress::{Figures, Progress};
use super::results::{Outcome, Results};
use super::settle::{self, Settled};
use super::state::{State, StateError};
use crate::cli::client::{Client, News};
use crate::cli::stop::StopSignals;
use crate::clock::Clock;
use crate::model::{MessageId, Time};
use crate::mqtt::Packet;
use crate::mqtt::topics::Topics;
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::Duration;

/// Publishes that the broker has not acknowledged yet, at most.
const PUBLISHES_MAX: usize = 500;
/// News that are taken at once.
const BATCH_MAX: usize = 1000;
const TICK: Duration = Duration::from_millis(100);
/// How long an answer is waited for before the message is published again; doubles each time.
const REPEAT_AFTER: Duration = Duration::from_secs(120);
/// Before the end of the bridge's deduplication window publishing again is no longer called safe.
const SAFETY: Duration = Duration::from_secs(60);
/// Questions to the bridge under way, at most; and when one is asked again, or given up.
const QUESTIONS_MAX: usize = 16;
const QUESTION_WAIT: Duration = Duration::from_secs(20);
const QUESTION_TIMES_MAX: u32 = 3;
/// Without a word from the bridge it is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(15);
/// When its silence is shown.
const SILENCE_SHOWN: Duration = Duration::from_secs(45);
const HEALTH: &str = "health";

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing more to do. `unsettled` rows may have been sent, and the bridge cannot tell.
    Complete {
        unsettled: Vec<u64>,
    },
    Interrupted,
    /// No connection for longer than was to be waited.
    NoBroker {
        why: String,
    },
    /// Not a word from the bridge for as long.
    NoBridge,
    /// The broker does not let us publish or listen.
    Refused {
        topic: String,
        reason: String,
    },
}

/// What a delivery needs.
pub(super) struct Parts<'a> {
    pub(super) items: &'a [Item],
    pub(super) topics: &'a Topics,
    pub(super) suffix: &'a str,
    pub(super) send_topic: String,
    pub(super) dispatch: Dispatch,
    pub(super) client: Client,
    pub(super) forecast: Forecast,
    pub(super) results: Results,
    pub(super) state: State,
    pub(super) progress: Progress,
    pub(super) clock: Clock,
    /// Of this list, those that are answered already.
    pub(super) outcomes: BTreeMap<String, usize>,
    pub(super) wait: Duration,
    pub(super) dedup_window: Duration,
    pub(super) force: bool,
}

/// A file that could not be written.
#[derive(Debug)]
pub(super) enum DeliveryError {
    Results(io::Error),
    State(StateError),
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Results(error) => write!(f, "the results cannot be written: {error}"),
            Self::State(error) => error.fmt(f),
        }
    }
}

/// How often something was asked or published in this run, and when last.
#[derive(Clone, Copy, Debug)]
struct Tried {
    at: Time,
    times: u32,
}

pub(super) struct Delivery<'a> {
    parts: Parts<'a>,
    /// By the keys of their ids.
    by_id: BTreeMap<String, usize>,
    answer_topic: String,
    tried: BTreeMap<usize, Tried>,
    tokens: BTreeMap<u64, usize>,
    /// Rows that only the bridge can tell about, and since when it is asked.
    settling: BTreeMap<usize, Option<Tried>>,
    unsettled: BTreeSet<u64>,
    /// Packets whose contents are not in the results file yet.
    packets: Vec<Packet>,
    subscribed: bool,
    heard_at: Time,
    pinged_at: Time,
    lost: Option<String>,
    refused: Option<Ending>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        let now = parts.clock.now();
        Self {
            by_id: parts.items.iter().enumerate().map(|(position, item)| (item.key(), position)).collect(),
            answer_topic: parts.topics.answer(Some(parts.suffix)),
            tried: BTreeMap::new(),
            tokens: BTreeMap::new(),
            settling: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            packets: Vec::new(),
            subscribed: false,
            heard_at: now,
            pinged_at: now,
            lost: None,
            refused: None,
            parts,
        }
    }

    /// What has to be subscribed to; the answers first.
    pub(super) fn filters(topics: &Topics, suffix: &str, forecast: &Forecast) -> Vec<String> {
        let mut filters = vec![topics.answer(Some(suffix)), topics.response(settle::COMMAND), topics.response(HEALTH)];
        filters.extend(forecast.filters());
        filters
    }

    /// Runs to the end, and makes the results durable whatever it is.
    ///
    /// # Errors
    /// When results or state cannot be written: then nothing more is published.
    pub(super) async fn run(
        mut self,
        stop: &mut StopSignals,
    ) -> Result<(Ending, BTreeMap<String, usize>), DeliveryError> {
        let ending = self.deliver(stop).await;
        self.parts.results.sync().map_err(DeliveryError::Results)?;
        let figures = self.figures();
        self.parts.progress.end(&figures, self.parts.clock.now());
        self.parts.client.close().await;
        Ok((ending?, self.parts.outcomes))
    }

    async fn deliver(&mut self, stop: &mut StopSignals) -> Result<Ending, DeliveryError> {
        let earlier: Vec<usize> = self.parts.dispatch.unanswered().collect();
        let mut tick = tokio::time::interval(TICK);
        let mut resumed = false;
        while !self.parts.dispatch.is_done() {
            if self.subscribed && self.parts.client.is_connected() {
                if !std::mem::replace(&mut resumed, true) {
                    earlier.iter().for_each(|position| self.publish_again(*position));
                }
                self.publish_next()?;
            }
            tokio::select! {
                news = self.parts.client.next() => self.take(news)?,
                _ = tick.tick() => {
                    if let Some(ending) = self.look_around() {
                        return Ok(ending);
                    }
                }
                () = stop.requested() => return Ok(Ending::Interrupted),
            }
            if let Some(ending) = self.refused.take() {
                return Ok(ending);
            }
        }
        Ok(Ending::Complete { unsettled: self.unsettled.iter().copied().collect() })
    }

    /// Publishes what has its turn, noted before.
    fn publish_next(&mut self) -> Result<(), DeliveryError> {
        let mut positions = Vec::new();
        while self.parts.client.unacknowledged() + positions.len() < PUBLISHES_MAX {
            let Some(position) = self.parts.dispatch.next() else { break };
            positions.push(position);
        }
        let rows: Vec<u64> = positions.iter().map(|position| self.parts.items[*position].row).collect();
        self.parts.state.note(&rows, self.parts.clock.now()).map_err(DeliveryError::State)?;
        for position in positions {
            self.publish(position);
        }
        Ok(())
    }

    fn publish(&mut self, position: usize) {
        let payload = self.parts.items[position].payload.clone();
        let token = self.parts.client.publish(&self.parts.send_topic, payload);
        self.tokens.insert(token, position);
        let tried = self.tried.entry(position).or_insert(Tried { at: Time::default(), times: 0 });
        *tried = Tried { at: self.parts.clock.now(), times: tried.times + 1 };
    }

    /// Publishes a row once more, or asks the bridge first where it may have forgotten it.
    fn publish_again(&mut self, position: usize) {
        if self.settling.contains_key(&position) {
            return;
        }
        let now = self.parts.clock.now();
        let row = self.parts.items[position].row;
        let window = self.parts.dedup_window;
        let safe = window.saturating_sub(SAFETY).max(window / 2);
        let is_known = self.parts.state.published_at(row).is_none_or(|at| at <= now && now.since(at) < safe);
        if is_known || self.parts.force {
            self.publish(position);
        } else {
            self.settling.insert(position, None);
        }
    }

    /// Takes news, and all that are there with them, so that the results are written once for all.
    fn take(&mut self, first: News) -> Result<(), DeliveryError> {
        let done = self.done();
        self.handle(first)?;
        for _ in 0..BATCH_MAX {
            let Some(news) = self.parts.client.try_next() else { break };
            self.handle(news)?;
        }
        self.parts.results.flush().map_err(DeliveryError::Results)?;
        for packet in std::mem::take(&mut self.packets) {
            self.parts.client.acknowledge(&packet);
        }
        let now = self.parts.clock.now();
        self.parts.forecast.count_answers(self.done() - done, now);
        Ok(())
    }

    fn done(&self) -> usize {
        self.parts.outcomes.values().sum()
    }

    fn handle(&mut self, news: News) -> Result<(), DeliveryError> {
        match news {
            News::Connected => self.lost = None,
            News::Disconnected { why } => self.lost = Some(why.to_string()),
            News::Subscribed { session_present } => {
                // Answers that came while the broker had forgotten us are lost: repeats are answered again.
                if self.subscribed && !session_present {
                    let open: Vec<usize> = self.parts.dispatch.unanswered().collect();
                    open.into_iter().for_each(|position| self.publish_again(position));
                }
                self.subscribed = true;
                self.lost = None;
            }
            News::SubscribeRefused { filter, reason } if filter == self.answer_topic => {
                self.refused = Some(Ending::Refused { topic: filter, reason });
            }
            // Without the others there is no forecast, and no question can be asked.
            News::SubscribeRefused { .. } => self.subscribed = true,
            News::Acknowledged { token, refusal } => {
                let position = self.tokens.remove(&token);
                if let (Some(position), Some(refusal)) = (position, refusal) {
                    if refusal.retryable {
                        self.publish_again(position);
                    } else {
                        let topic = self.parts.send_topic.clone();
                        self.refused = Some(Ending::Refused { topic, reason: refusal.reason });
                    }
                }
            }
            News::Unfit { token, why } => {
                if let Some(position) = self.tokens.remove(&token) {
                    let message = Some(format!("the broker would not take it: {why:?}"));
                    let word = "TOO_LARGE".to_owned();
                    self.finish(position, &Outcome { word, msg_id: None, message, possibly_duplicate: Some(false) })?;
                }
            }
            News::Packet(packet) => {
                self.hear(&packet)?;
                self.packets.push(packet);
            }
        }
        Ok(())
    }

    fn hear(&mut self, packet: &Packet) -> Result<(), DeliveryError> {
        self.heard_at = self.parts.clock.now();
        if packet.topic == self.answer_topic {
            let answer = std::str::from_utf8(&packet.payload).ok().and_then(|text| Members::parse(text).ok());
            let id = answer.as_ref().and_then(|answer| answer.get("id")).map(MessageId::from_json);
            let position = id.and_then(|id| self.by_id.get(&*id.key()).copied());
            let outcome = serde_json::from_slice(&packet.payload).ok().and_then(|answer| Outcome::of_answer(&answer));
            if let (Some(position), Some(outcome)) = (position, outcome) {
                self.finish(position, &outcome)?;
            }
        } else if packet.topic == self.parts.topics.response(settle::COMMAND) {
            self.hear_reply(&packet.payload)?;
        } else if packet.topic == self.parts.topics.response(HEALTH) {
            if let Ok(reply) = serde_json::from_slice::<Value>(&packet.payload) {
                self.parts.forecast.hear_health(&reply["data"]);
            }
        } else {
            self.parts.forecast.hear(&packet.topic, &packet.payload);
        }
        Ok(())
    }

    fn hear_reply(&mut self, payload: &Bytes) -> Result<(), DeliveryError> {
        let Ok(reply) = serde_json::from_slice::<Value>(payload) else { return Ok(()) };
        let position = reply["transaction"].as_str().and_then(|text| text.strip_prefix(self.parts.suffix));
        let Some(position) = position.and_then(|text| text.strip_prefix(':')?.parse::<usize>().ok()) else {
            return Ok(());
        };
        if self.settling.remove(&position).is_none() {
            return Ok(());
        }
        let item = &self.parts.items[position];
        let published_at = self.parts.state.published_at(item.row).unwrap_or_default();
        match settle::read(&reply, &item.account, published_at) {
            Settled::Ended(outcome) => self.finish(position, &outcome)?,
            Settled::Live | Settled::NeverArrived => self.publish(position),
            Settled::Unknown => self.give_up(position),
        }
        Ok(())
    }

    /// Nobody can say whether it was sent, and it is not for us to send it again.
    fn give_up(&mut self, position: usize) {
        self.settling.remove(&position);
        if self.parts.dispatch.answered(position) {
            self.unsettled.insert(self.parts.items[position].row);
        }
    }

    fn finish(&mut self, position: usize, outcome: &Outcome) -> Result<(), DeliveryError> {
        if !self.parts.dispatch.answered(position) {
            return Ok(());
        }
        self.settling.remove(&position);
        let item = &self.parts.items[position];
        let (published_at, now) = (self.parts.state.published_at(item.row), self.parts.clock.now());
        self.parts.results.add(item.row, &item.id, outcome, published_at, now).map_err(DeliveryError::Results)?;
        *self.parts.outcomes.entry(outcome.word.clone()).or_default() += 1;
        Ok(())
    }

    /// Shows how it stands, and does what time brings.
    fn look_around(&mut self) -> Option<Ending> {
        let now = self.parts.clock.now();
        let figures = self.figures();
        self.parts.progress.show(&figures, now);
        if now.since(self.heard_at) >= self.parts.wait {
            return Some(match &self.lost {
                Some(why) => Ending::NoBroker { why: why.clone() },
                None => Ending::NoBridge,
            });
        }
        if !self.subscribed || !self.parts.client.is_connected() {
            return None;
        }
        let due = |tried: &Tried| now.since(tried.at) >= REPEAT_AFTER.saturating_mul(1 << tried.times.min(10) >> 1);
        let open: Vec<usize> = self.parts.dispatch.unanswered().collect();
        for position in open {
            if self.tried.get(&position).is_some_and(due) {
                self.publish_again(position);
            }
        }
        self.ask(now);
        if now.since(self.heard_at.max(self.pinged_at)) >= PING_AFTER {
            self.pinged_at = now;
            self.parts.client.publish(&self.parts.topics.request(HEALTH), Bytes::from_static(b"{}"));
        }
        None
    }

    /// Asks the bridge about rows that it may have forgotten.
    fn ask(&mut self, now: Time) {
        let mut overdue = Vec::new();
        let mut asking = self.settling.values().flatten().filter(|asked| now.since(asked.at) < QUESTION_WAIT).count();
        for (position, asked) in &mut self.settling {
            let times = asked.map_or(0, |asked| asked.times);
            if asked.is_some_and(|asked| now.since(asked.at) < QUESTION_WAIT) {
                continue;
            }
            if times >= QUESTION_TIMES_MAX {
                overdue.push(*position);
            } else if asking < QUESTIONS_MAX {
                asking += 1;
                *asked = Some(Tried { at: now, times: times + 1 });
                let item = &self.parts.items[*position];
                let transaction = format!("{}:{position}", self.parts.suffix);
                let question = settle::question(&item.id, &item.account, &transaction);
                self.parts.client.publish(&self.parts.topics.request(settle::COMMAND), question);
            }
        }
        for position in overdue {
            self.give_up(position);
        }
    }

    fn figures(&self) -> Figures {
        let now = self.parts.clock.now();
        let unpublished: Vec<(&str, usize)> = self.parts.dispatch.unpublished().collect();
        let total = self.parts.items.len();
        let done = self.done();
        let silence = now.since(self.heard_at);
        let trouble = match &self.lost {
            Some(why) => Some(format!("no connection to the broker: {why}")),
            None if silence >= SILENCE_SHOWN => {
                Some(format!("nothing heard of the bridge for {} s", silence.as_secs()))
            }
            None => None,
        };
        Figures {
            done,
            total,
            outcomes: self.parts.outcomes.clone(),
            under_way: self.parts.dispatch.unanswered_count(),
            rate: self.parts.forecast.rate(now),
            expected: self.parts.forecast.expected(&unpublished, total - done - self.unsettled.len(), now),
            trouble,
        }
    }
}
