//! Numbers that only grow, `N` under each key of `W` words.

use core::cmp::Ordering;
use core::fmt;
use core::iter::Sum;
use core::marker::PhantomData;

use alloc::vec::Vec;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::{in_order, order};
use crate::causal::ReplicaId;
use crate::codec::DecodeError;
use crate::crdt::{Decompose, Lattice, Refused};

/// What totals are kept under: words, of which an array is compared much faster than one of ids.
pub(super) trait Key<const W: usize>: Copy + PartialEq {
    /// In the order of the keys.
    fn to_words(self) -> [u128; W];

    fn from_words(words: [u128; W]) -> Self;
}

impl Key<1> for ReplicaId {
    fn to_words(self) -> [u128; 1] {
        [u128::from_be_bytes(self.to_bytes())]
    }

    fn from_words([word]: [u128; 1]) -> Self {
        Self::from_u128(word)
    }
}

impl Key<2> for (ReplicaId, ReplicaId) {
    fn to_words(self) -> [u128; 2] {
        [self.0, self.1].map(|id| u128::from_be_bytes(id.to_bytes()))
    }

    fn from_words([one, other]: [u128; 2]) -> Self {
        (ReplicaId::from_u128(one), ReplicaId::from_u128(other))
    }
}

/// `N` totals for each key. Join: of each the greater one, which is the later one, since only one replica writes a key and
/// it only ever adds.
///
/// Keys and totals lie apart: where two hold the same keys, as replicas mostly do, a join is a comparison of all keys and
/// a maximum of all totals, without a lookup or a branch. One entry, as a delta has, needs no allocation.
///
/// Cost: a join is linear in both; or, of an `other` that is much smaller and has at most one new key, its keys times the
/// logarithm of ours.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Vec<Entry<K, N>>", bound(deserialize = "K: Deserialize<'de> + Key<W>"))]
pub(super) struct Totals<K, const W: usize, const N: usize> {
    /// Invariant: sorted, each once.
    keys: SmallVec<[[u128; W]; 1]>,
    /// Those of each key, in the order of `keys`. Invariant: as many as `keys`, and of none all are 0, so equal totals compare
    /// equal.
    totals: SmallVec<[[u64; N]; 1]>,
    of: PhantomData<K>,
}

impl<K: Key<W>, const W: usize, const N: usize> Totals<K, W, N> {
    /// The totals of a key; 0 if there are none.
    pub(super) fn get(&self, key: K) -> [u64; N] {
        self.keys.binary_search(&key.to_words()).ok().and_then(|at| self.totals.get(at)).copied().unwrap_or([0; N])
    }

    /// Raises the totals of a key. Returns whether any was lower.
    pub(super) fn raise(&mut self, key: K, totals: [u64; N]) -> bool {
        match self.keys.binary_search(&key.to_words()) {
            Ok(at) => self.totals.get_mut(at).is_some_and(|ours| raise_all(ours, &totals)),
            Err(_) if totals == [0; N] => false,
            Err(at) => {
                self.keys.insert(at, key.to_words());
                self.totals.insert(at, totals);
                true
            }
        }
    }

    /// What raises one of the totals of a key by `amount`: nothing for 0.
    pub(super) fn plus(&self, key: K, which: usize, amount: u64) -> Result<Self, Refused> {
        let mut plus = [0; N];
        if let (Some(to), Some(total)) = (plus.get_mut(which), self.get(key).get(which)) {
            let total = total.checked_add(amount).ok_or(Refused::Overflow)?;
            *to = if amount == 0 { 0 } else { total };
        }
        Ok(Self::single(key, plus))
    }

    /// One of the totals of all keys together, in a type in which they cannot overflow: memory holds fewer than 2^63 keys.
    pub(super) fn sum<S: From<u64> + Sum>(&self, which: usize) -> S {
        self.totals.iter().filter_map(|totals| totals.get(which)).map(|total| S::from(*total)).sum()
    }

    /// The keys and their totals, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, [u64; N])> + '_ {
        self.keys.iter().map(|words| K::from_words(*words)).zip(self.totals.iter().copied())
    }

    fn single(key: K, totals: [u64; N]) -> Self {
        let mut single = Self::bottom();
        single.raise(key, totals);
        single
    }

    fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(key, theirs)| self.get(key).iter().zip(&theirs).all(|(ours, theirs)| ours >= theirs))
    }

    /// The join where the keys differ.
    fn merge(&mut self, other: &Self) -> bool {
        let len = self.keys.len().max(other.keys.len());
        let mut merged = Self { keys: SmallVec::with_capacity(len), totals: SmallVec::with_capacity(len), of: PhantomData };
        let mut ours = self.keys.iter().zip(&self.totals).peekable();
        let mut theirs = other.keys.iter().zip(&other.totals).peekable();
        let mut changed = false;
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let mine = if order.is_le() { ours.next() } else { None };
            let yours = if order.is_ge() { theirs.next() } else { None };
            let Some((key, totals)) = mine.or(yours) else { break };
            let mut totals = *totals;
            changed |= order.is_gt();
            if let Some((_, theirs)) = yours {
                changed |= raise_all(&mut totals, theirs);
            }
            merged.keys.push(*key);
            merged.totals.push(totals);
        }
        *self = merged;
        changed
    }
}

/// The greater of each two. Returns whether any rose, without a branch for each: such a loop becomes vector instructions.
fn raise_all(ours: &mut [u64], theirs: &[u64]) -> bool {
    let mut risen = 0;
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        let greater = (*ours).max(*theirs);
        risen |= greater ^ *ours;
        *ours = greater;
    }
    risen != 0
}

impl<K: Key<W>, const W: usize, const N: usize> Lattice for Totals<K, W, N> {
    fn bottom() -> Self {
        Self { keys: SmallVec::new(), totals: SmallVec::new(), of: PhantomData }
    }

    fn join(&mut self, other: &Self) -> bool {
        if self.keys.as_flattened() == other.keys.as_flattened() {
            return raise_all(self.totals.as_flattened_mut(), other.totals.as_flattened());
        }
        // A lookup compares some ten keys, and each key that is new moves those after it.
        let len = other.keys.len();
        let new = || other.keys.iter().filter(|key| self.keys.binary_search(key).is_err());
        if len > 1 && (len > self.keys.len() / 16 || new().nth(1).is_some()) {
            return self.merge(other);
        }
        let mut changed = false;
        for (key, totals) in other.iter() {
            changed |= self.raise(key, totals);
        }
        changed
    }

    fn is_bottom(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Its parts are its totals.
impl<K: Key<W>, const W: usize, const N: usize> Decompose for Totals<K, W, N> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.iter().flat_map(|(key, totals)| {
            let parts = (0..N).zip(totals).filter(|(_, total)| *total > 0);
            parts.map(move |(which, total)| {
                let mut alone = [0; N];
                alone.iter_mut().skip(which).take(1).for_each(|to| *to = total);
                Self::single(key, alone)
            })
        })
    }

    fn minus(&self, other: &Self) -> Self {
        let mut minus = Self::bottom();
        for (key, mut totals) in self.iter() {
            for (total, theirs) in totals.iter_mut().zip(other.get(key)) {
                *total = if *total > theirs { *total } else { 0 };
            }
            minus.raise(key, totals);
        }
        minus
    }
}

impl<K: Key<W>, const W: usize, const N: usize> PartialOrd for Totals<K, W, N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        order(self.covers(other), other.covers(self))
    }
}

/// A key and its totals, as serde sees them: one flat tuple.
struct Entry<K, const N: usize>(K, [u64; N]);

impl<K: Serialize, const N: usize> Serialize for Entry<K, N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut tuple = to.serialize_tuple(N + 1)?;
        tuple.serialize_element(&self.0)?;
        self.1.iter().try_for_each(|total| tuple.serialize_element(total))?;
        tuple.end()
    }
}

impl<'de, K: Deserialize<'de>, const N: usize> Deserialize<'de> for Entry<K, N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfEntry<K, const N: usize>(PhantomData<K>);

        impl<'de, K: Deserialize<'de>, const N: usize> Visitor<'de> for OfEntry<K, N> {
            type Value = Entry<K, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a key and {N} totals")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Entry<K, N>, A::Error> {
                let key = from.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let mut totals = [0; N];
                for (total, at) in totals.iter_mut().zip(1..) {
                    *total = from.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
                }
                Ok(Entry(key, totals))
            }
        }

        from.deserialize_tuple(N + 1, OfEntry(PhantomData))
    }
}

impl<K: Serialize + Key<W>, const W: usize, const N: usize> Serialize for Totals<K, W, N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(|(key, totals)| Entry(key, totals)))
    }
}

impl<K: Key<W>, const W: usize, const N: usize> TryFrom<Vec<Entry<K, N>>> for Totals<K, W, N> {
    type Error = DecodeError;

    fn try_from(entries: Vec<Entry<K, N>>) -> Result<Self, DecodeError> {
        in_order(&entries, |low, high| low.0.to_words() < high.0.to_words())?;
        if entries.iter().any(|entry| entry.1 == [0; N]) {
            return Err(DecodeError::new(0, "a total of 0"));
        }
        let (keys, totals) = entries.into_iter().map(|entry| (entry.0.to_words(), entry.1)).unzip();
        Ok(Self { keys, totals, of: PhantomData })
    }
}

impl<K: fmt::Debug + Key<W>, const W: usize, const N: usize> fmt::Debug for Totals<K, W, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, SeqDeserializer};
    use serde::forward_to_deserialize_any;

    use super::*;
    use crate::laws::join_laws;

    fn totals(entries: impl IntoIterator<Item = (u128, [u64; 2])>) -> Totals<ReplicaId, 1, 2> {
        let mut totals = Totals::bottom();
        for (key, of) in entries {
            totals.raise(ReplicaId::from_u128(key), of);
        }
        totals
    }

    /// Equal keys, one key more, few keys, and many: each is joined in a way of its own.
    #[test]
    fn all_ways_to_join_are_one() {
        let many = |more: u64| totals((0..40).map(move |key| (key * 2, [more, u64::try_from(key).unwrap() + 1])));
        join_laws(&[
            many(0),
            many(1),
            totals([(4, [7, 0])]),
            totals([(5, [7, 0])]),
            totals([(4, [7, 9]), (5, [1, 1])]),
            totals([(1, [7, 9]), (5, [1, 1]), (99, [0, u64::MAX])]),
            totals((0..40).map(|key| (key * 3, [2, 2]))),
        ]);
    }

    /// A format that does not write how long a tuple is, as compact ones do not: it reads as many numbers as it is asked for.
    struct Bare<'a>(&'a [u64]);

    impl<'de> Deserializer<'de> for Bare<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
            Err(Error::custom("the bytes do not say what they are"))
        }

        fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_seq(SeqDeserializer::<_, Error>::new(self.0.iter().copied().take(len)))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple_struct map struct enum identifier ignored_any
        }
    }

    #[test]
    fn an_entry_is_read_from_formats_that_do_not_say_how_long_it_is() {
        let Entry(key, totals) = Entry::<u64, 2>::deserialize(Bare(&[7, 1, 2, 9])).unwrap();
        assert_eq!((key, totals), (7, [1, 2]));
        assert!(Entry::<u64, 2>::deserialize(Bare(&[7, 1])).is_err());
    }
}
