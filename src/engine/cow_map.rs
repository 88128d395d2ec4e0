//! An ordered map that is copied on write: a copy costs nothing, however long the map is.
//!
//! What it holds stands in small chunks, and a copy shares them: copying costs one pointer. Where the map changes while
//! a copy is about, only the list of chunks and the chunk that changes are copied themselves. What comes in order,
//! as messages do, fills its chunks, so an entry costs what it is and next to nothing beside: a tree would leave half
//! of its room empty.
//!
//! # Invariants
//!
//! - Keys ascend, and none is there twice.
//! - No chunk is empty, none holds more than [`CHUNK_MAX`], and two neighbours hold more than a quarter of that
//!   together.
//! - The list knows the first key of every chunk, so that a search reads one chunk only.

use std::collections::VecDeque;
use std::sync::Arc;

/// Small enough to be copied for a change of one, large enough to make a copy of all cheap. A chunk of messages, of
/// deadlines or of ranks takes nearly all of a size that the allocator has.
const CHUNK_MAX: usize = 46;

#[derive(Clone, Debug)]
struct Chunk<K, V> {
    first: K,
    entries: Arc<Vec<(K, V)>>,
}

impl<K: Copy, V> Chunk<K, V> {
    fn of(key: K, value: V) -> Self {
        Self { first: key, entries: Arc::new(vec![(key, value)]) }
    }
}

/// Keys in ascending order, each with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct CowMap<K, V = ()> {
    chunks: Arc<VecDeque<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Default for CowMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<K: Ord + Copy, V: Clone> CowMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn first(&self) -> Option<K> {
        Some(self.chunks.front()?.first)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter()).map(|(key, value)| (key, value))
    }

    /// Those from this key on.
    pub(super) fn iter_from(&self, from: K) -> impl Iterator<Item = (&K, &V)> {
        let chunks = self.chunks.range(self.chunk_of(&from).min(self.chunks.len())..);
        let entries = chunks.flat_map(|chunk| chunk.entries.iter());
        entries.skip_while(move |(key, _)| *key < from).map(|(key, value)| (key, value))
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let entries = &self.chunks.get(self.chunk_of(key))?.entries;
        let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        Some(&entries[at].1)
    }

    /// To change it: see the [module documentation](self) for what that costs while there is a copy.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let index = self.chunk_of(key);
        let at = self.chunks.get(index)?.entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(index)?;
        Some(&mut Arc::make_mut(&mut chunk.entries)[at].1)
    }

    /// Puts it in its place. One that is there already gets the new value.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let index = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(index) else {
            chunks.push_back(Chunk::of(key, value));
            self.len = 1;
            return;
        };
        let at = match chunk.entries.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => {
                Arc::make_mut(&mut chunk.entries)[at].1 = value;
                return;
            }
            Err(at) => at,
        };
        self.len += 1;
        if chunk.entries.len() < CHUNK_MAX {
            chunk.first = chunk.first.min(key);
            let entries = Arc::make_mut(&mut chunk.entries);
            if entries.len() == entries.capacity() {
                entries.reserve_exact(entries.len().min(CHUNK_MAX - entries.len()));
            }
            return entries.insert(at, (key, value));
        }
        // Most come at the end of their priority: what is behind that goes into a chunk of its own, once.
        let next = if at == CHUNK_MAX {
            Chunk::of(key, value)
        } else {
            chunk.first = chunk.first.min(key);
            let entries = Arc::make_mut(&mut chunk.entries);
            let behind = entries.split_off(at);
            entries.push((key, value));
            Chunk { first: behind[0].0, entries: Arc::new(behind) }
        };
        chunks.insert(index + 1, next);
        join(chunks, index + 1);
        if index > 0 {
            join(chunks, index - 1);
        }
    }

    /// Takes it out, where it is there.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.chunk_of(key);
        let at = self.chunks.get(index)?.entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = chunks.get_mut(index)?;
        let entries = Arc::make_mut(&mut chunk.entries);
        let (_, value) = entries.remove(at);
        self.len -= 1;
        match entries.first() {
            None => drop(chunks.remove(index)),
            Some((first, _)) => {
                chunk.first = *first;
                if entries.len() <= CHUNK_MAX / 4 {
                    join(chunks, index);
                    if index > 0 {
                        join(chunks, index - 1);
                    }
                }
            }
        }
        Some(value)
    }

    /// The places of these keys, which ascend, counted from one. One that is not there has none.
    pub(super) fn positions<'a>(&'a self, keys: impl Iterator<Item = K> + 'a) -> impl Iterator<Item = (K, u64)> + 'a {
        let (mut index, mut before) = (0, 0);
        keys.filter_map(move |key| {
            while let Some(chunk) = self.chunks.get(index)
                && chunk.entries.last().is_some_and(|last| last.0 < key)
            {
                before += chunk.entries.len();
                index += 1;
            }
            let at = self.chunks.get(index)?.entries.binary_search_by(|(other, _)| other.cmp(&key)).ok()?;
            Some((key, (before + at + 1) as u64))
        })
    }

    /// A copy to go through once, from the first to the last.
    pub(super) fn walk(&self) -> Walk<K, V> {
        Walk { chunks: (self.len > 0).then(|| Arc::clone(&self.chunks)), chunk: 0, at: 0 }
    }

    /// Where the key is if it is there, and where it belongs if it is not.
    fn chunk_of(&self, key: &K) -> usize {
        // Where most is looked for, and all that comes in order goes.
        if self.chunks.back().is_some_and(|last| last.first <= *key) {
            return self.chunks.len() - 1;
        }
        self.chunks.partition_point(|chunk| chunk.first <= *key).saturating_sub(1)
    }
}

/// Makes one chunk of this and the next where both are small.
fn join<K: Copy, V: Clone>(chunks: &mut VecDeque<Chunk<K, V>>, index: usize) {
    let (Some(one), Some(next)) = (chunks.get(index), chunks.get(index + 1)) else { return };
    if one.entries.len() + next.entries.len() <= CHUNK_MAX / 4
        && let Some(next) = chunks.remove(index + 1)
    {
        Arc::make_mut(&mut chunks[index].entries).extend_from_slice(&next.entries);
    }
}

/// What is left of a copy.
#[derive(Debug)]
pub(super) struct Walk<K, V = ()> {
    /// `None` where there is nothing, which is cheaper to copy.
    chunks: Option<Arc<VecDeque<Chunk<K, V>>>>,
    chunk: usize,
    at: usize,
}

impl<K: Copy, V> Walk<K, V> {
    pub(super) fn peek(&self) -> Option<K> {
        Some(self.chunks.as_ref()?.get(self.chunk)?.entries.get(self.at)?.0)
    }
}

impl<K: Copy, V> Iterator for Walk<K, V> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        let entries = &self.chunks.as_ref()?.get(self.chunk)?.entries;
        let next = entries.get(self.at).map(|(key, _)| *key);
        self.at += 1;
        if self.at == entries.len() {
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

    fn check(map: &CowMap<u16, u32>, model: &BTreeMap<u16, u32>) {
        assert_eq!(map.len(), model.len());
        assert_eq!(map.is_empty(), model.is_empty());
        assert_eq!(map.first(), model.keys().next().copied());
        assert!(map.iter().eq(model.iter()));
        assert!(map.keys().eq(model.keys()) && map.values().eq(model.values()));
        assert!(map.walk().eq(model.keys().copied()));
        assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.entries.len())));
        assert!(map.chunks.iter().all(|chunk| chunk.first == chunk.entries[0].0));
        let (one, next) = (map.chunks.iter(), map.chunks.iter().skip(1));
        assert!(one.zip(next).all(|(one, next)| one.entries.len() + next.entries.len() > CHUNK_MAX / 4));
        let asked = (0..=u16::MAX).step_by(7);
        let places: BTreeMap<u16, u64> = model.keys().copied().zip(1..).collect();
        let expected = asked.clone().filter_map(|key| Some((key, *places.get(&key)?)));
        assert!(map.positions(asked).eq(expected));
        for key in (0..3000).step_by(13) {
            assert_eq!(map.get(&key), model.get(&key));
            assert_eq!(map.contains_key(&key), model.contains_key(&key));
            assert!(map.iter_from(key).eq(model.range(key..)));
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in prop::collection::vec((0..3_u8, 0..2_u16, 0..400_u16), 0..1500)) {
            let (mut map, mut model) = (CowMap::default(), BTreeMap::new());
            for (number, (what, class, key)) in steps.into_iter().enumerate() {
                // Half of them come in order, as messages do.
                let key = if class == 0 { 1000 + number as u16 } else { key };
                if what == 0 || class == 0 {
                    map.insert(key, number as u32);
                    model.insert(key, number as u32);
                } else if what == 1 {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                } else {
                    let changed = map.get_mut(&key).map(|value| *value += 1);
                    prop_assert_eq!(changed, model.get_mut(&key).map(|value| *value += 1));
                }
            }
            check(&map, &model);
            for key in model.clone().into_keys() {
                if key % 50 > 0 {
                    map.remove(&key);
                    model.remove(&key);
                }
            }
            check(&map, &model);
        }
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut map = CowMap::default();
        for key in 0..1000_u16 {
            map.insert(key, 0_u32);
        }
        assert_eq!(map.chunks.len(), 1000_usize.div_ceil(CHUNK_MAX), "what comes in order fills its chunks");
        let (mut copy, before) = (map.walk(), map.clone());
        for key in 0..500 {
            map.remove(&key);
            map.insert(2000 - key, 1);
        }
        assert_eq!(map.get_mut(&700).map(|value| std::mem::replace(value, 2)), Some(0));
        assert_eq!((map.get(&700), before.get(&700), before.len()), (Some(&2), Some(&0), 1000));
        assert_eq!(copy.peek(), Some(0));
        assert!(copy.by_ref().take(600).eq(0..600));
        assert!(copy.eq(600..1000));
    }
}
