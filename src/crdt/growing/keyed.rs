//! A value under each key, of those that are there.

use alloc::collections::BTreeMap;
use core::cmp::Ordering;
use core::fmt;

use super::order;
use crate::crdt::{Decompose, Lattice};

/// A map that is ordered by its join, key by key: no key, then each value of `V`. What is a set is a map to `()`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Keyed<K, V>(pub(super) BTreeMap<K, V>);

impl<K: Ord + Clone, V: Lattice + PartialOrd> Keyed<K, V> {
    pub(super) fn single(key: K, value: V) -> Self {
        Self([(key, value)].into())
    }

    fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(key, theirs)| self.0.get(key).is_some_and(|ours| ours >= theirs))
    }
}

impl<K: Ord + Clone, V: Lattice + PartialOrd> Lattice for Keyed<K, V> {
    fn bottom() -> Self {
        Self(BTreeMap::new())
    }

    fn join(&mut self, other: &Self) -> bool {
        self.0.join(&other.0)
    }

    fn is_bottom(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord + Clone, V: Lattice + PartialOrd> PartialOrd for Keyed<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        order(self.covers(other), other.covers(self))
    }
}

/// Its parts are those of its values, each under its key. A key whose value is bottom is one too.
impl<K: Ord + Clone, V: Decompose> Decompose for Keyed<K, V> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.iter().flat_map(|(key, value)| {
            let bare = value.is_bottom().then(V::bottom);
            bare.into_iter().chain(value.parts()).map(|part| Self::single(key.clone(), part))
        })
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Keyed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
