//! Retained topics that are to be published: the latest word on each, where a line of all of them would be dropped or
//! grow when the broker is slow.
//!
//! # Invariants
//!
//! - What was put up is taken down once, or replaced by what was put up later under the same topic.
//! - Who waits longest is taken first: a topic that changes often cannot keep another one waiting.

use crate::model::{Account, Block, Corp, Hold, InfoReport, Status};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// One retained topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Info,
    Holds,
    Health,
    Account(Account),
    Corp(Corp),
}

/// What a retained topic says.
#[derive(Clone, Debug)]
pub(super) enum Retained {
    Info(Arc<InfoReport>),
    Holds(Arc<(Vec<Hold>, Vec<Block>)>),
    Status(Status),
}

impl Retained {
    pub(super) fn slot(&self) -> Slot {
        match self {
            Self::Info(_) => Slot::Info,
            Self::Holds(_) => Slot::Holds,
            Self::Status(Status::Health(_)) => Slot::Health,
            Self::Status(Status::Account(account, _)) => Slot::Account(account.clone()),
            Self::Status(Status::Corp(corp, _)) => Slot::Corp(corp.clone()),
        }
    }
}

/// Shared by those who tell and the one who publishes.
#[derive(Default)]
pub(super) struct Board {
    notes: Mutex<Notes>,
    changed: Notify,
}

#[derive(Default)]
struct Notes {
    latest: BTreeMap<Slot, Retained>,
    /// By the turn that they got when nothing was up under their topic.
    turns: BTreeMap<u64, Slot>,
    next_turn: u64,
}

impl Board {
    /// What a topic says from now on. Never waits.
    pub(super) fn put(&self, retained: Retained) {
        let slot = retained.slot();
        let mut notes = self.notes();
        match notes.latest.get_mut(&slot) {
            Some(old) => *old = retained,
            None => notes.insert(slot, retained),
        }
        drop(notes);
        self.changed.notify_one();
    }

    /// What a topic was to say and does not yet, unless it is to say something newer.
    pub(super) fn put_back(&self, retained: Retained) {
        let slot = retained.slot();
        let mut notes = self.notes();
        if !notes.latest.contains_key(&slot) {
            notes.insert(slot, retained);
        }
        drop(notes);
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> Option<Retained> {
        let mut notes = self.notes();
        let (_, slot) = notes.turns.pop_first()?;
        notes.latest.remove(&slot)
    }

    /// Waits for something to take. Nothing is lost when the wait is given up.
    pub(super) async fn next(&self) -> Retained {
        loop {
            if let Some(retained) = self.take() {
                return retained;
            }
            // Only one waits, and a note of before is remembered for it.
            self.changed.notified().await;
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Nothing done inside the lock can panic half way.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn insert(&mut self, slot: Slot, retained: Retained) {
        self.turns.insert(self.next_turn, slot.clone());
        self.latest.insert(slot, retained);
        self.next_turn += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(account: &str) -> Retained {
        Retained::Status(Status::Account(Account::new(account), None))
    }

    fn holds(count: usize) -> Retained {
        let hold = || Hold {
            id: crate::model::HoldId(1),
            scope: crate::model::Scope::All,
            reason: Box::default(),
            by: None,
            since: crate::model::Time::default(),
            until: None,
        };
        Retained::Holds(Arc::new(((0..count).map(|_| hold()).collect(), Vec::new())))
    }

    fn count(retained: Option<Retained>) -> Option<usize> {
        match retained {
            Some(Retained::Holds(both)) => Some(both.0.len()),
            Some(Retained::Info(_) | Retained::Status(_)) | None => None,
        }
    }

    #[test]
    fn the_latest_word_keeps_the_turn_of_the_first() {
        let board = Board::default();
        board.put(holds(1));
        board.put(clear("b"));
        board.put(clear("a"));
        board.put(holds(2));
        assert_eq!(count(board.take()), Some(2));
        assert_eq!(board.take().map(|retained| retained.slot()), Some(Slot::Account(Account::new("b"))));
        board.put(clear("b"));
        assert_eq!(board.take().map(|retained| retained.slot()), Some(Slot::Account(Account::new("a"))));
        assert_eq!(board.take().map(|retained| retained.slot()), Some(Slot::Account(Account::new("b"))));
        assert!(board.take().is_none());
    }

    #[test]
    fn what_comes_back_never_hides_what_is_newer() {
        let board = Board::default();
        board.put(holds(2));
        board.put_back(holds(1));
        assert_eq!(count(board.take()), Some(2));
        board.put_back(holds(1));
        assert_eq!(count(board.take()), Some(1));
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let board = Board::default();
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = board.next() => panic!("nothing is there"),
                () = std::future::ready(()) => {}
            }
        }
        board.put(holds(3));
        assert_eq!(count(Some(board.next().await)), Some(3));
    }
}
