//! Dot stores by key.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::borrow::Borrow;

use serde::{Deserialize, Serialize};

use super::DotStore;
use crate::causal::{CausalContext, Dot};
use crate::codec::DecodeError;

/// A dot store for each of some keys, all under one context. For sets (of elements) and maps (of anything, nested).
///
/// Join: key by key; a key of which nothing is left is gone. Source: see [`DotStore`]; the paper's `DotMap`.
///
/// Cost: linear in both, unless they have seen nothing of what we have, as with a delta that only adds: then in `other`
/// times the logarithm of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(K, S)>", into = "Vec<(K, S)>")]
#[serde(bound(
    serialize = "K: Serialize + Clone, S: Serialize + Clone",
    deserialize = "K: Deserialize<'de> + Ord, S: Deserialize<'de> + DotStore"
))]
pub struct DotMap<K, S> {
    /// Invariant: no store is empty, so equal maps compare equal.
    stores: BTreeMap<K, S>,
}

impl<K, S> DotMap<K, S> {
    /// No key.
    #[must_use]
    pub const fn new() -> Self {
        Self { stores: BTreeMap::new() }
    }

    /// Its keys and their stores, ascending by key; none is empty.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &S)> + ExactSizeIterator + '_ {
        self.stores.iter()
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stores.len()
    }

    /// Whether it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }
}

impl<K: Ord, S: DotStore> DotMap<K, S> {
    /// The store at a key. A key without one has no dots.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&S>
    where
        K: Borrow<Q>,
    {
        self.stores.get(key)
    }

    /// Puts a store at a key, an empty one to remove it. Returns what was there.
    pub fn insert(&mut self, key: K, store: S) -> Option<S> {
        if store.is_empty() { self.stores.remove(&key) } else { self.stores.insert(key, store) }
    }

    /// Removes the store at a key and returns it.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<S>
    where
        K: Borrow<Q>,
    {
        self.stores.remove(key)
    }

    /// Changes the store at a key, if there is one. One that is empty afterwards is removed.
    pub(crate) fn change<Q: Ord + ?Sized, R>(&mut self, key: &Q, change: impl FnOnce(&mut S) -> R) -> Option<R>
    where
        K: Borrow<Q>,
    {
        let store = self.stores.get_mut(key)?;
        let result = change(store);
        if store.is_empty() {
            self.stores.remove(key);
        }
        Some(result)
    }

    /// Changes the store at a key: an empty one if there is none. One that is empty afterwards is removed.
    pub fn update<R>(&mut self, key: K, change: impl FnOnce(&mut S) -> R) -> R
    where
        K: Clone,
    {
        let mut store = self.stores.remove(&key).unwrap_or_default();
        let result = change(&mut store);
        self.insert(key, store);
        result
    }
}

impl<K: Ord + Clone, S: DotStore> DotStore for DotMap<K, S> {
    fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.stores.values().flat_map(S::dots)
    }

    fn restrict(&self, keep: &impl Fn(Dot) -> bool) -> Self {
        self.stores.iter().map(|(key, store)| (key.clone(), store.restrict(keep))).collect()
    }

    fn join(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        let mut changed = false;
        // Who has seen nothing has removed nothing: the keys that only we have stay as they are.
        if !theirs.is_empty() {
            let nothing = S::default();
            let mut others = other.stores.iter().peekable();
            self.stores.retain(|key, store| {
                while others.next_if(|(other, _)| *other < key).is_some() {}
                if others.peek().is_none_or(|(other, _)| *other != key) {
                    changed |= store.join(ours, &nothing, theirs);
                }
                !store.is_empty()
            });
        }
        for (key, other) in &other.stores {
            if let Some(store) = self.stores.get_mut(key) {
                changed |= store.join(ours, other, theirs);
                if store.is_empty() {
                    self.stores.remove(key);
                }
            } else {
                let mut store = S::default();
                if store.join(ours, other, theirs) {
                    self.stores.insert(key.clone(), store);
                    changed = true;
                }
            }
        }
        changed
    }
}

impl<K, S> Default for DotMap<K, S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Of a key that comes twice, the last store counts.
impl<K: Ord, S: DotStore> FromIterator<(K, S)> for DotMap<K, S> {
    fn from_iter<I: IntoIterator<Item = (K, S)>>(stores: I) -> Self {
        let mut map = Self::new();
        for (key, store) in stores {
            map.insert(key, store);
        }
        map
    }
}

impl<K: Ord, S: DotStore> TryFrom<Vec<(K, S)>> for DotMap<K, S> {
    type Error = DecodeError;

    fn try_from(stores: Vec<(K, S)>) -> Result<Self, DecodeError> {
        if !stores.is_sorted_by(|(low, _), (high, _)| low < high) {
            return Err(DecodeError::new(0, "keys of a map are not in order"));
        }
        if stores.iter().any(|(_, store)| store.is_empty()) {
            return Err(DecodeError::new(0, "a key of a map without dots"));
        }
        Ok(Self { stores: stores.into_iter().collect() })
    }
}

impl<K, S> From<DotMap<K, S>> for Vec<(K, S)> {
    fn from(map: DotMap<K, S>) -> Self {
        map.stores.into_iter().collect()
    }
}
