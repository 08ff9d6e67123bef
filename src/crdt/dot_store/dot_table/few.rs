//! Few entries: a sorted list, as in most deltas. One needs no allocation.

use smallvec::SmallVec;

use crate::causal::Dot;

/// An entry and its dot.
#[derive(Debug, Clone)]
pub(super) struct Entry<K, V> {
    pub(super) dot: Dot,
    pub(super) key: K,
    pub(super) value: V,
}

/// Strictly ascending by dot.
pub(super) type Few<K, V> = SmallVec<[Entry<K, V>; 1]>;

/// Where a dot is, or would be.
pub(super) fn find<K, V>(few: &[Entry<K, V>], dot: Dot) -> Result<usize, usize> {
    few.binary_search_by_key(&dot, |entry| entry.dot)
}

/// Adds an entry, unless its dot has one.
pub(super) fn insert<K, V>(few: &mut Few<K, V>, entry: Entry<K, V>) {
    if let Err(at) = find(few, entry.dot) {
        few.insert(at, entry);
    }
}

/// How many keys there are.
pub(super) fn keys<K: Eq, V>(few: &[Entry<K, V>]) -> usize {
    let is_first = |(at, entry): &(usize, &Entry<K, V>)| few.iter().take(*at).all(|other| other.key != entry.key);
    few.iter().enumerate().filter(is_first).count()
}
