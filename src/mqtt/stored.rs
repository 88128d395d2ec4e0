//! What the broker still keeps from before a connection: asked for once per connection, on the outgoing one.
//!
//! ```text
//! Asked --SUBACK--> Listening --ping answered--> Through --nothing under way--> Done (unsubscribed)
//! ```
//!
//! The option "no local" is not used: it is about the client id of whoever published, which is our own for all that
//! an earlier life of the process left behind, and a broker may apply it to stored messages too. So what we publish
//! meanwhile comes back; it lacks the mark of a stored message, and is dropped here. A broker may hand stored messages
//! over some time after its SUBACK, so the subscription is kept until it has answered a ping.

use crate::telemetry;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, RetainForwardRule, SubAck, SubscribeReasonCode};

/// What to look for at each connection, and whom to tell.
pub struct Stored {
    filters: Vec<String>,
    on_topic: Box<dyn FnMut(&str) + Send>,
    look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Asked,
    Listening,
    Through,
    Done,
}

impl Stored {
    /// Tells `on_topic` the topic of each stored message that matches one of the filters, which must not overlap.
    ///
    /// `on_topic` is called by the task that polls the connection, so it must not wait.
    pub fn new(filters: Vec<String>, on_topic: impl FnMut(&str) + Send + 'static) -> Self {
        Self { filters, on_topic: Box::new(on_topic), look: Look::Done }
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
    }

    pub(super) fn handle_publish(&mut self, publish: &Publish) {
        if publish.retain
            && !publish.payload.is_empty()
            && let Ok(topic) = std::str::from_utf8(&publish.topic)
        {
            (self.on_topic)(topic);
        }
    }

    pub(super) fn handle_pong(&mut self) {
        if self.look == Look::Listening {
            self.look = Look::Through;
        }
    }

    /// Unsubscribes once all has come and, because that takes packet ids too, nothing is under way.
    pub(super) fn leave(&mut self, client: &AsyncClient, is_idle: bool) {
        if self.look != Look::Through || !is_idle {
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
