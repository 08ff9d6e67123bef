//! Many entries: dense, with an index by key and one by dot.

use alloc::vec::Vec;
use core::borrow::Borrow;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::hash;
use super::lane::{Lane, push};
use crate::causal::{Dot, ReplicaId};

/// An entry and its dot.
#[derive(Debug, Clone)]
pub(super) struct Slot<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    pub(super) seq: u64,
    /// The lane of its replica.
    pub(super) lane: u32,
    /// The key's hash: the key is never hashed again.
    pub(super) hash: u32,
}

/// ```text
///  index: hash of key ──▶ slot        slots: key, value, dot        lanes: dot ──▶ slot
/// ```
/// Slots are in no order that is ever shown: whoever lists entries goes along the lanes.
#[derive(Debug, Clone)]
pub(super) struct Many<K, V> {
    slots: Vec<Slot<K, V>>,
    /// Slots by the hash of their key; of a key with several entries all of them.
    index: HashTable<u32>,
    /// In order of arrival: slots name them by number.
    lanes: Vec<Lane>,
    /// Their numbers, sorted by replica.
    by_replica: Vec<(ReplicaId, u32)>,
    /// How many keys there are. As many as slots, but for concurrent writes of one key.
    keys: usize,
}

/// More than these do not fit into 32 bits.
const FULL: &str = "fewer than 2^32 entries fit a table";

impl<K, V> Many<K, V> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: Vec::with_capacity(capacity),
            index: HashTable::with_capacity(capacity),
            lanes: Vec::new(),
            by_replica: Vec::new(),
            keys: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    pub(super) const fn keys(&self) -> usize {
        self.keys
    }

    pub(super) fn slot(&self, at: u32) -> Option<&Slot<K, V>> {
        self.slots.get(at as usize)
    }

    pub(super) fn dot(&self, slot: &Slot<K, V>) -> Option<Dot> {
        self.lanes.get(slot.lane as usize).map(|lane| Dot::new(lane.replica, slot.seq))
    }

    /// The lanes, sorted by replica. Some may be empty.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> + '_ {
        self.by_replica.iter().filter_map(|(_, lane)| self.lanes.get(*lane as usize))
    }

    pub(super) fn lane(&self, replica: ReplicaId) -> Option<&Lane> {
        let at = self.by_replica.binary_search_by_key(&replica, |(held, _)| *held).ok()?;
        self.lanes.get(self.by_replica.get(at)?.1 as usize)
    }

    #[inline]
    fn lane_or_new(&mut self, replica: ReplicaId) -> u32 {
        // Mostly the replica's own, which is mostly the first.
        if self.lanes.first().is_some_and(|lane| lane.replica == replica) {
            return 0;
        }
        match self.by_replica.binary_search_by_key(&replica, |(held, _)| *held) {
            Ok(at) => self.by_replica.get(at).map_or(0, |(_, lane)| *lane),
            Err(at) => {
                let lane = u32::try_from(self.lanes.len()).expect(FULL);
                self.lanes.push(Lane::new(replica));
                self.by_replica.insert(at, (replica, lane));
                lane
            }
        }
    }

    /// The entries, ascending by dot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Dot, &K, &V)> + '_ {
        self.lanes().flat_map(|lane| lane.iter().map(|(seq, slot)| (Dot::new(lane.replica, seq), slot))).filter_map(
            |(dot, slot)| {
                let slot = self.slot(slot)?;
                Some((dot, &slot.key, &slot.value))
            },
        )
    }

    /// Makes room for more entries; of one lane, if they all are.
    pub(super) fn reserve(&mut self, more: usize, lane: Option<ReplicaId>) {
        self.slots.reserve_exact(more);
        let slots = &self.slots;
        self.index.reserve(more, |at| hash_at(slots, *at));
        if let Some(replica) = lane {
            let lane = self.lane_or_new(replica);
            if let Some(lane) = self.lanes.get_mut(lane as usize) {
                lane.reserve(more);
            }
        }
    }
}

impl<K: Eq, V> Many<K, V> {
    /// A slot of a key.
    #[inline]
    pub(super) fn find<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        let is_it = |at: &u32| self.slot(*at).is_some_and(|slot| slot.hash == hash && slot.key.borrow() == key);
        self.index.find(hash::spread(hash), is_it).copied()
    }

    /// An entry of a key.
    #[inline]
    pub(super) fn find_slot<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> Option<&Slot<K, V>>
    where
        K: Borrow<Q>,
    {
        self.find(hash, key).and_then(|at| self.slot(at))
    }

    /// All slots of a key, in no order.
    pub(super) fn find_all<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> SmallVec<[u32; 2]>
    where
        K: Borrow<Q>,
    {
        if self.keys == self.slots.len() {
            return self.find(hash, key).into_iter().collect();
        }
        let is_it = |at: &u32| self.slot(*at).is_some_and(|slot| slot.hash == hash && slot.key.borrow() == key);
        self.index.iter_hash(hash::spread(hash)).copied().filter(is_it).collect()
    }

    /// Adds an entry at a dot that is not live here.
    pub(super) fn insert(&mut self, dot: Dot, hash: u32, key: K, value: V) {
        self.keys += usize::from(self.find(hash, &key).is_none());
        self.insert_beside(dot, hash, key, value);
    }

    /// Adds an entry of a key that has none.
    pub(super) fn insert_new(&mut self, dot: Dot, hash: u32, key: K, value: V) {
        self.keys += 1;
        self.insert_beside(dot, hash, key, value);
    }

    fn insert_beside(&mut self, dot: Dot, hash: u32, key: K, value: V) {
        let at = u32::try_from(self.slots.len()).ok().filter(|at| *at < u32::MAX).expect(FULL);
        let lane = self.lane_or_new(dot.replica);
        // Before the index has it: whenever that is made again, it asks for the hash of each entry.
        push(&mut self.slots, Slot { key, value, seq: dot.seq, lane, hash });
        let slots = &self.slots;
        let capacity = self.index.capacity();
        self.index.insert_unique(hash::spread(hash), at, |at| hash_at(slots, *at));
        // It grows too when it is full of what was removed: then it need not be so large.
        let has_grown = self.index.capacity() > capacity + 1;
        if has_grown && self.index.capacity() > 64 + 5 * (slots.len() / 2) {
            self.index.shrink_to(slots.len(), |at| hash_at(slots, *at));
        }
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.insert(dot.seq, at);
        }
    }

    /// Puts an entry at another dot, with another value: the key stays where it is. Returns the dot that it was at.
    #[inline]
    pub(super) fn rewrite(&mut self, at: u32, dot: Dot, value: V) -> Option<Dot> {
        let lane = self.lane_or_new(dot.replica);
        let slot = self.slots.get_mut(at as usize)?;
        let (old_lane, old_seq) = (slot.lane, slot.seq);
        slot.value = value;
        slot.lane = lane;
        slot.seq = dot.seq;
        let old = self.lanes.get_mut(old_lane as usize)?;
        old.remove(old_seq);
        let old_dot = Dot::new(old.replica, old_seq);
        self.lanes.get_mut(lane as usize)?.insert(dot.seq, at);
        Some(old_dot)
    }

    /// Puts an entry in the place of one of its key that goes; beside those that stay, if there is none.
    pub(super) fn take(&mut self, dot: Dot, hash: u32, key: &K, value: V, goes: impl Fn(Dot) -> bool)
    where
        K: Clone,
    {
        let Some(at) = self.find(hash, key) else { return self.insert_new(dot, hash, key.clone(), value) };
        if self.slot(at).and_then(|slot| self.dot(slot)).is_some_and(goes) {
            self.rewrite(at, dot, value);
        } else {
            self.insert_beside(dot, hash, key.clone(), value);
        }
    }

    /// Removes the entry at a dot.
    pub(super) fn remove(&mut self, dot: Dot) -> Option<Slot<K, V>> {
        let at = self.lane(dot.replica)?.get(dot.seq)?;
        self.remove_at(at)
    }

    /// Removes an entry. The last one takes its slot.
    pub(super) fn remove_at(&mut self, at: u32) -> Option<Slot<K, V>> {
        let hash = self.slot(at)?.hash;
        if let Ok(held) = self.index.find_entry(hash::spread(hash), |held| *held == at) {
            held.remove();
        }
        let (_, removed) = self.free(at)?;
        // Before this, there were as many keys as entries, or more entries.
        if self.keys > self.slots.len() || self.find(hash, &removed.key).is_none() {
            self.keys -= 1;
        }
        Some(removed)
    }

    /// Removes the entry of a key, where no key has several. Returns its dot.
    #[inline]
    pub(super) fn remove_only<Q: Eq + ?Sized>(&mut self, hash: u32, key: &Q) -> Option<Dot>
    where
        K: Borrow<Q>,
    {
        debug_assert_eq!(self.keys, self.slots.len(), "keys have one entry each");
        let slots = &self.slots;
        let is_it = |at: &u32| slots.get(*at as usize).is_some_and(|slot| slot.hash == hash && slot.key.borrow() == key);
        let (at, _) = self.index.find_entry(hash::spread(hash), is_it).ok()?.remove();
        self.keys -= 1;
        self.free(at).map(|(dot, _)| dot)
    }

    /// Takes out an entry that the index no longer has.
    #[inline]
    fn free(&mut self, at: u32) -> Option<(Dot, Slot<K, V>)> {
        let place = at as usize;
        self.slots.get(place)?;
        let removed = self.slots.swap_remove(place);
        let lane = self.lanes.get_mut(removed.lane as usize)?;
        let dot = Dot::new(lane.replica, removed.seq);
        lane.remove(dot.seq);
        if let Some(moved) = self.slots.get(place) {
            let last = u32::try_from(self.slots.len()).expect(FULL);
            if let Some(held) = self.index.find_mut(hash::spread(moved.hash), |held| *held == last) {
                *held = at;
            }
            if let Some(lane) = self.lanes.get_mut(moved.lane as usize) {
                lane.moved(moved.seq, at);
            }
        }
        self.shrink();
        Some((dot, removed))
    }

    /// Gives room back when little of it is used.
    fn shrink(&mut self) {
        let len = self.slots.len();
        if self.slots.capacity() > 64 && len < self.slots.capacity() / 4 {
            self.shrink_to(len * 2);
        }
    }

    #[cold]
    fn shrink_to(&mut self, capacity: usize) {
        self.slots.shrink_to(capacity);
        let slots = &self.slots;
        self.index.shrink_to(capacity, |at| hash_at(slots, *at));
    }
}

fn hash_at<K, V>(slots: &[Slot<K, V>], at: u32) -> u64 {
    hash::spread(slots.get(at as usize).expect("the index names slots").hash)
}
