//! A map in which the last writer wins.

use alloc::collections::BTreeMap;
use core::borrow::Borrow;
use core::fmt::Debug;
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use super::Seen;
use super::causal_type::{causal_type, remove};
use crate::causal::{Dot, ReplicaId};
use crate::crdt::{Causal, Crdt, DotTable, Lattice, Refused};

/// A map of values that are overwritten and removed. Of concurrent writes of a key, the one with the greatest stamp wins.
///
/// | concurrent, of one key | outcome |
/// |---|---|
/// | write, write | the greater stamp; of equal stamps, the greater value |
/// | write, remove | the write |
/// | write, clear | the write; what the clear saw is gone |
///
/// A write takes the place of all that its replica has seen, whatever their stamps: a clock that is late loses nothing that it knows to be
/// newer. Stamps decide only what nobody has seen. `S` is any clock: [`Hlc`](crate::causal::Hlc), or a number of your own; the caller
/// gives it. What was removed leaves nothing behind.
///
/// ```
/// use tombolo::causal::ReplicaId;
/// use tombolo::crdt::{Lattice, LwwMap};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let (mut one, mut other) = (LwwMap::new(), LwwMap::new());
/// let red = one.set(a, 10, "colour", "red").unwrap();
/// let blue = other.set(b, 11, "colour", "blue").unwrap();
/// one.join(&blue);
/// other.join(&red);
/// assert_eq!(one.get("colour"), Some(&"blue"));
/// assert_eq!(one, other);
///
/// // His clock is late; he has seen what he writes over.
/// other.join(&one.set(a, 3, "colour", "green").unwrap());
/// assert_eq!(other.get("colour"), Some(&"green"));
/// ```
///
/// Cost: of each method, a look into a hash table, and a delta of one entry; a join follows the difference, as [`DotTable`] says. Source: the
/// map of Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7.4.4, of registers as in Shapiro et al., "A
/// comprehensive study" (2011), specification 8.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize, S: Serialize",
    deserialize = "K: Deserialize<'de> + Hash + Eq + Clone, V: Deserialize<'de> + Clone, S: Deserialize<'de> + Clone"
))]
pub struct LwwMap<K, V, S>(Causal<DotTable<K, (S, V)>>);

causal_type!([K: Hash + Eq + Clone, V: Ord + Clone, S: Ord + Clone] LwwMap<K, V, S>, DotTable<K, (S, V)>);

impl<K: Hash + Eq + Clone, V: Ord + Clone, S: Ord + Clone> LwwMap<K, V, S> {
    /// The empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Writes a value at replica `me`, over all that is seen of the key. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn set(&mut self, me: ReplicaId, stamp: S, key: K, value: V) -> Result<Self, Refused> {
        let Causal { store, context } = &mut self.0;
        let (dot, seen) = store.write_next(context, me, &key, (stamp.clone(), value.clone()))?;
        Ok(Self(Causal { store: DotTable::single(dot, key, (stamp, value)), context: seen }))
    }

    /// Removes what is seen of a key. Returns the delta: bottom, if it is not there.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let context = self.0.store.remove(key);
        Self(Causal { store: DotTable::new(), context })
    }

    /// What is live of a key now, for [`remove_seen`](Self::remove_seen).
    #[must_use]
    pub fn seen<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Seen
    where
        K: Borrow<Q>,
    {
        Seen::of_dots(self.0.store.entries(key).map(|(dot, _)| dot))
    }

    /// Removes of a key what was seen there by a reader: what has come since stays. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove_seen<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, seen: &Seen) -> Self
    where
        K: Borrow<Q>,
    {
        let removed = seen.among(self.0.store.entries(key).map(|(dot, _)| dot)).collect();
        Self(remove(&mut self.0, removed))
    }

    /// Removes all that is seen. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn clear(&mut self) -> Self {
        let seen = self.0.store.iter().map(|(dot, _, _)| dot).collect();
        Self(remove(&mut self.0, seen))
    }

    /// The value that won.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.winner(key).map(|(_, value)| value)
    }

    /// The stamp that it was written with.
    #[must_use]
    pub fn stamp<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&S>
    where
        K: Borrow<Q>,
    {
        self.winner(key).map(|(stamp, _)| stamp)
    }

    /// Whether a key has a value.
    #[must_use]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.store.contains_key(key)
    }

    /// The keys and their values, in the same order wherever the map is the same: that of the writes that won.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + '_ {
        let store = &self.0.store;
        let concurrent = store.keys() < store.len();
        // Two writes of one stamp and value are told apart by their dots.
        let wins = move |dot: Dot, key: &K, written: &(S, V)| {
            store.entries(key).all(|(other_dot, other)| (other, other_dot) <= (written, dot))
        };
        store
            .iter()
            .filter(move |(dot, key, written)| !concurrent || wins(*dot, key, written))
            .map(|(_, key, (_, value))| (key, value))
    }

    /// How many keys have a value. Cost: constant.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.store.keys()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.store.is_empty()
    }

    #[inline]
    fn winner<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&(S, V)>
    where
        K: Borrow<Q>,
    {
        self.0.store.only(key).unwrap_or_else(|()| self.0.store.entries(key).map(|(_, written)| written).max())
    }
}

impl<K: Hash + Eq + Clone, V: Ord + Clone, S: Ord + Clone> Default for LwwMap<K, V, S> {
    fn default() -> Self {
        Self::bottom()
    }
}

/// What is done to a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LwwMapOp<K, V, S> {
    /// Writes a value, with a stamp.
    Set {
        /// When, by the writer's clock.
        stamp: S,
        /// Of what.
        key: K,
        /// What.
        value: V,
    },
    /// Removes a key.
    Remove(K),
}

impl<K: Hash + Ord + Clone + Debug, V: Ord + Clone + Debug, S: Ord + Clone + Debug> Crdt for LwwMap<K, V, S> {
    type Op = LwwMapOp<K, V, S>;
    type Read = BTreeMap<K, V>;

    fn apply(&mut self, op: &Self::Op, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            LwwMapOp::Set { stamp, key, value } => self.set(me, stamp.clone(), key.clone(), value.clone()),
            LwwMapOp::Remove(key) => Ok(self.remove(key)),
        }
    }

    fn read(&self) -> BTreeMap<K, V> {
        self.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const A: ReplicaId = ReplicaId::from_u128(1);
    const B: ReplicaId = ReplicaId::from_u128(2);

    #[test]
    fn of_equal_stamps_the_greater_value_wins_and_the_key_is_listed_once() {
        let (mut one, mut other) = (LwwMap::new(), LwwMap::new());
        for key in 0..20 {
            let _unsent = one.set(A, 1, key, 'a').unwrap();
            one.join(&other.set(B, 1, key, if key % 2 == 0 { 'a' } else { 'b' }).unwrap());
        }
        assert_eq!(one.len(), 20);
        assert_eq!(one.iter().count(), 20);
        assert_eq!((one.get(&0), one.get(&1), one.get(&20)), (Some(&'a'), Some(&'b'), None));
        assert!(one.iter().all(|(key, value)| *value == if key % 2 == 0 { 'a' } else { 'b' }));
        assert_eq!((one.stamp(&3), one.contains_key(&3)), (Some(&1), true));
    }

    #[test]
    fn a_remove_takes_what_it_saw_and_a_concurrent_write_stays() {
        let mut one = LwwMap::new();
        let _unsent = one.set(A, 9, 'k', 1).unwrap();
        let mut other = one.clone();
        let gone = one.remove(&'k');
        assert!(one.is_empty() && !one.contains_key(&'k'));
        let written = other.set(B, 1, 'k', 2).unwrap();
        one.join(&written);
        other.join(&gone);
        assert_eq!(one, other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [(&'k', &2)]);
        let seen = one.seen(&'k');
        one.join(&other.set(B, 1, 'k', 3).unwrap());
        assert!(one.remove_seen(&'k', &seen).is_bottom() && one.get(&'k') == Some(&3), "it was written over since");
        let cleared = one.clear();
        other.join(&cleared);
        assert!(one.is_empty() && one == other);
    }

    #[test]
    fn a_remove_of_what_was_read_leaves_what_came_after() {
        let (mut one, mut other) = (LwwMap::new(), LwwMap::new());
        let _unsent = one.set(A, 5, 'k', 1).unwrap();
        let seen = one.seen(&'k');
        one.join(&other.set(B, 3, 'k', 2).unwrap());
        assert_eq!((one.get(&'k'), one.stamp(&'k')), (Some(&1), Some(&5)));
        let mut peer = one.clone();
        let removed = one.remove_seen(&'k', &seen);
        assert_eq!((one.get(&'k'), one.stamp(&'k')), (Some(&2), Some(&3)));
        assert!(peer.join(&removed) && peer == one && !one.is_empty());
        // Nothing is left of what was seen; and of another key it says nothing.
        assert!(one.remove_seen(&'k', &seen).is_bottom() && one.remove_seen(&'x', &peer.seen(&'k')).is_bottom());
        assert!(!one.remove_seen(&'k', &peer.seen(&'k')).is_bottom() && one.is_empty());
    }
}
