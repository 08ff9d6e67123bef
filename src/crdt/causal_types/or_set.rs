//! A set from which can be removed. Add wins.

use alloc::collections::BTreeSet;
use core::borrow::Borrow;
use core::fmt::Debug;
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use super::Seen;
use super::causal_type::{causal_type, remove};
use crate::causal::ReplicaId;
use crate::crdt::{Causal, Crdt, DotTable, Lattice, Refused};

/// A set of elements that come and go. Add wins; what was removed leaves nothing behind.
///
/// | concurrent | outcome |
/// |---|---|
/// | add, add of the same | there, once |
/// | add, remove of the same | there |
/// | add, clear | there; what the clear saw is gone |
///
/// A remove takes away the adds that its replica has seen, and no other: an element that was added again meanwhile stays.
///
/// ```
/// use tombolo::causal::ReplicaId;
/// use tombolo::crdt::{Lattice, OrSet};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let mut phone = OrSet::new();
/// let milk = phone.add(a, "milk").unwrap();
/// let mut laptop = OrSet::bottom();
/// laptop.join(&milk);
///
/// let gone = laptop.remove(&"milk");
/// let again = phone.add(a, "milk").unwrap();
/// phone.join(&gone);
/// laptop.join(&again);
/// assert!(phone.contains(&"milk"));
/// assert_eq!(phone, laptop);
/// ```
///
/// Cost: of each method, a look into a hash table, and a delta of one element; a join follows the difference, as [`DotTable`] says.
/// Source: Bieniusa et al., "An optimized conflict-free replicated set" (2012); as a dot store, Almeida, Shoker, Baquero, "Delta State
/// Replicated Data Types" (2018), section 7.4.2, `AWSet`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent, bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de> + Hash + Eq + Clone"))]
pub struct OrSet<T>(Causal<DotTable<T, ()>>);

causal_type!([T: Hash + Eq + Clone] OrSet<T>, DotTable<T, ()>);

impl<T: Hash + Eq + Clone> OrSet<T> {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds an element at replica `me`; also one that is there, which a concurrent remove then does not take away. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn add(&mut self, me: ReplicaId, element: T) -> Result<Self, Refused> {
        let Causal { store, context } = &mut self.0;
        let (dot, seen) = store.write_next(context, me, &element, ())?;
        Ok(Self(Causal { store: DotTable::single(dot, element, ()), context: seen }))
    }

    /// Removes an element, as far as it is seen. Returns the delta: bottom, if it is not there.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, element: &Q) -> Self
    where
        T: Borrow<Q>,
    {
        let context = self.0.store.remove(element);
        Self(Causal { store: DotTable::new(), context })
    }

    /// What is live of an element now, for [`remove_seen`](Self::remove_seen).
    #[must_use]
    pub fn seen<Q: Hash + Eq + ?Sized>(&self, element: &Q) -> Seen
    where
        T: Borrow<Q>,
    {
        Seen::of_dots(self.0.store.entries(element).map(|(dot, _)| dot))
    }

    /// Removes of an element what was seen there by a reader: what has come since stays. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove_seen<Q: Hash + Eq + ?Sized>(&mut self, element: &Q, seen: &Seen) -> Self
    where
        T: Borrow<Q>,
    {
        let removed = seen.among(self.0.store.entries(element).map(|(dot, _)| dot)).collect();
        Self(remove(&mut self.0, removed))
    }

    /// Removes all elements that are seen. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn clear(&mut self) -> Self {
        let seen = self.0.store.iter().map(|(dot, _, ())| dot).collect();
        Self(remove(&mut self.0, seen))
    }

    /// Whether an element is there.
    #[must_use]
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, element: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.store.contains_key(element)
    }

    /// The elements, each once, in the same order wherever the set is the same: that of their dots, which is neither of time nor of value.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        let store = &self.0.store;
        let concurrent = store.keys() < store.len();
        let is_first = move |dot, element: &T| store.entries(element).all(|(other, ())| other >= dot);
        store.iter().filter(move |(dot, element, ())| !concurrent || is_first(*dot, element)).map(|(_, element, ())| element)
    }

    /// How many elements there are. Cost: constant.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.store.keys()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.store.is_empty()
    }
}

impl<T: Hash + Eq + Clone> Default for OrSet<T> {
    fn default() -> Self {
        Self::bottom()
    }
}

/// What is done to a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetOp<T> {
    /// Adds an element.
    Add(T),
    /// Removes an element.
    Remove(T),
}

impl<T: Hash + Ord + Clone + Debug> Crdt for OrSet<T> {
    type Op = SetOp<T>;
    type Read = BTreeSet<T>;

    fn apply(&mut self, op: &SetOp<T>, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            SetOp::Add(element) => self.add(me, element.clone()),
            SetOp::Remove(element) => Ok(self.remove(element)),
        }
    }

    fn read(&self) -> BTreeSet<T> {
        self.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const A: ReplicaId = ReplicaId::from_u128(1);
    const B: ReplicaId = ReplicaId::from_u128(2);

    #[test]
    fn an_element_of_two_concurrent_adds_is_there_once_until_both_are_removed() {
        let (mut one, mut other) = (OrSet::new(), OrSet::new());
        let first = one.add(A, 'x').unwrap();
        let mut late = other.add(B, 'x').unwrap();
        one.join(&late);
        assert_eq!((one.len(), one.iter().collect::<Vec<_>>()), (1, Vec::from([&'x'])));
        let gone = other.remove(&'x');
        one.join(&gone);
        assert!(one.contains(&'x') && other.is_empty());
        late.join(&first);
        late.join(&one.remove(&'x'));
        assert!(late.contains(&'x'), "the remove knew nothing of the add that was already gone");
        late.join(&gone);
        assert!(late.is_empty() && one.is_empty());
    }

    #[test]
    fn what_came_after_the_look_outlives_the_remove() {
        let (mut one, mut other) = (OrSet::new(), OrSet::new());
        let _unsent = one.add(A, 'x').unwrap();
        let seen = one.seen(&'x');
        one.join(&other.add(B, 'x').unwrap());
        let removed = one.remove_seen(&'x', &seen);
        assert!(one.contains(&'x') && !removed.0.is_bottom());
        assert!(one.remove_seen(&'x', &seen).0.is_bottom() && one.remove_seen(&'y', &seen).0.is_bottom());
        let rest = one.seen(&'x');
        let _unsent = one.remove_seen(&'x', &rest);
        assert!(one.is_empty());
    }

    #[test]
    fn clear_leaves_what_is_concurrent() {
        let (mut one, mut other) = (OrSet::new(), OrSet::new());
        for element in 0..40 {
            let delta = one.add(A, element).unwrap();
            other.join(&delta);
        }
        assert_eq!((one.len(), one.contains(&0), one.contains(&40), one.is_empty()), (40, true, false, false));
        let again = other.add(B, 7).unwrap();
        let cleared = one.clear();
        assert!(one.is_empty());
        one.join(&again);
        other.join(&cleared);
        assert_eq!(one, other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [&7]);
        assert!(one.remove(&8).0.is_bottom());
    }
}
