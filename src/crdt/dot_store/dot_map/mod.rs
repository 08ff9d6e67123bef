//! Dot stores by key.

mod index;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt::{self, Debug};
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use self::index::Index;
use super::DotStore;
use crate::causal::{CausalContext, Dot};
use crate::codec::DecodeError;

/// A dot store for each of some keys, all under one context. For sets (of elements) and maps (of anything, nested).
///
/// Join: key by key; a key of which nothing is left is gone. Source: see [`DotStore`]; the paper's `DotMap`.
///
/// Cost: linear in both, unless they have seen nothing of what we have, as with a delta that only adds, or few dots, as with one
/// that removes: then in `other` and in what they have seen, times the logarithm of ours. The first such removal of a map of many keys
/// makes an index, of a dot and a key for each dot; it is kept while it is of use, is no part of the value, and is not cloned.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "Vec<(K, S)>", into = "Vec<(K, S)>")]
#[serde(bound(
    serialize = "K: Serialize + Clone, S: Serialize + Clone",
    deserialize = "K: Deserialize<'de> + Ord, S: Deserialize<'de> + DotStore"
))]
pub struct DotMap<K, S> {
    /// Invariant: no store is empty, so equal maps compare equal.
    stores: BTreeMap<K, S>,
    /// Invariant: if there is one, it has every dot.
    index: Option<Box<Index<K>>>,
}

impl<K, S> DotMap<K, S> {
    /// No key.
    #[must_use]
    pub const fn new() -> Self {
        Self { stores: BTreeMap::new(), index: None }
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
        self.index = None;
        if store.is_empty() { self.stores.remove(&key) } else { self.stores.insert(key, store) }
    }

    /// Removes the store at a key and returns it.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<S>
    where
        K: Borrow<Q>,
    {
        self.stores.remove(key)
    }

    /// Takes dots away from the store at a key, if there is one. One that is empty afterwards is removed.
    pub(crate) fn shrink<Q: Ord + ?Sized, R>(&mut self, key: &Q, change: impl FnOnce(&mut S) -> R) -> Option<R>
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
        self.put(&key, store);
        result
    }

    /// Puts a store at a key that has none. Cost: of a map that has an index, a lookup for each of its dots.
    pub(crate) fn put(&mut self, key: &K, store: S)
    where
        K: Clone,
    {
        if !store.is_empty() {
            self.index.take_if(|index| !index.add(store.dots(), key));
            self.stores.insert(key.clone(), store);
        }
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
            changed = if index::is_worth_it(self.stores.len(), theirs) {
                self.remove_found(ours, other, theirs)
            } else {
                self.remove_scanning(ours, other, theirs)
            };
        }
        changed | self.join_keys(ours, other, theirs)
    }
}

/// The two halves of the join: at the keys that only we have, where they may have removed something; and at theirs.
impl<K: Ord + Clone, S: DotStore> DotMap<K, S> {
    fn remove_scanning(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        let mut changed = false;
        let nothing = S::default();
        let mut others = other.stores.iter().peekable();
        self.stores.retain(|key, store| {
            while others.next_if(|(other, _)| *other < key).is_some() {}
            if others.peek().is_none_or(|(other, _)| *other != key) {
                changed |= store.join(ours, &nothing, theirs);
            }
            !store.is_empty()
        });
        changed
    }

    fn remove_found(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        let entries = self.stores.iter().flat_map(|(key, store)| store.dots().map(move |dot| (dot, key.clone())));
        let keys = self.index.get_or_insert_with(|| Box::new(Index::new(entries))).find(theirs);
        let nothing = S::default();
        let mut changed = false;
        for key in keys.iter().filter(|key| !other.stores.contains_key(*key)) {
            changed |= self.shrink(key, |store| store.join(ours, &nothing, theirs)).unwrap_or(false);
        }
        changed
    }

    fn join_keys(&mut self, ours: &CausalContext, other: &Self, theirs: &CausalContext) -> bool {
        let mut changed = false;
        for (key, other) in &other.stores {
            self.index.take_if(|index| !index.add(other.dots(), key));
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

impl<K: Clone, S: Clone> Clone for DotMap<K, S> {
    fn clone(&self) -> Self {
        Self { stores: self.stores.clone(), index: None }
    }
}

impl<K: PartialEq, S: PartialEq> PartialEq for DotMap<K, S> {
    fn eq(&self, other: &Self) -> bool {
        self.stores == other.stores
    }
}

impl<K: Eq, S: Eq> Eq for DotMap<K, S> {}

impl<K: Hash, S: Hash> Hash for DotMap<K, S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stores.hash(state);
    }
}

impl<K: Debug, S: Debug> Debug for DotMap<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DotMap").field("stores", &self.stores).finish()
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
        Ok(Self { stores: stores.into_iter().collect(), index: None })
    }
}

impl<K, S> From<DotMap<K, S>> for Vec<(K, S)> {
    fn from(map: DotMap<K, S>) -> Self {
        map.stores.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crate::causal::ReplicaId;
    use crate::crdt::{CausalType, Crdt, Lattice, MvRegister, OrMap, OrMapOp};
    use crate::laws::Rng;

    type Map = OrMap<u64, OrMap<u64, MvRegister<u64>>>;

    fn op(rng: &mut Rng) -> OrMapOp<u64, OrMapOp<u64, Option<u64>>> {
        let (key, below) = (rng.below(6), rng.below(3));
        match rng.below(6) {
            0 => OrMapOp::Remove(key),
            1 => OrMapOp::Update(key, OrMapOp::Remove(below)),
            _ => OrMapOp::Update(key, OrMapOp::Update(below, Some(0))),
        }
    }

    /// Replicas keep their indexes over long histories, in which deltas come late, joined with others, and not at all.
    #[test]
    fn what_the_index_finds_is_what_a_look_at_every_key_finds() {
        let (mut found, mut with_index) = (0, 0);
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut replicas = [Map::new(), Map::new(), Map::new()];
            let mut sent: Vec<Map> = Vec::new();
            for _ in 0..120 {
                let at = rng.index(3);
                if rng.chance(50) {
                    let me = ReplicaId::from_u128(at as u128);
                    sent.push(replicas[at].apply(&op(&mut rng), me).unwrap());
                    continue;
                }
                let Some(mut delta) = rng.pick(&sent).cloned() else { continue };
                if rng.chance(20) {
                    delta.join(rng.pick(&sent).unwrap());
                }
                let (ours, theirs) = (replicas[at].as_causal(), delta.as_causal());
                let mut expected = ours.store.clone();
                let mut changed = expected.remove_scanning(&ours.context, &theirs.store, &theirs.context);
                changed |= expected.join_keys(&ours.context, &theirs.store, &theirs.context);
                with_index += u64::from(ours.store.index.is_some());
                let is_new = changed || !ours.context.covers(&theirs.context);
                assert_eq!(replicas[at].join(&delta), is_new, "seed {seed}");
                assert_eq!(replicas[at].as_causal().store, expected, "seed {seed}");
                found += u64::from(changed);
            }
        }
        assert!(found > 1_000 && with_index > 1_000, "{found} joins that changed something, {with_index} with an index");
    }

    #[test]
    fn an_index_of_what_is_gone_is_dropped() {
        let (me, you) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
        let mut map: OrMap<u64, MvRegister<u64>> = OrMap::new();
        let mut other = map.clone();
        for key in 0..100 {
            other.join(&map.update(key, |register| register.set(me, 0)).unwrap());
        }
        let is_small = |map: &OrMap<u64, _>| map.as_causal().store.index.as_ref().is_none_or(|index| index.len() <= 200);
        other.join(&map.remove(&7));
        assert!(other.as_causal().store.index.is_some(), "one dot is looked up");
        map.join(&other.update(2, |register| register.set(you, 0)).unwrap());
        assert!(other.as_causal().store.index.is_some(), "one dot more, and it is of use as before");
        for value in 0..300 {
            map.join(&other.update(2, |register| register.set(you, value)).unwrap());
            assert!(is_small(&other) && is_small(&map));
        }
        for value in 0..300 {
            other.join(&map.update(1, |register| register.set(me, value)).unwrap());
            assert!(is_small(&other) && is_small(&map));
        }
        assert_eq!(other, map);
    }
}
