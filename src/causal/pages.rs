//! Fingerprints of sets of events, page by page: two sides find where their sets differ without listing them.
//!
//! Source: Meyer, "Range-Based Set Reconciliation" (2023), of which this is two levels.

use alloc::vec::Vec;

use twox_hash::XxHash3_64;

use super::{ReplicaId, SEQ_MAX};

/// Events of one replica: those above the page before it, up to and with `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The highest number of the page.
    pub last: u64,
    /// The sum of the hashes of those events of the page that are in the set; 0 if none is.
    pub fingerprint: u64,
}

impl Page {
    /// What an event adds to the fingerprint of its page, by wrapping addition. It finds faults, and is no defence against somebody who
    /// makes two sets of one fingerprint on purpose.
    #[must_use]
    pub fn hash_of(replica: ReplicaId, seq: u64) -> u64 {
        let mut bytes = [0; 24];
        let (id, number) = bytes.split_at_mut(16);
        id.copy_from_slice(&replica.to_bytes());
        number.copy_from_slice(&seq.to_le_bytes());
        XxHash3_64::oneshot(&bytes)
    }
}

/// The pages of several replicas, sorted by id; of each, in ascending order, the first one from number 1 on. What lies above the last page of
/// a replica, they say nothing of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pages {
    replicas: Vec<(ReplicaId, Vec<Page>)>,
}

impl Pages {
    /// Adds the pages of a replica. Returns whether they are in order: ids ascending, numbers ascending and in `1..=`[`SEQ_MAX`], and at least
    /// one page. If not, nothing is added.
    #[must_use]
    pub fn push(&mut self, replica: ReplicaId, pages: Vec<Page>) -> bool {
        let is_next = self.replicas.last().is_none_or(|(last, _pages)| *last < replica);
        let first = pages.first().is_some_and(|page| page.last > 0);
        let last = pages.last().is_some_and(|page| page.last <= SEQ_MAX);
        let are_ascending = pages.is_sorted_by(|page, next| page.last < next.last);
        let is_in_order = is_next && first && last && are_ascending;
        if is_in_order {
            self.replicas.push((replica, pages));
        }
        is_in_order
    }

    /// The replicas and their pages.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, &[Page])> {
        self.replicas.iter().map(|(replica, pages)| (*replica, pages.as_slice()))
    }

    /// The pages of a replica; none, if they say nothing of it.
    #[must_use]
    pub fn of(&self, replica: ReplicaId) -> &[Page] {
        let place = self.replicas.binary_search_by_key(&replica, |(id, _pages)| *id).ok();
        place.and_then(|place| self.replicas.get(place)).map(|(_id, pages)| pages.as_slice()).unwrap_or_default()
    }

    /// How many replicas they are of.
    #[must_use]
    pub const fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// How many pages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.replicas.iter().map(|(_replica, pages)| pages.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn page(last: u64) -> Page {
        Page { last, fingerprint: 7 }
    }

    #[test]
    fn pages_are_taken_in_order_alone() {
        let id = ReplicaId::from_u128;
        let mut pages = Pages::default();
        assert!(pages.is_empty());
        for refused in [vec![], vec![page(0)], vec![page(2), page(2)], vec![page(3), page(1)], vec![page(SEQ_MAX + 1)]] {
            assert!(!pages.push(id(5), refused));
        }
        assert!(pages.is_empty());
        assert!(pages.push(id(5), vec![page(1), page(9), page(SEQ_MAX)]));
        assert!(!pages.push(id(5), vec![page(1)]) && !pages.push(id(4), vec![page(1)]));
        assert!(pages.push(id(6), vec![page(2)]));
        assert_eq!((pages.replicas(), pages.len()), (2, 4));
        assert_eq!(pages.of(id(5)).len(), 3);
        assert_eq!(pages.of(id(6)), [page(2)]);
        assert_eq!(pages.of(id(7)), []);
    }

    #[test]
    fn each_event_has_its_own_hash() {
        let (one, other) = (ReplicaId::from_u128(1), ReplicaId::from_u128(2));
        let mut hashes: Vec<u64> = (1..1_000).flat_map(|seq| [Page::hash_of(one, seq), Page::hash_of(other, seq)]).collect();
        hashes.sort_unstable();
        assert!(hashes.is_sorted_by(|hash, next| hash < next));
    }
}
