//! Whether anybody listens to the events of our messages.
//!
//! Each message has three events, and at many sites nobody listens to them: making them, and having the broker read
//! them, is then a fifth of all the work. A broker of MQTT 5 tells with its acknowledgement of a publish when nobody
//! subscribes to its topic (0x10, "no matching subscribers": MQTT 5.0, section 3.4.2.1). So where many events wait, the
//! first one on each topic is a question, and leaves at QoS 1:
//!
//! ```text
//!  waiting, the first one leaves:   queued 1, sending 1, queued 2, sending 2, ...
//!  nobody heard "queued 1":         queued 2 is left out, as are all that waited on that topic when it was asked
//!  somebody did:                    queued 2 leaves at QoS 0, and so do all on that topic for a while
//! ```
//!
//! # Invariants
//!
//! - An event is left out only when the broker said that nobody subscribes to its topic, after the event was there:
//!   published in place of the question it would have reached nobody either.
//! - Events leave in the order in which they came; what stands behind an open question waits for its answer.
//! - Few events leave at once and without a question.

use crate::model::{EventWord, Message, SendEvent, State};
use crate::mqtt::Qos;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// With fewer events than this waiting there is nothing to gain by a question.
const CROWD: usize = 8;
/// Events that may wait for the answer to a question.
const WAITING_MAX: usize = 1024;
/// How many events somebody who listens gets before it is asked again whether somebody does.
const TRUSTED: u64 = 4096;

/// One event, and how it is to leave.
pub(super) struct Due {
    pub(super) event: SendEvent,
    pub(super) message: Option<Arc<Message>>,
    /// At QoS 1 it is a question.
    pub(super) qos: Qos,
}

/// What is known about a topic: up to which event, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    Asked { upto: u64 },
    Nobody { upto: u64 },
    Somebody { upto: u64 },
}

/// Events that are about to leave over one connection after the other.
#[derive(Default)]
pub(super) struct Audience {
    /// With their numbers and the last levels of their topics.
    waiting: VecDeque<(u64, &'static str, SendEvent, Option<Arc<Message>>)>,
    last: u64,
    topics: BTreeMap<&'static str, Hearing>,
    /// By their tokens, the topics of the questions that are open.
    questions: BTreeMap<u64, &'static str>,
    /// Whether the broker is one whose word can be relied on.
    asks: bool,
}

impl Audience {
    /// The broker said which one it is. Others than Mosquitto may have readers that are no subscribers, such as rules
    /// that write to a database, and say that nobody heard what those read.
    pub(super) fn serves(&mut self, version: &str) {
        self.asks = version.contains("mosquitto");
    }

    /// Nothing is known of the next connection's broker, and what waited is lost, as all at QoS 0 is.
    pub(super) fn lose(&mut self) {
        *self = Self::default();
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    pub(super) fn wait(&mut self, event: SendEvent, message: Option<Arc<Message>>) {
        self.last += 1;
        let word = event.state.map_or(EventWord::REJECTED, State::as_str);
        self.waiting.push_back((self.last, word, event, message));
    }

    /// The next event that leaves, if one may. A question is known by `token` from then on.
    pub(super) fn next(&mut self, token: u64) -> Option<Due> {
        while let Some((number, word, ..)) = self.waiting.front() {
            let (number, word) = (*number, *word);
            let qos = match self.topics.get(word) {
                Some(Hearing::Asked { .. }) => return None,
                Some(Hearing::Nobody { upto }) if number <= *upto => {
                    self.waiting.pop_front();
                    continue;
                }
                Some(Hearing::Somebody { upto }) if number <= *upto => Qos::AtMostOnce,
                Some(Hearing::Nobody { .. } | Hearing::Somebody { .. }) | None => {
                    if self.asks && self.waiting.len() >= CROWD {
                        self.topics.insert(word, Hearing::Asked { upto: self.last });
                        self.questions.insert(token, word);
                        Qos::AtLeastOnce
                    } else {
                        Qos::AtMostOnce
                    }
                }
            };
            let (_, _, event, message) = self.waiting.pop_front()?;
            return Some(Due { event, message, qos });
        }
        None
    }

    /// The broker acknowledged a question; `is_unheard` when it said that nobody subscribes. False when the token is of
    /// something else.
    pub(super) fn answered(&mut self, token: u64, is_unheard: bool) -> bool {
        self.settle(token, |asked_upto| match is_unheard {
            true => Hearing::Nobody { upto: asked_upto },
            false => Hearing::Somebody { upto: asked_upto + TRUSTED },
        })
    }

    /// A question was refused or could not be put: that topic is not asked about over this connection any more. False
    /// when the token is of something else.
    pub(super) fn unanswered(&mut self, token: u64) -> bool {
        self.settle(token, |_| Hearing::Somebody { upto: u64::MAX })
    }

    /// Nothing waits for an answer any more.
    pub(super) fn hurry(&mut self) {
        self.asks = false;
        self.topics.clear();
        self.questions.clear();
    }

    fn settle(&mut self, token: u64, hearing: impl FnOnce(u64) -> Hearing) -> bool {
        let Some(word) = self.questions.remove(&token) else { return false };
        if let Some(known) = self.topics.get_mut(word)
            && let Hearing::Asked { upto } = *known
        {
            *known = hearing(upto);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Seq, Time};

    fn event(seq: u64, state: State) -> SendEvent {
        SendEvent {
            at: Time::default(),
            seq: Some(Seq(seq)),
            state: Some(state),
            attempt: 0,
            possibly_duplicate: false,
            refusal: None,
            outcome: None,
        }
    }

    fn mosquitto() -> Audience {
        let mut audience = Audience::default();
        audience.serves("mosquitto version 2.0.11");
        audience
    }

    fn add(audience: &mut Audience, seqs: std::ops::Range<u64>, states: &[State]) {
        for seq in seqs {
            states.iter().for_each(|state| audience.wait(event(seq, *state), None));
        }
    }

    /// All that leave, by message and state; questions with their tokens, which begin with `token`.
    fn leaving(audience: &mut Audience, mut token: u64) -> Vec<(u64, State, Option<u64>)> {
        let mut left = Vec::new();
        while let Some(Due { event, qos, .. }) = audience.next(token) {
            let asked = (qos == Qos::AtLeastOnce).then_some(token);
            token += u64::from(asked.is_some());
            left.push((event.seq.expect("a message").0, event.state.expect("a state"), asked));
        }
        left
    }

    #[test]
    fn a_crowd_that_nobody_hears_is_left_out_topic_by_topic() {
        let mut audience = mosquitto();
        add(&mut audience, 1..11, &[State::Queued, State::Sending]);
        let asked = [(1, State::Queued, Some(5)), (1, State::Sending, Some(6))];
        assert_eq!(leaving(&mut audience, 5), asked, "all else waits");
        assert!(!audience.answered(4, true), "that was something else");
        assert!(audience.answered(5, true));
        assert_eq!(leaving(&mut audience, 7), [], "one behind another topic's question waits too");
        // What comes after the question is not covered by its answer.
        add(&mut audience, 11..12, &[State::Queued, State::Sending]);
        assert!(audience.answered(6, true));
        assert_eq!(leaving(&mut audience, 7), [(11, State::Queued, None), (11, State::Sending, None)], "no crowd");
        assert!(!audience.answered(6, true), "a question has one answer");
    }

    #[test]
    fn who_listens_gets_every_event_in_order() {
        let mut audience = mosquitto();
        add(&mut audience, 1..6, &[State::Queued, State::Sent]);
        assert_eq!(leaving(&mut audience, 1), [(1, State::Queued, Some(1)), (1, State::Sent, Some(2))]);
        assert!(audience.answered(2, true));
        assert_eq!(leaving(&mut audience, 3), []);
        assert!(audience.answered(1, false));
        let queued: Vec<_> = (2..6).map(|seq| (seq, State::Queued, None)).collect();
        assert_eq!(leaving(&mut audience, 3), queued);
        // For a while it is not asked again.
        add(&mut audience, 6..26 + TRUSTED, &[State::Queued]);
        let left = leaving(&mut audience, 3);
        assert_eq!(left.iter().position(|(_, _, asked)| asked.is_some()), Some(TRUSTED as usize));
        assert_eq!(left.len() as u64, TRUSTED + 1, "and the others wait for the answer");
    }

    #[test]
    fn nothing_is_asked_of_few_events_or_of_another_broker() {
        let mut audience = mosquitto();
        add(&mut audience, 1..CROWD as u64, &[State::Queued]);
        assert!(leaving(&mut audience, 1).iter().all(|(_, _, asked)| asked.is_none()));
        let mut audience = Audience::default();
        add(&mut audience, 1..1000, &[State::Queued]);
        assert_eq!(leaving(&mut audience, 1).iter().filter(|(_, _, asked)| asked.is_none()).count(), 999);
        audience.serves("EMQX 5.8");
        add(&mut audience, 1..1000, &[State::Queued]);
        assert!(leaving(&mut audience, 1).iter().all(|(_, _, asked)| asked.is_none()));
    }

    #[test]
    fn what_cannot_be_asked_leaves_unasked() {
        let mut audience = mosquitto();
        add(&mut audience, 1..11, &[State::Queued]);
        assert_eq!(leaving(&mut audience, 1).len(), 1);
        assert!(audience.unanswered(1));
        add(&mut audience, 11..100, &[State::Queued]);
        assert_eq!(leaving(&mut audience, 2), (2..100).map(|seq| (seq, State::Queued, None)).collect::<Vec<_>>());
        // A stop waits for no answer.
        let mut audience = mosquitto();
        add(&mut audience, 1..11, &[State::Sending]);
        assert_eq!(leaving(&mut audience, 1).len(), 1);
        audience.hurry();
        assert_eq!(leaving(&mut audience, 2).len(), 9);
        assert!(!audience.answered(1, true));
    }

    #[test]
    fn a_lost_connection_takes_what_waited_and_what_was_known() {
        let mut audience = mosquitto();
        add(&mut audience, 1..11, &[State::Sending]);
        assert_eq!(leaving(&mut audience, 1).len(), 1);
        audience.lose();
        assert!(audience.has_room() && audience.next(2).is_none());
        assert!(!audience.answered(1, true));
        add(&mut audience, 11..11 + WAITING_MAX as u64, &[State::Sending]);
        assert!(!audience.has_room());
        assert_eq!(leaving(&mut audience, 2).len(), WAITING_MAX, "its version is not known yet");
    }
}
