//! What the broker must have: answers, and events of callbacks behind them, published until it acknowledges them.

use super::Engine;
use super::sabotage::Sabotage;
use crate::model::{Action, Outgoing, Record};
use std::collections::BTreeSet;

/// Events published and not yet acknowledged, at most. They have a window of their own, so that they keep no answer
/// waiting.
const EVENTS_WINDOW: usize = 100;

/// Answers and events on their way to the broker.
///
/// ```text
/// due --publish--> outstanding --acknowledged--> closed
///  ^                   | connection lost, or asked for again
///  '-------------------'
/// ```
#[derive(Debug)]
pub(super) struct Outbox {
    window: usize,
    connected: bool,
    due: BTreeSet<Outgoing>,
    outstanding: BTreeSet<Outgoing>,
    /// Of the due and the outstanding, how many are events; and of the outstanding alone.
    events: usize,
    events_outstanding: usize,
    /// Outstanding ones that were asked for again: their next acknowledgement may be of the first copy.
    again: BTreeSet<Outgoing>,
}

impl Outbox {
    pub(super) fn new(window: usize) -> Self {
        let (due, outstanding, again) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { window, connected: false, due, outstanding, events: 0, events_outstanding: 0, again }
    }

    pub(super) fn push(&mut self, what: Outgoing) {
        if self.outstanding.contains(&what) {
            self.again.insert(what);
        } else if self.due.insert(what) {
            self.events += usize::from(is_event(what));
        }
    }

    pub(super) fn remove(&mut self, what: Outgoing) {
        if self.due.remove(&what) {
            self.events -= usize::from(is_event(what));
        }
    }

    /// A new connection knows nothing of what an old one published.
    pub(super) fn connected(&mut self, connected: bool) {
        self.connected = connected;
        self.due.append(&mut self.outstanding);
        self.events_outstanding = 0;
        self.again.clear();
    }

    /// The broker did not take it this time.
    pub(super) fn again(&mut self, what: Outgoing) {
        if self.outstanding.remove(&what) {
            self.events_outstanding -= usize::from(is_event(what));
            self.again.remove(&what);
            self.due.insert(what);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.outstanding.is_empty()
    }

    /// Answers that the broker does not have yet.
    pub(super) fn answers(&self) -> usize {
        self.due.len() + self.outstanding.len() - self.events
    }

    /// Events that the broker does not have yet.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    fn next(&mut self) -> Option<Outgoing> {
        // Answers come first in their order, so an event is next only when no answer is due.
        let what = *self.due.first().filter(|_| self.connected)?;
        let has_room = if is_event(what) {
            self.events_outstanding < EVENTS_WINDOW
        } else {
            self.outstanding.len() - self.events_outstanding < self.window
        };
        if !has_room {
            return None;
        }
        self.due.remove(&what);
        self.outstanding.insert(what);
        self.events_outstanding += usize::from(is_event(what));
        Some(what)
    }

    /// Returns true when the broker has the newest copy.
    fn acknowledged(&mut self, what: Outgoing) -> bool {
        if !self.outstanding.remove(&what) {
            return false;
        }
        self.events_outstanding -= usize::from(is_event(what));
        if self.again.remove(&what) {
            self.due.insert(what);
            return false;
        }
        self.events -= usize::from(is_event(what));
        true
    }
}

fn is_event(what: Outgoing) -> bool {
    match what {
        Outgoing::Answer(_) | Outgoing::Refusal(_) => false,
        Outgoing::Event(_) => true,
    }
}

impl Engine {
    pub(super) fn publish(&mut self) {
        while let Some(what) = self.outbox.next() {
            self.act(Action::Publish(what));
            if self.sabotaged(Sabotage::AnswerClosedEarly) {
                self.handle_published(what, None);
            }
        }
    }

    pub(super) fn handle_published(&mut self, what: Outgoing, refused: Option<Box<str>>) {
        if !self.outbox.acknowledged(what) {
            return;
        }
        if let Some(reason) = refused {
            let about = match what {
                Outgoing::Answer(seq) => format!("message {seq}"),
                Outgoing::Refusal(number) => format!("refusal {number}"),
                Outgoing::Event(number) => format!("event {number}"),
            };
            let message = format!("the broker refuses this for good ({reason}); it is not published again");
            self.alarm("answer_refused", &about, message);
        }
        if !is_event(what) {
            self.rates.answered.add(self.now);
        }
        match what {
            Outgoing::Answer(seq) => {
                let known_from = self.close_answer(seq);
                self.record(Record::Answered { seq, known_from });
            }
            Outgoing::Refusal(number) => self.record(Record::RefusalAnswered { number }),
            Outgoing::Event(number) => self.record(Record::EventPublished { number }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Seq;

    fn published(outbox: &mut Outbox) -> Vec<Outgoing> {
        std::iter::from_fn(|| outbox.next()).collect()
    }

    fn counts(outbox: &Outbox) -> (usize, usize, bool) {
        (outbox.answers(), outbox.events(), outbox.is_empty())
    }

    #[test]
    fn answers_and_events_have_a_window_each_and_answers_go_first() {
        let mut outbox = Outbox::new(2);
        assert_eq!((counts(&outbox), outbox.is_connected()), ((0, 0, true), false));
        (1..=3).for_each(|number| outbox.push(Outgoing::Answer(Seq(number))));
        (1..=EVENTS_WINDOW as u64 + 1).for_each(|number| outbox.push(Outgoing::Event(number)));
        outbox.push(Outgoing::Event(1));
        assert_eq!(counts(&outbox), (3, EVENTS_WINDOW + 1, false));
        assert_eq!(published(&mut outbox), [], "nobody is there to take it");
        outbox.connected(true);
        let answers = |numbers: &[u64]| -> Vec<Outgoing> {
            numbers.iter().map(|number| Outgoing::Answer(Seq(*number))).collect()
        };
        assert_eq!(published(&mut outbox), answers(&[1, 2]), "no event overtakes an answer");
        assert!(outbox.acknowledged(Outgoing::Answer(Seq(1))) && !outbox.acknowledged(Outgoing::Answer(Seq(1))));
        let now = published(&mut outbox);
        assert_eq!((now.len(), now[0]), (1 + EVENTS_WINDOW, Outgoing::Answer(Seq(3))));
        assert!(outbox.acknowledged(Outgoing::Event(7)));
        assert_eq!(published(&mut outbox), [Outgoing::Event(EVENTS_WINDOW as u64 + 1)]);
        assert_eq!(counts(&outbox), (2, EVENTS_WINDOW, false));
    }

    /// Answers that come while events are on their way do not wait for those.
    #[test]
    fn events_on_their_way_take_no_room_of_answers() {
        let mut outbox = Outbox::new(2);
        outbox.connected(true);
        (1..=3).for_each(|number| outbox.push(Outgoing::Event(number)));
        assert_eq!(published(&mut outbox).len(), 3);
        (1..=3).for_each(|number| outbox.push(Outgoing::Answer(Seq(number))));
        assert_eq!(published(&mut outbox), [Outgoing::Answer(Seq(1)), Outgoing::Answer(Seq(2))]);
    }

    #[test]
    fn what_is_done_before_it_went_is_not_counted_any_more() {
        let mut outbox = Outbox::new(2);
        outbox.push(Outgoing::Event(1));
        outbox.push(Outgoing::Refusal(1));
        outbox.remove(Outgoing::Event(2));
        assert_eq!(counts(&outbox), (1, 1, false));
        outbox.remove(Outgoing::Event(1));
        assert_eq!(counts(&outbox), (1, 0, false));
        outbox.remove(Outgoing::Refusal(1));
        assert_eq!(counts(&outbox), (0, 0, true));
    }

    #[test]
    fn what_was_asked_for_again_is_published_again_and_closed_by_the_copy() {
        let mut outbox = Outbox::new(1);
        outbox.connected(true);
        let (answer, event) = (Outgoing::Answer(Seq(1)), Outgoing::Event(1));
        outbox.push(answer);
        assert_eq!(published(&mut outbox), [answer]);
        outbox.push(answer);
        assert!(!outbox.acknowledged(answer), "that was of the first copy");
        assert_eq!(published(&mut outbox), [answer]);
        outbox.again(answer);
        assert_eq!(published(&mut outbox), [answer]);
        assert!(outbox.acknowledged(answer) && outbox.is_empty());
        outbox.push(event);
        assert_eq!(published(&mut outbox), [event]);
        outbox.again(event);
        outbox.again(event);
        assert_eq!((outbox.events_outstanding, published(&mut outbox)), (0, vec![event]));
        outbox.connected(false);
        assert_eq!((outbox.events_outstanding, counts(&outbox)), (0, (0, 1, false)));
    }
}
