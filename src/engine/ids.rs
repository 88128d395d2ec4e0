//! Which messages are known under an id, or under what makes two requests the same.
//!
//! There may be a million, so each has one number of eight bytes here: one half of a digest of its id, so that all with
//! one id stand together, and half of a digest of the whole key, so that one key is found among them at once, where
//! many accounts use the same id. Both are only where to look: what is found there has to be compared.

use super::tables::{DedupKey, IdKey};
use crate::model::Seq;
use std::collections::BTreeSet;

const HALF: IdKey = u32::MAX as IdKey;

#[derive(Debug, Default)]
pub(super) struct Ids {
    sorted: BTreeSet<(u64, Seq)>,
    /// What a start brings back, until all of it is there: sorted at once it takes less time, and fills its nodes.
    unsorted: Vec<(u64, Seq)>,
}

impl Ids {
    pub(super) fn insert(&mut self, key: DedupKey, seq: Seq) {
        self.sorted.insert((place(key), seq));
    }

    /// Like [`Ids::insert`], and found only after [`Ids::sort`].
    pub(super) fn insert_unsorted(&mut self, key: DedupKey, seq: Seq) {
        self.unsorted.push((place(key), seq));
    }

    pub(super) fn sort(&mut self) {
        let unsorted = std::mem::take(&mut self.unsorted);
        if self.sorted.is_empty() {
            self.sorted = BTreeSet::from_iter(unsorted);
        } else {
            self.sorted.extend(unsorted);
        }
    }

    pub(super) fn remove(&mut self, key: DedupKey, seq: Seq) {
        self.sorted.remove(&(place(key), seq));
    }

    /// All that may have this key, in the order of their numbers.
    pub(super) fn of_key(&self, key: DedupKey) -> impl DoubleEndedIterator<Item = Seq> {
        let place = place(key);
        self.sorted.range((place, Seq(0))..=(place, Seq(u64::MAX))).map(|(_, seq)| *seq)
    }

    /// All that may have this id.
    pub(super) fn of_id(&self, id: IdKey) -> impl Iterator<Item = Seq> {
        let (first, last) = (id & !HALF, id | HALF);
        self.sorted.range((first, Seq(0))..=(last, Seq(u64::MAX))).map(|(_, seq)| *seq)
    }
}

fn place(key: DedupKey) -> u64 {
    (key.id & !HALF) | (key.whole & HALF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IdKey = 0xaaaa_aaaa_0000_0001;
    const B: IdKey = 0xbbbb_bbbb_0000_0001;

    fn key(id: IdKey, whole: u64) -> DedupKey {
        DedupKey { id, whole }
    }

    #[test]
    fn what_stands_under_an_id_or_a_key_is_found_and_nothing_of_others() {
        let mut ids = Ids::default();
        for (id, whole, seq) in [(A, 1, 3), (B, 1, 1), (A, 2, 2)] {
            ids.insert_unsorted(key(id, whole), Seq(seq));
        }
        assert_eq!(ids.of_id(A).count(), 0);
        ids.sort();
        ids.insert(key(A, 1), Seq(4));
        ids.insert_unsorted(key(B, 9), Seq(5));
        ids.sort();
        assert!(ids.of_key(key(A, 1)).eq([Seq(3), Seq(4)]));
        assert!(ids.of_id(A).eq([Seq(3), Seq(4), Seq(2)]));
        assert!(ids.of_id(B).eq([Seq(1), Seq(5)]));
        assert_eq!(ids.of_id(!A).count() + ids.of_key(key(A, 9)).count(), 0);
        ids.remove(key(A, 1), Seq(3));
        assert!(ids.of_key(key(A, 1)).eq([Seq(4)]));
    }
}
