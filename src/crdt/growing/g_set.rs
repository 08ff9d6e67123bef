//! A set that only grows.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::keyed::Keyed;
use super::{in_order, independent};
use crate::causal::ReplicaId;
use crate::codec::DecodeError;
use crate::crdt::{Crdt, Lattice, NonCausal, Refused};

/// A set of which nothing is ever removed. Concurrent inserts all count, and of equal ones there is one.
///
/// The order is inclusion. Cost: an insert or a lookup is the logarithm of its size, its delta one element; a join is `other`'s
/// elements times the logarithm of ours. Source: Shapiro et al., "A comprehensive study" (2011), specification 11.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", into = "Vec<T>")]
#[serde(bound(serialize = "T: Serialize + Clone", deserialize = "T: Deserialize<'de> + Ord"))]
pub struct GSet<T> {
    elements: Keyed<T, ()>,
}

independent!([T: Ord + Clone] GSet<T>: elements);

impl<T> NonCausal for GSet<T> {}

impl<T: Ord + Clone> GSet<T> {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { elements: Keyed(BTreeMap::new()) }
    }

    /// Inserts an element. Returns the delta: a set of it alone; bottom if it was there.
    #[must_use = "the delta is what other replicas need"]
    pub fn insert(&mut self, element: T) -> Self {
        if self.contains(&element) {
            return Self::new();
        }
        let delta = Self { elements: Keyed::single(element, ()) };
        self.join(&delta);
        delta
    }

    /// Whether an element is in it.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        self.elements.0.contains_key(element)
    }

    /// Its elements, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> + '_ {
        self.elements.0.keys()
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.0.is_empty()
    }
}

/// An operation is an element to insert.
impl<T: Ord + Clone + Debug> Crdt for GSet<T> {
    type Op = T;
    type Read = BTreeSet<T>;

    fn apply(&mut self, element: &T, _me: ReplicaId) -> Result<Self, Refused> {
        Ok(self.insert(element.clone()))
    }

    fn read(&self) -> BTreeSet<T> {
        self.iter().cloned().collect()
    }
}

impl<T: Ord> TryFrom<Vec<T>> for GSet<T> {
    type Error = DecodeError;

    fn try_from(elements: Vec<T>) -> Result<Self, DecodeError> {
        in_order(&elements, |low, high| low < high)?;
        Ok(Self { elements: Keyed(elements.into_iter().map(|element| (element, ())).collect()) })
    }
}

impl<T> From<GSet<T>> for Vec<T> {
    fn from(set: GSet<T>) -> Self {
        set.elements.0.into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<GSet<u8>>(&reachable(&[0, 1, 2, 3], 40), &[0, 1, 2, 3, 4]);
    }

    #[test]
    fn concurrent_inserts_all_count() {
        let (mut one, mut other) = (GSet::new(), GSet::new());
        let _unsent = other.insert('a');
        let deltas = [one.insert('b'), one.insert('a'), one.insert('b')];
        assert!(deltas[2].is_empty() && !deltas[0].is_empty());
        assert!(other.join(&deltas[0]) && !other.join(&deltas[1]));
        assert_eq!(other, one);
        assert!(other.iter().eq(&['a', 'b']) && other.contains(&'a') && other.len() == 2);
    }

    #[test]
    fn elements_out_of_order_and_twice_are_refused() {
        assert_unreadable::<GSet<u8>>(&[2_u8, 1]);
        assert_unreadable::<GSet<u8>>(&[1_u8, 1]);
    }
}
