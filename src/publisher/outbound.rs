//! Which topics a publication goes to.

use super::board::Retained;
use super::payload;
use crate::model::{
    EventWord, Message, Outgoing, Publication, Refusal, Reply, ReplyTo, ReportedEvent, SendEvent, State, Status,
};
use crate::mqtt::topics::Topics;
use crate::mqtt::{Publish, Qos};
use bytes::Bytes;
use std::sync::Arc;

/// One publish, and the answer that it is a part of, if it is.
pub(super) struct Part {
    pub(super) what: Option<Outgoing>,
    pub(super) publish: Publish,
}

/// Makes publishes of publications.
pub(super) struct Outbound {
    topics: Arc<Topics>,
}

impl Outbound {
    pub(super) fn new(topics: Arc<Topics>) -> Self {
        Self { topics }
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// What a retained topic says. At QoS 1: one that is lost stays wrong until the next change.
    pub(super) fn retained(&self, retained: &Retained) -> Publish {
        let (topic, body) = match retained {
            Retained::Info(info) => (self.topics.info(), payload::info(info)),
            Retained::Holds(both) => (self.topics.hold(), payload::holds(&both.0, &both.1)),
            Retained::Status(status) => (self.status_topic(status), payload::status(status)),
        };
        Publish { retain: true, ..Publish::new(topic, body) }
    }

    fn status_topic(&self, status: &Status) -> String {
        match status {
            Status::Account(account, _) => self.topics.account(account.as_str()),
            Status::Corp(corp, _) => self.topics.corp(corp.as_str()),
            Status::Health(_) => self.topics.health(),
        }
    }

    pub(super) fn parts(&self, publication: Publication) -> Vec<Part> {
        match publication {
            Publication::Answer { seq, message, outcome } => {
                let origin = &message.request.origin;
                let body = payload::answer(&message.request.id, &outcome);
                let topic = self.topics.answer(origin.suffix.as_deref());
                answer(Outgoing::Answer(seq), topic, origin.reply_to.as_ref(), &body)
            }
            Publication::Refusal { number, refusal } => {
                let Refusal { origin, .. } = refusal.as_ref();
                let body = payload::refusal(&refusal);
                let topic = self.topics.answer(origin.suffix.as_deref());
                answer(Outgoing::Refusal(number), topic, origin.reply_to.as_ref(), &body)
            }
            Publication::Reported(ReportedEvent { number, word, payload }) => {
                let publish = Publish::new(self.topics.event(&word), payload);
                vec![Part { what: Some(Outgoing::Event(number)), publish }]
            }
            Publication::Event { event, message } => {
                let publish = self.event(&event, message.as_deref(), Qos::AtMostOnce);
                vec![Part { what: None, publish }]
            }
            Publication::Reply(reply) => self.reply(&reply),
            Publication::Status(status) => {
                vec![Part { what: None, publish: self.retained(&Retained::Status(status)) }]
            }
            Publication::Holds(holds, blocks) => {
                let retained = Retained::Holds(Arc::new((holds, blocks)));
                vec![Part { what: None, publish: self.retained(&retained) }]
            }
            Publication::Alarm(alarm) => {
                let publish = Publish::new(self.topics.alarm(), payload::alarm(&alarm));
                vec![Part { what: None, publish }]
            }
        }
    }

    /// A step in a message's life.
    pub(super) fn event(&self, event: &SendEvent, message: Option<&Message>, qos: Qos) -> Publish {
        let topic = self.topics.send_event(event.state.map_or(EventWord::REJECTED, State::as_str));
        let body = payload::send_event(event, message);
        Publish { qos, ..Publish::new(topic, body) }
    }

    fn reply(&self, reply: &Reply) -> Vec<Part> {
        let body = payload::reply(reply);
        let mut parts =
            vec![Part { what: None, publish: Publish::new(self.topics.response(&reply.origin.name), body.clone()) }];
        if let Some(reply_to) = &reply.origin.reply_to {
            parts.push(Part { what: None, publish: to(reply_to, body) });
        }
        parts
    }
}

fn answer(what: Outgoing, topic: String, reply_to: Option<&ReplyTo>, body: &Bytes) -> Vec<Part> {
    let mut parts = Vec::with_capacity(2);
    // A response topic that is the answer topic gets one copy, with the correlation data.
    if reply_to.is_none_or(|reply_to| *reply_to.topic != topic) {
        parts.push(Part { what: Some(what), publish: Publish::new(topic, body.clone()) });
    }
    if let Some(reply_to) = reply_to {
        parts.push(Part { what: Some(what), publish: to(reply_to, body.clone()) });
    }
    parts
}

fn to(reply_to: &ReplyTo, body: Bytes) -> Publish {
    Publish { correlation: reply_to.correlation.clone(), ..Publish::new(reply_to.topic.as_ref(), body) }
}

/// Which answer a publication is, if it is one.
pub(super) fn answered_by(publication: &Publication) -> Option<Outgoing> {
    match publication {
        Publication::Answer { seq, .. } => Some(Outgoing::Answer(*seq)),
        Publication::Refusal { number, .. } => Some(Outgoing::Refusal(*number)),
        Publication::Reported(event) => Some(Outgoing::Event(event.number)),
        Publication::Event { .. }
        | Publication::Reply(_)
        | Publication::Holds(..)
        | Publication::Status(_)
        | Publication::Alarm(_) => None,
    }
}
