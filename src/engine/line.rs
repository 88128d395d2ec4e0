//! A queue that can be copied at once, however long it is.
//!
//! What waits stands in order in small chunks, and a copy shares them: copying costs one pointer. Where the queue
//! changes while a copy is about, only the list of chunks and the chunk that changes are copied themselves.
//!
//! # Invariants
//!
//! - Keys ascend, and none is there twice.
//! - No chunk is empty, none holds more than [`CHUNK_MAX`], and two neighbours hold more than a quarter of that
//!   together.

use std::collections::VecDeque;
use std::sync::Arc;

/// Small enough to be copied for a change of one, large enough to make a copy of all cheap.
const CHUNK_MAX: usize = 64;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// Keys in ascending order, each with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Line<K, V> {
    chunks: Arc<VecDeque<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Default for Line<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<K: Ord + Copy, V: Copy> Line<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn first(&self) -> Option<K> {
        Some(self.chunks.front()?.first()?.0)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, _)| key)
    }

    /// Puts it in its place. One that is there already gets the new value.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let index = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(index) else {
            chunks.push_back(Arc::new(vec![(key, value)]));
            self.len = 1;
            return;
        };
        let at = match chunk.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => {
                Arc::make_mut(chunk)[at].1 = value;
                return;
            }
            Err(at) => at,
        };
        self.len += 1;
        let is_full = chunk.len() == CHUNK_MAX;
        if !is_full {
            return Arc::make_mut(chunk).insert(at, (key, value));
        }
        // Most come at the end of their priority: what is behind that goes into a chunk of its own, once.
        let next = if at == CHUNK_MAX {
            vec![(key, value)]
        } else {
            let chunk = Arc::make_mut(chunk);
            let behind = chunk.split_off(at);
            chunk.push((key, value));
            behind
        };
        chunks.insert(index + 1, Arc::new(next));
        join(chunks, index + 1);
        if index > 0 {
            join(chunks, index - 1);
        }
    }

    /// Returns false where it is not there.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        let index = self.chunk_of(key);
        let Some(chunk) = self.chunks.get(index) else { return false };
        let Ok(at) = chunk.binary_search_by(|(other, _)| other.cmp(key)) else { return false };
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[index]);
        chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(index);
        } else if chunk.len() <= CHUNK_MAX / 4 {
            join(chunks, index);
            if index > 0 {
                join(chunks, index - 1);
            }
        }
        true
    }

    /// The places of these keys, which ascend, counted from one. One that is not there has none.
    pub(super) fn positions<'a>(&'a self, keys: impl Iterator<Item = K> + 'a) -> impl Iterator<Item = (K, u64)> + 'a {
        let (mut index, mut before) = (0, 0);
        keys.filter_map(move |key| {
            while let Some(chunk) = self.chunks.get(index).filter(|chunk| chunk.last().is_some_and(|last| last.0 < key))
            {
                before += chunk.len();
                index += 1;
            }
            let at = self.chunks.get(index)?.binary_search_by(|(other, _)| other.cmp(&key)).ok()?;
            Some((key, (before + at + 1) as u64))
        })
    }

    /// A copy to go through once, from the first to the last.
    pub(super) fn walk(&self) -> Walk<K, V> {
        Walk { chunks: (self.len > 0).then(|| Arc::clone(&self.chunks)), chunk: 0, at: 0 }
    }

    /// Where the key is if it is there, and where it belongs if it is not.
    fn chunk_of(&self, key: &K) -> usize {
        self.chunks.partition_point(|chunk| chunk.first().is_some_and(|first| first.0 <= *key)).saturating_sub(1)
    }
}

/// Makes one chunk of this and the next where both are small.
fn join<K: Copy, V: Copy>(chunks: &mut VecDeque<Chunk<K, V>>, index: usize) {
    let (Some(one), Some(next)) = (chunks.get(index), chunks.get(index + 1)) else { return };
    if one.len() + next.len() <= CHUNK_MAX / 4
        && let Some(next) = chunks.remove(index + 1)
    {
        Arc::make_mut(&mut chunks[index]).extend_from_slice(&next);
    }
}

/// What is left of a copy.
#[derive(Debug)]
pub(super) struct Walk<K, V> {
    /// `None` where there is nothing, which is cheaper to copy.
    chunks: Option<Arc<VecDeque<Chunk<K, V>>>>,
    chunk: usize,
    at: usize,
}

impl<K: Copy, V: Copy> Walk<K, V> {
    pub(super) fn peek(&self) -> Option<(K, V)> {
        self.chunks.as_ref()?.get(self.chunk)?.get(self.at).copied()
    }
}

impl<K: Copy, V: Copy> Iterator for Walk<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let chunk = self.chunks.as_ref()?.get(self.chunk)?;
        let next = chunk.get(self.at).copied();
        self.at += 1;
        if self.at == chunk.len() {
            (self.chunk, self.at) = (self.chunk + 1, 0);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check(line: &Line<u16, u32>, model: &BTreeMap<u16, u32>) {
        assert_eq!(line.len(), model.len());
        assert_eq!(line.is_empty(), model.is_empty());
        assert_eq!(line.first(), model.keys().next().copied());
        assert!(line.keys().eq(model.keys()));
        assert!(line.walk().eq(model.iter().map(|(key, value)| (*key, *value))));
        assert!(line.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
        let (one, next) = (line.chunks.iter(), line.chunks.iter().skip(1));
        assert!(one.zip(next).all(|(one, next)| one.len() + next.len() > CHUNK_MAX / 4));
        let asked = (0..=u16::MAX).step_by(7);
        let places: BTreeMap<u16, u64> = model.keys().copied().zip(1..).collect();
        let expected = asked.clone().filter_map(|key| Some((key, *places.get(&key)?)));
        assert!(line.positions(asked).eq(expected));
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec((any::<bool>(), 0..2_u16, 0..400_u16), 0..1500)) {
            let (mut line, mut model) = (Line::default(), BTreeMap::new());
            for (number, (is_insert, class, key)) in steps.into_iter().enumerate() {
                // Half of them come in order, as messages do.
                let key = if class == 0 { 1000 + number as u16 } else { key };
                if is_insert || class == 0 {
                    line.insert(key, number as u32);
                    model.insert(key, number as u32);
                } else {
                    prop_assert_eq!(line.remove(&key), model.remove(&key).is_some());
                }
            }
            check(&line, &model);
            for key in model.clone().into_keys() {
                if key % 50 > 0 {
                    line.remove(&key);
                    model.remove(&key);
                }
            }
            check(&line, &model);
        }
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut line = Line::default();
        for key in 0..1000_u16 {
            line.insert(key, 0_u32);
        }
        assert_eq!(line.chunks.len(), 1000_usize.div_ceil(CHUNK_MAX), "what comes in order fills its chunks");
        let mut copy = line.walk();
        for key in 0..500 {
            line.remove(&key);
            line.insert(2000 - key, 1);
        }
        assert_eq!(copy.peek(), Some((0, 0)));
        assert!(copy.by_ref().take(600).eq((0..600).map(|key| (key, 0))));
        assert!(copy.eq((600..1000).map(|key| (key, 0))));
    }
}
