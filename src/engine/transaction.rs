//! Commands that were done, so that each is done once: by name and transaction.

use crate::model::{CommandOrigin, Fingerprint, TRANSACTION_WINDOW, Time};
use std::collections::{BTreeMap, VecDeque};

/// Replies kept for repeats, at most: the oldest go first.
const TRANSACTIONS_MAX: usize = 10_000;

type Key = (Box<str>, Box<str>);

#[derive(Debug)]
struct Done {
    at: Time,
    fingerprint: Fingerprint,
    reply: Box<str>,
}

/// What a transaction was used for before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before<'a> {
    /// The same command, with this reply.
    Same(&'a str),
    /// Another one.
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Transactions {
    done: BTreeMap<Key, Done>,
    /// In the order in which they are forgotten. A key may stand in it twice.
    forgetting: VecDeque<(Time, Key)>,
}

fn key(origin: &CommandOrigin) -> Option<Key> {
    Some((origin.name.clone(), origin.transaction.clone()?))
}

impl Transactions {
    pub(super) fn find(&self, origin: &CommandOrigin, fingerprint: Fingerprint) -> Option<Before<'_>> {
        let done = self.done.get(&key(origin)?)?;
        // An older version kept none: what it did is taken for the same.
        let is_same = done.fingerprint == fingerprint || done.fingerprint == Fingerprint::default();
        Some(if is_same { Before::Same(&done.reply) } else { Before::Other })
    }

    pub(super) fn insert(&mut self, origin: &CommandOrigin, fingerprint: Fingerprint, at: Time, reply: Box<str>) {
        let Some(key) = key(origin) else { return };
        self.forgetting.push_back((at, key.clone()));
        self.done.insert(key, Done { at, fingerprint, reply });
        while self.forgetting.len() > TRANSACTIONS_MAX {
            self.forget_first();
        }
    }

    /// Forgets what is too long ago.
    pub(super) fn forget(&mut self, now: Time) {
        while self.forgetting.front().is_some_and(|(at, _)| *at + TRANSACTION_WINDOW <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((at, key)) = self.forgetting.pop_front() else { return };
        if self.done.get(&key).is_some_and(|done| done.at == at) {
            self.done.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn origin(transaction: Option<&str>) -> CommandOrigin {
        let transaction = transaction.map(Box::from);
        CommandOrigin { name: Box::from("pause"), reply_to: None, transaction, by: None }
    }

    #[test]
    fn a_transaction_is_known_by_its_name_and_for_a_day() {
        let (mut done, start) = (Transactions::default(), Time::from_millis(1_000));
        done.insert(&origin(None), [1; 16], start, Box::from("{}"));
        done.insert(&origin(Some("1")), [1; 16], start, Box::from("{}"));
        assert_eq!(done.find(&origin(None), [1; 16]), None);
        assert_eq!(done.find(&origin(Some("1")), [1; 16]), Some(Before::Same("{}")));
        assert_eq!(done.find(&origin(Some("1")), [2; 16]), Some(Before::Other));
        let other = CommandOrigin { name: Box::from("resume"), ..origin(Some("1")) };
        assert_eq!(done.find(&other, [1; 16]), None);
        done.forget(start + TRANSACTION_WINDOW - Duration::from_nanos(1));
        assert!(done.find(&origin(Some("1")), [1; 16]).is_some());
        done.forget(start + TRANSACTION_WINDOW);
        assert_eq!(done.find(&origin(Some("1")), [1; 16]), None);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut done = Transactions::default();
        for number in 0..=TRANSACTIONS_MAX {
            done.insert(&origin(Some(&number.to_string())), [1; 16], Time::default(), Box::from("{}"));
        }
        assert_eq!((done.done.len(), done.forgetting.len()), (TRANSACTIONS_MAX, TRANSACTIONS_MAX));
        assert_eq!(done.find(&origin(Some("0")), [1; 16]), None);
        assert!(done.find(&origin(Some("1")), [1; 16]).is_some());
    }
}
