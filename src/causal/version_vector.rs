//! "I have every event of `r` up to `n`", for each `r`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Dot, ReplicaId, SEQ_MAX};
use crate::codec::{DecodeError, Reader, Writer};

/// A set of events without gaps: of each replica, all up to a number.
///
/// Ordered by causality: `a <= b` if `b` has every event of `a`. Two vectors may be neither.
///
/// Source: Parker et al., "Detection of Mutual Inconsistency in Distributed Systems" (1983).
#[derive(Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<ReplicaId, u64>", into = "BTreeMap<ReplicaId, u64>")]
pub struct VersionVector {
    /// Invariant: each number is in `1..=SEQ_MAX`, so equal sets compare equal.
    seqs: BTreeMap<ReplicaId, u64>,
}

impl VersionVector {
    /// Nothing seen.
    #[must_use]
    pub const fn new() -> Self {
        Self { seqs: BTreeMap::new() }
    }

    /// The number of the last event of `replica`; 0 if there is none.
    #[must_use]
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.seqs.get(&replica).copied().unwrap_or(0)
    }

    /// Whether it has an event. No vector has one whose number is 0.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        dot.is_event() && dot.seq <= self.get(dot.replica)
    }

    /// Whether it has every event of `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.seqs.iter().all(|(replica, seq)| self.get(*replica) >= *seq)
    }

    /// Adds the events of `replica` up to `seq`. Returns whether any is new; a number above [`SEQ_MAX`] counts as that.
    pub fn advance(&mut self, replica: ReplicaId, seq: u64) -> bool {
        let seq = seq.min(SEQ_MAX);
        if seq <= self.get(replica) {
            return false;
        }
        self.seqs.insert(replica, seq);
        true
    }

    /// Adds the events of `other`. Returns whether any is new.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (replica, seq) in &other.seqs {
            changed |= self.advance(*replica, *seq);
        }
        changed
    }

    /// The replicas with the number of their last event, sorted by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ReplicaId, u64)> + '_ {
        self.seqs.iter().map(|(replica, seq)| (*replica, *seq))
    }

    /// How many replicas it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Whether it has no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    /// Its canonical bytes: equal vectors, equal bytes. About 18 bytes a replica.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::with_capacity(5 + 20 * self.seqs.len());
        self.encode(&mut to);
        to.into_vec()
    }

    /// From the bytes of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// The bytes are no vector, or not in canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let vector = Self::decode(&mut from)?;
        from.finish()?;
        Ok(vector)
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.u64(self.seqs.len() as u64);
        for (replica, seq) in &self.seqs {
            to.raw(&replica.to_bytes());
            to.u64(*seq);
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.len_up_to(usize::MAX, 17)?;
        let mut seqs = BTreeMap::new();
        let mut last = None;
        for _ in 0..count {
            let replica = ReplicaId::from_bytes(from.array()?);
            if last.is_some_and(|last| last >= replica) {
                return Err(from.error("replicas of a vector are not in order"));
            }
            last = Some(replica);
            let seq = from.u64()?;
            if seq == 0 || seq > SEQ_MAX {
                return Err(from.error("a sequence number outside 1..=2^63"));
            }
            seqs.insert(replica, seq);
        }
        Ok(Self { seqs })
    }
}

impl PartialOrd for VersionVector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl FromIterator<(ReplicaId, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, u64)>>(entries: I) -> Self {
        let mut vector = Self::new();
        for (replica, seq) in entries {
            vector.advance(replica, seq);
        }
        vector
    }
}

impl TryFrom<BTreeMap<ReplicaId, u64>> for VersionVector {
    type Error = DecodeError;

    fn try_from(seqs: BTreeMap<ReplicaId, u64>) -> Result<Self, DecodeError> {
        if seqs.values().all(|seq| (1..=SEQ_MAX).contains(seq)) {
            Ok(Self { seqs })
        } else {
            Err(DecodeError::new(0, "a sequence number outside 1..=2^63"))
        }
    }
}

impl From<VersionVector> for BTreeMap<ReplicaId, u64> {
    fn from(vector: VersionVector) -> Self {
        vector.seqs
    }
}

impl fmt::Debug for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.seqs).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seqs: &[(u128, u64)]) -> VersionVector {
        seqs.iter().map(|(replica, seq)| (ReplicaId::from_u128(*replica), *seq)).collect()
    }

    #[test]
    fn order_is_causality() {
        let (a, b) = (vector(&[(1, 2)]), vector(&[(1, 1), (2, 1)]));
        assert_eq!(a.partial_cmp(&b), None);
        let mut joined = a.clone();
        assert!(joined.join(&b));
        assert!(!joined.join(&b));
        assert!(joined > a && joined > b);
        assert_eq!(joined, vector(&[(1, 2), (2, 1)]));
    }

    #[test]
    fn zero_is_absence() {
        assert_eq!(vector(&[(1, 0)]), VersionVector::new());
        assert!(!vector(&[(1, 2)]).contains(Dot::new(ReplicaId::from_u128(1), 0)));
        assert!(VersionVector::new().is_empty() && !vector(&[(1, 1)]).is_empty());
    }

    #[test]
    fn it_has_the_events_of_each_replica_up_to_its_number() {
        let a = vector(&[(1, 2), (7, SEQ_MAX), (9, 0)]);
        let has = |replica, seq| a.contains(Dot::new(ReplicaId::from_u128(replica), seq));
        assert_eq!([0, 1, 2, 3].map(|seq| has(1, seq)), [false, true, true, false]);
        assert_eq!([SEQ_MAX, SEQ_MAX + 1, u64::MAX].map(|seq| has(7, seq)), [true, false, false]);
        assert!(!has(9, 1) && !has(8, 1));
        assert_eq!((a.len(), a.iter().len(), vector(&[]).len(), vector(&[(1, 1), (2, 1), (3, 1)]).len()), (2, 2, 0, 3));
    }

    #[test]
    fn bytes_round_trip_and_anything_else_is_refused() {
        let a = vector(&[(1, 2), (7, SEQ_MAX)]);
        let bytes = a.to_bytes();
        assert_eq!(VersionVector::from_bytes(&bytes), Ok(a));
        for cut in 0..bytes.len() {
            assert!(VersionVector::from_bytes(&bytes[..cut]).is_err());
        }
        let swapped = [&[2], &bytes[18..], &bytes[1..18]].concat();
        assert!(VersionVector::from_bytes(&swapped).is_err());
        assert!(VersionVector::from_bytes(&[1; 18]).is_ok());
        let mut zero = [1; 18];
        zero[17] = 0;
        assert!(VersionVector::from_bytes(&zero).is_err());
    }
}
