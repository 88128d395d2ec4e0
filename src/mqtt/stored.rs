//! What the broker still keeps from before a connection: asked for once per connection, on the outgoing one.
//!
//! ```text
//! Asked --SUBACK--> Listening --a quiet second, ping answered--> Leaving --nothing under way--> Done (unsubscribed)
//!                                                                   |                            ^
//!                                                          ping answered --> Lingering ----------+
//! ```
//!
//! The option "no local" is not used: it is about the client id of whoever published, which is our own for all that
//! an earlier life of the process left behind, and a broker may apply it to stored messages too. So what we publish
//! meanwhile comes back; it lacks the mark of a stored message, and is dropped here. Each costs the broker and us a
//! delivery for nothing, so the subscription ends as soon as it can. A broker may hand stored messages over some time
//! after its SUBACK, so it is kept until a ping was answered before which none had come for a second.

use crate::telemetry;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, RetainForwardRule, SubAck, SubscribeReasonCode};

/// What to look for at each connection, and whom to tell.
pub struct Stored {
    filters: Vec<String>,
    on_topic: Box<dyn FnMut(&str) + Send>,
    look: Look,
    /// A stored message came since the last ping was answered.
    is_coming: bool,
    wants_ping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Asked,
    Listening,
    /// Publishes that take a packet id wait, so that nothing is under way soon.
    Leaving,
    /// They wait no longer: the broker owes us something, and may owe it for ever.
    Lingering,
    Done,
}

impl Stored {
    /// Tells `on_topic` the topic of each stored message that matches one of the filters, which must not overlap.
    ///
    /// `on_topic` is called by the task that polls the connection, so it must not wait.
    pub fn new(filters: Vec<String>, on_topic: impl FnMut(&str) + Send + 'static) -> Self {
        Self { filters, on_topic: Box::new(on_topic), look: Look::Done, is_coming: false, wants_ping: false }
    }

    /// Looks for nothing.
    pub(super) fn none() -> Self {
        Self::new(Vec::new(), |_| ())
    }

    /// To be called before anything is published over a new connection: SUBSCRIBE takes a packet id, and one in the
    /// middle of a full window would be that of a publish under way.
    pub(super) fn ask(&mut self, client: &AsyncClient) {
        self.look = Look::Done;
        if self.filters.is_empty() {
            return;
        }
        let filters = self.filters.iter().map(|path| Filter {
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
            ..Filter::new(path.as_str(), QoS::AtMostOnce)
        });
        // The queue of a new connection is empty.
        if client.try_subscribe_many(filters).is_ok() {
            self.look = Look::Asked;
        }
    }

    pub(super) fn handle_suback(&mut self, suback: &SubAck) {
        if self.look != Look::Asked {
            return;
        }
        for (filter, reason) in self.filters.iter().zip(&suback.return_codes) {
            if !matches!(reason, SubscribeReasonCode::Success(_)) {
                telemetry::subscribe_refused(filter, &format!("{reason:?}"));
            }
        }
        self.look = Look::Listening;
        self.is_coming = false;
        self.wants_ping = true;
    }

    pub(super) fn handle_publish(&mut self, publish: &Publish) {
        if publish.retain
            && !publish.payload.is_empty()
            && let Ok(topic) = std::str::from_utf8(&publish.topic)
        {
            self.is_coming = true;
            (self.on_topic)(topic);
        }
    }

    pub(super) fn handle_pong(&mut self) {
        match self.look {
            Look::Listening if std::mem::take(&mut self.is_coming) => self.wants_ping = true,
            Look::Listening => {
                self.look = Look::Leaving;
                self.wants_ping = true;
            }
            Look::Leaving => self.look = Look::Lingering,
            Look::Asked | Look::Lingering | Look::Done => {}
        }
    }

    /// Whether the answer to a ping is waited for that has not been asked for. True once.
    pub(super) fn wants_ping(&mut self) -> bool {
        std::mem::take(&mut self.wants_ping) && self.look != Look::Done
    }

    /// Whether nothing that takes a packet id may be published, so that the subscription can end. Over with the answer
    /// to the next ping, which leaves within a second.
    pub(super) fn holds_back(&self) -> bool {
        self.look == Look::Leaving
    }

    /// Unsubscribes once all has come and, because that takes packet ids too, nothing is under way.
    pub(super) fn leave(&mut self, client: &AsyncClient, is_idle: bool) {
        if !matches!(self.look, Look::Leaving | Look::Lingering) || !is_idle {
            return;
        }
        for filter in &self.filters {
            if client.try_unsubscribe(filter.as_str()).is_err() {
                return;
            }
        }
        self.look = Look::Done;
    }
}
