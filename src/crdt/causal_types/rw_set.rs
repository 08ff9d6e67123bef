//! A set from which can be removed. Remove wins.

use alloc::collections::BTreeSet;
use core::borrow::Borrow;
use core::fmt::Debug;
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use super::causal_type::causal_type;
use super::or_set::SetOp;
use crate::causal::ReplicaId;
use crate::crdt::{Causal, Crdt, DotTable, Lattice, Refused};

/// A set of elements that come and go. Remove wins.
///
/// | concurrent | outcome |
/// |---|---|
/// | add, add of the same | there, once |
/// | add, remove of the same | not there, until somebody who has seen the remove adds it |
///
/// For what must not come back by mistake: who was banned, what was revoked. A remove is an entry that stays, until an add that has seen
/// it takes its place: the set grows with what was removed, unlike [`OrSet`](super::OrSet).
///
/// ```
/// use tombolo::causal::ReplicaId;
/// use tombolo::crdt::{Lattice, RwSet};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let (mut one, mut other) = (RwSet::new(), RwSet::new());
/// let added = one.add(a, "mallory").unwrap();
/// let banned = other.remove(b, "mallory").unwrap();
/// one.join(&banned);
/// other.join(&added);
/// assert!(!one.contains(&"mallory"));
/// assert_eq!(one, other);
/// ```
///
/// Cost: of each method, a look into a hash table, and a delta of one element; a join follows the difference, as [`DotTable`] says.
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7.4.2, `RWSet`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent, bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de> + Hash + Eq + Clone"))]
pub struct RwSet<T>(Causal<DotTable<T, bool>>);

causal_type!([T: Hash + Eq + Clone] RwSet<T>, DotTable<T, bool>);

impl<T: Hash + Eq + Clone> RwSet<T> {
    /// The empty set, of which nothing was removed.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds an element at replica `me`, over every remove of it that is seen. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn add(&mut self, me: ReplicaId, element: T) -> Result<Self, Refused> {
        self.set(me, element, true)
    }

    /// Removes an element at replica `me`, from all concurrent adds too; also one that is not there. Returns the delta.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn remove(&mut self, me: ReplicaId, element: T) -> Result<Self, Refused> {
        self.set(me, element, false)
    }

    fn set(&mut self, me: ReplicaId, element: T, is_there: bool) -> Result<Self, Refused> {
        let Causal { store, context } = &mut self.0;
        let (dot, seen) = store.write_next(context, me, &element, is_there)?;
        Ok(Self(Causal { store: DotTable::single(dot, element, is_there), context: seen }))
    }

    /// Whether an element is there: somebody added it, and nobody removed it who had not been heard of.
    #[must_use]
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, element: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        let mut entries = self.0.store.entries(element).map(|(_, is_there)| *is_there);
        entries.next().is_some_and(|first| first && entries.all(|is_there| is_there))
    }

    /// The elements that are there, each once, in the same order wherever the set is the same. Cost: linear, in what was removed too.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        let store = &self.0.store;
        let concurrent = store.keys() < store.len();
        let counts = move |dot, element: &T| store.entries(element).all(|(other, is_there)| *is_there && other >= dot);
        let is_shown = move |dot, element: &T, is_there: bool| is_there && (!concurrent || counts(dot, element));
        store.iter().filter(move |(dot, element, is_there)| is_shown(*dot, element, **is_there)).map(|(_, element, _)| element)
    }

    /// How many elements are there. Cost: linear, in what was removed too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether none is there. Cost: linear in what was removed, if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<T: Hash + Eq + Clone> Default for RwSet<T> {
    fn default() -> Self {
        Self::bottom()
    }
}

impl<T: Hash + Ord + Clone + Debug> Crdt for RwSet<T> {
    type Op = SetOp<T>;
    type Read = BTreeSet<T>;

    fn apply(&mut self, op: &SetOp<T>, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            SetOp::Add(element) => self.add(me, element.clone()),
            SetOp::Remove(element) => self.remove(me, element.clone()),
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
    fn a_remove_wins_until_somebody_who_has_seen_it_adds() {
        let (mut one, mut other) = (RwSet::new(), RwSet::new());
        let added = one.add(A, 'x').unwrap();
        let removed = other.remove(B, 'x').unwrap();
        one.join(&removed);
        assert!(!one.contains(&'x') && one.is_empty() && one.iter().next().is_none());
        let again = one.add(A, 'x').unwrap();
        other.join(&added);
        assert!(!other.contains(&'x'));
        other.join(&again);
        assert_eq!(one, other);
        assert_eq!((other.len(), other.iter().collect::<Vec<_>>()), (1, Vec::from([&'x'])));
    }

    #[test]
    fn an_element_of_two_concurrent_adds_is_there_once() {
        let (mut one, mut other) = (RwSet::new(), RwSet::new());
        let _unsent = one.add(A, 'x').unwrap();
        one.join(&other.add(B, 'x').unwrap());
        one.join(&other.remove(B, 'y').unwrap());
        assert_eq!((one.len(), one.contains(&'x'), one.contains(&'y'), one.is_empty()), (1, true, false, false));
        let _unsent = one.add(A, 'z').unwrap();
        assert_eq!((one.len(), one.iter().count()), (2, 2));
    }
}
