//! In which order messages are published, and how many may be under way.
//!
//! Accounts take turns: a list that is sorted by account would otherwise fill the window with messages of one account,
//! which leave at its own pace while all others wait. Within an account the order is that in which the bridge would
//! send: what may go now before what is for later, then by priority, then by row.

use super::plan::Item;
use crate::model::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The messages of a list that have no answer yet, by their position in it.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    /// Of each account that has any left.
    queues: BTreeMap<String, VecDeque<usize>>,
    turns: VecDeque<String>,
    unanswered: BTreeSet<usize>,
    window: usize,
}

impl Dispatch {
    /// `positions` are those of `items` that are to be published.
    pub(super) fn new(items: &[Item], positions: impl Iterator<Item = usize>, window: usize) -> Self {
        let mut queues: BTreeMap<String, VecDeque<usize>> = BTreeMap::new();
        let mut turns = VecDeque::new();
        for position in positions {
            let account = &items[position].account;
            queues.entry(account.clone()).or_insert_with(|| {
                turns.push_back(account.clone());
                VecDeque::new()
            });
            if let Some(queue) = queues.get_mut(account) {
                queue.push_back(position);
            }
        }
        for queue in queues.values_mut() {
            let order = |position: &usize| {
                let item = &items[*position];
                (item.not_before.unwrap_or(Time::from_millis(0)), 9 - item.priority.min(9), *position)
            };
            queue.make_contiguous().sort_by_key(order);
        }
        Self { queues, turns, unanswered: BTreeSet::new(), window }
    }

    /// The next one to publish, which is under way from now on. `None` when nothing is left or the window is full.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.unanswered.len() >= self.window {
            return None;
        }
        let account = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&account)?;
        let position = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&account);
        } else {
            self.turns.push_back(account);
        }
        self.unanswered.insert(position);
        Some(position)
    }

    /// It was published by an earlier run, and waits for its answer whatever the window.
    pub(super) fn add_unanswered(&mut self, position: usize) {
        self.unanswered.insert(position);
    }

    /// It has its answer. False when it had it already.
    pub(super) fn answered(&mut self, position: usize) -> bool {
        self.unanswered.remove(&position)
    }

    pub(super) fn unanswered(&self) -> impl Iterator<Item = usize> {
        self.unanswered.iter().copied()
    }

    pub(super) fn unanswered_count(&self) -> usize {
        self.unanswered.len()
    }

    /// How many of each account are not published yet.
    pub(super) fn unpublished(&self) -> impl Iterator<Item = (&str, usize)> {
        self.queues.iter().map(|(account, queue)| (account.as_str(), queue.len()))
    }

    pub(super) fn is_done(&self) -> bool {
        self.queues.is_empty() && self.unanswered.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn item(account: &str, priority: u8, not_before: Option<u64>) -> Item {
        Item {
            row: 2,
            id: String::new(),
            account: account.to_owned(),
            not_before: not_before.map(Time::from_millis),
            priority,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn accounts_take_turns_and_keep_their_own_order() {
        let items = [
            item("a", 4, None),
            item("a", 4, Some(5)),
            item("a", 9, None),
            item("a", 4, None),
            item("b", 4, None),
            item("c", 4, None),
            item("b", 4, None),
        ];
        let mut dispatch = Dispatch::new(&items, 0..items.len(), 100);
        let order: Vec<usize> = std::iter::from_fn(|| dispatch.next()).collect();
        assert_eq!(order, [2, 4, 5, 0, 6, 3, 1]);
        assert!(!dispatch.is_done());
        for position in order {
            assert!(dispatch.answered(position) && !dispatch.answered(position));
        }
        assert!(dispatch.is_done());
    }

    #[test]
    fn no_more_than_the_window_is_under_way() {
        let items: Vec<Item> = (0..5).map(|_| item("a", 4, None)).collect();
        let mut dispatch = Dispatch::new(&items, 1..items.len(), 2);
        dispatch.add_unanswered(0);
        assert_eq!((dispatch.next(), dispatch.next()), (Some(1), None));
        assert_eq!(dispatch.unpublished().collect::<Vec<_>>(), [("a", 3)]);
        dispatch.answered(0);
        assert_eq!((dispatch.next(), dispatch.next()), (Some(2), None));
    }
}
