//! A set whose elements come once and go once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::keyed::Keyed;
use super::{in_order, independent};
use crate::causal::ReplicaId;
use crate::codec::DecodeError;
use crate::crdt::{Crdt, Lattice, NonCausal, Refused};

/// A set whose elements can be removed, and then never come back: not by an insert after the remove, nor by one concurrent
/// with it. A remove wins, for ever.
///
/// The order is, element by element: never seen, there, removed.
///
/// For elements that are made once, such as random ids. It remembers every element that was removed, and never shrinks. Cost: an
/// insert, a remove or a lookup is the logarithm of all that it has ever held, its delta one element; a join is `other`'s elements
/// times the logarithm of ours. Source: Shapiro et al., "A comprehensive study" (2011), specification 12.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(T, bool)>", into = "Vec<(T, bool)>")]
#[serde(bound(serialize = "T: Serialize + Clone", deserialize = "T: Deserialize<'de> + Ord"))]
pub struct TwoPhaseSet<T> {
    /// Every element ever inserted, and whether it was removed.
    removed: Keyed<T, bool>,
}

independent!([T: Ord + Clone] TwoPhaseSet<T>: removed);

impl<T> NonCausal for TwoPhaseSet<T> {}

impl<T: Ord + Clone> TwoPhaseSet<T> {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { removed: Keyed(BTreeMap::new()) }
    }

    /// Inserts an element. Returns the delta: a set of it alone; bottom if it is there, or was removed and so stays away.
    #[must_use = "the delta is what other replicas need"]
    pub fn insert(&mut self, element: T) -> Self {
        if self.removed.0.contains_key(&element) {
            return Self::new();
        }
        self.put(element, false)
    }

    /// Removes an element for ever. Returns the delta: that it is gone; bottom if it is not there. An element that this replica
    /// has never seen is not there, and can be inserted later.
    #[must_use = "the delta is what other replicas need"]
    pub fn remove(&mut self, element: &T) -> Self {
        if !self.contains(element) {
            return Self::new();
        }
        self.put(element.clone(), true)
    }

    /// Whether an element is in it.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        self.removed.0.get(element).is_some_and(|removed| !removed)
    }

    /// Whether an element was removed, and so can never be inserted.
    #[must_use]
    pub fn is_removed(&self, element: &T) -> bool {
        self.removed.0.get(element).is_some_and(|removed| *removed)
    }

    /// Its elements, in order. Passes over the removed ones.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.removed.0.iter().filter(|(_, removed)| !**removed).map(|(element, _)| element)
    }

    fn put(&mut self, element: T, removed: bool) -> Self {
        let delta = Self { removed: Keyed::single(element, removed) };
        self.join(&delta);
        delta
    }
}

/// What can be done to a [`TwoPhaseSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwoPhaseSetOp<T> {
    /// [`TwoPhaseSet::insert`].
    Insert(T),
    /// [`TwoPhaseSet::remove`].
    Remove(T),
}

impl<T: Ord + Clone + Debug> Crdt for TwoPhaseSet<T> {
    type Op = TwoPhaseSetOp<T>;
    type Read = BTreeSet<T>;

    fn apply(&mut self, op: &TwoPhaseSetOp<T>, _me: ReplicaId) -> Result<Self, Refused> {
        Ok(match op {
            TwoPhaseSetOp::Insert(element) => self.insert(element.clone()),
            TwoPhaseSetOp::Remove(element) => self.remove(element),
        })
    }

    fn read(&self) -> BTreeSet<T> {
        self.iter().cloned().collect()
    }
}

impl<T: Ord> TryFrom<Vec<(T, bool)>> for TwoPhaseSet<T> {
    type Error = DecodeError;

    fn try_from(elements: Vec<(T, bool)>) -> Result<Self, DecodeError> {
        in_order(&elements, |(low, _), (high, _)| low < high)?;
        Ok(Self { removed: Keyed(elements.into_iter().collect()) })
    }
}

impl<T> From<TwoPhaseSet<T>> for Vec<(T, bool)> {
    fn from(set: TwoPhaseSet<T>) -> Self {
        set.removed.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::TwoPhaseSetOp::{Insert, Remove};
    use super::*;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        let ops = [Insert(0), Remove(0), Insert(1), Remove(1), Insert(2), Remove(2)];
        assert_type::<TwoPhaseSet<u8>>(&reachable(&ops, 40), &ops);
    }

    #[test]
    fn a_removed_element_never_comes_back() {
        let mut set = TwoPhaseSet::new();
        let insert = set.insert('a');
        assert!(set.contains(&'a') && !set.is_removed(&'a'));
        let remove = set.remove(&'a');
        assert!(set.insert('a').is_bottom() && set.remove(&'a').is_bottom());
        assert!(!set.contains(&'a') && set.is_removed(&'a') && set.iter().next().is_none());
        // In any order of arrival, and against a concurrent insert.
        let mut other = TwoPhaseSet::new();
        assert!(other.join(&remove));
        assert!(!other.join(&insert));
        assert_eq!(other, set);
    }

    #[test]
    fn what_was_never_seen_can_be_inserted_after_a_remove_of_it() {
        let mut set = TwoPhaseSet::new();
        assert!(set.remove(&'a').is_bottom());
        let _unsent = set.insert('a');
        assert!(set.contains(&'a'));
    }

    #[test]
    fn elements_out_of_order_and_twice_are_refused() {
        assert_unreadable::<TwoPhaseSet<u8>>(&[(2_u8, false), (1, false)]);
        assert_unreadable::<TwoPhaseSet<u8>>(&[(1_u8, false), (1, true)]);
    }
}
