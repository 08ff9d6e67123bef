//! A map of anything that removes.

use alloc::collections::BTreeMap;
use core::borrow::Borrow;
use core::fmt::Debug;
use core::mem;

use serde::{Deserialize, Serialize};

use super::causal_type::causal_type;
use super::{CausalType, Seen};
use crate::causal::{CausalContext, ReplicaId};
use crate::crdt::{Causal, Crdt, DotMap, DotStore, Lattice, Refused};

/// A map of values that remove: of registers, flags, counters, sets, or of maps, to any depth. A remove of a key resets it: it
/// removes what it has seen below the key, and nothing else.
///
/// | concurrent | outcome |
/// |---|---|
/// | update, update | both, as `V` joins them |
/// | update, remove | what the update wrote, without what the remove saw |
/// | remove, remove | what either saw is gone |
///
/// A key is there as long as anything below it is live. So an update that writes nothing makes no key (a register that is cleared, a 0
/// that is added), and a key of which all is removed below is gone. A counter of 1 and -1 is there, and reads 0.
///
/// ```
/// use tombolo::ReplicaId;
/// use tombolo::crdt::{Lattice, MvRegister, OrMap};
///
/// let (a, b) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
/// let mut here: OrMap<&str, OrMap<&str, MvRegister<&str>>> = OrMap::new();
/// let mut there = here.update("anna", |anna| anna.update("city", |city| city.set(a, "Rome"))).unwrap();
///
/// let removed = here.remove("anna");
/// let moved = there.update("anna", |anna| anna.update("phone", |phone| phone.set(b, "7"))).unwrap();
/// here.join(&moved);
/// there.join(&removed);
/// let anna = here.get("anna").unwrap();
/// assert_eq!(anna.keys().collect::<Vec<_>>(), [&"phone"]);
/// assert_eq!(here, there);
/// ```
///
/// Cost: an update or a remove costs a lookup, and what it costs at the value; the other keys are not touched. To join: see
/// [`DotMap`].
///
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7.4.4, `ORMap`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(
        serialize = "K: Serialize + Clone, V::Store: Serialize",
        deserialize = "K: Deserialize<'de> + Ord + Clone, V::Store: Deserialize<'de>"
    )
)]
pub struct OrMap<K, V: CausalType>(Causal<DotMap<K, V::Store>>);

causal_type!([K: Ord + Clone, V: CausalType] OrMap<K, V>, DotMap<K, V::Store>);

impl<K: Ord + Clone, V: CausalType> OrMap<K, V> {
    /// No key.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Changes the value at a key, which is bottom if there is none. `change` calls a method of the value, and returns its delta.
    /// Returns the delta of the map: that delta at the key. Of several changes, return the join of their deltas.
    ///
    /// The value has the context of the whole map while it is out, so its new events have numbers that no other key uses. It is to be
    /// changed by its own methods, and not replaced by another: with the context its numbers would be lost, and used again. What
    /// `change` does to the value stays, whatever it returns, also if it fails or panics. What it does and does not return is in no
    /// delta: others get it with a later state, or never.
    ///
    /// # Errors
    /// What `change` returns. The map has not changed, unless `change` had changed the value before it failed.
    ///
    /// # Panics
    /// If `change` does. With debug assertions, also if it returns events that the value does not have, or takes some away from it.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V) -> Result<V, Refused>) -> Result<Self, Refused> {
        let known = if cfg!(debug_assertions) { self.0.context.clone() } else { CausalContext::new() };
        let mut lent = Lent::of(&mut self.0, &key);
        let delta = change(&mut lent.value)?.into_causal();
        let context = lent.value.as_causal().context();
        debug_assert!(context.covers(&delta.context), "the value does not have the delta that was returned for it");
        debug_assert!(context.covers(&known), "the value was replaced by one that has seen less");
        drop(lent);
        Ok(Self(Causal { store: DotMap::from_iter([(key, delta.store)]), context: delta.context }))
    }

    /// Removes all that is seen at a key. Returns the delta: the dots of that; bottom if the key is not there.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        // As the join of the delta would do it, which would have to find the key.
        let removed = self.0.store.remove(key);
        Self::removal(removed.iter().flat_map(DotStore::dots).collect())
    }

    /// Removes of a key what was seen there by a reader: what has come since stays. Returns the delta.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn remove_seen<Q: Ord + ?Sized>(&mut self, key: &Q, seen: &Seen) -> Self
    where
        K: Borrow<Q>,
    {
        let removed = self.0.store.shrink(key, |store| seen.take_from(store));
        Self::removal(removed.unwrap_or_default())
    }

    /// Removes all that is seen, at every key. Returns the delta. Cost: linear.
    #[must_use = "the delta is to be sent to the other replicas"]
    pub fn clear(&mut self) -> Self {
        Self::removal(mem::take(&mut self.0.store).dots().collect())
    }

    /// What is live at a key now, for [`remove_seen`](Self::remove_seen).
    #[must_use]
    pub fn seen<Q: Ord + ?Sized>(&self, key: &Q) -> Seen
    where
        K: Borrow<Q>,
    {
        self.store_of(key).map(Seen::of).unwrap_or_default()
    }

    /// A copy of the value at a key, to read: it has the context of the map, and what is written to it is not in the map.
    ///
    /// Cost: linear in the value, and in the context of the map.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let store = self.store_of(key)?.clone();
        Some(V::from_causal(Causal { store, context: self.0.context.clone() }))
    }

    /// What is live at a key, without a copy.
    #[must_use]
    pub fn store_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V::Store>
    where
        K: Borrow<Q>,
    {
        self.0.store.get(key)
    }

    /// Whether a key is there.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.store_of(key).is_some()
    }

    /// Its keys, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + '_ {
        self.0.store.iter().map(|(key, _store)| key)
    }

    /// Its keys and what is live at each, ascending by key, without a copy.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V::Store)> + ExactSizeIterator + '_ {
        self.0.store.iter()
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.store.len()
    }

    /// Whether it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.store.is_empty()
    }

    /// The delta of a remove of dots.
    fn removal(context: CausalContext) -> Self {
        Self(Causal { store: DotMap::new(), context })
    }
}

/// A value that is out of its map, and the context of the map with it. Both are put back when it is dropped, so a panic loses
/// neither: a replica without its context would use its numbers again.
struct Lent<'a, K: Ord + Clone, V: CausalType> {
    map: &'a mut Causal<DotMap<K, V::Store>>,
    key: &'a K,
    value: V,
}

impl<'a, K: Ord + Clone, V: CausalType> Lent<'a, K, V> {
    fn of(map: &'a mut Causal<DotMap<K, V::Store>>, key: &'a K) -> Self {
        let store = map.store.remove(key).unwrap_or_default();
        let value = V::from_causal(Causal { store, context: mem::take(&mut map.context) });
        Self { map, key, value }
    }
}

impl<K: Ord + Clone, V: CausalType> Drop for Lent<'_, K, V> {
    fn drop(&mut self) {
        let Causal { store, context } = mem::replace(&mut self.value, V::bottom()).into_causal();
        self.map.context = context;
        self.map.store.put(self.key, store);
    }
}

impl<K: Ord + Clone, V: CausalType> Default for OrMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// What can be done to an [`OrMap`] whose values have operations `O`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrMapOp<K, O> {
    /// [`OrMap::update`] of a key, by an operation of its value.
    Update(K, O),
    /// [`OrMap::remove`] of a key.
    Remove(K),
}

/// Reads every key, and what its value reads.
impl<K: Ord + Clone + Debug, V: CausalType + Crdt> Crdt for OrMap<K, V> {
    type Op = OrMapOp<K, V::Op>;
    type Read = BTreeMap<K, V::Read>;

    fn apply(&mut self, op: &Self::Op, me: ReplicaId) -> Result<Self, Refused> {
        match op {
            OrMapOp::Update(key, op) => self.update(key.clone(), |value| value.apply(op, me)),
            OrMapOp::Remove(key) => Ok(self.remove(key)),
        }
    }

    fn read(&self) -> Self::Read {
        // One copy of the context is passed on from value to value.
        let mut context = self.0.context.clone();
        let read = |(key, store): (&K, &V::Store)| {
            let value = V::from_causal(Causal { store: store.clone(), context: mem::take(&mut context) });
            let read = value.read();
            context = value.into_causal().context;
            (key.clone(), read)
        };
        self.0.store.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::crdt::{CausalCounter, MvRegister};

    const A: ReplicaId = ReplicaId::from_u128(1);
    const B: ReplicaId = ReplicaId::from_u128(2);

    type Counters = OrMap<u8, CausalCounter>;

    #[test]
    fn a_remote_remove_takes_away_what_it_saw_and_the_replica_goes_on_with_the_rest() {
        let mut here = Counters::new();
        let mut there = here.update(1, |counter| counter.add(A, 10)).unwrap();
        let unseen = here.update(1, |counter| counter.add(A, 5)).unwrap();
        let removed = there.remove(&1);
        here.join(&removed);
        let later = here.update(1, |counter| counter.add(A, 1)).unwrap();
        there.join(&later);
        assert_eq!(there.get(&1).unwrap().value(), 1, "a delta is one add, and no total");
        there.join(&unseen);
        assert_eq!((here.get(&1).unwrap().value(), &here), (6, &there));
    }

    #[test]
    fn an_update_that_fails_loses_neither_the_value_nor_the_numbers_of_the_map() {
        let mut map = Counters::new();
        let _unsent = map.update(1, |counter| counter.add(A, 1)).unwrap();
        let before = map.clone();
        assert_eq!(map.update(1, |_| Err(Refused::Overflow)), Err(Refused::Overflow));
        assert_eq!(map.update(2, |_| Err(Refused::Overflow)), Err(Refused::Overflow));
        assert_eq!(map, before);
    }

    /// What was changed before it failed has a number that was given out: it stays, and is not used again.
    #[test]
    fn what_an_update_changed_before_it_failed_stays() {
        let mut map: OrMap<u8, Counters> = OrMap::new();
        let failed = map.update(1, |inner| {
            let _lost = inner.update(1, |counter| counter.add(A, 4))?;
            inner.update(2, |_| Err(Refused::Exhausted))
        });
        assert_eq!(failed, Err(Refused::Exhausted));
        let next = map.update(2, |inner| inner.update(1, |counter| counter.add(A, 1))).unwrap();
        assert_eq!(next.as_causal().store().dots().map(|dot| dot.seq).collect::<Vec<_>>(), [2]);
        assert_eq!(map.read(), BTreeMap::from([(1, [(1, 4)].into()), (2, [(1, 1)].into())]));
    }

    #[test]
    #[cfg(feature = "std")]
    fn an_update_that_panics_loses_neither_the_value_nor_the_numbers_of_the_map() {
        let mut map: OrMap<u8, Counters> = OrMap::new();
        let _unsent = map.update(1, |inner| inner.update(1, |counter| counter.add(A, 1))).unwrap();
        let before = map.clone();
        let update = std::panic::AssertUnwindSafe(|| map.update(1, |inner| inner.update(1, |_| panic!("in the closure"))));
        assert!(std::panic::catch_unwind(update).is_err());
        assert_eq!(map, before);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "has seen less")]
    fn a_value_that_is_replaced_is_our_callers_bug() {
        let mut map = Counters::new();
        let _unsent = map.update(1, |counter| counter.add(A, 1)).unwrap();
        let _never = map.update(1, |counter| {
            *counter = CausalCounter::new();
            Ok(CausalCounter::new())
        });
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "does not have the delta")]
    fn a_delta_of_another_value_is_our_callers_bug() {
        let _never = Counters::new().update(1, |_| CausalCounter::new().add(A, 1));
    }

    #[test]
    fn a_key_is_there_as_long_as_something_below_it_is_live() {
        let mut map = Counters::new();
        assert!(map.is_empty() && !map.contains(&1));
        for (key, amount) in [(3, 1), (1, 1), (1, -1), (2, 1), (4, 0)] {
            let _unsent = map.update(key, |counter| counter.add(A, amount)).unwrap();
        }
        assert_eq!((map.len(), map.keys().collect::<Vec<_>>()), (3, Vec::from([&1, &2, &3])));
        assert!(!map.is_empty() && map.contains(&1) && !map.contains(&4));
        let _unsent = map.update(2, |counter| Ok(counter.reset())).unwrap();
        assert_eq!((map.len(), map.contains(&2), map.get(&2)), (2, false, None));
    }

    #[test]
    fn a_remove_of_what_was_read_leaves_what_came_after() {
        let mut map: OrMap<&str, MvRegister<u8>> = OrMap::new();
        let mut other = map.clone();
        let _unsent = map.update("x", |register| register.set(A, 1)).unwrap();
        let seen = map.seen("x");
        let late = other.update("x", |register| register.set(B, 2)).unwrap();
        map.join(&late);
        let peer = &mut map.clone();
        let delta = map.remove_seen("x", &seen);
        assert_eq!(map.get("x").unwrap().values().collect::<Vec<_>>(), [&2]);
        assert!(peer.join(&delta) && *peer == map);
        // Nothing is left of what was seen; and of another key it says nothing.
        assert!(map.remove_seen("x", &seen).is_bottom() && map.remove_seen("y", &seen).is_bottom());
        let mut joined = map.clone();
        let cleared = map.clear();
        assert!(map.is_empty() && joined.join(&cleared) && joined == map);
    }
}
