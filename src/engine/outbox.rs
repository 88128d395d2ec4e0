//! What the broker must have: answers, published until it acknowledges them.

use super::Engine;
use super::sabotage::Sabotage;
use crate::model::{Action, Outgoing, Record};
use std::collections::BTreeSet;

/// Answers on their way to the broker.
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
    /// Outstanding ones that were asked for again: their next acknowledgement may be of the first copy.
    again: BTreeSet<Outgoing>,
}

impl Outbox {
    pub(super) fn new(window: usize) -> Self {
        let (due, outstanding, again) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { window, connected: false, due, outstanding, again }
    }

    pub(super) fn push(&mut self, what: Outgoing) {
        if self.outstanding.contains(&what) {
            self.again.insert(what);
        } else {
            self.due.insert(what);
        }
    }

    pub(super) fn remove(&mut self, what: Outgoing) {
        self.due.remove(&what);
    }

    /// A new connection knows nothing of what an old one published.
    pub(super) fn connected(&mut self, connected: bool) {
        self.connected = connected;
        self.due.append(&mut self.outstanding);
        self.again.clear();
    }

    /// The broker did not take it this time.
    pub(super) fn again(&mut self, what: Outgoing) {
        if self.outstanding.remove(&what) {
            self.again.remove(&what);
            self.due.insert(what);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.outstanding.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.due.len() + self.outstanding.len()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    fn next(&mut self) -> Option<Outgoing> {
        if !self.connected || self.outstanding.len() >= self.window {
            return None;
        }
        let what = self.due.pop_first()?;
        self.outstanding.insert(what);
        Some(what)
    }

    /// Returns true when the broker has the newest copy.
    fn acknowledged(&mut self, what: Outgoing) -> bool {
        if !self.outstanding.remove(&what) {
            return false;
        }
        if self.again.remove(&what) {
            self.due.insert(what);
            return false;
        }
        true
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
            };
            let message = format!("the broker refuses this answer for good ({reason}); it is not published again");
            self.alarm("answer_refused", &about, message);
        }
        self.rates.answered.add(self.now);
        match what {
            Outgoing::Answer(seq) => {
                if let Some(past) = self.past.get_mut(&seq) {
                    past.answered = true;
                }
                self.record(Record::Answered { seq });
            }
            Outgoing::Refusal(number) => self.record(Record::RefusalAnswered { number }),
        }
    }
}
