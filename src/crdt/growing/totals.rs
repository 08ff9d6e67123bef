//! Numbers that only grow, each under a key of its own.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::iter::Sum;

use serde::{Deserialize, Serialize};

use super::order;
use crate::codec::DecodeError;
use crate::crdt::{Decompose, Lattice, Refused};

/// A total for each key. Join: of each key the greater total, which is the later one, since only one replica writes a key and
/// it only ever adds.
///
/// Cost: a join is `other`'s keys times the logarithm of ours.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<(K, u64)>", into = "Vec<(K, u64)>")]
#[serde(bound(serialize = "K: Serialize + Clone", deserialize = "K: Deserialize<'de> + Ord"))]
pub(super) struct Totals<K> {
    /// Invariant: no total is 0, so equal totals compare equal.
    totals: BTreeMap<K, u64>,
}

impl<K: Ord + Copy> Totals<K> {
    /// The total of a key; 0 if there is none.
    pub(super) fn get(&self, key: K) -> u64 {
        self.totals.get(&key).copied().unwrap_or(0)
    }

    /// Raises the total of a key. Returns whether it was lower.
    pub(super) fn raise(&mut self, key: K, total: u64) -> bool {
        if total <= self.get(key) {
            return false;
        }
        self.totals.insert(key, total);
        true
    }

    /// What raises the total of a key by `amount`: nothing for 0.
    pub(super) fn plus(&self, key: K, amount: u64) -> Result<Self, Refused> {
        let total = self.get(key).checked_add(amount).ok_or(Refused::Overflow)?;
        Ok(Self::single(key, if amount == 0 { 0 } else { total }))
    }

    /// All of them together, in a type in which they cannot overflow: memory holds fewer than 2^63 keys.
    pub(super) fn sum<N: From<u64> + Sum>(&self) -> N {
        self.totals.values().map(|total| N::from(*total)).sum()
    }

    /// The keys and their totals, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        self.totals.iter().map(|(key, total)| (*key, *total))
    }

    fn single(key: K, total: u64) -> Self {
        let mut single = Self::bottom();
        single.raise(key, total);
        single
    }

    fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(key, total)| self.get(key) >= total)
    }
}

impl<K: Ord + Copy> Lattice for Totals<K> {
    fn bottom() -> Self {
        Self { totals: BTreeMap::new() }
    }

    fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (key, total) in other.iter() {
            changed |= self.raise(key, total);
        }
        changed
    }

    fn is_bottom(&self) -> bool {
        self.totals.is_empty()
    }
}

impl<K: Ord + Copy> Decompose for Totals<K> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        self.iter().map(|(key, total)| Self::single(key, total))
    }
}

impl<K: Ord + Copy> PartialOrd for Totals<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        order(self.covers(other), other.covers(self))
    }
}

impl<K: Ord> TryFrom<Vec<(K, u64)>> for Totals<K> {
    type Error = DecodeError;

    fn try_from(totals: Vec<(K, u64)>) -> Result<Self, DecodeError> {
        if !totals.is_sorted_by(|(low, _), (high, _)| low < high) {
            return Err(DecodeError::new(0, "the keys of totals are not in order"));
        }
        if totals.iter().any(|(_, total)| *total == 0) {
            return Err(DecodeError::new(0, "a total of 0"));
        }
        Ok(Self { totals: totals.into_iter().collect() })
    }
}

impl<K> From<Totals<K>> for Vec<(K, u64)> {
    fn from(totals: Totals<K>) -> Self {
        totals.totals.into_iter().collect()
    }
}

impl<K: fmt::Debug> fmt::Debug for Totals<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.totals).finish()
    }
}
