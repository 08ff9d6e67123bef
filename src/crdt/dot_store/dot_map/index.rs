//! At which key a dot is.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::causal::{CausalContext, Dot};

/// A look at each of fewer keys takes microseconds. In tests every map is worth an index, so that whatever is tested of maps is tested
/// of indexes.
const KEYS_MIN: usize = if cfg!(test) { 1 } else { 256 };
/// A look into the index costs more than to pass by a key.
const KEYS_FOR_A_DOT: usize = if cfg!(test) { 1 } else { 16 };

/// The key of every dot of a map, and of dots that were removed: so a removal need not be told to it. It is dropped when those
/// that were added since are as many as it was made of, and made again when it is needed.
#[derive(Debug)]
pub(super) struct Index<K> {
    keys: BTreeMap<Dot, K>,
    len_max: usize,
}

/// Whether the keys of so few dots are found faster by an index than by a look at each of so many keys.
pub(super) fn is_worth_it(keys: usize, seen: &CausalContext) -> bool {
    let mut left = keys / KEYS_FOR_A_DOT;
    keys >= KEYS_MIN
        && seen.iter_intervals().all(|(_, seqs)| {
            let count = usize::try_from(seqs.end() - seqs.start()).unwrap_or(usize::MAX).saturating_add(1);
            let is_left = count <= left;
            left = left.saturating_sub(count);
            is_left
        })
}

impl<K: Ord + Clone> Index<K> {
    pub(super) fn new(entries: impl Iterator<Item = (Dot, K)>) -> Self {
        let keys: BTreeMap<Dot, K> = entries.collect();
        let len_max = keys.len().saturating_mul(2).max(KEYS_MIN);
        Self { keys, len_max }
    }

    /// Adds dots of a key. Returns whether it may be kept.
    pub(super) fn add(&mut self, dots: impl Iterator<Item = Dot>, key: &K) -> bool {
        for dot in dots {
            self.keys.entry(dot).or_insert_with(|| key.clone());
        }
        self.keys.len() <= self.len_max
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys at which some of the dots are or were.
    pub(super) fn find(&self, dots: &CausalContext) -> BTreeSet<K> {
        let ranges =
            dots.iter_intervals().map(|(replica, seqs)| Dot::new(replica, *seqs.start())..=Dot::new(replica, *seqs.end()));
        ranges.flat_map(|range| self.keys.range(range).map(|(_, key)| key.clone())).collect()
    }
}
