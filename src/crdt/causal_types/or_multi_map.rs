//! A map of several values for each key.

use alloc::collections::{BTreeMap, BTreeSet};
use core::borrow::Borrow;
use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::Seen;
use super::causal_type::causal_type;
use crate::causal::{CausalContext, ReplicaId};
use crate::crdt::{Causal, Crdt, DotMap, DotSet, DotStore, Lattice, Refused};

/// A set of pairs, found by their keys: tags of a document, members of a group. An insert wins over a remove that has not seen it.
///
/// | concurrent, of one pair | outcome |
/// |---|---|
/// | insert, insert | there, once |
/// | insert, remove | there |
/// | insert, remove of the whole key | there, without the values that the remove saw |
/// | remove, remove | gone |
///
/// Pairs do not disturb each other. A key is there as long as it has a value.
///
/// ```
/// use tombolo::ReplicaId;
/// use tombolo::crdt::{Lattice, OrMultiMap};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let mut here: OrMultiMap<&str, &str> = OrMultiMap::new();
/// let mut there = here.insert(a, "crew", "anna").unwrap();
/// let removed = here.remove_all("crew");
/// let inserted = there.insert(b, "crew", "bert").unwrap();
/// here.join(&inserted);
/// there.join(&removed);
/// assert_eq!(here.get("crew").collect::<Vec<_>>(), [&"bert"]);
/// assert_eq!(here, there);
/// ```
///
/// Cost: a dot for each pair, of which an insert replaces those that it sees. An insert or a remove costs two lookups; a remove of a
/// key is linear in its values. To join: see [`DotMap`].
///
/// Source: the set `AWSet` of Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7.4.2, of pairs, one level
/// for each half as in their `ORMap`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(
        serialize = "K: Serialize + Clone, V: Serialize + Clone",
        deserialize = "K: Deserialize<'de> + Ord + Clone, V: Deserialize<'de> + Ord + Clone"
    )
)]
pub struct OrMultiMap<K, V>(Causal<DotMap<K, DotMap<V, DotSet>>>);

causal_type!([K: Ord + Clone, V: Ord + Clone] OrMultiMap<K, V>, DotMap<K, DotMap<V, DotSet>>);

impl<K: Ord + Clone, V: Ord + Clone> OrMultiMap<K, V> {
    /// No pair.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Inserts a pair at replica `me`, also if it is there: a remove that has not seen this insert does not remove it. Returns the
    /// delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn insert(&mut self, me: ReplicaId, key: K, value: V) -> Result<Self, Refused> {
        let dot = self.0.context.next(me).ok_or(Refused::Exhausted)?;
        let (values, dots) = (DotMap::from_iter([(value.clone(), DotSet::from_iter([dot]))]), DotSet::from_iter([dot]));
        let store = DotMap::from_iter([(key.clone(), values)]);
        // As the join of the delta would do it, which would have to find the key.
        let replaced = self.0.store.update(key, |values| values.insert(value, dots)).unwrap_or_default();
        self.0.context.insert(dot);
        Ok(Self(Causal::new(store, replaced.iter().collect())))
    }

    /// Removes a pair, as far as it is seen. Returns the delta: its dots; bottom if it is not there.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove<Q: Ord + ?Sized, R: Ord + ?Sized>(&mut self, key: &Q, value: &R) -> Self
    where
        K: Borrow<Q>,
        V: Borrow<R>,
    {
        let removed = self.0.store.shrink(key, |values| values.remove(value)).flatten();
        Self::removal(removed.iter().flat_map(DotSet::iter).collect())
    }

    /// Removes all pairs of a key that are seen. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove_all<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let removed = self.0.store.remove(key);
        Self::removal(removed.iter().flat_map(DotStore::dots).collect())
    }

    /// What is live of a key now, for [`remove_seen`](Self::remove_seen).
    #[must_use]
    pub fn seen<Q: Ord + ?Sized>(&self, key: &Q) -> Seen
    where
        K: Borrow<Q>,
    {
        self.0.store.get(key).map(Seen::of).unwrap_or_default()
    }

    /// Removes of a key the pairs that were seen there by a reader: what has come since stays, also a pair that was inserted again.
    /// Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove_seen<Q: Ord + ?Sized>(&mut self, key: &Q, seen: &Seen) -> Self
    where
        K: Borrow<Q>,
    {
        let removed = self.0.store.shrink(key, |values| seen.take_from(values));
        Self::removal(removed.unwrap_or_default())
    }

    /// Removes all pairs that are seen. Returns the delta. Cost: linear.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn clear(&mut self) -> Self {
        Self::removal(core::mem::take(&mut self.0.store).dots().collect())
    }

    /// The values of a key, ascending.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> impl DoubleEndedIterator<Item = &V> + '_
    where
        K: Borrow<Q>,
    {
        self.0.store.get(key).into_iter().flat_map(|values| values.iter().map(|(value, _dots)| value))
    }

    /// Whether a pair is there.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized, R: Ord + ?Sized>(&self, key: &Q, value: &R) -> bool
    where
        K: Borrow<Q>,
        V: Borrow<R>,
    {
        self.0.store.get(key).is_some_and(|values| values.get(value).is_some())
    }

    /// Its keys, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + '_ {
        self.0.store.iter().map(|(key, _values)| key)
    }

    /// Its pairs, ascending by key and then by value.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + '_ {
        self.0.store.iter().flat_map(|(key, values)| values.iter().map(move |(value, _dots)| (key, value)))
    }

    /// Whether it has no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.store.is_empty()
    }

    /// The delta of a remove of dots.
    fn removal(context: CausalContext) -> Self {
        Self(Causal { store: DotMap::new(), context })
    }
}

impl<K: Ord + Clone, V: Ord + Clone> Default for OrMultiMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// What can be done to an [`OrMultiMap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrMultiMapOp<K, V> {
    /// [`OrMultiMap::insert`].
    Insert(K, V),
    /// [`OrMultiMap::remove`].
    Remove(K, V),
    /// [`OrMultiMap::remove_all`].
    RemoveAll(K),
}

/// Reads every key with its values.
impl<K: Ord + Clone + Debug, V: Ord + Clone + Debug> Crdt for OrMultiMap<K, V> {
    type Op = OrMultiMapOp<K, V>;
    type Read = BTreeMap<K, BTreeSet<V>>;

    fn apply(&mut self, op: &Self::Op, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            OrMultiMapOp::Insert(key, value) => self.insert(me, key.clone(), value.clone()),
            OrMultiMapOp::Remove(key, value) => Ok(self.remove(key, value)),
            OrMultiMapOp::RemoveAll(key) => Ok(self.remove_all(key)),
        }
    }

    fn read(&self) -> Self::Read {
        self.keys().map(|key| (key.clone(), self.get(key).cloned().collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const A: ReplicaId = ReplicaId::from_u128(1);
    const B: ReplicaId = ReplicaId::from_u128(2);

    #[test]
    fn pairs_are_found_and_listed_by_key_and_then_by_value() {
        let mut map = OrMultiMap::new();
        assert!(map.is_empty() && map.iter().next().is_none());
        for (key, value) in [(2, 'b'), (1, 'z'), (2, 'a'), (1, 'z')] {
            let _unsent = map.insert(A, key, value).unwrap();
        }
        assert!(!map.is_empty() && map.contains(&1, &'z') && map.contains(&2, &'a'));
        assert!(!map.contains(&1, &'a') && !map.contains(&3, &'z'));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&1, &'z'), (&2, &'a'), (&2, &'b')]);
        assert_eq!(map.iter().next_back(), Some((&2, &'b')));
    }

    #[test]
    fn a_clear_takes_every_pair_that_it_saw_and_leaves_a_concurrent_one() {
        let mut one = OrMultiMap::new();
        for (key, value) in [(1, 'a'), (1, 'b'), (2, 'a')] {
            let _unsent = one.insert(A, key, value).unwrap();
        }
        let mut other = one.clone();
        let again = other.insert(B, 1, 'a').unwrap();
        let cleared = one.clear();
        assert!(one.is_empty());
        assert!(other.join(&cleared) && one.join(&again));
        assert_eq!(one, other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [(&1, &'a')]);
    }

    #[test]
    fn a_remove_of_what_is_not_there_says_nothing() {
        let mut map = OrMultiMap::new();
        let _unsent = map.insert(A, 1, 'a').unwrap();
        assert!(map.remove(&1, &'b').is_bottom() && map.remove(&2, &'a').is_bottom() && map.remove_all(&2).is_bottom());
        assert!(!map.remove(&1, &'a').is_bottom() && map.is_empty() && map.clear().is_bottom());
    }

    #[test]
    fn pairs_that_came_after_the_look_outlive_the_remove() {
        let (mut one, mut other) = (OrMultiMap::new(), OrMultiMap::new());
        for value in ['x', 'y'] {
            other.join(&one.insert(A, 'k', value).unwrap());
        }
        let seen = one.seen(&'k');
        let (again, new) = (other.insert(B, 'k', 'x').unwrap(), other.insert(B, 'k', 'z').unwrap());
        one.join(&again);
        one.join(&new);
        let removed = one.remove_seen(&'k', &seen);
        assert_eq!(one.get(&'k').collect::<Vec<_>>(), [&'x', &'z'], "x was inserted again, z is new, y was seen");
        other.join(&removed);
        assert_eq!(one, other);
        assert!(one.remove_seen(&'k', &seen).is_bottom() && one.remove_seen(&'l', &seen).is_bottom());
        let rest = one.seen(&'k');
        let _unsent = one.remove_seen(&'k', &rest);
        assert!(one.is_empty());
    }
}
